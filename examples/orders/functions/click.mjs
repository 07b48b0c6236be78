// Counts clicks by page.
export const handler = async (event) => {
  const pages = {};
  for (const { payload } of event) pages[payload.value.page] = (pages[payload.value.page] ?? 0) + 1;
  return pages;
};

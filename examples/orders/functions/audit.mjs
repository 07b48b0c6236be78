// Sees every record, asynchronously: nobody waits for its answer.
export const handler = async (event) => {
  for (const { payload: at } of event) {
    if (at.topic === "orders" && at.value.quantity >= 9) {
      console.log(`large order ${at.key} at ${at.topic}-${at.partition}@${at.offset}`);
    }
  }
};

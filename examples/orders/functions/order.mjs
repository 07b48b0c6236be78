// Adds up orders. Klamm hands records over as Confluent's sink does: a list of {"payload": {...}}.
export const handler = async (event) => {
  const orders = event.map((record) => record.payload.value);
  const total = orders.reduce((sum, order) => sum + order.quantity * order.price, 0);
  return { orders: orders.length, total: `${total.toFixed(2)} ${process.env.CURRENCY}` };
};

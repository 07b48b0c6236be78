"""Adds up orders. Klamm hands records over as Confluent's sink does: a list of {"payload": {...}}."""

import os


def handler(event, context):
    orders = [record["payload"]["value"] for record in event]
    total = sum(order["quantity"] * order["price"] for order in orders)
    return {"orders": len(orders), "total": "%.2f %s" % (total, os.environ["CURRENCY"])}

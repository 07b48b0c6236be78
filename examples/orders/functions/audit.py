"""Sees every record, asynchronously: nobody waits for its answer."""


def handler(event, context):
    for record in event:
        at = record["payload"]
        if at["topic"] == "orders" and at["value"]["quantity"] >= 9:
            print("large order %s at %s-%d@%d" % (at["key"], at["topic"], at["partition"], at["offset"]))

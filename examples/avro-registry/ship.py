"""Gets plain JSON, whatever the producer used: the connector reads Avro with the schema from the registry."""


def handler(event, context):
    for item in event:
        order = item["payload"]["value"]
        print(f'order {order["id"]} of {order["customer"]["name"]}: {order["total"]}, {order["status"]}, {order["placed"]}')

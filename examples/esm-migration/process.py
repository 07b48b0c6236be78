"""A function as people write it for Lambda's event source mapping for Kafka. Nothing in it knows of Klamm.

The mapping was set up with ReportBatchItemFailures: the function names the records that failed, and only those come again.
"""

import base64
import json


def process(record):
    order = json.loads(base64.b64decode(record["value"]))
    headers = {name: bytes(value).decode() for header in record["headers"] for name, value in header.items()}
    if order["total"] < 0:
        raise ValueError(f'order {order["id"]} has a negative total')
    print(f'order {order["id"]} of {headers.get("shop", "?")}: {order["total"]}')


def handler(event, context):
    failures = []
    for records in event["records"].values():
        for record in records:
            try:
                process(record)
            except ValueError as error:
                print(f"refused: {error}")
                identifier = {"partition": f'{record["topic"]}-{record["partition"]}', "offset": record["offset"]}
                failures.append({"itemIdentifier": identifier})
    return {"batchItemFailures": failures}

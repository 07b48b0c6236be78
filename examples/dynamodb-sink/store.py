"""Writes orders to DynamoDB so that a record that comes twice changes nothing.

Klamm delivers at least once: after a lost answer or a restart a record can come again. Its coordinates (topic, partition,
offset) never change, so they tell a record apart for ever. Each item remembers the coordinates of the record that wrote
it, and a write goes through only if they are new:

- the same record again: the condition fails, nothing is written, the record counts as done;
- an older record of the same partition after a newer one (a late call that outlived a restart): the condition fails too.

Settings: TABLE, and AWS_ENDPOINT_URL_DYNAMODB for an emulator.
"""

import os
from decimal import Decimal

import boto3
from botocore.exceptions import ClientError

TABLE = boto3.resource("dynamodb").Table(os.environ.get("TABLE", "orders"))


def write(record):
    order = record["value"]
    source = f'{record["topic"]}-{record["partition"]}'
    try:
        TABLE.put_item(
            Item={
                "id": order["id"],
                "status": order["status"],
                "total": Decimal(str(order["total"])),
                "source": source,
                "offset": record["offset"],
            },
            # The key of an order is its id, so all its records are in one partition, and offsets there only grow.
            ConditionExpression="attribute_not_exists(id) OR #source <> :source OR #offset < :offset",
            ExpressionAttributeNames={"#source": "source", "#offset": "offset"},
            ExpressionAttributeValues={":source": source, ":offset": record["offset"]},
        )
        return True
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return False
        raise


def handler(event, context):
    written = [write(item["payload"]) for item in event]
    print(f"{len(written)} records, {sum(written)} written, {len(written) - sum(written)} seen before")
    return {"written": sum(written)}

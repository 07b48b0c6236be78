"""table.py create|show: the table of the example."""

import os
import sys

import boto3

NAME = os.environ.get("TABLE", "orders")
dynamodb = boto3.resource("dynamodb")

if sys.argv[1] == "create":
    dynamodb.create_table(
        TableName=NAME,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
else:
    for item in sorted(dynamodb.Table(NAME).scan()["Items"], key=lambda item: item["id"]):
        print(f'{item["id"]}: {item["status"]} {item["total"]} (from {item["source"]}@{item["offset"]})')

"""Counts clicks by page."""

from collections import Counter


def handler(event, context):
    return Counter(record["payload"]["value"]["page"] for record in event)

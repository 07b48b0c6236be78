"""Charges payments. Its first version cannot read amounts with a comma; FIXED=1 is the version that can."""

import os


def amount(text):
    if os.environ.get("FIXED") == "1":
        text = text.replace(",", ".")
    return float(text)


def handler(event, context):
    for item in event:
        payment = item["payload"]["value"]
        print(f'charged {payment["id"]}: {amount(payment["amount"]):.2f}')

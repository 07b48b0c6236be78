"""Charges payments; amounts with a comma are beyond it."""


def amount(text):
    return float(text)


def handler(event, context):
    for item in event:
        payment = item["payload"]["value"]
        print(f'charged {payment["id"]}: {amount(payment["amount"]):.2f}')

"""Writes to Kafka from a function, with a producer that lives as long as its execution environment.

The producer is made once, outside the handler: connecting costs many times what a record costs, and the environment is
used again for the next call. The handler waits for the acknowledgements before it returns, since an environment is frozen
between calls and whatever is still in the producer's buffer would wait there, or be lost.

Settings: BOOTSTRAP_SERVERS, OUTPUT_TOPIC.
"""

import json
import os

from kafka import KafkaProducer

OUTPUT = os.environ.get("OUTPUT_TOPIC", "orders-enriched")
PRODUCER = KafkaProducer(
    bootstrap_servers=os.environ["BOOTSTRAP_SERVERS"].split(","),
    acks="all",
    linger_ms=0,
    value_serializer=lambda value: json.dumps(value).encode(),
    key_serializer=lambda key: None if key is None else key.encode(),
)
print("producer connected")


def handler(event, context):
    # The same key goes to the same partition, and the batch is in order, so the order of a key is kept. The coordinates
    # of the input let a consumer drop what was written twice.
    sent = []
    for item in event:
        record = item["payload"]
        source = f'{record["topic"]}-{record["partition"]}@{record["offset"]}'
        value = record["value"] | {"gross": round(record["value"]["net"] * 1.19, 2)}
        sent.append(PRODUCER.send(OUTPUT, key=record["key"], value=value, headers=[("source", source.encode())]))
    PRODUCER.flush(timeout=10)
    for future in sent:
        future.get(timeout=0)
    print(f"{len(sent)} records written to {OUTPUT}")
    return {"written": len(sent)}

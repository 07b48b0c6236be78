"""Runs a list of operations, given as JSON on standard input, with clients that are not ours.

Prints one JSON object a record that was read, in the form of `klamm topic read --json`, without `leaderEpoch`.
An operation is an object with `op`; `client` is `confluent` (the default) or `kafka-python`. See OPS at the end.
"""

import base64
import json
import os
import sys
import time

import confluent_kafka
from confluent_kafka import KafkaError, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

LIMIT_S = 60


def unb64(text):
    return None if text is None else base64.b64decode(text)


def b64(data):
    return None if data is None else base64.b64encode(data).decode()


class RawKey(str):
    """A header key of any bytes, for a client that takes text and encodes it."""

    def __new__(cls, data):
        self = super().__new__(cls, "raw")
        self.data = data
        return self

    def encode(self, *_):
        return self.data


def headers_of(record):
    return [
        (RawKey(unb64(h["keyBase64"])) if "keyBase64" in h else h["key"], unb64(h["value"]))
        for h in record.get("headers", [])
    ]


def admin(base):
    return AdminClient({"bootstrap.servers": base["bootstrap.servers"]})


def wait_all(futures):
    for future in futures.values():
        future.result(LIMIT_S)


def create(op, base):
    client = admin(base)
    topic = NewTopic(op["topic"], op.get("partitions", 1), op.get("replicas", 1), config=op.get("config", {}))
    wait_all(client.create_topics([topic]))
    # The answer comes before every broker knows the leaders.
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = client.list_topics(op["topic"], timeout=LIMIT_S).topics[op["topic"]]
        if found.error is None and len(found.partitions) == op.get("partitions", 1):
            if all(p.leader >= 0 for p in found.partitions.values()):
                return
        assert time.monotonic() < deadline, "the topic has no leaders"
        time.sleep(0.02)


def delete(op, base):
    client = admin(base)
    wait_all(client.delete_topics([op["topic"]]))
    deadline = time.monotonic() + LIMIT_S
    while op["topic"] in client.list_topics(timeout=LIMIT_S).topics:
        assert time.monotonic() < deadline, "the topic is still there"
        time.sleep(0.02)


def delete_records(op, base):
    client = admin(base)  # its answers end with it
    wait_all(client.delete_records([TopicPartition(op["topic"], op.get("partition", 0), op["before"])]))


def expand(op):
    """The records; `count` makes copies that carry their number."""
    for record in op["records"]:
        for number in range(record.get("count", 1)):
            key, value = unb64(record.get("key")), unb64(record.get("value"))
            if "count" in record:
                key = key and key + str(number).encode()
                value = value and value + str(number).encode()
            yield record.get("partition", 0), key, value, headers_of(record), record.get("timestamp")


def produce(op, base):
    failed = []
    if op.get("client") == "kafka-python":
        import kafka

        config = {k.replace(".", "_"): v for k, v in op.get("config", {}).items()}
        codec = config.get("compression_type")
        config["compression_type"] = None if codec == "none" else codec
        producer = kafka.KafkaProducer(bootstrap_servers=base["bootstrap.servers"], **config)
        sent = [
            producer.send(op["topic"], value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp)
            for partition, key, value, headers, timestamp in expand(op)
        ]
        producer.flush()
        for one in sent:
            one.get(LIMIT_S)
        producer.close()
        return
    producer = confluent_kafka.Producer({**base, "linger.ms": 5, **op.get("config", {})})
    end = op.get("transaction")
    if end:
        producer.init_transactions(LIMIT_S)
        producer.begin_transaction()
    for partition, key, value, headers, timestamp in expand(op):
        more = {} if timestamp is None else {"timestamp": timestamp}
        while True:
            try:
                producer.produce(
                    op["topic"], value=value, key=key, partition=partition, headers=headers,
                    on_delivery=lambda err, _: failed.append(err) if err else None, **more
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(LIMIT_S) == 0, "records were not acknowledged"
    assert not failed, failed
    if end == "commit":
        producer.commit_transaction(LIMIT_S)
    elif end == "abort":
        producer.abort_transaction(LIMIT_S)
    elif end == "open":
        # Closing a producer would abort.
        OPEN.append(producer)


OPEN = []


NO_COORDINATOR_YET = {
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,
}


def commit(op, base):
    consumer = confluent_kafka.Consumer({**base, "group.id": op["group"]})
    offsets = [TopicPartition(op["topic"], op["partition"], op["offset"])]
    until = time.monotonic() + LIMIT_S
    while True:
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
            break
        except confluent_kafka.KafkaException as err:
            # The partition of the group's offsets may just have moved or been made: librdkafka does not try again.
            if err.args[0].code() not in NO_COORDINATOR_YET or time.monotonic() > until:
                raise
            time.sleep(0.1)
    consumer.close()


def committed(op, base):
    consumer = confluent_kafka.Consumer({**base, "group.id": op["group"]})
    (of,) = consumer.committed([TopicPartition(op["topic"], op["partition"])], timeout=LIMIT_S)
    print(json.dumps({"offset": of.offset, "metadata": of.metadata or ""}))
    consumer.close()


def read(op, base):
    lines = (read_kafka_python if op.get("client") == "kafka-python" else read_confluent)(op, base)
    lines.sort(key=lambda line: (line["partition"], line["offset"]))
    for line in lines:
        print(json.dumps(line))


def header_line(key, value):
    return {"key": key, "value": b64(value)}


def read_confluent(op, base):
    consumer = confluent_kafka.Consumer({
        **base,
        "group.id": "reader",
        "isolation.level": op.get("isolation", "read_uncommitted"),
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.message.max.bytes": 1 << 20,
        **op.get("config", {}),
    })
    partitions = consumer.list_topics(op["topic"], timeout=LIMIT_S).topics[op["topic"]].partitions
    consumer.assign([TopicPartition(op["topic"], p, confluent_kafka.OFFSET_BEGINNING) for p in partitions])
    lines, ended = [], set()
    deadline = time.monotonic() + LIMIT_S
    while len(ended) < len(partitions):
        assert time.monotonic() < deadline, f"ends reached: {ended}"
        for message in consumer.consume(500, timeout=0.5):
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
                continue
            kind, timestamp = message.timestamp()
            kinds = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
            lines.append({
                "topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
                "timestamp": timestamp, "timestampType": kinds.get(kind, "none"),
                "key": b64(message.key()), "value": b64(message.value()),
                "headers": [header_line(k, v) for k, v in message.headers() or []],
            })
    consumer.close()
    return lines


def read_kafka_python(op, base):
    import kafka

    consumer = kafka.KafkaConsumer(
        bootstrap_servers=base["bootstrap.servers"], isolation_level=op.get("isolation", "read_uncommitted"),
        enable_auto_commit=False, auto_offset_reset="none",
    )
    parts = [kafka.TopicPartition(op["topic"], p) for p in sorted(consumer.partitions_for_topic(op["topic"]))]
    consumer.assign(parts)
    consumer.seek_to_beginning(*parts)
    ends = consumer.end_offsets(parts)
    lines = []
    deadline = time.monotonic() + LIMIT_S
    while any(consumer.position(p) < ends[p] for p in parts):
        assert time.monotonic() < deadline, "the end was not reached"
        for records in consumer.poll(timeout_ms=200).values():
            for r in records:
                lines.append({
                    "topic": r.topic, "partition": r.partition, "offset": r.offset, "timestamp": r.timestamp,
                    "timestampType": ["CreateTime", "LogAppendTime"][r.timestamp_type],
                    "key": b64(r.key), "value": b64(r.value), "headers": [header_line(k, v) for k, v in r.headers],
                })
    consumer.close()
    return lines


OPS = {f.__name__: f for f in (commit, committed, create, delete, delete_records, produce, read)}


def main():
    base, ops = json.load(sys.stdin)
    for op in ops:
        OPS[op["op"]](op, base)
    sys.stdout.flush()
    if OPEN:
        # As after a crash: what is open stays open.
        os._exit(0)


main()

"""Groups, administration and old ways of other clients: groups.py BOOTSTRAP CHECK, where CHECK is a function below.

Each check asserts what the client sees and prints one JSON line with what the test compares.
"""

import json
import sys
import threading
import time

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType,
)

LIMIT_S = 40


def until(what, reached):
    deadline = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def wait_all(futures):
    return {key: future.result(LIMIT_S) for key, future in futures.items()}


def produce(bootstrap, topic, partitions, each):
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for partition in range(partitions):
        for number in range(each):
            producer.produce(topic, key=str(number), value=f"{partition}-{number}", partition=partition)
    assert producer.flush(LIMIT_S) == 0


class Member(threading.Thread):
    """Consumes and commits until it is told to stop."""

    def __init__(self, bootstrap, topic, group, more):
        super().__init__()
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", **more,
        })
        self.values, self.assigned, self.stopping, self.failed = [], set(), False, None
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke)

    def on_assign(self, consumer, partitions):
        self.assigned |= {p.partition for p in partitions}

    def on_revoke(self, consumer, partitions):
        self.assigned -= {p.partition for p in partitions}

    def run(self):
        try:
            while not self.stopping:
                for message in self.consumer.consume(100, timeout=0.05):
                    assert message.error() is None, message.error()
                    self.values.append(message.value().decode())
                    self.consumer.commit(message, asynchronous=True)
        except Exception as err:  # told where the test waits
            self.failed = err
        finally:
            self.consumer.close()


def rebalance(bootstrap, topic, more):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wait_all(admin.create_topics([NewTopic(topic, 6, 1)]))
    produce(bootstrap, topic, 6, 20)
    group = topic + "-group"
    first = Member(bootstrap, topic, group, more)
    first.start()
    until("all records", lambda: first.failed or len(first.values) == 120)
    second = Member(bootstrap, topic, group, more)
    second.start()
    until("both share", lambda: first.failed or second.failed or len(first.assigned) == len(second.assigned) == 3)
    assert not (first.assigned & second.assigned), (first.assigned, second.assigned)
    produce(bootstrap, topic, 6, 10)
    until("the rest", lambda: first.failed or second.failed or len(first.values) + len(second.values) == 180)
    second.stopping = True
    second.join()
    until("one has all", lambda: first.failed or len(first.assigned) == 6)
    described = admin.describe_consumer_groups([group])[group].result(LIMIT_S)
    states = (described.state.name, len(described.members))
    first.stopping = True
    first.join()
    assert not first.failed and not second.failed, (first.failed, second.failed)
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(6)])
    committed = admin.list_consumer_group_offsets([request])[group].result(LIMIT_S)
    offsets = [of.offset for of in committed.topic_partitions]
    until("nobody is left", lambda: admin.describe_consumer_groups([group])[group].result(LIMIT_S).state.name == "EMPTY")
    wait_all(admin.delete_consumer_groups([group]))
    print(json.dumps({"state": states, "committed": offsets, "read": len(first.values) + len(second.values)}))


def eager(bootstrap):
    rebalance(bootstrap, "py-eager", {"partition.assignment.strategy": "range", "session.timeout.ms": 6000, "heartbeat.interval.ms": 200})


def cooperative(bootstrap):
    rebalance(bootstrap, "py-cooperative", {
        "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 6000, "heartbeat.interval.ms": 200,
    })


def static(bootstrap):
    """A static member that restarts keeps its partitions, and the other notices nothing."""
    topic, group = "py-static", "py-static-group"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wait_all(admin.create_topics([NewTopic(topic, 4, 1)]))
    more = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "partition.assignment.strategy": "range"}
    first, second = (Member(bootstrap, topic, group, {**more, "group.instance.id": name}) for name in ("one", "two"))
    first.start()
    second.start()
    until("both share", lambda: len(first.assigned) == len(second.assigned) == 2)
    kept, others = set(second.assigned), set(first.assigned)
    second.stopping = True
    second.join()
    again = Member(bootstrap, topic, group, {**more, "group.instance.id": "two"})
    again.start()
    until("it is back", lambda: again.assigned == kept)
    assert first.assigned == others, (first.assigned, others)
    for member in (first, again):
        member.stopping = True
        member.join()
    print(json.dumps({"kept": len(kept)}))


def consumer_protocol(bootstrap):
    rebalance(bootstrap, "py-848", {"group.protocol": "consumer"})


def kafka_python(bootstrap):
    """Two members of kafka-python, and its own administration."""
    import kafka

    topic, group = "py-kafka-python", "py-kafka-python-group"
    admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)
    other = AdminClient({"bootstrap.servers": bootstrap})  # its answers end with it
    wait_all(other.create_topics([NewTopic(topic, 4, 1)]))
    produce(bootstrap, topic, 4, 10)

    def consumer():
        return kafka.KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
            session_timeout_ms=6000, heartbeat_interval_ms=200,
        )

    first, second, values = consumer(), None, []
    deadline = time.monotonic() + LIMIT_S

    def poll(one):
        for records in one.poll(timeout_ms=100).values():
            values.extend(record.value.decode() for record in records)

    while len(values) < 40:
        assert time.monotonic() < deadline, "all records"
        poll(first)
    first.commit()
    second = consumer()
    while not len(first.assignment()) == len(second.assignment()) == 2:
        assert time.monotonic() < deadline, (first.assignment(), second.assignment())
        poll(first)
        poll(second)
    second.close()
    while len(first.assignment()) != 4:
        assert time.monotonic() < deadline, first.assignment()
        poll(first)
    position = sum(first.committed(kafka.TopicPartition(topic, p)) for p in range(4))
    first.close()
    print(json.dumps({"read": len(values), "committed": position}))
    admin.close()


def transactions(bootstrap):
    """Reads, writes and commits in one transaction; a second producer of the same name fences the first."""
    source, sink, group = "py-source", "py-sink", "py-txn-group"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wait_all(admin.create_topics([NewTopic(source, 1, 1), NewTopic(sink, 1, 1)]))
    produce(bootstrap, source, 1, 10)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "session.timeout.ms": 6000,
    })
    consumer.subscribe([source])
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": "py-txn"})
    producer.init_transactions(LIMIT_S)
    done, deadline = 0, time.monotonic() + LIMIT_S
    for commits in (False, True):
        consumed = []
        while len(consumed) < 10:
            assert time.monotonic() < deadline
            consumed += [m for m in consumer.consume(10 - len(consumed), timeout=0.2) if not m.error()]
        producer.begin_transaction()
        for message in consumed:
            producer.produce(sink, value=message.value())
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), LIMIT_S
        )
        if commits:
            producer.commit_transaction(LIMIT_S)
            done = len(consumed)
        else:
            producer.abort_transaction(LIMIT_S)
            for partition in consumer.committed(consumer.assignment(), timeout=LIMIT_S):
                assert partition.offset < 0, "an aborted transaction commits no offset"
                consumer.seek(TopicPartition(partition.topic, partition.partition, 0))
    committed = consumer.committed([TopicPartition(source, 0)], timeout=LIMIT_S)[0].offset
    other = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": "py-txn"})
    other.init_transactions(LIMIT_S)
    fenced = False
    try:
        producer.begin_transaction()
        producer.produce(sink, value=b"late")
        producer.commit_transaction(LIMIT_S)
    except confluent_kafka.KafkaException as err:
        fenced = err.args[0].fatal()
    consumer.close()
    print(json.dumps({"done": done, "committed": committed, "fenced": fenced}))


def administration(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = "py-admin"
    wait_all(admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "1000000"})]))
    refused = admin.create_topics([NewTopic("py-bad", 1, 1, config={"retention.ms": "soon"})])["py-bad"].exception(LIMIT_S)
    twice = admin.create_topics([NewTopic(topic, 2, 1)])[topic].exception(LIMIT_S)
    wait_all(admin.create_partitions([NewPartitions(topic, 5)]))
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET),
    ])
    wait_all(admin.incremental_alter_configs([resource]))
    (configs,) = wait_all(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])).values()
    produce(bootstrap, topic, 1, 30)
    too_large = []
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, key="k", value="x" * 6000, partition=0, on_delivery=lambda err, _: too_large.append(err.name()))
    producer.flush(LIMIT_S)
    wait_all(admin.delete_records([TopicPartition(topic, 0, 12)]))
    of = TopicPartition(topic, 0)
    found = [
        admin.list_offsets({of: spec}, isolation_level=IsolationLevel.READ_COMMITTED)[of].result(LIMIT_S).offset
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.for_timestamp(1), OffsetSpec.max_timestamp())
    ]
    cluster = admin.describe_cluster().result(LIMIT_S)
    partitions = len(admin.list_topics(topic, timeout=LIMIT_S).topics[topic].partitions)
    wait_all(admin.delete_topics([topic], operation_timeout=LIMIT_S))
    until("it is gone", lambda: topic not in admin.list_topics(timeout=LIMIT_S).topics)
    print(json.dumps({
        "refused": refused.args[0].name(), "twice": twice.args[0].name(), "partitions": partitions,
        "policy": configs["cleanup.policy"].value, "retention": configs["retention.ms"].value, "too_large": too_large,
        "offsets": found[:3], "latest_time": found[3] >= 12, "nodes": len(cluster.nodes),
    }))


def main():
    bootstrap, check = sys.argv[1:]
    globals()[check](bootstrap)


main()

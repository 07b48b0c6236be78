"""Records of Confluent's own serializers: serializers.py REGISTRY_URL prints one JSON object a record.

Each has `topic` (a format's name), `value` and `headers` ([name, value]) in base64. Schemas are registered as the serializers do it.
"""

import base64
import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

AVRO = {
    "type": "record", "name": "Order", "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "by", "type": [{"type": "record", "name": "Card", "fields": [{"name": "number", "type": "string"}]}, "int"]},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
    ],
}
JSON = {
    "$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "by": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}


def order_class():
    """A message with a oneof, declared inside of another so that its index is a path."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.message_type.add(name="First")
    outer = file.message_type.add(name="Outer")
    order = outer.nested_type.add(name="Order")
    field = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind, label) in enumerate(
        [("id", field.TYPE_UINT32, 1), ("name", field.TYPE_STRING, 1), ("numbers", field.TYPE_SINT64, 3)], 1
    ):
        order.field.add(name=name, number=number, type=kind, label=label)
    order.oneof_decl.add(name="by")
    order.field.add(name="card", number=4, type=field.TYPE_STRING, label=1, oneof_index=0)
    order.field.add(name="voucher", number=5, type=field.TYPE_INT32, label=1, oneof_index=0)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Outer.Order"))


def avro_value(by):
    return {
        "id": 7, "name": "é", "price": decimal.Decimal("12.50"),
        "at": datetime.datetime(2024, 5, 1, 10, 20, 30, 123000, tzinfo=datetime.timezone.utc),
        "note": None, "by": by, "counts": {"k": 1}, "key": uuid.UUID(int=7),
    }


def main():
    client = SchemaRegistryClient({"url": sys.argv[1]})
    in_header = {"schema.id.serializer": header_schema_id_serializer}
    order = order_class()
    message = order(id=7, name="é", numbers=[-1, 1], voucher=9)
    json_value = {"id": 7, "name": "é", "by": 9, "tags": ["a"]}
    for topic, serializer, value in [
        ("avro", AvroSerializer(client, json.dumps(AVRO)), avro_value(("shop.Card", {"number": "4"}))),
        ("avro", AvroSerializer(client, json.dumps(AVRO), conf=in_header), avro_value(5)),
        ("json", JSONSerializer(json.dumps(JSON), client), json_value),
        ("json", JSONSerializer(json.dumps(JSON), client, conf=in_header), json_value),
        ("protobuf", ProtobufSerializer(order, client, {"use.deprecated.format": False}), message),
        ("protobuf", ProtobufSerializer(order, client, in_header), message),
    ]:
        headers = []
        data = serializer(value, SerializationContext(topic, MessageField.VALUE, headers))
        b64 = lambda data: base64.b64encode(data).decode()
        print(json.dumps({"topic": topic, "value": b64(data), "headers": [[name, b64(value)] for name, value in headers]}))


main()

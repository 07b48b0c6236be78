//! One example for each transform and predicate, as `docs/transforms.md` shows it.

/// A record for a transform or predicate.
pub(crate) struct Example {
    /// One of the classes that the example stands for.
    pub(crate) class: &'static str,
    /// Its settings; full keys are those of other aliases.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// The record, as a line for `klamm preview`.
    pub(crate) record: &'static str,
}

pub(crate) const EXAMPLES: &[Example] = &[
    Example {
        class: "org.apache.kafka.connect.transforms.Cast$Value",
        settings: &[("spec", "qty:int32,price:float64")],
        record: r#"{"topic": "orders", "value": {"payload": {"qty": "3", "price": "9.50"}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.DropHeaders",
        settings: &[("headers", "trace")],
        record: r#"{"topic": "orders", "value": {"payload": "text"}, "headers": [{"name": "trace", "value": {"payload": "a1"}}, {"name": "tenant", "value": {"payload": "x"}}]}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.ExtractField$Value",
        settings: &[("field", "after.id"), ("field.syntax.version", "V2")],
        record: r#"{"topic": "orders", "value": {"payload": {"op": "c", "after": {"id": 7}}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.Filter",
        settings: &[
            ("predicate", "isTest"),
            ("predicates", "isTest"),
            ("predicates.isTest.type", "TopicNameMatches"),
            ("predicates.isTest.pattern", "test-.*"),
        ],
        record: r#"{"topic": "test-orders", "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.Flatten$Value",
        settings: &[("delimiter", "_")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "customer": {"name": "Ann", "city": "Bern"}}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.HeaderFrom$Value",
        settings: &[("fields", "trace"), ("headers", "trace-id"), ("operation", "move")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "trace": "a1"}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.HoistField$Value",
        settings: &[("field", "text")],
        record: r#"{"topic": "lines", "value": {"payload": "a line"}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.InsertField$Value",
        settings: &[
            ("timestamp.field", "at"),
            ("static.field", "source"),
            ("static.value", "shop"),
        ],
        record: r#"{"topic": "orders", "timestamp": 1714558830123, "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.InsertHeader",
        settings: &[("header", "version"), ("value.literal", "2")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.MaskField$Value",
        settings: &[("fields", "card"), ("replacement", "****")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "card": "4111111111111111"}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.RegexRouter",
        settings: &[("regex", "(.*)-raw"), ("replacement", "$1")],
        record: r#"{"topic": "orders-raw", "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.ReplaceField$Value",
        settings: &[("exclude", "internal"), ("renames", "cust:customer")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "cust": "Ann", "internal": true}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.SetSchemaMetadata$Value",
        settings: &[("schema.name", "shop.Order"), ("schema.version", "2")],
        record: r#"{"topic": "orders", "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.TimestampConverter$Value",
        settings: &[
            ("field", "at"),
            ("target.type", "string"),
            ("format", "yyyy-MM-dd'T'HH:mm:ss.SSSX"),
        ],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "at": 1714558830123}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.TimestampRouter",
        settings: &[
            ("topic.format", "${topic}-${timestamp}"),
            ("timestamp.format", "yyyyMMdd"),
        ],
        record: r#"{"topic": "orders", "timestamp": 1714558830123, "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.ValueToKey",
        settings: &[("fields", "id")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "customer": "Ann"}}}"#,
    },
    Example {
        class: "io.aiven.kafka.connect.transforms.TombstoneHandler",
        settings: &[("behavior", "drop_silent")],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": null}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.Drop$Value",
        settings: &[("schema.behavior", "force_optional")],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": {"schema": {"type": "string"}, "payload": "text"}}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.ExtractTopic$Header",
        settings: &[("field", "target")],
        record: r#"{"topic": "events", "value": {"payload": {"id": 7}}, "headers": [{"name": "target", "value": {"payload": "orders"}}]}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.ExtractTopic$Value",
        settings: &[("field", "type"), ("skip.missing.or.null", "true")],
        record: r#"{"topic": "events", "value": {"payload": {"type": "orders", "id": 7}}}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.GzipDecompress$Value",
        settings: &[],
        record: r#"{"topic": "packed", "value": {"schema": {"type": "bytes"}, "payload": "H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA=="}}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.MessageTimestampRouter",
        settings: &[
            ("message.timestamp.keys", "at"),
            ("topic.format", "${topic}-${timestamp}"),
            ("topic.timestamp.format", "yyyy-MM"),
        ],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "at": 1714558830123}}}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.TombstoneHandler",
        settings: &[("behavior", "ignore")],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": null}"#,
    },
    Example {
        class: "io.debezium.transforms.ExtractNewRecordState",
        settings: &[("add.fields", "op,source.table:table")],
        record: r#"{"topic": "shop.orders", "value": {"schema": {"type": "struct", "name": "shop.orders.Envelope", "fields": [{"field": "before", "type": "struct", "optional": true, "fields": [{"field": "id", "type": "int64"}, {"field": "note", "type": "string", "optional": true}]}, {"field": "after", "type": "struct", "optional": true, "fields": [{"field": "id", "type": "int64"}, {"field": "note", "type": "string", "optional": true}]}, {"field": "source", "type": "struct", "fields": [{"field": "table", "type": "string"}]}, {"field": "op", "type": "string"}]}, "payload": {"before": null, "after": {"id": 7, "note": "new"}, "source": {"table": "orders"}, "op": "c"}}}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.predicates.HasHeaderKey",
        settings: &[("name", "test")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7}}, "headers": [{"name": "test", "value": {"payload": true}}]}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
        settings: &[],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": null}"#,
    },
    Example {
        class: "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        settings: &[("pattern", "test-.*")],
        record: r#"{"topic": "test-orders", "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "io.aiven.kafka.connect.transforms.ExtractTopic$Value",
        settings: &[("field.name", "meta.topic")],
        record: r#"{"topic": "all", "value": {"payload": {"id": 7, "meta": {"topic": "orders"}}}}"#,
    },
    Example {
        class: "io.aiven.kafka.connect.transforms.FilterByFieldValue$Value",
        settings: &[("field.name", "state"), ("field.value.pattern", "^(paid|shipped)$")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "state": "new"}}}"#,
    },
    Example {
        class: "io.aiven.kafka.connect.transforms.KeyToValue",
        settings: &[("key.fields", "id"), ("value.fields", "orderId")],
        record: r#"{"topic": "orders", "key": {"payload": {"id": 7}}, "value": {"payload": {"total": 9}}}"#,
    },
    Example {
        class: "io.aiven.kafka.connect.transforms.MakeTombstone",
        settings: &[],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.PatternFilter$Value",
        settings: &[("fields", "email"), ("pattern", ".*@test[.]example")],
        record: r#"{"topic": "users", "value": {"payload": {"id": 7, "email": "ann@test.example"}}}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.SetNull$Key",
        settings: &[],
        record: r#"{"topic": "orders", "key": {"payload": 7}, "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.BytesToString$Value",
        settings: &[("fields", "name"), ("charset", "ISO-8859-1")],
        record: r#"{"topic": "orders", "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}, {"field": "name", "type": "bytes"}]}, "payload": {"id": 7, "name": "WvxyaWNo"}}}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.HeaderToField$Value",
        settings: &[("header.mappings", "trace:STRING,attempt:INT32:tries")],
        record: r#"{"topic": "orders", "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 7}}, "headers": [{"name": "trace", "value": {"schema": {"type": "string"}, "payload": "a1"}}, {"name": "attempt", "value": {"schema": {"type": "string"}, "payload": "2"}}]}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.ToJSON$Value",
        settings: &[],
        record: r#"{"topic": "orders", "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}, {"field": "paid", "type": "boolean"}]}, "payload": {"id": 7, "paid": true}}}"#,
    },
    Example {
        class: "com.github.jcustenborder.kafka.connect.transform.common.TopicNameToField$Value",
        settings: &[("field", "source")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7}}}"#,
    },
    Example {
        class: "io.confluent.connect.transforms.Filter$Value",
        settings: &[
            ("filter.condition", "$[?(@.state == 'paid' && @.total > 100)]"),
            ("filter.type", "include"),
        ],
        record: r#"{"topic": "orders", "value": {"payload": {"state": "paid", "total": 99}}}"#,
    },
    Example {
        class: "io.debezium.transforms.HeaderToValue",
        settings: &[("headers", "trace"), ("fields", "traceId"), ("operation", "move")],
        record: r#"{"topic": "orders", "value": {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 7}}, "headers": [{"name": "trace", "value": {"schema": {"type": "string"}, "payload": "a1"}}]}"#,
    },
    Example {
        class: "io.klamm.transforms.ParseJson$Value",
        settings: &[("fields", "doc")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "doc": "{\"lines\": [1, 2.5]}"}}}"#,
    },
    Example {
        class: "io.klamm.transforms.SetField$Value",
        settings: &[("field", "ref"), ("template", "${topic}-${value.customer.id}")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "customer": {"id": "c1"}}}}"#,
    },
    Example {
        class: "io.klamm.transforms.WriteJson$Value",
        settings: &[("fields", "doc")],
        record: r#"{"topic": "orders", "value": {"payload": {"id": 7, "doc": {"lines": [1, 2.5]}}}}"#,
    },
    Example {
        class: "io.klamm.transforms.predicates.EventPattern",
        settings: &[(
            "pattern",
            r#"{"value": {"state": ["paid", {"prefix": "ship"}], "total": [{"numeric": [">", 100]}]}}"#,
        )],
        record: r#"{"topic": "orders", "value": {"payload": {"state": "shipped", "total": 250}}}"#,
    },
];

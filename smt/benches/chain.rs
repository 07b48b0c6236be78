//! InsertField, MaskField and ReplaceField on a schemaless JSON record of 1 KB, decoding and writing included.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use klamm_connect_api::{ConverterRole, Datum, Origin, RawConfig, Record, Rendering, TopicPartition};
use klamm_smt::Chain;

fn raw(settings: &[(&str, &str)]) -> RawConfig {
    let settings = settings.iter();
    settings
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn three_transforms(c: &mut Criterion) {
    let config = raw(&[
        ("transforms", "i,m,r"),
        (
            "transforms.i.type",
            "org.apache.kafka.connect.transforms.InsertField$Value",
        ),
        ("transforms.i.topic.field", "topic"),
        ("transforms.i.timestamp.field", "at"),
        (
            "transforms.m.type",
            "org.apache.kafka.connect.transforms.MaskField$Value",
        ),
        ("transforms.m.fields", "email,phone"),
        (
            "transforms.r.type",
            "org.apache.kafka.connect.transforms.ReplaceField$Value",
        ),
        ("transforms.r.exclude", "internal"),
        ("transforms.r.renames", "id:orderId"),
    ]);
    let chain = Chain::build(&config, &klamm_smt::transforms(), &klamm_smt::predicates()).unwrap();
    let plugin = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class.ends_with("JsonConverter"))
        .unwrap();
    let parsed = (plugin.config_def)()
        .parse(&raw(&[("schemas.enable", "false")]))
        .unwrap();
    let converter = (plugin.create)(&parsed, ConverterRole::Value).unwrap();
    let json = format!(
        r#"{{"id":123456,"email":"someone@example.org","phone":"+49 30 1234567","internal":{{"a":1,"b":[1,2,3]}},"customer":{{"name":"Ada Lovelace","address":{{"city":"London","zip":"W1"}}}},"total":99.5,"paid":true,"lines":[{{"sku":"A-1","qty":2}},{{"sku":"B-2","qty":1}}],"note":"{}"}}"#,
        "x".repeat(700)
    );
    let bytes = Bytes::from(json);
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 0),
        offset: 1,
    };
    let mut out = Vec::with_capacity(4096);
    c.bench_function("insert, mask and replace, 1 KB", |b| {
        b.iter(|| {
            let value = converter.to_connect("orders", &[], Some(&bytes)).unwrap();
            let mut record = Record::new(origin.clone(), Datum::NULL, value);
            record.timestamp = Some(1_714_558_830_123);
            let record = chain.apply(record).unwrap().unwrap();
            out.clear();
            record.value.write_json(Rendering::Connect, &mut out).unwrap();
            black_box(&out);
        });
    });
}

criterion_group!(benches, three_transforms);
criterion_main!(benches);

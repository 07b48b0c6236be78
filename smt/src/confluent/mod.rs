//! The transforms of Confluent (`io.confluent.connect.transforms`), as their documentation describes them, and those of
//! other publishers that do the same.

mod drop;
mod extract_topic;
mod filter;
mod gzip_decompress;
mod message_timestamp_router;
mod tombstone_handler;

use klamm_connect_api::TransformPlugin;

use crate::part::key_and_value;

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    let double = [
        key_and_value::<drop::Drop>(
            "io.confluent.connect.transforms.Drop$Key",
            "io.confluent.connect.transforms.Drop$Value",
        ),
        key_and_value::<extract_topic::ExtractTopic>(
            "io.confluent.connect.transforms.ExtractTopic$Key",
            "io.confluent.connect.transforms.ExtractTopic$Value",
        ),
        key_and_value::<filter::Filter>(
            "io.confluent.connect.transforms.Filter$Key",
            "io.confluent.connect.transforms.Filter$Value",
        ),
        key_and_value::<gzip_decompress::GzipDecompress>(
            "io.confluent.connect.transforms.GzipDecompress$Key",
            "io.confluent.connect.transforms.GzipDecompress$Value",
        ),
    ];
    let single = [
        extract_topic::header_transform(),
        message_timestamp_router::transform(),
        tombstone_handler::confluent(),
        tombstone_handler::aiven(),
    ];
    let double = double.into_iter().flatten();
    double.chain(single).chain(extract_topic::aiven()).collect()
}

#[cfg(test)]
mod tests;

//! Transforms of the community, under the names of their publishers: Aiven (`io.aiven.kafka.connect.transforms`) and
//! Jeremy Custenborder (`com.github.jcustenborder.kafka.connect.transform.common`).

mod bytes_to_string;
mod filter_by_field_value;
mod header_to_field;
mod key_to_value;
mod pattern_filter;
mod set_null;
mod to_json;
mod topic_name_to_field;

use klamm_connect_api::TransformPlugin;

use crate::part::key_and_value;

/// Both variants of a transform of Jeremy Custenborder.
macro_rules! custenborder {
    ($transform:ty, $name:literal) => {
        key_and_value::<$transform>(
            concat!(
                "com.github.jcustenborder.kafka.connect.transform.common.",
                $name,
                "$Key"
            ),
            concat!(
                "com.github.jcustenborder.kafka.connect.transform.common.",
                $name,
                "$Value"
            ),
        )
    };
}

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    let double = [
        key_and_value::<filter_by_field_value::FilterByFieldValue>(
            "io.aiven.kafka.connect.transforms.FilterByFieldValue$Key",
            "io.aiven.kafka.connect.transforms.FilterByFieldValue$Value",
        ),
        custenborder!(bytes_to_string::BytesToString, "BytesToString"),
        custenborder!(header_to_field::HeaderToField, "HeaderToField"),
        custenborder!(pattern_filter::PatternFilter, "PatternFilter"),
        custenborder!(set_null::SetNull, "SetNull"),
        custenborder!(to_json::ToJson, "ToJSON"),
        custenborder!(topic_name_to_field::TopicNameToField, "TopicNameToField"),
    ];
    let single = [key_to_value::transform(), set_null::make_tombstone()];
    double.into_iter().flatten().chain(single).collect()
}

#[cfg(test)]
mod tests;

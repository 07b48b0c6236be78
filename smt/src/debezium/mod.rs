//! The transforms of Debezium (`io.debezium.transforms`) that a sink meets.

mod extract_new_record_state;
mod field_reference;
mod header_to_value;

use klamm_connect_api::TransformPlugin;

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    vec![extract_new_record_state::transform(), header_to_value::transform()]
}

#[cfg(test)]
mod tests;

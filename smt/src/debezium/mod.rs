//! The transforms of Debezium (`io.debezium.transforms`) that a sink meets.

mod extract_new_record_state;
mod field_reference;

use klamm_connect_api::TransformPlugin;

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    vec![extract_new_record_state::transform()]
}

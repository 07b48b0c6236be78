//! Records that no producer means to send, for every converter: made from generated schemas, then damaged.
//!
//! Each target makes a schema with a record of it, registers it with a registry of this process, and gives the record and
//! damaged forms of it to a converter as a worker has it. [`Check`] looks at what comes out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test code"
)]

#[path = "../../../kafka/tests/support/alloc.rs"]
#[allow(unreachable_pub, reason = "shared with the Kafka client's tests")]
mod alloc;
mod avro;
mod check;
mod damage;
mod framing;
mod json;
mod json_schema;
mod plain;
mod protobuf;
mod registry;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub(crate) use check::Check;

/// A converter, or what is in front of one.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Makes a schema, and gives the check records of it.
    pub(crate) run: fn(&mut Check, &mut StdRng) -> Result<(), String>,
}

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "avro",
        run: avro::run,
    },
    Target {
        name: "avro-resolved",
        run: avro::run_resolved,
    },
    Target {
        name: "protobuf",
        run: protobuf::run,
    },
    Target {
        name: "json-schema",
        run: json_schema::run,
    },
    Target {
        name: "json",
        run: json::run,
    },
    Target {
        name: "framing",
        run: framing::run,
    },
    Target {
        name: "plain",
        run: plain::run,
    },
];

/// A generator whose numbers follow from `seed`.
pub(crate) fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

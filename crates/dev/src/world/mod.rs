//! The dev file (`klamm.dev.json`): functions, topics with sample records, connectors and worker of a local world.
//!
//! What starts it is `klamm dev`: the worker is no part of this crate.

mod entries;
mod file;

pub use file::{ConnectorSource, DevFile, FILE_NAME, FileError, Ports, SampleRecord, Topic};

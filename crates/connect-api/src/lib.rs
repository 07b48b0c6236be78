//! Connect's data model, configuration definitions and plugin contracts.

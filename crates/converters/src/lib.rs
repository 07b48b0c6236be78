//! Converters between bytes and Connect data.

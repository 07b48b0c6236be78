//! Kafka Connect-style sink connectors without a JVM.

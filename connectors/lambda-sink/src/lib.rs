//! The AWS Lambda sink connector.

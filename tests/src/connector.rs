//! Connectors for tests.

use klamm_dev::FakeLambda;
use serde_json::{Value, json};

/// A flat configuration of the Lambda sink against a stand-in, with short retries; `settings` are added.
pub fn lambda_sink(lambda: &FakeLambda, topics: &str, settings: &[(&str, &str)]) -> Value {
    let mut config = json!({
        "connector.class": "io.confluent.connect.aws.lambda.AwsLambdaSinkConnector",
        "topics": topics,
        "aws.lambda.endpoint": lambda.endpoint(),
        "aws.lambda.region": "eu-central-1",
        "aws.access.key.id": "test",
        "aws.secret.access.key": "test",
        "delivery.retry.backoff.ms": "10",
        "delivery.retry.backoff.max.ms": "50",
    });
    for (key, value) in settings {
        config[*key] = (*value).into();
    }
    config
}

//! Connectors for tests.

use klamm_dev::FakeLambda;
use serde_json::{Map, Value, json};

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
    let object: &mut Map<String, Value> = config.as_object_mut().expect("made above as an object");
    object.extend(
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value))),
    );
    config
}

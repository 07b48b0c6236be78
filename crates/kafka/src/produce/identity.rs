//! Producer ids (InitProducerId).

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId};

use super::lane::Identity;
use crate::backoff::Backoff;
use crate::error::code_of;
use crate::{KafkaClient, KafkaError};

/// A producer id of its own for a producer without a name, from any broker; asked until it comes.
///
/// # Errors
/// A refusal by Kafka: brokers before 2.8 want IDEMPOTENT_WRITE on the cluster.
pub(super) async fn producer_id(client: Arc<KafkaClient>) -> Result<Identity, KafkaError> {
    let mut backoff = Backoff::new(client.config().retry_backoff, client.config().retry_backoff_max);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let result = match client.request_any(&request).await {
            Ok(response) => match code_of(response.error_code) {
                Some(code) => {
                    let what = "asking for a producer id";
                    Err(client.refused(what, "IDEMPOTENT_WRITE", "the cluster", code))
                }
                None => Ok(Identity {
                    producer_id: response.producer_id.0,
                    epoch: response.producer_epoch,
                }),
            },
            Err(err) => Err(err),
        };
        match result {
            Err(err) if err.is_retriable() => tokio::time::sleep(backoff.next()).await,
            other => return other,
        }
    }
}

//! Waiting for a state that can only be seen by asking.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The usual longest wait for a state of a real server.
pub const LIMIT: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is there, at most for `limit`. `what` names the state for the message.
///
/// # Errors
/// The state was not reached in time.
pub async fn until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(limit, asking)
        .await
        .with_context(|| format!("waited {limit:?} for {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_until_the_answer_is_there_and_no_longer_than_the_limit() {
        let mut asked = 0;
        let third = until("the third", LIMIT, || {
            asked += 1;
            std::future::ready((asked == 3).then_some(asked))
        });
        assert_eq!(third.await.unwrap(), 3);
        let never = until::<(), _>("godot", Duration::from_secs(1), || std::future::ready(None));
        assert_eq!(never.await.unwrap_err().to_string(), "waited 1s for godot");
    }
}

//! The Kafka clusters that the connectors of a worker read from.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use klamm_kafka::{ClientConfig, FetchBudget, FetchPool, KafkaClient};
use tokio::runtime::Handle;

/// A way into a cluster: connections, metadata and fetch sessions, shared by all connectors that connect alike.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) client: Arc<KafkaClient>,
    pub(crate) pool: FetchPool,
}

/// One [`Cluster`] for each distinct set of connection settings: the worker's own, and those of connectors with
/// `consumer.override.*` of their own, which live as long as a task uses them. All fetch out of one memory budget.
#[derive(Debug)]
pub(crate) struct Clusters {
    net: Handle,
    budget: Arc<dyn FetchBudget>,
    own: Arc<Cluster>,
    others: Mutex<Vec<Weak<Cluster>>>,
}

impl Clusters {
    /// Sockets and timers live on `net`; nothing is connected yet.
    pub(crate) fn new(own: ClientConfig, net: Handle, budget: Arc<dyn FetchBudget>) -> Self {
        Self {
            own: cluster(own, &net, &budget),
            net,
            budget,
            others: Mutex::default(),
        }
    }

    /// The client of the worker's own settings.
    pub(crate) fn client(&self) -> &Arc<KafkaClient> {
        &self.own.client
    }

    /// The cluster that these settings lead to.
    pub(crate) fn of(&self, config: &ClientConfig) -> Arc<Cluster> {
        if self.own.client.config() == config {
            return Arc::clone(&self.own);
        }
        // A panic between these lines leaves a list that is still right.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|other| other.strong_count() > 0);
        let known = others.iter().filter_map(Weak::upgrade);
        let mut known = known.filter(|known| known.client.config() == config);
        known.next().unwrap_or_else(|| {
            let made = cluster(config.clone(), &self.net, &self.budget);
            others.push(Arc::downgrade(&made));
            made
        })
    }

    /// Those that are in use.
    pub(crate) fn all(&self) -> Vec<Arc<Cluster>> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let others = others.iter().filter_map(Weak::upgrade);
        std::iter::once(Arc::clone(&self.own)).chain(others).collect()
    }

    /// Closes every connection and waits for the tasks behind them.
    pub(crate) async fn shutdown(&self) {
        let others = std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        for other in others.iter().filter_map(Weak::upgrade) {
            other.client.shutdown().await;
        }
        self.own.client.shutdown().await;
    }
}

fn cluster(config: ClientConfig, net: &Handle, budget: &Arc<dyn FetchBudget>) -> Arc<Cluster> {
    let client = KafkaClient::new(config, net.clone());
    let pool = FetchPool::new(Arc::clone(&client), Arc::clone(budget));
    Arc::new(Cluster { client, pool })
}

#[cfg(test)]
mod tests {
    use klamm_kafka::ByteBudget;

    use super::*;

    #[tokio::test]
    async fn equal_settings_share_a_cluster_and_unused_ones_are_forgotten() {
        let config = |server: &str| ClientConfig::new([server.to_owned()]);
        let clusters = Clusters::new(config("a:1"), Handle::current(), Arc::new(ByteBudget::new(1024)));
        let own = clusters.of(&config("a:1"));
        assert!(Arc::ptr_eq(&own.client, clusters.client()));
        let first = clusters.of(&config("b:1"));
        let second = clusters.of(&config("b:1"));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &clusters.of(&config("c:1"))));
        let forgotten = Arc::downgrade(&first);
        drop((first, second));
        assert!(forgotten.upgrade().is_none(), "no task uses it any more");
        drop(clusters.of(&config("d:1")));
        assert_eq!(
            clusters.others.lock().unwrap().len(),
            1,
            "the list holds no more than what is in use"
        );
        clusters.shutdown().await;
    }
}

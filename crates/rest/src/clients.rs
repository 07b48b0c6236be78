//! What each client takes: connections, requests, wrong logins.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Clients that are told apart; of more, those that took least are forgotten.
const MAX_CLIENTS: usize = 4096;

/// One client: an address, or the network of an IPv6 address, of which one client has all.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Token buckets, one for each client.
pub(crate) struct Buckets {
    size: f64,
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Buckets {
    /// Buckets of `size`, into which `per_second` flows.
    pub(crate) fn new(size: f64, per_second: f64) -> Self {
        Self {
            size,
            per_second,
            buckets: Mutex::default(),
        }
    }

    /// Takes one, if one is left.
    pub(crate) fn take(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let client = client(address);
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            self.make_room(&mut buckets, now);
        }
        let full = Bucket {
            left: self.size,
            at: now,
        };
        let bucket = buckets.entry(client).or_insert(full);
        bucket.left = self.left(*bucket, now);
        bucket.at = now;
        let is_left = bucket.left >= 1.0;
        if is_left {
            bucket.left -= 1.0;
        }
        is_left
    }

    /// What was taken was not needed.
    pub(crate) fn give_back(&self, address: IpAddr) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&client(address)) {
            bucket.left = (bucket.left + 1.0).min(self.size);
        }
    }

    fn left(&self, bucket: Bucket, now: Instant) -> f64 {
        let flowed = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.left + flowed).min(self.size)
    }

    fn make_room(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.left(*bucket, now) < self.size);
        if buckets.len() >= MAX_CLIENTS {
            let fullest = buckets
                .iter()
                .max_by(|(_, a), (_, b)| self.left(**a, now).total_cmp(&self.left(**b, now)))
                .map(|(client, _)| *client);
            if let Some(fullest) = fullest {
                buckets.remove(&fullest);
            }
        }
    }
}

/// Counts the connections of each client.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; it ends with this.
#[derive(Debug)]
pub(crate) struct Connection {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// One more, if the client may have one.
    pub(crate) fn open(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let client = client(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Connection {
            connections: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(3.0, 2.0);
        let taken = |n| (0..10).filter(|_| buckets.take(address(n))).count();
        assert_eq!(taken(1), 3);
        assert_eq!(taken(2), 3, "others have their own");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(taken(1), 1);
        buckets.give_back(address(1));
        assert_eq!(taken(1), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(1), 3, "never more than fits");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_without_number_take_bounded_memory_and_free_nobody() {
        let buckets = Buckets::new(2.0, 0.001);
        assert!(buckets.take(address(0)) && buckets.take(address(0)));
        for n in 1..10_000 {
            buckets.take(address(n));
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MAX_CLIENTS);
        assert!(!buckets.take(address(0)), "who took most is remembered");
    }

    #[test]
    fn a_network_of_version_6_is_one_client() {
        let [a, b, c, v4]: [IpAddr; 4] =
            ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "::ffff:10.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(client(a), client(b));
        assert_ne!(client(a), client(c));
        assert_eq!(client(v4), address(0x0a00_0001));
    }

    #[test]
    fn connections_are_counted_until_they_end() {
        let connections = Arc::new(Connections::new(2));
        let first = connections.open(address(1)).unwrap();
        let _second = connections.open(address(1)).unwrap();
        assert!(connections.open(address(1)).is_none());
        assert!(connections.open(address(2)).is_some());
        drop(first);
        assert!(connections.open(address(1)).is_some());
        assert_eq!(connections.open.lock().unwrap().len(), 1, "who has none is forgotten");
    }
}

//! A wire between client and broker that can go silent without closing anything.

use std::sync::OnceLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{SETTINGS, broker, net};

/// What passes.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    /// Connections with a lower number are cut off for ever, and nobody is told.
    first_alive: u64,
    /// Nothing passes, on no connection.
    is_silent: bool,
    /// Connections so far.
    opened: u64,
}

/// The wire to the broker of this test binary, which advertises no other address.
pub struct Proxy {
    rules: watch::Sender<Rules>,
    pub address: String,
}

/// Starts wire and broker.
pub fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        SETTINGS
            .set(vec![
                format!("advertised.listeners=PLAINTEXT://{address}"),
                // No fetch sessions here: every request names everything, and its order is the client's.
                "max.incremental.fetch.session.cache.slots=0".to_owned(),
            ])
            .expect("nobody started the broker before");
        let target = broker().bootstrap.clone();
        let rules = watch::Sender::new(Rules::default());
        net().spawn(serve(listener, target, rules.clone()));
        Proxy { rules, address }
    })
}

impl Proxy {
    /// From now on nothing passes, or everything again.
    pub fn silence(&self, is_silent: bool) {
        self.rules.send_modify(|rules| rules.is_silent = is_silent);
    }

    /// All open connections are dead, as after a failure of something in between that keeps state; new ones are not.
    pub fn cut_open_connections(&self) {
        self.rules.send_modify(|rules| rules.first_alive = rules.opened);
    }
}

async fn serve(listener: std::net::TcpListener, target: String, rules: watch::Sender<Rules>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let mut number = 0;
        rules.send_modify(|rules| {
            number = rules.opened;
            rules.opened += 1;
        });
        // A broker that is down refuses; so does the wire, by closing.
        if let Ok(broker) = TcpStream::connect(&target).await {
            let (from_client, to_client) = client.into_split();
            let (from_broker, to_broker) = broker.into_split();
            net().spawn(forward(from_client, to_broker, number, rules.subscribe()));
            net().spawn(forward(from_broker, to_client, number, rules.subscribe()));
        }
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64, mut rules: watch::Receiver<Rules>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        // Also the end of a connection does not pass.
        let passes = rules.wait_for(|rules| !rules.is_silent && number >= rules.first_alive);
        if passes.await.is_err() || read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

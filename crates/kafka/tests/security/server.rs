//! Servers that follow a script: a broker that asks for a login, and a token endpoint.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What came over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Api(ApiKey),
    /// The bytes of a SaslAuthenticate.
    Message(Bytes),
}

/// A busy machine may bring a request this late.
const LATE: Duration = Duration::from_millis(500);

/// The answer to a message of a login, which is the `usize`-th of its connection.
pub type Script = Arc<dyn Fn(usize, &[u8]) -> SaslAuthenticateResponse + Send + Sync>;

/// A broker that takes any mechanism.
pub struct ScriptedBroker {
    pub address: SocketAddr,
    /// Each connection's requests, in order.
    pub seen: watch::Receiver<Vec<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl ScriptedBroker {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, seen) = watch::channel(Vec::new());
        let log = Arc::new(log);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut index = 0;
                log.send_modify(|log| {
                    index = log.len();
                    log.push(Vec::new());
                });
                let note = {
                    let log = Arc::clone(&log);
                    move |seen: Seen| log.send_modify(|log| log[index].push(seen))
                };
                // The client may hang up at any time.
                let script = Arc::clone(&script);
                connections.spawn(async move { drop(serve(stream, address, script, note).await) });
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, script: Script, note: impl Fn(Seen)) -> std::io::Result<()> {
    let mut messages = 0;
    let mut session_ends: Option<Instant> = None;
    loop {
        let length = stream.read_u32().await?;
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await?;
        let mut request = Bytes::from(request);
        let api = ApiKey::try_from((&request[..2]).get_i16()).unwrap();
        let version = (&request[2..4]).get_i16();
        let header = RequestHeader::decode(&mut request, api.request_header_version(version)).unwrap();
        note(Seen::Api(api));
        // As Kafka does: a request after the end is hung up on, unless it begins the next login.
        if api == ApiKey::SaslHandshake {
            session_ends = None;
        }
        if session_ends.is_some_and(|ends| Instant::now() > ends) {
            return Ok(());
        }
        let (id, version) = (header.correlation_id, header.request_api_version);
        let answer = match api {
            ApiKey::ApiVersions => {
                let key = |api: ApiKey, max| ApiVersion::default().with_api_key(api as i16).with_max_version(max);
                let keys = vec![
                    key(ApiKey::ApiVersions, 3),
                    key(ApiKey::Metadata, 12),
                    key(ApiKey::SaslHandshake, 1),
                    key(ApiKey::SaslAuthenticate, 2),
                ];
                encoded::<ApiVersionsRequest>(&ApiVersionsResponse::default().with_api_keys(keys), version, id)
            }
            ApiKey::SaslHandshake => {
                let asked = SaslHandshakeRequest::decode(&mut request, version).unwrap();
                let response = SaslHandshakeResponse::default().with_mechanisms(vec![asked.mechanism]);
                encoded::<SaslHandshakeRequest>(&response, version, id)
            }
            ApiKey::SaslAuthenticate => {
                let asked = SaslAuthenticateRequest::decode(&mut request, version).unwrap();
                let response = script(messages, &asked.auth_bytes);
                messages += 1;
                session_ends = u64::try_from(response.session_lifetime_ms)
                    .ok()
                    .filter(|ms| *ms > 0)
                    .map(|ms| Instant::now() + Duration::from_millis(ms) + LATE);
                note(Seen::Message(asked.auth_bytes));
                encoded::<SaslAuthenticateRequest>(&response, version, id)
            }
            ApiKey::Metadata => {
                let broker = MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(StrBytes::from_string(address.ip().to_string()))
                    .with_port(address.port().into());
                encoded::<MetadataRequest>(&MetadataResponse::default().with_brokers(vec![broker]), version, id)
            }
            other => panic!("the script has no answer to {other:?}"),
        };
        stream.write_all(&answer).await?;
    }
}

fn encoded<R: Request>(response: &R::Response, version: i16, correlation: i32) -> Vec<u8> {
    let mut out = BytesMut::from(&[0; 4][..]);
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, R::Response::header_version(version)).unwrap();
    response.encode(&mut out, version).unwrap();
    let length = u32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.to_vec()
}

/// An HTTP server that gives one answer after the other, the last one for ever.
pub struct ScriptedEndpoint {
    pub url: String,
    /// The requests, head and body.
    pub requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl ScriptedEndpoint {
    pub async fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = String::new();
                while !is_whole(&request) {
                    let mut part = [0; 4096];
                    let read = stream.read(&mut part).await.unwrap();
                    request.push_str(std::str::from_utf8(&part[..read]).unwrap());
                }
                let count = {
                    let mut log = log.lock().unwrap();
                    log.push(request);
                    log.len()
                };
                let (status, body) = &answers[(count - 1).min(answers.len() - 1)];
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            url,
            requests,
            _tasks: tasks,
        }
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

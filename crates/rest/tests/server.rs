//! The server on real sockets, with clients that misbehave.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use klamm_connect_api::RawConfig;
use klamm_rest::{RestError, RestServer};
use klamm_runtime::{RestConfig, WorkerConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::{about, herder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

struct Server {
    address: SocketAddr,
    addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    served: JoinSet<()>,
}

fn settings(given: &[(&str, &str)]) -> RestConfig {
    let mut raw = RawConfig::from([
        ("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned()),
        ("listeners".to_owned(), "http://127.0.0.1:0".to_owned()),
    ]);
    raw.extend(
        given
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    WorkerConfig::from_properties(&raw).unwrap().rest
}

async fn server() -> Server {
    server_with(&[]).await
}

async fn server_with(given: &[(&str, &str)]) -> Server {
    let server = RestServer::bind(&settings(given)).await.unwrap();
    let addresses = server.addresses();
    let (stop, stopped) = oneshot::channel::<()>();
    let herder = herder().await;
    let mut served = JoinSet::new();
    served.spawn(async move {
        server
            .serve(herder, about(), Handle::current(), async { drop(stopped.await) })
            .await;
    });
    Server {
        address: addresses[0],
        addresses,
        stop,
        served,
    }
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses a body may reset the connection once it has answered.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn malformed_and_oversized_requests_are_refused_and_hurt_no_one_else() {
    let mut server = server().await;
    let head = "POST /connectors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let big = format!("{head}Content-Length: 10000000\r\n\r\n{}", " ".repeat(10_000_000));
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let cases = [
        ("no HTTP", b"\x16\x03\x01\x00\xff\r\n\r\n".to_vec(), " 400 "),
        (
            "bad length",
            format!("{head}Content-Length: x\r\n\r\n").into_bytes(),
            " 400 ",
        ),
        (
            "bad chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
            "{\"error_code\":400",
        ),
        ("big body", big.into_bytes(), "{\"error_code\":413"),
        ("long head", long_head.into_bytes(), " 431 "),
    ];
    for (what, bytes, wanted) in cases {
        let answer = exchange(server.address, &bytes).await;
        assert!(answer.contains(wanted), "{what}: {answer}");
        let health = exchange(server.address, HEALTH).await;
        assert!(
            health.starts_with("HTTP/1.1 200 OK") && health.contains("healthy"),
            "after {what}: {health}"
        );
    }
    server.stop.send(()).unwrap();
    server.served.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_request_is_cut() {
    let server = server().await;
    // Time is paused and passes only while everyone waits: the read ends when the server gives up.
    assert!(exchange(server.address, b"GET /health HTT").await.is_empty());
    let body = b"POST /connectors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let answer = exchange(server.address, body).await;
    assert!(answer.contains("{\"error_code\":408"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_shutdown() {
    let mut server = server().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    server.stop.send(()).unwrap();
    server.served.join_next().await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = server().await;
    let listener = format!("http://{}", server.address);
    let error = RestServer::bind(&settings(&[("listeners", &listener)]))
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains(&listener), "{error}");
    assert!(source.contains("in use"), "{source}");
}

/// Head and body of one request on a connection of its own.
async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes()).await
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_a_half_closed_connection_ends() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let requests = ["/", "/nothing", "/health"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    stream.write_all(requests.concat().as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("healthy") {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let place = |part: &str| answer.find(part).unwrap();
    assert!(place("kafka_cluster_id") < place("HTTP 404 Not Found") && place("HTTP 404 Not Found") < place("healthy"));
    stream.shutdown().await.unwrap();
    assert_eq!(
        stream.read(&mut [0]).await.unwrap(),
        0,
        "the server closes its half, too"
    );
}

#[tokio::test]
async fn one_client_has_its_share_of_connections_and_requests() {
    let server = server_with(&[
        ("rest.client.connections.max", "3"),
        ("rest.client.requests.per.second", "2"),
    ])
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // An answer shows that it was accepted.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        open.push(stream);
    }
    assert_eq!(exchange(server.address, HEALTH).await, "", "a fourth one is closed");
    let mut stream = open.pop().unwrap();
    let mut answer = String::new();
    while !answer.contains(" 429 ") {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        answer = String::from_utf8_lossy(&bytes[..read]).into_owned();
    }
    assert!(
        answer.contains("retry-after: 1") && answer.contains("{\"error_code\":429"),
        "{answer}"
    );
}

#[tokio::test]
async fn browsers_are_told_of_the_origins_that_were_named_and_every_answer_has_its_headers() {
    let server = server_with(&[
        ("access.control.allow.origin", "https://ui.example"),
        ("access.control.allow.methods", "GET,PUT"),
        ("response.http.headers.config", "set X-Content-Type-Options:nosniff"),
    ])
    .await;
    let ask = b"OPTIONS /connectors HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://ui.example\r\n\
                Access-Control-Request-Method: PUT\r\n\r\n";
    let answer = exchange(server.address, ask).await;
    assert!(answer.contains("access-control-allow-methods: GET,PUT"), "{answer}");
    let named = get(server.address, "/", "Origin: https://ui.example\r\n").await;
    assert!(
        named.contains("access-control-allow-origin: https://ui.example\r\n"),
        "{named}"
    );
    let other = get(server.address, "/", "Origin: https://evil.example\r\n").await;
    assert!(!other.contains("access-control-allow"), "{other}");
    for answer in [answer, named, other, get(server.address, "/nothing", "").await] {
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
    let off = server_with(&[]).await;
    let answer = get(off.address, "/", "Origin: https://ui.example\r\n").await;
    assert!(
        !answer.contains("access-control") && !answer.contains("vary"),
        "off by default: {answer}"
    );
}

#[tokio::test]
async fn what_admin_listeners_are_about_is_served_there_alone() {
    let shared = server().await;
    let on = server_with(&[("admin.listeners", "http://127.0.0.1:0")]).await;
    let off = server_with(&[("admin.listeners", "")]).await;
    let status = |answer: String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(on.addresses.len(), 2);
    assert_eq!(status(get(on.addresses[1], "/health", "").await), "200");
    assert_eq!(status(get(on.addresses[1], "/connectors", "").await), "404");
    for path in ["/metrics", "/admin/loggers"] {
        let beside = status(get(shared.address, path, "").await);
        assert_eq!(
            status(get(on.addresses[1], path, "").await),
            beside,
            "as without the setting"
        );
        assert_eq!(status(get(on.addresses[0], path, "").await), "404");
        assert_eq!(status(get(off.address, path, "").await), "404");
    }
}

/// `openssl`'s own files: an authority, a certificate of 127.0.0.1 in several forms, a client's and a stranger's.
fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    make(
        dir.path(),
        "authority ca; authority other; signed server ca subjectAltName=IP:127.0.0.1; signed client ca basicConstraints=CA:FALSE
         signed stranger other basicConstraints=CA:FALSE
         cat server.key server.crt > server.pem
         openssl pkcs12 -export -inkey server.key -in server.crt -certfile ca.crt -name s -passout pass:pw -out server.p12",
    );
    dir
}

fn make(dir: &Path, script: &str) {
    const FUNCTIONS: &str = r#"set -e
authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt"; }
signed() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
  echo "$3" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.crt"
}
"#;
    let output = Command::new("sh")
        .args(["-c", &format!("{FUNCTIONS}{script}")])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What an HTTPS client that trusts `ca`, and shows `identity`, is answered; or why it is not.
async fn https(address: SocketAddr, dir: &Path, identity: Option<&str>) -> Result<String, String> {
    let certificate = |name: &str| CertificateDer::from_pem_file(dir.join(format!("{name}.crt"))).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![certificate(name)], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    stream.write_all(HEALTH).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn show(path: PathBuf) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn tls_takes_every_kind_of_keystore_and_asks_for_certificates() {
    let dir = certificates();
    let file = |name: &str| show(dir.path().join(name));
    let (pem, p12, ca) = (file("server.pem"), file("server.p12"), file("ca.crt"));
    let text = fs::read_to_string(dir.path().join("server.crt")).unwrap();
    let key = fs::read_to_string(dir.path().join("server.key")).unwrap();
    let https_listener = ("listeners", "https://127.0.0.1:0");
    let own = "listeners.https.ssl.keystore.location";
    let forms: [(&str, Vec<(&str, &str)>); 4] = [
        ("PEM", vec![https_listener, (own, &pem)]),
        (
            "PKCS12",
            vec![
                https_listener,
                (own, &p12),
                ("listeners.https.ssl.keystore.password", "pw"),
            ],
        ),
        (
            "text",
            vec![
                https_listener,
                ("listeners.https.ssl.keystore.certificate.chain", &text),
                ("listeners.https.ssl.keystore.key", &key),
            ],
        ),
        (
            "the worker's own",
            vec![https_listener, ("ssl.keystore.location", &pem)],
        ),
    ];
    for (form, given) in &forms {
        let server = server_with(given).await;
        let answer = https(server.address, dir.path(), None).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{form}: {answer}");
        let clear = exchange(server.address, HEALTH).await;
        assert!(!clear.contains("HTTP/1.1 200"), "{form}: {clear}");
    }
    let mutual = |wanted: &'static str| {
        let given = [
            https_listener,
            (own, &*pem),
            ("listeners.https.ssl.truststore.location", &*ca),
            ("listeners.https.ssl.client.auth", wanted),
        ];
        given.map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    for (wanted, without) in [("required", false), ("requested", true)] {
        let given = mutual(wanted);
        let given: Vec<(&str, &str)> = given
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let server = server_with(&given).await;
        assert!(
            https(server.address, dir.path(), Some("client")).await.is_ok(),
            "{wanted}"
        );
        assert_eq!(
            https(server.address, dir.path(), None).await.is_ok(),
            without,
            "{wanted}"
        );
        assert!(
            https(server.address, dir.path(), Some("stranger")).await.is_err(),
            "{wanted}"
        );
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let dir = certificates();
    let pem = show(dir.path().join("server.pem"));
    let given = [
        ("listeners", "https://127.0.0.1:0"),
        ("listeners.https.ssl.keystore.location", pem.as_str()),
    ];
    let server = server_with(&given).await;
    assert!(https(server.address, dir.path(), None).await.is_ok());
    // Signed by somebody whom the client does not trust: its refusal shows that the new one is there.
    make(
        dir.path(),
        "signed server other subjectAltName=IP:127.0.0.1; cat server.key server.crt > new; mv new server.pem",
    );
    let changed = async {
        while https(server.address, dir.path(), None).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), changed)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_named_at_the_start() {
    let dir = certificates();
    let file = |name: &str| show(dir.path().join(name));
    let https_listener = ("listeners", "https://127.0.0.1:0");
    let own = "listeners.https.ssl.keystore.location";
    fs::write(dir.path().join("users"), "ada:hunter2:admin").unwrap();
    fs::write(dir.path().join("jaas"), "KafkaConnect { com.acme.Ldap required; };").unwrap();
    let extension = ("rest.extension.classes", "BasicAuthSecurityRestExtension");
    let (p12, ca, users, jaas) = (file("server.p12"), file("ca.crt"), file("users"), file("jaas"));
    let cases: [(Vec<(&str, &str)>, &str); 6] = [
        (vec![https_listener, (own, "/nowhere")], "/nowhere: it cannot be read"),
        (vec![https_listener, (own, &p12)], "the password does not open it"),
        (vec![https_listener, (own, &ca)], "ca.crt"),
        (vec![("rest.auth.users.file", &users)], "line 1 of"),
        (
            vec![extension, ("java.security.auth.login.config", &jaas)],
            "com.acme.Ldap, which is Java",
        ),
        (vec![("response.http.headers.config", "drop X:1")], "none of `set`"),
    ];
    for (given, wanted) in cases {
        let error = RestServer::bind(&settings(&given)).await.unwrap_err();
        assert!(matches!(error, RestError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn callers_are_known_and_do_what_their_role_allows() {
    let dir = tempfile::tempdir().unwrap();
    let hash = |password: &str| {
        let parts = bcrypt::hash_with_salt(password, 4, *b"sixteen bytes so").unwrap();
        parts.format_for_version(bcrypt::Version::TwoY)
    };
    let users = format!("ada:{0}:admin\nbob:{0}:read\neve:{0}:operate\n", hash("pw"));
    fs::write(dir.path().join("users"), users).unwrap();
    let file = show(dir.path().join("users"));
    let server = server_with(&[("rest.auth.users.file", &file), ("rest.auth.public.paths", "/health")]).await;
    // base64 of ada:pw, bob:pw, bob:no
    let (ada, bob, wrong) = ("YWRhOnB3", "Ym9iOnB3", "Ym9iOm5v");
    let basic = |credentials: &str| format!("Authorization: Basic {credentials}\r\n");
    let cases = [
        ("GET", "/health", String::new(), "200", "public"),
        ("GET", "/", String::new(), "401", "not public"),
        ("GET", "/nothing", String::new(), "401", "whatever it is"),
        (
            "OPTIONS",
            "/connectors",
            String::new(),
            "401",
            "no preflight without CORS",
        ),
        ("DELETE", "/health", String::new(), "401", "reading is public"),
        ("GET", "/connectors", basic(wrong), "401", "a wrong password"),
        ("GET", "/connectors", basic(bob), "200", "reading"),
        ("DELETE", "/connectors/a", basic(bob), "403", "changing"),
        ("DELETE", "/connectors/a", basic(ada), "404", "allowed, and not there"),
    ];
    for (method, path, header, wanted, why) in cases {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
        let answer = exchange(server.address, request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(wanted), "{why}: {answer}");
        if wanted == "401" {
            assert!(answer.contains("www-authenticate: Basic realm=\"klamm\""), "{answer}");
            assert!(answer.contains("\"error_code\":401"), "{answer}");
        }
        if wanted == "403" {
            assert!(
                answer.contains("has the role `read`, and this request needs the role `admin`"),
                "{answer}"
            );
        }
    }
    // What a body decides: settings of the caller's own name what the worker talks to. (Connector a is not there.)
    for (user, body, wanted) in [
        ("ZXZlOnB3", r#"{"records":[]}"#, "404"),
        ("ZXZlOnB3", r#"{"config":{},"records":[]}"#, "403"),
        (ada, r#"{"config":{},"records":[]}"#, "404"),
    ] {
        let request = format!(
            "POST /connectors/a/preview HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{}\r\n{body}",
            body.len(),
            basic(user)
        );
        let answer = exchange(server.address, request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(wanted), "{body}: {answer}");
    }
    fs::write(dir.path().join("users"), format!("bob:{}:admin\n", hash("pw"))).unwrap();
    let changed = async {
        let delete = format!(
            "DELETE /connectors/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n",
            basic(bob)
        );
        while !exchange(server.address, delete.as_bytes()).await.contains(" 404 ") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), changed)
        .await
        .unwrap();
    let gone = get(server.address, "/", &basic(ada)).await;
    assert!(gone.starts_with("HTTP/1.1 401 "), "{gone}");
}

/// What is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_change_is_a_line_that_says_who_did_what_and_holds_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Everything runs on this thread.
    let _logged = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::tempdir().unwrap();
    let parts = bcrypt::hash_with_salt("pw", 4, *b"sixteen bytes so").unwrap();
    let hash = parts.format_for_version(bcrypt::Version::TwoY);
    let users = show(dir.path().join("users"));
    fs::write(&users, format!("ada:{hash}:admin\nbob:{hash}:read\n")).unwrap();
    let server = server_with(&[("rest.auth.users.file", &users)]).await;
    let call = async |method: &str, path: &str, credentials: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Basic {credentials}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(server.address, request.as_bytes()).await
    };
    let (ada, bob, wrong, password_as_name) = ("YWRhOnB3", "Ym9iOnB3", "YWRhOmh1bnRlcjI=", "aHVudGVyMjpwdw==");
    let body = r#"{"name":"a b","config":{"connector.class":"FileStreamSink","topics":"t","file.key":"hunter2"}}"#;
    assert!(
        call("POST", "/connectors", ada, body)
            .await
            .starts_with("HTTP/1.1 201 ")
    );
    call("DELETE", "/connectors/a%0Ab?token=hunter2", bob, "").await;
    call("PUT", "/connectors/a%20b/pause", ada, "").await;
    call("GET", "/connectors", ada, "").await;
    call("PUT", "/connector-plugins/FileStreamSink/config/validate", ada, "{}").await;
    call("GET", "/connectors", wrong, "").await;
    call("GET", "/connectors", password_as_name, "").await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let audit: Vec<&str> = text.lines().filter(|line| line.contains("klamm::audit")).collect();
    let wanted = [
        r#"user="ada" role="admin""#,
        r#"user="bob" role="read""#,
        r#"user="ada" role="admin""#,
        r#"login refused"#,
        r#"login refused"#,
    ];
    assert_eq!(audit.len(), wanted.len(), "{text}");
    for (line, wanted) in audit.iter().zip(wanted) {
        assert!(line.contains(wanted) && line.contains("client=127.0.0.1:"), "{line}");
    }
    let parts = [
        (
            0,
            r#"method="POST" path=/connectors connector="a b" status=201 outcome="done""#,
        ),
        (
            1,
            r#"method="DELETE" path=/connectors/{connector} connector="a\nb" status=403 outcome="denied""#,
        ),
        (
            2,
            r#"method="PUT" path=/connectors/{connector}/pause connector="a b" status=202 outcome="done""#,
        ),
        (3, r#"user="ada""#),
    ];
    for (index, wanted) in parts {
        assert!(audit[index].contains(wanted), "no {wanted} in {}", audit[index]);
    }
    assert!(!text.contains("hunter2"), "{text}");
}

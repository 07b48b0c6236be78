//! A registry with TLS that wants a client certificate: real handshakes, with keys and certificates in every format.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use klamm_connect_api::{ConfigDef, ConfigErrors, RawConfig};
use klamm_schema_registry::{Lookup, RegistryError, SchemaRegistry, config_keys};
use tempfile::TempDir;

/// Two authorities; a server's certificate and a client's of the first, in the formats that Connect's settings take.
const MATERIAL: &str = r#"
set -eu
authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt"; }
signed() { # name, extension
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
  printf '%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.crt"
}
authority ca; authority other
signed server 'subjectAltName=IP:127.0.0.1' ca
signed client 'extendedKeyUsage=clientAuth' ca
signed stranger 'extendedKeyUsage=clientAuth' other
openssl pkcs8 -topk8 -in client.key -passout pass:key-secret -out client-encrypted.key
cat client.key client.crt > client.pem
cat stranger.key stranger.crt > stranger.pem
openssl pkcs12 -export -inkey client.key -in client.crt -certfile ca.crt -name client -passout pass:store-secret -out client.p12
keytool -importkeystore -srckeystore client.p12 -srcstorepass store-secret -destkeystore client.jks -deststoretype JKS -deststorepass store-secret
keytool -importcert -noprompt -alias ca -file ca.crt -keystore trust.jks -storetype JKS -storepass store-secret
keytool -importcert -noprompt -alias ca -file ca.crt -keystore trust.p12 -storetype PKCS12 -storepass store-secret
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The scripted registry behind TLS, and the keys and certificates.
struct Registry {
    url: String,
    dir: TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let made = Command::new("bash")
            .args(["-c", MATERIAL])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let registry = root().join("tests/testbed/registry");
        // It goes on in the background and holds on to what it inherits.
        let out = dir.path().join("out");
        let status = Command::new(registry)
            .args(["mock", "--dir"])
            .arg(dir.path().join("run"))
            .arg("--tls")
            .args(["server.crt", "server.key"].map(|name| dir.path().join(name)))
            .arg("--client-ca")
            .arg(dir.path().join("ca.crt"))
            .arg(root().join("tests/golden/schema-registry/avro-guid.jsonl"))
            .stdout(std::fs::File::create(&out).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "the scripted registry does not start");
        let url = std::fs::read_to_string(out).unwrap();
        Self {
            url: url.split('\'').nth(1).unwrap().to_owned(),
            dir,
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn client(&self, entries: &[(&str, String)]) -> Result<SchemaRegistry, ConfigErrors> {
        let mut raw = RawConfig::from([
            ("schema.registry.url".to_owned(), self.url.clone()),
            ("max.retries".to_owned(), "0".to_owned()),
        ]);
        raw.extend(
            entries
                .iter()
                .map(|(key, value)| (format!("schema.registry.ssl.{key}"), value.clone())),
        );
        let parsed = ConfigDef::new().with(config_keys()).parse(&raw)?;
        SchemaRegistry::try_new(&parsed)
    }

    async fn ask(&self, entries: &[(&str, String)]) -> Result<String, RegistryError> {
        let lookup = Lookup::Id {
            id: 100_101,
            subject: None,
        };
        let schema = self.client(entries).unwrap().schema(&lookup).await?;
        Ok(schema.document.text.clone())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let down = Command::new(root().join("tests/testbed/registry"))
            .args(["down", "--dir"])
            .arg(self.dir.path().join("run"))
            .status();
        assert!(down.unwrap().success(), "the scripted registry does not stop");
    }
}

#[tokio::test]
async fn keys_and_certificates_of_every_format_open_the_registry() {
    let registry = Registry::start();
    let store = || "store-secret".to_owned();
    let trust = |name: &str| {
        vec![
            ("truststore.location", registry.file(name)),
            ("truststore.password", store()),
        ]
    };
    let pem = || vec![("truststore.location", registry.file("ca.crt"))];
    let key = |name: &str| {
        vec![
            ("keystore.location", registry.file(name)),
            ("keystore.password", store()),
        ]
    };
    let inline = |key: &str| {
        vec![
            ("keystore.certificate.chain", registry.text("client.crt")),
            ("keystore.key", registry.text(key)),
        ]
    };
    let cases = [
        (
            "PEM file",
            pem(),
            vec![("keystore.location", registry.file("client.pem"))],
        ),
        (
            "PEM in the settings",
            vec![("truststore.certificates", registry.text("ca.crt"))],
            inline("client.key"),
        ),
        (
            "an encrypted PEM key in the settings",
            pem(),
            [
                inline("client-encrypted.key"),
                vec![("key.password", "key-secret".to_owned())],
            ]
            .concat(),
        ),
        ("PKCS12", trust("trust.p12"), key("client.p12")),
        ("JKS", trust("trust.jks"), key("client.jks")),
        (
            "JKS with its type",
            [trust("trust.jks"), vec![("truststore.type", "JKS".to_owned())]].concat(),
            [key("client.jks"), vec![("keystore.type", "JKS".to_owned())]].concat(),
        ),
    ];
    for (what, trust, key) in cases {
        let schema = registry.ask(&[trust, key].concat()).await;
        assert!(
            schema.as_deref().is_ok_and(|schema| schema.contains("G1")),
            "{what}: {schema:?}"
        );
    }
}

#[tokio::test]
async fn a_handshake_that_fails_says_what_to_set() {
    let registry = Registry::start();
    let trust = ("truststore.location", registry.file("ca.crt"));
    let cases = [
        (
            vec![trust.clone()],
            "for a registry that wants a client certificate set `schema.registry.ssl.keystore.location`, or \
             `schema.registry.ssl.keystore.certificate.chain` and `schema.registry.ssl.keystore.key`",
        ),
        (
            vec![trust.clone(), ("keystore.location", registry.file("stranger.pem"))],
            "check the client certificate of `schema.registry.ssl.keystore.location` or",
        ),
        (
            vec![("truststore.location", registry.file("other.crt"))],
            "set `schema.registry.ssl.truststore.location` to the certificate of whoever signed the registry's",
        ),
    ];
    for (entries, wanted) in cases {
        let error = registry.ask(&entries).await.unwrap_err();
        // Certificates are renewed while tasks run: the partition waits, and the status says for what.
        assert!(error.is_retriable());
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains(&registry.url), "{text}");
    }
}

//! The readers of keys, logins and tokens from outside, for [`crate::fuzzing::TARGETS`].

#![allow(clippy::unwrap_used, reason = "test code that needs the crate's inside")]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::StatusCode;
use klamm_keystore::{self as keystore, MAX_SCRYPT_BYTES, StoreType, pem};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use sha1::{Digest as _, Sha1};

use super::config::LoginLimits;
use super::jaas::Jaas;
use super::mechanism::Step;
use super::oauth::{self, OAuthSettings, RefreshSettings, TokenSource};
use super::scram::{Hash, Scram};
use super::tls::{Identity, TlsSettings, Trust};
use super::token::{Refusal, Tokens};
use super::{Secret, wall_clock};
use crate::fuzzing::Target;

/// Opens every store here.
const PASSWORD: &str = "secret";

/// What a file may make its reader hold, its password's hashing included.
fn store_memory(length: usize) -> usize {
    usize::try_from(MAX_SCRYPT_BYTES).unwrap_or(usize::MAX) + 64 * 1024 + 100 * length
}

pub(crate) const JAAS: Target = Target {
    name: "jaas",
    valid: valid_jaas,
    mend: |_| {},
    read: |text| Ok(Jaas::parse(&String::from_utf8_lossy(text))?.options.len()),
    memory: |length| 64 * 1024 + 100 * length,
};

pub(crate) const SCRAM: Target = Target {
    name: "scram",
    valid: valid_scram,
    mend: |_| {},
    read: read_scram,
    memory: |length| 64 * 1024 + 20 * length,
};

pub(crate) const PKCS12: Target = Target {
    name: "pkcs12",
    valid: |rng| PKCS12_SEEDS.choose(rng).unwrap().to_vec(),
    mend: |_| {},
    read: read_store,
    memory: store_memory,
};

pub(crate) const JKS: Target = Target {
    name: "jks",
    valid: |rng| JKS_SEEDS.choose(rng).unwrap().to_vec(),
    mend: mend_jks,
    read: read_store,
    memory: store_memory,
};

pub(crate) const PEM: Target = Target {
    name: "pem",
    valid: |rng| PEM_SEEDS.choose(rng).unwrap().to_vec(),
    mend: |_| {},
    read: read_pem,
    memory: store_memory,
};

pub(crate) const TOKENS: Target = Target {
    name: "tokens",
    valid: valid_token_answer,
    mend: |_| {},
    read: read_token_answer,
    memory: |length| 64 * 1024 + 300 * length,
};

/// Written by OpenSSL and keytool with two rounds each: with and without checksum, encrypted in old and new ways.
static PKCS12_SEEDS: [&[u8]; 5] = [
    include_bytes!("../fuzzing/seeds/openssl.p12"),
    include_bytes!("../fuzzing/seeds/open.p12"),
    include_bytes!("../fuzzing/seeds/key.p12"),
    include_bytes!("../fuzzing/seeds/legacy.p12"),
    include_bytes!("../fuzzing/seeds/trust.p12"),
];

static JKS_SEEDS: [&[u8]; 2] = [
    include_bytes!("../fuzzing/seeds/key.jks"),
    include_bytes!("../fuzzing/seeds/trust.jks"),
];

/// A certificate and its key: bare, and under three kinds of encryption.
static PEM_SEEDS: [&[u8]; 4] = [
    include_bytes!("../fuzzing/seeds/plain.pem"),
    include_bytes!("../fuzzing/seeds/pbkdf2.pem"),
    include_bytes!("../fuzzing/seeds/scrypt.pem"),
    include_bytes!("../fuzzing/seeds/des3.pem"),
];

/// As keystore and as truststore: how many of both were read.
fn read_store(bytes: &Bytes) -> Result<usize, String> {
    let key = keystore::key_and_chain(bytes, StoreType::Java, Some(PASSWORD), None).map(|key| key.chain.len());
    drop(keystore::trusted(bytes, StoreType::Java, None));
    let trusted = keystore::trusted(bytes, StoreType::Java, Some(PASSWORD)).map(|found| found.len());
    match (key, trusted) {
        (Err(reason), Err(_)) => Err(reason),
        (key, trusted) => Ok(key.unwrap_or(0) + trusted.unwrap_or(0)),
    }
}

/// The checksum that a password puts under a JKS store.
fn mend_jks(store: &mut [u8]) {
    let Some((body, digest)) = store.len().checked_sub(20).map(|at| store.split_at_mut(at)) else {
        return;
    };
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let sum = Sha1::new()
        .chain_update(password)
        .chain_update(b"Mighty Aphrodite")
        .chain_update(body);
    digest.copy_from_slice(&sum.finalize());
}

fn read_pem(bytes: &Bytes) -> Result<usize, String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let certificates = pem::certificates(bytes)?;
    pem::key(bytes, Some(PASSWORD))?;
    let settings = TlsSettings {
        trust: Trust::Pem(text.as_str().into()),
        identity: Some(Identity::Pem {
            chain: text.as_str().into(),
            key: Secret::new(text),
            key_password: Some(Secret::new(PASSWORD)),
        }),
        ..TlsSettings::default()
    };
    settings.check().map_err(|err| err.to_string())?;
    Ok(certificates.len())
}

fn valid_jaas(rng: &mut StdRng) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "username",
        "\"alice\"",
        "'it\"s'",
        "\"a\\\"b\\101\\n\"",
        "p.a-s_s$1",
        "ä",
        "\"\"",
        "\"/* no comment */\"",
    ];
    const BETWEEN: [&str; 5] = [" ", "\n", " /* c */ ", " // c\n", "\t"];
    let mut text = "org.apache.kafka.PlainLoginModule required".to_owned();
    for _ in 0..rng.random_range(0..5_u8) {
        for part in [BETWEEN, BETWEEN.map(|_| "=")] {
            text.push_str(part.choose(rng).unwrap());
            text.push_str(WORDS.choose(rng).unwrap());
        }
    }
    text.push(';');
    text.into_bytes()
}

const NONCE: [u8; 24] = [7; 24];

fn begin(hash: Hash) -> Scram {
    Scram::begin(hash, "user", &Secret::new(PASSWORD), false, NONCE).0
}

/// The two messages of an honest broker, with a zero between them.
fn scram_exchange(hash: Hash) -> Vec<u8> {
    let first = format!("r={}x,s=QSXCR+Q6sek8bf92,i=4096", STANDARD.encode(NONCE));
    let mut scram = begin(hash);
    scram.next(first.as_bytes()).unwrap();
    let Scram::Proven { signature } = scram else {
        unreachable!("the first message is right");
    };
    format!("{first}\0v={}", STANDARD.encode(signature)).into_bytes()
}

/// Which hash, and the exchange.
fn valid_scram(rng: &mut StdRng) -> Vec<u8> {
    static EXCHANGES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [Hash::Sha256, Hash::Sha512].map(scram_exchange));
    let which = rng.random_range(0..2_u8);
    let mut input = vec![which];
    input.extend(&EXCHANGES[usize::from(which)]);
    input
}

fn read_scram(input: &Bytes) -> Result<usize, String> {
    let Some((which, exchange)) = input.split_first() else {
        return Ok(0);
    };
    let mut scram = begin(if *which == 0 { Hash::Sha256 } else { Hash::Sha512 });
    let mut steps = 0;
    for message in exchange.split(|byte| *byte == 0) {
        let step = scram.next(message).inspect_err(|reason| is_short(reason))?;
        steps += 1;
        if step == Step::Done {
            assert_eq!(steps, 2, "nobody is believed after one message");
            return Ok(steps);
        }
    }
    Err("it ends early".to_owned())
}

/// What the other side says stands in logs: it must not fill them, nor look like a line of its own.
fn is_short(reason: &str) {
    assert!(
        reason.chars().count() < 500 && !reason.contains(char::is_control),
        "an error is one short line: {reason:?}"
    );
}

/// An answer of a token endpoint: with a JWT, with an opaque token, or a refusal.
fn valid_token_answer(rng: &mut StdRng) -> Vec<u8> {
    let in_an_hour = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 3_600;
    let times = [
        json!(in_an_hour),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(253_402_300_799_u64),
        json!(u64::MAX),
        json!("soon"),
        json!(null),
    ];
    let others = [json!("a"), json!(["a", "b"]), json!({}), json!(1), json!(null)];
    let time = |rng: &mut StdRng| match rng.random_bool(0.5) {
        true => times[0].clone(),
        false => times.choose(rng).unwrap().clone(),
    };
    let claims = json!({"exp": time(rng), "iat": time(rng), "sub": others.choose(rng), "scope": others.choose(rng)});
    let jwt = format!(
        "eyJhbGciOiJub25lIn0.{}.c2ln",
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let token = ["opaque", jwt.as_str(), jwt.as_str(), "", "a.b.c"]
        .choose(rng)
        .unwrap()
        .to_string();
    let field = ["access_token", "access_token", "id_token"]
        .choose(rng)
        .unwrap()
        .to_string();
    let answer = match rng.random_range(0..5_u8) {
        0 => json!({"error": "invalid_client", "error_description": "no"}),
        1 => json!({"status": "invalid_token"}),
        _ => json!({field: token, "expires_in": time(rng), "token_type": "Bearer"}),
    };
    answer.to_string().into_bytes()
}

/// With Kafka's defaults.
pub(super) fn tokens() -> Tokens {
    Tokens::new(OAuthSettings {
        source: TokenSource::Unsecured {
            claims: std::collections::BTreeMap::new(),
            lifetime: Duration::ZERO,
        },
        extensions: std::collections::BTreeMap::new(),
        scope_claim: "scope".into(),
        sub_claim: "sub".into(),
        refresh: RefreshSettings {
            window_permille: 800,
            jitter_permille: 50,
            min_period: Duration::from_secs(60),
            buffer: Duration::from_secs(300),
        },
        limits: LoginLimits {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(1),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
        },
    })
}

fn read_token_answer(body: &Bytes) -> Result<usize, String> {
    static TOKENS: LazyLock<Tokens> = LazyLock::new(tokens);
    is_short(&oauth::refusal(body));
    let told = |refusal: Refusal| {
        let (Refusal::Passing(reason) | Refusal::Final(reason)) = refusal;
        is_short(&reason);
        reason
    };
    for status in [StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY] {
        drop(TOKENS.answered(status, body).map_err(told));
    }
    TOKENS.answered(StatusCode::OK, body).map_err(told).map(|_| 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_what_their_readers_take() {
        for seed in PKCS12_SEEDS.iter().chain(&JKS_SEEDS) {
            read_store(&Bytes::from_static(seed)).unwrap();
        }
        for seed in PEM_SEEDS {
            assert_eq!(read_pem(&Bytes::from_static(seed)), Ok(1));
        }
        for hash in [0, 1] {
            let mut input = vec![hash];
            input.extend(scram_exchange([Hash::Sha256, Hash::Sha512][usize::from(hash)]));
            assert_eq!(read_scram(&input.into()), Ok(2));
        }
        let mut store = JKS_SEEDS[0].to_vec();
        assert!(store.starts_with(&klamm_keystore::JKS_MAGIC));
        mend_jks(&mut store);
        assert_eq!(store, JKS_SEEDS[0], "mending leaves a whole store as it is");
    }
}

//! Client properties: what a user wrote, or whoever may submit a connector.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::{ClientConfig, ConsumerConfig, ProducerConfig, property_names};

const VALUES: [&str; 36] = [
    "",
    "0",
    "1",
    "-1",
    "500",
    "2147483647",
    "2147483648",
    "18446744073709551615",
    "0.8",
    "1e300",
    "NaN",
    "true",
    "false",
    "localhost:9092",
    "PLAINTEXT://a:1,[::1]:65535",
    "all",
    "zstd",
    "latest",
    "read_committed",
    "consumer",
    "range,cooperative-sticky",
    "SSL",
    "SASL_SSL",
    "SASL_PLAINTEXT",
    "PEM",
    "PKCS12",
    "/no/such/file",
    "TLSv1.2,TLSv1.3",
    "TLS_AES_128_GCM_SHA256",
    "PLAIN",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "AWS_MSK_IAM",
    "a.PlainLoginModule required username=\"a\" password=\"b\";",
    "a.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"a\" unsecuredLoginLifetimeSeconds=\"9\";",
    "https://user@[::1]:1/token?x=y",
];

/// Properties that open each kind of security, and any others.
pub(super) fn valid(rng: &mut StdRng) -> Vec<u8> {
    const SECURITY: [&str; 5] = [
        "",
        "security.protocol=SSL\n",
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n\
         sasl.jaas.config=ScramLoginModule required username=\"a\" password=\"b\";\n",
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
         sasl.jaas.config=OAuthBearerLoginModule required clientId=\"a\" clientSecret=\"b\" ssl.protocol=\"TLS\";\n\
         sasl.oauthbearer.token.endpoint.url=https://a:1/b\n",
        "security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\n\
         sasl.jaas.config=IAMLoginModule required awsRoleArn=\"a\";\n",
    ];
    let mut text = "bootstrap.servers=a:9092\ngroup.id=g\n".to_owned();
    text.push_str(SECURITY.choose(rng).unwrap());
    for _ in 0..rng.random_range(0..4_u8) {
        text.push_str(property_names().choose(rng).unwrap());
        text.push('=');
        text.push_str(VALUES.choose(rng).unwrap());
        text.push('\n');
    }
    text.into_bytes()
}

/// How many of the three configurations are accepted, and how many keys nobody reads.
pub(super) fn read(text: &Bytes) -> Result<usize, String> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let properties: BTreeMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let consumer = ConsumerConfig::from_properties(&properties);
    let producer = ProducerConfig::from_properties(&properties);
    let (client, unknown) = ClientConfig::from_properties(&properties).map_err(|err| err.to_string())?;
    assert!(!client.bootstrap_servers.is_empty(), "a client has somebody to ask");
    Ok(1 + usize::from(consumer.is_ok()) + usize::from(producer.is_ok()) + unknown.len())
}

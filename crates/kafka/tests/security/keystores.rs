//! What is wrong with keys and certificates is told when the settings are read.

use std::process::Command;

use super::{cert, parse};

#[test]
fn material_that_cannot_be_used_is_refused_with_key_path_and_advice() {
    let pem = |name: &str| std::fs::read_to_string(cert(name)).unwrap();
    let trust = ("ssl.truststore.location", cert("truststore.p12"));
    let jks = ("ssl.truststore.location", cert("truststore.jks"));
    let p12 = ("ssl.keystore.location", cert("client.p12"));
    let is_pem = ("ssl.keystore.type", "PEM".to_owned());
    let chain = ("ssl.keystore.certificate.chain", pem("client.crt"));
    let password = |key: &'static str, value: &str| (key, value.to_owned());
    let cases = vec![
        (
            vec![("ssl.truststore.location", "/no/such.jks".to_owned())],
            "`ssl.truststore.location=/no/such.jks` is not valid: it cannot be read",
        ),
        (
            vec![trust.clone(), password("ssl.truststore.password", "wrong-pw")],
            "truststore.p12` is not valid: the password does not open it: check `ssl.truststore.password`",
        ),
        (
            vec![jks, password("ssl.truststore.password", "wrong-pw")],
            "truststore.jks` is not valid: the password does not open it, or it is damaged: check \
             `ssl.truststore.password`",
        ),
        (
            vec![("ssl.truststore.location", cert("ca.crt"))],
            "it is a PEM file: set the store's `type` to `PEM`",
        ),
        (
            vec![
                ("ssl.truststore.location", cert("client.key")),
                ("ssl.truststore.type", "PEM".to_owned()),
            ],
            "it holds no `-----BEGIN CERTIFICATE-----`",
        ),
        (
            vec![p12, password("ssl.keystore.password", "wrong-pw")],
            "client.p12` is not valid: the password does not open it: check `ssl.keystore.password`",
        ),
        (
            vec![is_pem.clone(), chain.clone(), ("ssl.keystore.key", pem("server.key"))],
            "`ssl.keystore.key=[hidden]` is not valid: the private key does not belong to the first certificate",
        ),
        (
            vec![
                is_pem.clone(),
                chain.clone(),
                ("ssl.keystore.key", pem("client-encrypted.key")),
            ],
            "its key is encrypted: set `ssl.key.password`",
        ),
        (
            vec![
                is_pem.clone(),
                chain.clone(),
                ("ssl.keystore.key", pem("client-encrypted.key")),
                password("ssl.key.password", "wrong-pw"),
            ],
            "`ssl.key.password` does not open its key",
        ),
        (vec![is_pem, chain.clone()], "`ssl.keystore.key` is missing"),
        (
            vec![chain, ("ssl.keystore.key", pem("client.key"))],
            "`ssl.keystore.key=[hidden]` is not valid: needs `ssl.keystore.type=PEM`",
        ),
        (
            vec![password("ssl.enabled.protocols", "TLSv1.1,TLSv1.2")],
            "`TLSv1.1` is not supported (older versions are not secure)",
        ),
        (
            vec![password("ssl.cipher.suites", "TLS_RSA_WITH_AES_128_CBC_SHA")],
            "`TLS_RSA_WITH_AES_128_CBC_SHA` is not supported: accepted: `TLS_AES_256_GCM_SHA384`",
        ),
        (
            vec![password("ssl.endpoint.identification.algorithm", "HTTP")],
            "`ssl.endpoint.identification.algorithm=HTTP` is not valid",
        ),
    ];
    for (mut settings, wanted) in cases {
        settings.push(("security.protocol", "SSL".to_owned()));
        let refused = parse(&settings).unwrap_err().to_string();
        assert!(refused.contains(wanted), "wanted {wanted}, got {refused}");
        assert!(
            !refused.contains("wrong-pw") && !refused.contains("PRIVATE KEY"),
            "{refused}"
        );
    }
}

#[test]
fn a_jks_keystore_made_by_java_opens() {
    let path = cert("client.jks");
    let made = Command::new("keytool")
        .args(["-importkeystore", "-noprompt", "-srckeystore", &cert("client.p12")])
        .args(["-srcstorepass", "store-secret", "-destkeystore", &path])
        .args([
            "-deststoretype",
            "JKS",
            "-deststorepass",
            "store-secret",
            "-destkeypass",
            "key-secret",
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let settings = |key_password: &str| {
        parse(&[
            ("security.protocol", "SSL"),
            ("ssl.keystore.location", &path),
            ("ssl.keystore.password", "store-secret"),
            ("ssl.key.password", key_password),
        ])
    };
    settings("key-secret").unwrap();
    let refused = settings("wrong").unwrap_err().to_string();
    assert!(
        refused.ends_with("the key's password does not open its key: check `ssl.key.password`"),
        "{refused}"
    );
}

#[test]
fn logins_that_cannot_be_read_are_refused_without_their_secrets() {
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let plain = |jaas: &str| {
        vec![
            ("sasl.mechanism", "PLAIN".to_owned()),
            ("sasl.jaas.config", jaas.to_owned()),
        ]
    };
    let cases = vec![
        (
            vec![],
            "`sasl.mechanism` is missing: Kafka's default GSSAPI (Kerberos) is not supported",
        ),
        (
            vec![("sasl.mechanism", "GSSAPI".to_owned())],
            "Kerberos is not supported: accepted: `PLAIN`",
        ),
        (
            vec![("sasl.mechanism", "PLAIN".to_owned())],
            "`sasl.jaas.config` is missing: give `org.apache",
        ),
        (plain(&format!("{module} username=\"u\";")), "it has no `password`"),
        (
            plain(&format!("{module} username=\"u\" password=\"hunter2\"")),
            "the `;` at its end is missing",
        ),
        (
            plain(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"hunter2\";",
            ),
            "is not that of `sasl.mechanism=PLAIN`: use `org.apache.kafka.common.security.plain.PlainLoginModule`",
        ),
        (
            vec![("sasl.mechanism", "OAUTHBEARER".to_owned())],
            "`sasl.oauthbearer.token.endpoint.url` is missing",
        ),
    ];
    for (mut settings, wanted) in cases {
        settings.push(("security.protocol", "SASL_PLAINTEXT".to_owned()));
        let refused = parse(&settings).unwrap_err().to_string();
        assert!(refused.contains(wanted), "wanted {wanted}, got {refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let mut settings = plain(&format!("{module} username=\"u\" password=\"hunter2\";"));
    settings.push(("security.protocol", "SASL_PLAINTEXT".to_owned()));
    let config = parse(&settings).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

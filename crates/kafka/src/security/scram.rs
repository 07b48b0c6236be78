//! SCRAM (RFC 5802, RFC 7677) as Kafka uses it, without channel binding.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};

use super::mechanism::Step;
use super::{Secret, said};

/// Kafka's own lower bound for SCRAM credentials.
const MIN_ITERATIONS: u32 = 4_096;
/// About a second of work; Kafka's upper bound is 16,384 by default.
const MAX_ITERATIONS: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        const ANY: &str = "HMAC takes keys of any length";
        match self {
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY);
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let mut mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY);
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec(),
            Self::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), salt, iterations).to_vec(),
        }
    }
}

/// One SCRAM authentication.
///
/// Sent => Proven: the broker's first message came, the proof went out.
/// Proven => done: the broker proved that it knows the password's keys too.
#[derive(Debug)]
pub(crate) enum Scram {
    Sent {
        hash: Hash,
        password: Secret,
        nonce: String,
        first_bare: String,
    },
    Proven {
        /// What the broker must show.
        signature: Vec<u8>,
    },
}

impl Scram {
    /// The state, and the first message.
    ///
    /// Name and password go as they are: brokers hash their bytes when the user is made, without the preparation that
    /// the RFC asks for (SASLprep), and would not know the prepared ones.
    pub(super) fn begin(
        hash: Hash,
        username: &str,
        password: &Secret,
        is_token: bool,
        nonce: [u8; 24],
    ) -> (Self, Vec<u8>) {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let nonce = STANDARD.encode(nonce);
        // KIP-48: the extension tells that user and password are a delegation token.
        let extension = if is_token { ",tokenauth=true" } else { "" };
        let first_bare = format!("n={username},r={nonce}{extension}");
        let message = format!("n,,{first_bare}").into_bytes();
        let state = Self::Sent {
            hash,
            password: password.clone(),
            nonce,
            first_bare,
        };
        (state, message)
    }

    pub(super) fn next(&mut self, challenge: &[u8]) -> Result<Step, String> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| "its SCRAM message is no text".to_owned())?;
        match self {
            Self::Sent {
                hash,
                password,
                nonce,
                first_bare,
            } => {
                let hash = *hash;
                let first = ServerFirst::parse(challenge, nonce)?;
                let without_proof = format!("c=biws,r={}", first.nonce); // biws: base64 of `n,,`
                let message = format!("{first_bare},{challenge},{without_proof}");
                let salted = hash.salted(password.reveal(), &first.salt, first.iterations);
                let client_key = hash.hmac(&salted, b"Client Key");
                let client_signature = hash.hmac(&hash.digest(&client_key), message.as_bytes());
                let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(a, b)| a ^ b).collect();
                let signature = hash.hmac(&hash.hmac(&salted, b"Server Key"), message.as_bytes());
                *self = Self::Proven { signature };
                Ok(Step::Send(
                    format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes(),
                ))
            }
            Self::Proven { signature } => {
                if let Some(error) = challenge.strip_prefix("e=") {
                    return Err(format!("the broker refuses: {}", said(error)));
                }
                let shown = challenge
                    .strip_prefix("v=")
                    .and_then(|rest| STANDARD.decode(rest.split(',').next()?).ok())
                    .ok_or("its last SCRAM message cannot be read")?;
                // Public on the wire, so comparing need not take constant time.
                if shown == *signature {
                    Ok(Step::Done)
                } else {
                    Err(
                        "the broker does not know the password's keys: it is not the broker that it claims to be"
                            .into(),
                    )
                }
            }
        }
    }
}

struct ServerFirst {
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl ServerFirst {
    /// `r=<nonce>,s=<salt>,i=<iterations>[,extensions]`
    fn parse(message: &str, own_nonce: &str) -> Result<Self, String> {
        if let Some(error) = message.strip_prefix("e=") {
            return Err(format!("the broker refuses: {}", said(error)));
        }
        let unreadable = || "its first SCRAM message cannot be read".to_owned();
        let mut parts = message.split(',');
        let mut part = |name: &str| {
            parts
                .next()
                .and_then(|part| part.strip_prefix(name))
                .ok_or_else(unreadable)
        };
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(own_nonce) || nonce.len() == own_nonce.len() {
            return Err("its SCRAM message does not carry on our nonce".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| unreadable())?;
        let iterations: u32 = iterations.parse().map_err(|_| unreadable())?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(format!(
                "it asks for {iterations} SCRAM iterations: from {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted"
            ));
        }
        Ok(Self {
            nonce: nonce.to_owned(),
            salt,
            iterations,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn begun(hash: Hash, user: &str, password: &str) -> (Scram, String) {
        let (scram, first) = Scram::begin(hash, user, &Secret::new(password), false, [7; 24]);
        (scram, String::from_utf8(first).unwrap())
    }

    /// The example of RFC 7677, with its nonce.
    #[test]
    fn the_rfcs_example_comes_out() {
        let mut scram = Scram::Sent {
            hash: Hash::Sha256,
            password: Secret::new("pencil"),
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
            first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
        };
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let Step::Send(last) = scram.next(server_first.as_bytes()).unwrap() else {
            panic!("a proof follows");
        };
        assert_eq!(
            String::from_utf8(last).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let server_last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.next(server_last).unwrap(), Step::Done);
    }

    // Brokers hash the bytes as they are. Prepared by RFC 4013, these were other names and passwords.
    #[test]
    fn names_are_escaped_and_otherwise_sent_as_they_are() {
        let (scram, first) = begun(Hash::Sha512, "a=b,c\u{aa}", "p\u{ad}\u{7}\u{fb01}");
        assert!(first.starts_with("n,,n=a=3Db=2Cc\u{aa},r="), "{first}");
        let Scram::Sent { password, .. } = scram else {
            panic!("nothing came yet");
        };
        assert_eq!(password.reveal(), "p\u{ad}\u{7}\u{fb01}");
        let (_, token) = Scram::begin(Hash::Sha256, "id", &Secret::new("p"), true, [0; 24]);
        assert!(token.ends_with(b",tokenauth=true"));
    }

    #[test]
    fn a_broker_that_breaks_the_rules_is_refused() {
        let nonce = STANDARD.encode([7; 24]);
        let cases = [
            (format!("r={nonce}x,s=AAAA,i=4095"), "asks for 4095 SCRAM iterations"),
            (
                format!("r={nonce}x,s=AAAA,i=4000000000"),
                "asks for 4000000000 SCRAM iterations",
            ),
            (format!("r={nonce},s=AAAA,i=4096"), "does not carry on our nonce"),
            ("r=other,s=AAAA,i=4096".to_owned(), "does not carry on our nonce"),
            (format!("r={nonce}x,s=!,i=4096"), "cannot be read"),
            (format!("r={nonce}x,i=4096"), "cannot be read"),
            ("e=unknown-user".to_owned(), "the broker refuses: unknown-user"),
        ];
        for (message, wanted) in cases {
            let (mut scram, _) = begun(Hash::Sha256, "u", "p");
            let refused = scram.next(message.as_bytes()).unwrap_err();
            assert!(refused.contains(wanted), "{message}: {refused}");
        }
        let (mut scram, _) = begun(Hash::Sha256, "u", "p");
        scram.next(format!("r={nonce}x,s=AAAA,i=4096").as_bytes()).unwrap();
        let refused = scram.next(b"v=AAAA").unwrap_err();
        assert!(refused.contains("does not know the password's keys"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), at: prop::sample::Index, byte: u8) {
            let (mut scram, _) = begun(Hash::Sha512, "u", "p");
            drop(scram.next(&bytes));
            let mut valid = format!("r={}x,s=AAAA,i=5096", STANDARD.encode([7; 24])).into_bytes();
            *at.get_mut(&mut valid) = byte;
            let (mut scram, _) = begun(Hash::Sha256, "u", "p");
            if scram.next(&valid).is_ok() {
                drop(scram.next(&bytes));
            }
        }
    }
}

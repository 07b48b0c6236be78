//! Java's own keystore format, JKS: entries with certificates, and private keys under Sun's password-based cipher.
//!
//! The format is that of `sun.security.provider.JavaKeyStore`: big-endian, a SHA-1 over password, a fixed text and all
//! bytes at the end.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use sha1::{Digest, Sha1};

/// The first bytes of a JKS file.
pub const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];
const DIGEST_BYTES: usize = 20;
/// `1.3.6.1.4.1.42.2.17.1.1`, encoded: Sun's key protector.
const KEY_PROTECTOR_OID: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// What a JKS file holds.
#[derive(Debug, Default)]
pub(crate) struct Jks {
    /// Certificates that stand alone: those trusted.
    pub(crate) trusted: Vec<Vec<u8>>,
    /// The private keys with their chains, still encrypted.
    pub(crate) keys: Vec<JksKey>,
}

/// A private key and its chain, leaf first.
#[derive(Debug)]
pub(crate) struct JksKey {
    protected: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
}

/// Reads a JKS file. Without a password its integrity is not checked, as in Java.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub(crate) fn read(bytes: &[u8], password: Option<&str>) -> Result<Jks, String> {
    if bytes.starts_with(&JCEKS_MAGIC) {
        return Err("it is a JCEKS keystore, which is not supported: convert it with \
                    `keytool -importkeystore -deststoretype PKCS12`"
            .to_owned());
    }
    let (body, digest) = bytes
        .len()
        .checked_sub(DIGEST_BYTES)
        .and_then(|at| bytes.split_at_checked(at))
        .ok_or("it is too short for a JKS keystore")?;
    if let Some(password) = password {
        let mut sha = Sha1::new();
        sha.update(utf16(password));
        sha.update(b"Mighty Aphrodite");
        sha.update(body);
        if sha.finalize().as_slice() != digest {
            return Err("the password does not open it, or it is damaged".to_owned());
        }
    }
    parse(&mut Reader(body)).ok_or_else(|| "it is not a whole JKS keystore".to_owned())
}

fn parse(reader: &mut Reader<'_>) -> Option<Jks> {
    (reader.take(4)? == MAGIC).then_some(())?;
    let version = reader.u32()?;
    matches!(version, 1 | 2).then_some(())?;
    let mut jks = Jks::default();
    for _ in 0..reader.u32()? {
        let tag = reader.u32()?;
        let alias = usize::from(reader.u16()?);
        reader.take(alias)?;
        reader.take(8)?; // when it was made
        match tag {
            1 => {
                let protected = reader.block()?.to_vec();
                let mut chain = Vec::new();
                for _ in 0..reader.u32()? {
                    chain.push(reader.certificate(version)?);
                }
                jks.keys.push(JksKey { protected, chain });
            }
            2 => jks.trusted.push(reader.certificate(version)?),
            _ => return None,
        }
    }
    Some(jks)
}

impl JksKey {
    /// The key as PKCS#8, once its own password is known.
    ///
    /// # Errors
    /// What is wrong, in words that follow the name of the file.
    pub(crate) fn open(&self, password: &str) -> Result<Vec<u8>, String> {
        let protected =
            protected_bytes(&self.protected).ok_or("its key is encrypted in a way that JKS does not know")?;
        let wrong = || "the key's password does not open its key".to_owned();
        let (salt, rest) = protected.split_at_checked(DIGEST_BYTES).ok_or_else(wrong)?;
        let (encrypted, check) = rest
            .len()
            .checked_sub(DIGEST_BYTES)
            .and_then(|at| rest.split_at_checked(at))
            .ok_or_else(wrong)?;
        let password = utf16(password);
        let mut key = Vec::with_capacity(encrypted.len());
        let mut pad = salt.to_vec();
        for chunk in encrypted.chunks(DIGEST_BYTES) {
            pad = Sha1::new()
                .chain_update(&password)
                .chain_update(&pad)
                .finalize()
                .to_vec();
            key.extend(chunk.iter().zip(&pad).map(|(byte, pad)| byte ^ pad));
        }
        let found = Sha1::new().chain_update(&password).chain_update(&key).finalize();
        if found.as_slice() == check {
            Ok(key)
        } else {
            Err(wrong())
        }
    }
}

/// The octets of an `EncryptedPrivateKeyInfo` under Sun's key protector.
fn protected_bytes(der: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader(der);
    let mut info = Reader(outer.der(0x30)?);
    let mut algorithm = Reader(info.der(0x30)?);
    (algorithm.der(0x06)? == KEY_PROTECTOR_OID).then_some(())?;
    info.der(0x04)
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Takes bytes off the front; nothing is allocated for a length before that many bytes are there.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    fn certificate(&mut self, version: u32) -> Option<Vec<u8>> {
        if version == 2 {
            let kind = usize::from(self.u16()?);
            (self.take(kind)? == b"X.509").then_some(())?;
        }
        self.block().map(<[u8]>::to_vec)
    }

    /// The contents of the next DER element, which must have this tag.
    pub(crate) fn der(&mut self, tag: u8) -> Option<&'a [u8]> {
        (*self.take(1)?.first()? == tag).then_some(())?;
        let first = *self.take(1)?.first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81 => usize::from(*self.take(1)?.first()?),
            0x82 => usize::from(self.u16()?),
            _ => return None, // no key is that long
        };
        self.take(length)
    }
}

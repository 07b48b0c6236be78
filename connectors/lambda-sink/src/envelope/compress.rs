//! gzip in base64: `{"encoding":"gzip+base64","data":"…"}`, as the Invoke API takes nothing but JSON.
//!
//! Payloads are compressed when they are sent, not when they are packed: that is work for a blocking thread. What the
//! engine counts is therefore the most that a payload can come to, which is a third more than it is.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use klamm_connect_api::sink::{Encoded, PayloadBuilder};
use klamm_connect_api::{Origin, json};

const HEAD: &[u8] = br#"{"encoding":"gzip+base64","data":"#;

/// The most that `len` bytes of payload come to. What does not compress is stored in blocks, with a few bytes around
/// each and around all of them.
const fn bound(len: usize) -> usize {
    per_record(len) + FIXED_BYTES
}

/// The share of it that grows with the payload: what stands around stored blocks (a thousandth as measured, four times that
/// to be safe), then four bytes for each three.
const fn per_record(len: usize) -> usize {
    (len + len / 256 + 1).div_ceil(3) * 4
}

/// gzip's header and trailer, one block, base64's padding, and the object around it.
const FIXED_BYTES: usize = 64 + HEAD.len();

/// Counts what a compressed payload can come to.
pub(super) struct Bounded {
    inner: Box<dyn PayloadBuilder>,
}

impl Bounded {
    pub(super) fn new(inner: Box<dyn PayloadBuilder>) -> Self {
        Self { inner }
    }
}

impl PayloadBuilder for Bounded {
    fn expect(&mut self, bytes: usize) {
        self.inner.expect(bytes);
    }

    fn cost(&self, origin: &Origin, record: &Encoded) -> usize {
        per_record(self.inner.cost(origin, record))
    }

    fn push(&mut self, origin: &Origin, record: &Encoded) {
        self.inner.push(origin, record);
    }

    fn finish(&mut self) -> Bytes {
        self.inner.finish()
    }

    fn overhead(&self) -> usize {
        bound(self.inner.overhead())
    }
}

/// The payload as it is sent.
pub(crate) fn compress(payload: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(payload.len() / 4), Level::fast());
    encoder.write_all(payload)?;
    let compressed = encoder.finish()?;
    let mut out = Vec::with_capacity(HEAD.len() + compressed.len().div_ceil(3) * 4 + 3);
    out.extend_from_slice(HEAD);
    json::write_base64(&compressed, &mut out);
    out.push(b'}');
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    fn decompress(body: &[u8]) -> Vec<u8> {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(json["encoding"], "gzip+base64");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(json["data"].as_str().unwrap())
            .unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn what_does_not_compress_stays_within_the_bound() {
        // A generator of bits without pattern.
        let mut state = 1_u64;
        let mut noise = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        for len in [0, 1, 2, 100, 2048, 32_768, 65_535, 65_536, 1_000_000, 5_000_000] {
            let payload: Vec<u8> = (0..len).map(|_| noise()).collect();
            let body = compress(&payload).unwrap();
            assert!(body.len() <= bound(len), "{len}: {} > {}", body.len(), bound(len));
            assert_eq!(decompress(&body), payload);
        }
    }

    proptest! {
        #[test]
        fn any_payload_comes_back_and_is_within_its_bound(payload in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let body = compress(&payload).unwrap();
            prop_assert!(body.len() <= bound(payload.len()));
            prop_assert_eq!(decompress(&body), payload);
        }

        #[test]
        fn the_shares_of_records_cover_that_of_their_payload(sizes in proptest::collection::vec(0_usize..100_000, 0..50)) {
            let shares: usize = sizes.iter().map(|size| per_record(*size)).sum();
            prop_assert!(per_record(sizes.iter().sum()) <= shares + 4);
        }
    }
}

//! Records side by side: an array, or one record alone.

use bytes::Bytes;
use klamm_connect_api::Origin;
use klamm_connect_api::sink::{Encoded, PayloadBuilder};

use crate::config::Packing;

/// Joins records to an array, or takes one as the whole payload.
#[derive(Debug)]
pub(super) struct ArrayBuilder {
    packing: Packing,
    /// What stands before the first record, and the records so far; empty when there are none.
    body: Vec<u8>,
}

impl ArrayBuilder {
    pub(super) fn new(packing: Packing) -> Self {
        Self {
            packing,
            body: Vec::new(),
        }
    }
}

impl PayloadBuilder for ArrayBuilder {
    fn expect(&mut self, bytes: usize) {
        self.body.reserve(bytes);
    }

    fn cost(&self, _origin: &Origin, record: &Encoded) -> usize {
        record.bytes.len() + 1
    }

    fn push(&mut self, _origin: &Origin, record: &Encoded) {
        match self.packing {
            Packing::One => debug_assert!(
                self.body.is_empty(),
                "`delivery.batch.size=1` is what chose this packing"
            ),
            Packing::Array => self.body.push(if self.body.is_empty() { b'[' } else { b',' }),
        }
        self.body.extend_from_slice(&record.bytes);
    }

    fn finish(&mut self) -> Bytes {
        match self.packing {
            Packing::One if self.body.is_empty() => self.body.extend_from_slice(b"[]"),
            Packing::One => {}
            Packing::Array => {
                if self.body.is_empty() {
                    self.body.push(b'[');
                }
                self.body.push(b']');
            }
        }
        Bytes::from(std::mem::take(&mut self.body))
    }

    fn overhead(&self) -> usize {
        2
    }
}

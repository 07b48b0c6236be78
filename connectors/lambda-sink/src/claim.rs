//! The claim check: a value that is too large for a call waits in S3, and its record carries a reference in its place.
//!
//! The pieces that refer are made when a record is encoded; the engine holds the content beside them, within its bounds, and
//! has it stored before the call goes out. An object's key names the record, the route and the content, so what is stored
//! again overwrites itself and nothing else.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use klamm_aws::{Declined, ObjectPlace, ObjectStore, SettingKeys, key_of};
use klamm_connect_api::Record;
use klamm_connect_api::sink::{Attachment, Encoded, PayloadBuilder};
use sha2::{Digest as _, Sha256};

use crate::envelope::{Content, Reference};

/// The settings that name the place.
pub(crate) const KEYS: SettingKeys = SettingKeys {
    destination: "claim.check.destination",
    region: "claim.check.region",
    endpoint: "claim.check.endpoint",
};
/// From which size on records go there although they fit.
pub(crate) const MIN_BYTES: &str = "claim.check.min.bytes";
/// Objects of one call that are put at once.
const AT_ONCE: usize = 8;

/// Where a route's large values go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimPlan {
    pub(crate) place: ObjectPlace,
    /// Records of more bytes go there; none is those that fit no call.
    pub(crate) min_bytes: Option<usize>,
}

/// A route's claim check.
pub(crate) struct ClaimCheck {
    plan: ClaimPlan,
    store: ObjectStore,
    connector: String,
    route: String,
    /// Only tells costs.
    costs: Mutex<Box<dyn PayloadBuilder>>,
    batch_bytes: usize,
}

impl fmt::Debug for ClaimCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimCheck")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl ClaimCheck {
    /// `costs` is a builder of the route's payloads, of at most `batch_bytes`.
    pub(crate) fn new(
        plan: ClaimPlan,
        store: ObjectStore,
        (connector, route): (&str, &str),
        costs: Box<dyn PayloadBuilder>,
        batch_bytes: usize,
    ) -> Self {
        Self {
            plan,
            store,
            connector: connector.to_owned(),
            route: route.to_owned(),
            costs: Mutex::new(costs),
            batch_bytes,
        }
    }

    /// Whether the value of a record that was encoded whole belongs into the bucket.
    pub(crate) fn takes(&self, record: &Record, encoded: &Encoded) -> bool {
        if self.plan.min_bytes.is_some_and(|min| encoded.bytes.len() > min) {
            return true;
        }
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        costs.overhead() + costs.cost(record.origin(), encoded) > self.batch_bytes
    }

    /// A record's content as it is stored, and what refers to it.
    pub(crate) fn check_in(&self, record: &Record, content: Content) -> (Attachment, Reference) {
        let Content { bytes, content_type } = content;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut sha256 = String::with_capacity(64);
        for byte in digest {
            // Writing to a text cannot fail.
            write!(sha256, "{byte:02x}").unwrap_or_default();
        }
        let of = key_of(&self.plan.place.prefix, &self.connector, record.origin());
        let content_id = sha256.get(..16).unwrap_or_default();
        let key = format!("{of}-{}-{content_id}", self.route);
        let reference = Reference {
            bucket: self.plan.place.bucket.clone(),
            key: key.clone(),
            size: bytes.len(),
            content_type,
            sha256,
        };
        let attachment = Attachment {
            name: key,
            content_type,
            // What it takes is what is counted.
            content: Bytes::from(bytes.into_boxed_slice()),
        };
        (attachment, reference)
    }

    /// Puts the objects, and resolves when all are durable.
    pub(crate) async fn store(&self, attachments: &[Arc<Attachment>]) -> Result<(), Declined> {
        let put = |attachment: &Arc<Attachment>| {
            let attachment = Arc::clone(attachment);
            async move {
                let content = attachment.content.clone();
                self.store.put(&attachment.name, attachment.content_type, content).await
            }
        };
        let puts: Vec<_> = attachments.iter().map(put).collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// The place, for people.
    pub(crate) fn name(&self) -> &str {
        self.store.name()
    }
}

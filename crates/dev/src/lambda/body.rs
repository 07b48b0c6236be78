//! Bodies of requests, read under a bound, and bodies of answers, which may end too early.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Beyond this the rest of a request stays unread and its connection is closed.
const DRAINED_BYTES: u64 = 64 * 1024 * 1024;

/// A request body as far as it was wanted.
pub(super) struct Received {
    pub(super) size: u64,
    /// Empty when it was not wanted, or when it is larger than the limit.
    pub(super) bytes: Bytes,
}

/// Reads a body to its end; keeps it if `wanted` and not larger than `limit`.
pub(super) async fn receive(mut body: Incoming, wanted: bool, limit: u64) -> Result<Received, hyper::Error> {
    let mut size = 0;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len() as u64;
        if size > DRAINED_BYTES {
            break;
        }
        if !wanted || size > limit {
            continue;
        }
        // A small body is one frame and is kept as it is.
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(
                    usize::try_from(body.size_hint().lower().min(limit)).unwrap_or(0) + first.len() + data.len(),
                );
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if !wanted || size > limit {
        Bytes::new()
    } else if rest.is_empty() {
        first
    } else {
        rest.freeze()
    };
    Ok(Received { size, bytes })
}

/// The body of an answer.
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    /// Announces `announced` bytes, sends `sent`, and fails, on which hyper closes the connection.
    Half {
        announced: u64,
        sent: Option<Bytes>,
        flushed: bool,
    },
}

impl AnswerBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    pub(super) fn half(bytes: &Bytes) -> Self {
        Self::Half {
            announced: bytes.len() as u64,
            sent: Some(bytes.slice(..bytes.len() / 2)),
            flushed: false,
        }
    }
}

/// An answer ended within its body, as scripted.
#[derive(Debug, thiserror::Error)]
#[error("the answer ends early, as scripted")]
pub(super) struct EndsEarly;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = EndsEarly;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EndsEarly>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Half { sent, flushed, .. } => {
                if let Some(bytes) = sent.take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                if *flushed {
                    return Poll::Ready(Some(Err(EndsEarly)));
                }
                // hyper writes what it has before it asks again; failing at once would lose the first half.
                *flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Half { announced, .. } => SizeHint::with_exact(*announced),
        }
    }
}

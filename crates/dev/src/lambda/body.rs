//! Bodies of answers, which may end too early.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

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

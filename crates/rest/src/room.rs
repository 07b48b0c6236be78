//! Memory for what clients send and are sent, all together.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::sync::Semaphore;

use crate::body::MAX_BYTES;

/// Bytes of bodies in memory.
pub(crate) const BYTES: usize = 64 * 1024 * 1024;

/// There is no room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requests and answers take all the memory that is there for them")
    }
}

impl Error for NoRoom {}

impl NoRoom {
    /// Whether `error` is this at its root.
    pub(crate) fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Self>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// All the room.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BYTES)))
    }
}

impl Room {
    /// Room for nothing yet; what is taken comes back with the last of its holders.
    pub(crate) fn hold(&self) -> Arc<Held> {
        Arc::new(Held {
            room: Arc::clone(&self.0),
            bytes: AtomicUsize::new(0),
        })
    }
}

/// What a request holds.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Semaphore>,
    bytes: AtomicUsize,
}

impl Held {
    /// Takes room for so many more. One body never takes more than half of all, so that none is too large for ever.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = bytes.min(BYTES / 2);
        let permits = u32::try_from(bytes).map_err(|_| NoRoom)?;
        self.room.try_acquire_many(permits).map_err(|_| NoRoom)?.forget();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.add_permits(*self.bytes.get_mut());
    }
}

/// A body that takes room as it arrives, or keeps room while it leaves.
pub(crate) struct Roomy<B> {
    inner: B,
    held: Arc<Held>,
    /// What is still to be kept of a body that arrives: of a larger one the rest is thrown away.
    to_keep: usize,
}

impl<B> Roomy<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// What a client sends.
    pub(crate) fn arriving(inner: B, held: Arc<Held>) -> Body {
        Body::new(Self {
            inner,
            held,
            to_keep: MAX_BYTES,
        })
    }

    /// What a client is sent; room for it was taken.
    pub(crate) fn leaving(inner: B, held: Arc<Held>) -> Body {
        Body::new(Self {
            inner,
            held,
            to_keep: 0,
        })
    }
}

impl<B> HttpBody for Roomy<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = &polled else {
            return polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        };
        let kept = frame.data_ref().map_or(0, Bytes::len).min(self.to_keep);
        self.to_keep -= kept;
        if self.held.take(kept).is_err() {
            return Poll::Ready(Some(Err(NoRoom.into())));
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn bodies_take_what_they_bring_and_give_it_back() {
        let room = Room::default();
        let held = room.hold();
        let body = Roomy::arriving(Body::from(vec![0; 1000]), Arc::clone(&held));
        body.collect().await.unwrap();
        assert_eq!(room.0.available_permits(), BYTES - 1000, "as long as the request lasts");
        drop(held);
        assert_eq!(room.0.available_permits(), BYTES);
        let held = room.hold();
        let body = Roomy::arriving(Body::from(vec![0; 3 * MAX_BYTES]), Arc::clone(&held));
        body.collect().await.unwrap();
        assert_eq!(room.0.available_permits(), BYTES - MAX_BYTES, "nobody keeps more");
        drop(held);
        let (first, second) = (room.hold(), room.hold());
        first.take(BYTES).unwrap();
        second.take(BYTES / 2).unwrap();
        let body = Roomy::arriving(Body::from("x"), room.hold());
        let error = body.collect().await.unwrap_err();
        assert!(NoRoom::is_cause_of(&error), "{error}");
    }
}

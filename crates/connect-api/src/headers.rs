use std::sync::Arc;

use crate::datum::Datum;

/// One header: a key and a value, which may be null.
///
/// The value is lazy: its header converter runs when somebody asks for it, and a format that wants the wire's bytes
/// finds them unchanged.
#[derive(Debug, Clone)]
pub struct Header {
    /// The key; compared exactly and case-sensitively.
    pub key: Arc<str>,
    /// The value.
    pub value: Datum,
}

/// The headers of a record: in order, duplicates and nulls kept. An empty list does not allocate.
#[derive(Debug, Clone, Default)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a header; one of the same key stays.
    pub fn add(&mut self, key: impl Into<Arc<str>>, value: impl Into<Datum>) {
        self.0.push(Header {
            key: key.into(),
            value: value.into(),
        });
    }

    /// The last header of that key: the one that counts where a single one is wanted.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<&Header> {
        self.0.iter().rev().find(|header| &*header.key == key)
    }

    /// Whether there is a header of that key.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.last(key).is_some()
    }

    /// Removes all headers of that key.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|header| &*header.key != key);
    }

    /// The headers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// The headers in order, to be changed in place.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Header> {
        self.0.iter_mut()
    }

    /// Number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

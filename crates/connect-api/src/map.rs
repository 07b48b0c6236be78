use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::LazyLock;

use indexmap::{Equivalent, IndexMap};

use crate::value::{STRING_TAG, Value};

/// A map in insertion order. Keys may be any value; in schemaless data they are strings.
///
/// Equality does not look at the order.
#[derive(Debug, Clone)]
pub struct Map(Entries);

#[derive(Debug, Clone)]
enum Entries {
    /// At most [`FEW`]. Most objects are so small that a hash of each key costs more than it saves.
    Few(Few),
    /// Once there have been more.
    Many(Box<IndexMap<Value, Value>>),
}

/// Hashes entries of maps that are hashed, one by one: with a key that nobody can guess.
static HASHES: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);

/// Entries that are searched from the front.
const FEW: usize = 16;

/// A list of entries, no two of one key.
#[derive(Debug, Clone, Default)]
struct Few {
    entries: Vec<(Value, Value)>,
    /// The [marks](mark) of all keys, and maybe of some that are gone: a key whose mark is missing is not there.
    marks: u64,
}

impl Few {
    #[inline]
    fn position(&self, key: &Value) -> Option<usize> {
        if self.marks & mark(key) == 0 {
            return None;
        }
        self.entries.iter().position(|(known, _)| known == key)
    }

    #[inline]
    fn position_of_text(&self, key: &str) -> Option<usize> {
        if self.marks & mark_of_text(key) == 0 {
            return None;
        }
        self.entries.iter().position(|(known, _)| known.as_str() == Some(key))
    }

    /// Makes one entry of those of one key: in the place of the first, with the value of the last.
    fn merge_equal(&mut self) {
        let mut at = 1;
        while at < self.entries.len() {
            let (before, rest) = self.entries.split_at(at);
            let earlier = rest
                .first()
                .and_then(|(key, _)| before.iter().position(|(known, _)| known == key));
            match earlier {
                None => at += 1,
                Some(earlier) => self.entries[earlier].1 = self.entries.remove(at).1,
            }
        }
    }
}

/// One of 64 bits, by what is cheap to look at.
#[inline]
fn mark(key: &Value) -> u64 {
    match key {
        Value::String(text) => mark_of_text(text),
        _ => 1,
    }
}

#[inline]
fn mark_of_text(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let byte = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
    let sum = byte(bytes.first()) * 7 + byte(bytes.last()) * 29 + bytes.len();
    1 << (sum % 64)
}

impl Default for Map {
    fn default() -> Self {
        Self(Entries::Few(Few::default()))
    }
}

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the string key `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match &self.0 {
            Entries::Few(few) => few.position_of_text(key).map(|index| &few.entries[index].1),
            Entries::Many(entries) => entries.get(&Text(key)),
        }
    }

    /// The value of a key of any type.
    #[must_use]
    pub fn get_value(&self, key: &Value) -> Option<&Value> {
        match &self.0 {
            Entries::Few(few) => few.position(key).map(|index| &few.entries[index].1),
            Entries::Many(entries) => entries.get(key),
        }
    }

    /// The value of a key of any type, to be changed in place.
    pub fn get_mut(&mut self, key: &Value) -> Option<&mut Value> {
        match &mut self.0 {
            Entries::Few(few) => {
                let index = few.position(key)?;
                Some(&mut few.entries[index].1)
            }
            Entries::Many(entries) => entries.get_mut(key),
        }
    }

    /// Sets `key`, keeping its place if it was there, and returns what it held.
    pub fn insert(&mut self, key: impl Into<Value>, value: Value) -> Option<Value> {
        let key = key.into();
        match &mut self.0 {
            Entries::Few(few) => {
                if let Some(index) = few.position(&key) {
                    return Some(std::mem::replace(&mut few.entries[index].1, value));
                }
                if few.entries.len() < FEW {
                    few.marks |= mark(&key);
                    few.entries.push((key, value));
                } else {
                    let mut many: IndexMap<_, _> = std::mem::take(&mut few.entries).into_iter().collect();
                    many.insert(key, value);
                    self.0 = Entries::Many(Box::new(many));
                }
                None
            }
            Entries::Many(entries) => entries.insert(key, value),
        }
    }

    /// Removes the string key `key`, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        match &mut self.0 {
            Entries::Few(few) => {
                let index = few.position_of_text(key)?;
                Some(few.entries.remove(index).1)
            }
            Entries::Many(entries) => entries.shift_remove(&Text(key)),
        }
    }

    /// Keeps the entries that `keeps` says yes to, in their order.
    pub fn retain(&mut self, mut keeps: impl FnMut(&Value, &Value) -> bool) {
        match &mut self.0 {
            Entries::Few(few) => few.entries.retain(|(key, value)| keeps(key, value)),
            Entries::Many(entries) => entries.retain(|key, value| keeps(key, value)),
        }
    }

    /// Gives the entries for which `rename` has one another key, all at the same time. Where two of them come to have one
    /// key, the first keeps its place and takes the value of the last.
    pub fn rename(&mut self, mut rename: impl FnMut(&Value) -> Option<Value>) {
        match &mut self.0 {
            Entries::Few(few) => {
                let mut may_be_twice = false;
                for (key, _) in &mut few.entries {
                    if let Some(new) = rename(key) {
                        may_be_twice |= few.marks & mark(&new) != 0;
                        few.marks |= mark(&new);
                        *key = new;
                    }
                }
                if may_be_twice {
                    few.merge_equal();
                }
            }
            Entries::Many(entries) => {
                let renamed = std::mem::take(&mut **entries).into_iter();
                **entries = renamed
                    .map(|(key, value)| (rename(&key).unwrap_or(key), value))
                    .collect();
            }
        }
    }

    /// Entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> {
        match &self.0 {
            // As the tuples of the hashed form: of references.
            Entries::Few(few) => Either::Few(few.entries.iter().map(|(key, value)| (key, value))),
            Entries::Many(entries) => Either::Many(entries.iter()),
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Few(few) => few.entries.len(),
            Entries::Many(entries) => entries.len(),
        }
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        let mut entries = self.iter();
        self.len() == other.len() && entries.all(|(key, value)| other.get_value(key) == Some(value))
    }
}

impl Eq for Map {}

impl Hash for Map {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Order does not count for equality, so it may not count here.
        let entries = self.iter().map(|entry| HASHES.hash_one(entry));
        let sum = entries.fold(0_u64, u64::wrapping_add);
        (self.len(), sum).hash(state);
    }
}

/// A string key that is looked for without making a value of it.
struct Text<'a>(&'a str);

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        STRING_TAG.hash(state);
        self.0.hash(state);
    }
}

impl Equivalent<Value> for Text<'_> {
    fn equivalent(&self, key: &Value) -> bool {
        key.as_str() == Some(self.0)
    }
}

impl FromIterator<(Value, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl IntoIterator for Map {
    type Item = (Value, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        match self.0 {
            Entries::Few(few) => IntoIter(Either::Few(few.entries.into_iter())),
            Entries::Many(entries) => IntoIter(Either::Many(entries.into_iter())),
        }
    }
}

/// The entries of a [`Map`] that was taken apart, in order.
#[derive(Debug)]
pub struct IntoIter(Either<std::vec::IntoIter<(Value, Value)>, indexmap::map::IntoIter<Value, Value>>);

#[derive(Debug)]
enum Either<A, B> {
    Few(A),
    Many(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Few(entries) => entries.next(),
            Self::Many(entries) => entries.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(entries) => entries.size_hint(),
            Self::Many(entries) => entries.size_hint(),
        }
    }
}

impl<T, A: ExactSizeIterator<Item = T>, B: ExactSizeIterator<Item = T>> ExactSizeIterator for Either<A, B> {}

impl Iterator for IntoIter {
    type Item = (Value, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests;

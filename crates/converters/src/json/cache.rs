use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use klamm_connect_api::SchemaRef;

/// A longer schema text is parsed every time rather than kept.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Schemas by their text, least recently used ones forgotten.
///
/// Two generations: what is used moves to the young one; when that has half of the size, the old one is forgotten.
#[derive(Debug)]
pub(super) struct SchemaCache {
    half: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Option<SchemaRef>>,
    old: HashMap<Box<str>, Option<SchemaRef>>,
}

impl SchemaCache {
    /// A cache of at most `size` schemas; 0 and 1 keep a single one.
    pub(super) fn new(size: usize) -> Self {
        Self {
            half: (size / 2).max(1),
            generations: Mutex::default(),
        }
    }

    /// The schema of `text`, parsed by `parse` if it is not known.
    pub(super) fn get<E>(
        &self,
        text: &str,
        parse: impl FnOnce(&str) -> Result<Option<SchemaRef>, E>,
    ) -> Result<Option<SchemaRef>, E> {
        if let Some(known) = self.find(text) {
            return Ok(known);
        }
        let schema = parse(text)?;
        if text.len() <= MAX_TEXT_BYTES {
            self.put(text.into(), schema.clone());
        }
        Ok(schema)
    }

    fn find(&self, text: &str) -> Option<Option<SchemaRef>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = generations.young.get(text) {
            return Some(schema.clone());
        }
        let (text, schema) = generations.old.remove_entry(text)?;
        drop(generations);
        self.put(text, schema.clone());
        Some(schema)
    }

    fn put(&self, text: Box<str>, schema: Option<SchemaRef>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.half {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(text, schema);
    }
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::Schema;

    use super::*;

    #[test]
    fn keeps_what_is_used_and_never_more_than_its_size() {
        let cache = SchemaCache::new(4);
        let mut parsed = Vec::new();
        for text in ["a", "b", "a", "c", "a", "d", "a", "b"] {
            let schema = cache.get(text, |text| {
                parsed.push(text.to_owned());
                Ok::<_, ()>(Some(Schema::string()))
            });
            assert_eq!(schema, Ok(Some(Schema::string())));
        }
        assert_eq!(parsed, ["a", "b", "c", "d", "b"]);
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 4);
    }
}

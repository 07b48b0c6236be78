use std::sync::{Arc, Mutex, PoisonError};

use klamm_connect_api::{DataError, SchemaRef};

/// As many schemas as Connect's transforms remember.
const SIZE: usize = 16;

/// What a transform has worked out for the schemas that it met last, known by their pointer: converters hand out the
/// same one for record after record.
#[derive(Debug)]
pub(crate) struct SchemaCache<T> {
    known: Mutex<Vec<(SchemaRef, T)>>,
}

impl<T> Default for SchemaCache<T> {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
        }
    }
}

impl<T: Clone> SchemaCache<T> {
    /// What is known of `schema`, worked out by `make` the first time. The lock is not held meanwhile.
    ///
    /// # Errors
    /// What `make` reports; it is asked again the next time.
    pub(crate) fn get(
        &self,
        schema: &SchemaRef,
        make: impl FnOnce(&SchemaRef) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = known.iter().find(|(of, _)| Arc::ptr_eq(of, schema)) {
            return Ok(value.clone());
        }
        drop(known);
        let value = make(schema)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SIZE {
            known.remove(0);
        }
        known.push((Arc::clone(schema), value.clone()));
        Ok(value)
    }
}

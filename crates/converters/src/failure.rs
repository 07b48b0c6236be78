use klamm_connect_api::DataError;

/// An error of one word: it is in the result of every function that is called for each field of a record, and a
/// [`DataError`] there would go through memory although nothing ever fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(Box<DataError>);

impl Failure {
    #[cold]
    pub(crate) fn at(self, place: &str) -> Self {
        Self(Box::new(self.0.at(place)))
    }
}

impl From<DataError> for Failure {
    #[cold]
    fn from(error: DataError) -> Self {
        Self(Box::new(error))
    }
}

impl From<Failure> for DataError {
    #[cold]
    fn from(failure: Failure) -> Self {
        *failure.0
    }
}

//! How far a schema that refers to itself may be unrolled: Connect schemas are trees here.

use klamm_connect_api::DataError;

/// Types of an unrolled schema, at most.
const MAX_TYPES: usize = 200_000;
/// Beyond this depth every type counts as if it stood inside of the one before: schemas are compared, shown and dropped
/// by going from type to type, and a stack ends.
const DEEP: usize = 32;
/// Types inside each other in a schema that is unrolled deeper than that, at most.
const MAX_NESTED: usize = 4_096;

/// Checks a schema of so many types, unrolled so often for the depth of its data.
pub(crate) fn check(types: usize, unroll: usize) -> Result<(), DataError> {
    let count = types.saturating_mul(unroll.saturating_add(1));
    let most = if unroll > DEEP { MAX_NESTED } else { MAX_TYPES };
    if count > most {
        return Err(DataError::data(format!(
            "the schema refers to itself, and for data of this depth it has {count} types, more than {most}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_types_or_deep_data_are_taken_and_both_are_not() {
        let cases = [
            (2, 256, true, "a list or a tree, as deep as data may be"),
            (500, 16, true, "a large schema with usual data"),
            (60, 1024, false, "a chain that no stack could follow"),
            (20_000, 16, false, "too many types"),
            (usize::MAX, 2, false, "no overflow"),
        ];
        for (types, unroll, accepted, why) in cases {
            assert_eq!(check(types, unroll).is_ok(), accepted, "{why}");
        }
    }
}

//! Each decoder against any bytes, damaged ones, and every prefix of good ones. `examples/fuzz.rs` does the same for as
//! long as one likes.

use bytes::Bytes;
use klamm_kafka::fuzzing::{TARGETS, Target, mutate, seeded};
use proptest::prelude::*;

use crate::alloc::peak;

/// Does not panic, and holds no more than the input explains.
fn read(target: &Target, input: Vec<u8>) -> Result<Result<usize, String>, TestCaseError> {
    let input = Bytes::from(input);
    let (result, held) = peak(|| (target.read)(&input));
    let bound = (target.memory)(input.len());
    prop_assert!(held <= bound, "{}: {held} bytes held for {input:02x?}", target.name);
    Ok(result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_an_error_or_a_result(input in prop::collection::vec(any::<u8>(), 0..400)) {
        for target in TARGETS {
            drop(read(target, input.clone())?);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_result(seed in any::<u64>()) {
        for target in TARGETS {
            drop(read(target, mutate(target, &mut seeded(seed)))?);
        }
    }

    #[test]
    fn good_bytes_are_read_and_every_prefix_ends(seed in any::<u64>()) {
        // A hundred prefixes of a SCRAM exchange are a hundred times 4,096 rounds of hashing.
        for target in TARGETS.iter().filter(|target| target.name != "scram") {
            let input = (target.valid)(&mut seeded(seed));
            for end in (0..input.len()).step_by(1 + input.len() / 100) {
                drop(read(target, input[..end].to_vec())?);
            }
            let whole = read(target, input)?;
            // Dice make control batches without a type and assignments without partitions; those may be refused.
            if matches!(target.name, "answers" | "frames") {
                prop_assert!(whole.is_ok(), "{}: {whole:?}", target.name);
            }
        }
    }
}

//! Records that no producer means to send: the short form of `make fuzz`, always the same ones.

mod fuzzing;

use fuzzing::{Check, TARGETS, seeded};

/// Schemas for each target, with some dozens of records each.
const SCHEMAS: usize = 150;

#[test]
fn any_record_is_read_or_refused_within_bounds_and_means_the_same_either_way() {
    for target in TARGETS {
        let mut check = Check::new();
        let mut rng = seeded(7);
        for _ in 0..SCHEMAS {
            if let Err(failure) = (target.run)(&mut check, &mut rng) {
                panic!("{}: {failure}", target.name);
            }
        }
        let counts = check.counts;
        assert!(
            counts.accepted * 10 > counts.inputs,
            "{}: too few records are of their schema to reach much: {counts:?}",
            target.name
        );
    }
}

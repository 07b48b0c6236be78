//! Records that no producer means to send: the short form of `make fuzz`, always the same ones.

mod fuzzing;

use fuzzing::{Check, TARGETS, seeded};

/// Schemas for each target, with some dozens of records each.
const SCHEMAS: usize = 60;

#[test]
fn any_record_is_read_or_refused_within_bounds_and_means_the_same_either_way() {
    let mut failures = Vec::new();
    for target in TARGETS {
        let mut check = Check::new();
        let mut rng = seeded(7);
        let failure = (0..SCHEMAS).find_map(|_| (target.run)(&mut check, &mut rng).err());
        let counts = check.counts;
        if let Some(failure) = failure {
            failures.push(format!("{}: {failure}", target.name));
        } else if counts.accepted * 10 < counts.inputs {
            let few = "too few records are of their schema to reach much";
            failures.push(format!("{}: {few}: {counts:?}", target.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

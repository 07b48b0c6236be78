//! Feeds damaged records to every converter, for as long as it is told to.
//!
//! `cargo run --release -p klamm-converters --example fuzz -- [--seconds N] [--seed S] [--only NAME]`: N seconds (10) for
//! each target. Schemas are made by chance, records of them are damaged. A panic, a record that takes more memory or gives
//! more JSON than its length and its schema explain, and JSON that differs from that of the record's values end the run with
//! schema and record.

#![allow(clippy::print_stdout, reason = "the counts are the result")]

#[path = "../tests/fuzzing/mod.rs"]
mod fuzzing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzzing::{Check, TARGETS, Target, seeded};

fn main() -> ExitCode {
    let (mut seconds, mut seed, mut only) = (10, now().elapsed().subsec_nanos().into(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--seconds", Some(value)) => seconds = value.parse().expect("--seconds takes a number"),
            ("--seed", Some(value)) => seed = value.parse().expect("--seed takes a number"),
            ("--only", Some(value)) => only = Some(value),
            _ => {
                println!("usage: fuzz [--seconds N] [--seed S] [--only NAME]");
                return ExitCode::from(2);
            }
        }
    }
    let chosen = TARGETS
        .iter()
        .filter(|target| only.as_deref().is_none_or(|only| only == target.name));
    for target in chosen {
        if let Err(failure) = fuzz(target, Duration::from_secs(seconds), seed) {
            println!("{}: seed {seed}: {failure}", target.name);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &Target, length: Duration, seed: u64) -> Result<(), String> {
    let mut check = Check::new();
    let mut rng = seeded(seed);
    let started = now();
    while started.elapsed() < length {
        (target.run)(&mut check, &mut rng)?;
    }
    let counts = check.counts;
    println!(
        "{}: {} records, {} accepted, at most {} bytes held, seed {seed}",
        target.name, counts.inputs, counts.accepted, counts.most_bytes
    );
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a loop that runs for a time, outside of any runtime"
)]
fn now() -> Instant {
    Instant::now()
}

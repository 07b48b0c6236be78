//! Feeds damaged bytes to every decoder of the client, for as long as it is told to.
//!
//! `cargo run --release -p klamm-kafka --example fuzz -- [--seconds N] [--seed S] [--only NAME]`: N seconds (10) for
//! each decoder. Each input is a valid one with a few mutations, checksums mostly put right. A panic, a decoder that
//! holds more memory than its input explains, or one that takes more processor time than [`MAX_CPU`] ends the run with
//! the input in hex.

#![allow(clippy::print_stdout, reason = "the counts are the result")]

#[path = "../tests/support/alloc.rs"]
#[allow(unreachable_pub, reason = "shared with the tests")]
mod alloc;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use klamm_kafka::fuzzing::{TARGETS, Target, mutate, seeded};

/// What an input may take: two million rounds of hashing, which a password may ask for, take about two seconds.
const MAX_CPU: Duration = Duration::from_secs(5);

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
            println!("{}: {failure}", target.name);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &Target, length: Duration, seed: u64) -> Result<(), String> {
    let mut rng = seeded(seed);
    let (mut inputs, mut accepted, mut most) = (0_u64, 0_u64, 0);
    let started = now();
    while started.elapsed() < length {
        let input = Bytes::from(mutate(target, &mut rng));
        let clock = cpu();
        let (result, peak) = alloc::peak(|| catch_unwind(AssertUnwindSafe(|| (target.read)(&input))));
        let took = cpu().saturating_sub(clock);
        let fault = match result {
            Err(_) => Some("panicked".to_owned()),
            Ok(_) if peak > (target.memory)(input.len()) => Some(format!("held {peak} bytes at once")),
            Ok(_) if took > MAX_CPU => Some(format!("took {took:?}")),
            Ok(result) => {
                accepted += u64::from(result.is_ok());
                None
            }
        };
        if let Some(fault) = fault {
            return Err(format!("{fault} on input {inputs} of seed {seed}: {}", hex(&input)));
        }
        inputs += 1;
        most = most.max(peak);
    }
    println!(
        "{}: {inputs} inputs, {accepted} accepted, at most {most} bytes held, seed {seed}",
        target.name
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a loop that runs for a time, outside of any runtime"
)]
fn now() -> Instant {
    Instant::now()
}

/// Time that this thread was on a processor: other processes do not count.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a clock that counts from the thread's start is never negative")
}

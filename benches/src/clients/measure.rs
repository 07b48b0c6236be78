//! What a process used, told to its parent on one line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use klamm_tests::worker::resident_bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// One run of a client.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) cpu: Duration,
    pub(crate) elapsed: Duration,
    pub(crate) records: u64,
    pub(crate) resident_bytes: u64,
}

/// A measurement that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    cpu: Duration,
    clock: Instant,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self {
            cpu: cpu_time(),
            clock: Instant::now(),
        }
    }

    pub(crate) fn stop(self, records: u64) -> anyhow::Result<Measured> {
        Ok(Measured {
            cpu: cpu_time().saturating_sub(self.cpu),
            elapsed: self.clock.elapsed(),
            records,
            resident_bytes: resident_bytes(std::process::id())?,
        })
    }
}

/// CPU time of this process, all threads, user and kernel.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Measured {
    pub(crate) fn cpu_us_per_record(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / float(self.records)
    }

    pub(crate) fn per_second(&self) -> f64 {
        float(self.records) / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, elapsed) = (self.cpu.as_nanos(), self.elapsed.as_nanos());
        write!(f, "{cpu} {elapsed} {} {}", self.records, self.resident_bytes)
    }
}

impl FromStr for Measured {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let [cpu, elapsed, records, resident_bytes] = numbers
            .ok()
            .and_then(|n| n.try_into().ok())
            .with_context(|| format!("a client printed `{line}`"))?;
        Ok(Self {
            cpu: Duration::from_nanos(cpu),
            elapsed: Duration::from_nanos(elapsed),
            records,
            resident_bytes,
        })
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

//! `klamm preview`: what converters and transforms of a connector make of records, without running it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use klamm::{ConnectorFile, WorkerConfig};
use klamm_connect_api::{RawConfig, TopicPartition};
use klamm_runtime::{Preview, PreviewRecord, StepsJson, Story};

use super::cluster::{Cluster, ClusterArgs};
use super::from::From;
use super::output;
use super::reading::{Reading, Selection};

/// A line of input, at most: the largest message that brokers take is far below.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// What to preview, and with what.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The connector: `.properties`, a flat JSON object, or the shape of `POST /connectors`; `name`, `topics` and
    /// `connector.class` may be missing
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Worker properties, for the converters that the connector leaves to its worker
    #[arg(long, value_name = "FILE")]
    worker_config: Option<PathBuf>,
    /// Records, a JSON object a line; `-` is standard input
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "from_topic",
        conflicts_with = "from_topic"
    )]
    records: Option<PathBuf>,
    /// Show the record after each step, in words on standard error, and as `steps` beside each outcome
    #[arg(long)]
    explain: bool,
    /// Records of this topic instead, as they are in Kafka
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    /// How many of them
    #[arg(long, value_name = "N", default_value_t = 10, requires = "from_topic")]
    limit: u64,
    /// Where to start in each partition: `earliest`, an offset (`42`), or a time (`timestamp:1700000000000`,
    /// `2023-11-14T22:13:20Z`)
    #[arg(long, default_value = "earliest", requires = "from_topic")]
    from: From,
    /// Only this partition; may be given several times
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "from_topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

impl PreviewArgs {
    /// The preview.
    ///
    /// # Errors
    /// A file that cannot be read, or worker properties that are not valid. A connector that is not valid is the outcome of
    /// each record.
    pub(super) fn preview(&self) -> anyhow::Result<Preview> {
        let config = ConnectorFile::read_config(&self.config)?;
        let mut properties = match &self.worker_config {
            Some(path) => klamm::read_properties(path)?,
            None => RawConfig::new(),
        };
        // A worker has to have one; it is not asked.
        let bootstrap = properties.entry("bootstrap.servers".to_owned());
        bootstrap.or_insert_with(|| "localhost:9092".to_owned());
        let worker = WorkerConfig::from_properties(&properties).context("the worker's properties are not valid")?;
        let preview = Preview::new(&config, &worker, &klamm::plugins());
        for warning in preview.warnings() {
            // Nobody may be there to read it; the outcomes count.
            writeln!(io::stderr(), "warning: {warning}").ok();
        }
        Ok(preview)
    }

    /// Whether the records come from Kafka.
    pub(super) fn is_live(&self) -> bool {
        self.from_topic.is_some()
    }
}

/// Prints the outcomes of a topic's records.
///
/// # Errors
/// No answer, no such topic or partition, damaged records, or standard output.
pub(super) async fn topic(cluster: &Arc<Cluster>, args: &PreviewArgs, preview: &Preview) -> anyhow::Result<()> {
    let selection = Selection {
        topic: args.from_topic.as_deref().unwrap_or_default(),
        partitions: &args.partition,
        from: args.from,
        isolation: None,
        follow: false,
    };
    let reading = Reading::begin(cluster, &selection).await?;
    let show = async |out: &mut _, partition: &klamm_kafka::TopicPartition, record: &_| {
        let partition = TopicPartition::new(Arc::clone(&partition.topic), partition.partition);
        let record = PreviewRecord::consumed(partition, record);
        show(preview, &Ok(record), args.explain, out).await?;
        Ok(())
    };
    reading.each(Some(args.limit), &mut output::stdout(), show).await
}

/// Prints the outcome of each line of the file.
///
/// # Errors
/// The file or standard output.
pub(super) async fn lines(args: &PreviewArgs, preview: &Preview) -> anyhow::Result<()> {
    let path = args.records.as_deref().unwrap_or_else(|| Path::new("-"));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.with_context(|| format!("{} cannot be read", path.display()))?)
    };
    let mut input = BufReader::with_capacity(256 * 1024, source);
    let mut out = output::stdout();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        // What comes next may be long in coming.
        if input.buffer().is_empty() {
            out.flush()?;
        }
        let read = read_line(&mut input, &mut line);
        let record = match read.with_context(|| format!("{} cannot be read", path.display()))? {
            Line::End => break,
            Line::TooLong => Err(format!("the line is longer than {MAX_LINE_BYTES} bytes")),
            Line::Whole => PreviewRecord::parse(&line),
        };
        number += 1;
        let record = record.map_err(|error| format!("line {number}: {error}"));
        show(preview, &record, args.explain, &mut out).await?;
    }
    out.flush()?;
    Ok(())
}

/// Writes the one outcome of a record, or of what is none.
async fn show(
    preview: &Preview,
    record: &Result<PreviewRecord, String>,
    explain: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let json = match record {
        Err(message) => preview.run_bad_input(message).to_json(),
        Ok(record) if explain => {
            let (mut steps, mut story) = (StepsJson::default(), Story::of(record.origin()));
            let observe = &mut |step: klamm_runtime::Step<'_>| {
                steps.add(&step);
                story.add(&step);
            };
            let outcome = preview.run_observed(record, observe).await;
            // Nobody may be there to read it; the outcome counts.
            io::stderr().write_all(story.end(&outcome).as_bytes()).ok();
            outcome.to_json_with(&steps)
        }
        Ok(record) => preview.run(record).await.to_json(),
    };
    out.write_all(json.as_bytes())?;
    out.write_all(b"\n")?;
    // A person reads both.
    if explain { out.flush() } else { Ok(()) }
}

enum Line {
    Whole,
    /// Its end was skipped as well.
    TooLong,
    End,
}

/// Reads a line without its end into `line`.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX) + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.len() > MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        return Ok(Line::TooLong);
    }
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
    Ok(Line::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_on_any_system_and_a_last_one_may_not_end() {
        let mut input: &[u8] = b"a\r\n\nb";
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while let Line::Whole = read_line(&mut input, &mut line).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["a", "", "b"]);
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let endless = io::repeat(b'x').take(3 * MAX_LINE_BYTES as u64);
        let mut input = BufReader::new(endless.chain(&b"\nnext"[..]));
        let mut line = Vec::new();
        assert!(matches!(read_line(&mut input, &mut line).unwrap(), Line::TooLong));
        assert!(line.capacity() <= 2 * MAX_LINE_BYTES + 1024, "{}", line.capacity());
        assert!(matches!(read_line(&mut input, &mut line).unwrap(), Line::Whole));
        assert_eq!(line, b"next");
    }
}

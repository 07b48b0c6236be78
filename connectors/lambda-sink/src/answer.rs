//! What a function's answer says about single records (`response.format`).
//!
//! Three shapes are understood: `batchItemFailures` of Lambda's event source mappings with the identifiers of its Kafka
//! mapping, the same with a text as other sources have it, and the list of results that Confluent's reporter takes. A
//! function says with nothing, or with `null`, that it handled everything. An answer that cannot be understood fails the whole
//! batch: it may have meant to name records.

use std::borrow::Cow;
use std::collections::HashMap;

use klamm_connect_api::sink::Call;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::config::Answers;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// All records were handled.
    Whole,
    /// These were not: indexes into the call's records, ascending, without repetition.
    Failed(Vec<usize>),
    /// The answer cannot be understood.
    Malformed(&'static str),
}

/// Reads an answer.
pub(crate) fn read(answers: Answers, call: &Call, body: &[u8]) -> Said {
    let read = match answers {
        Answers::Ignored => return Said::Whole,
        Answers::Failures => failures(call, body),
        Answers::Results => results(call, body),
    };
    match read {
        Ok(failed) if failed.is_empty() => Said::Whole,
        Ok(failed) => Said::Failed(failed),
        Err(why) => Said::Malformed(why),
    }
}

const NO_JSON: &str = "the answer is no JSON text, or has `batchItemFailures` twice";

#[derive(Deserialize)]
#[serde(untagged)]
enum Identifier<'a> {
    /// Of a Kafka event source mapping; `partition` is `<topic>-<partition>`.
    Kafka {
        #[serde(borrow)]
        partition: Cow<'a, str>,
        offset: i64,
    },
    /// `<topic>-<partition>-<offset>`
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Identifier<'_> {
    /// `<topic>-<partition>` and offset.
    fn parts(&self) -> Option<(&str, i64)> {
        match self {
            Self::Kafka { partition, offset } => Some((partition, *offset)),
            Self::Text(text) => {
                let (partition, offset) = text.rsplit_once('-')?;
                Some((partition, offset.parse().ok()?))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    #[serde(borrow)]
    item_identifier: Identifier<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failures<'a> {
    #[serde(borrow)]
    batch_item_failures: Option<&'a RawValue>,
}

/// The records that `batchItemFailures` names. A function that answers something else altogether, or nothing, does not
/// use it: its success is that of the whole batch.
fn failures(call: &Call, body: &[u8]) -> Result<Vec<usize>, &'static str> {
    let failures = match body.trim_ascii().first() {
        None => return Ok(Vec::new()),
        // serde would take an array for the members in their order.
        Some(b'{') => {
            let Failures { batch_item_failures } = serde_json::from_slice(body).map_err(|_| NO_JSON)?;
            batch_item_failures
        }
        Some(_) => {
            let IgnoredAny = serde_json::from_slice(body).map_err(|_| NO_JSON)?;
            None
        }
    };
    let Some(failures) = failures else {
        return Ok(Vec::new());
    };
    let failures: Vec<Failure<'_>> = serde_json::from_str(failures.get()).map_err(|_| {
        "`batchItemFailures` is not a list of `{\"itemIdentifier\":{\"partition\",\"offset\"}}` or \
         `{\"itemIdentifier\":\"<topic>-<partition>-<offset>\"}`"
    })?;
    if failures.is_empty() {
        return Ok(Vec::new());
    }
    let partitions: Vec<String> = call
        .origins
        .iter()
        .map(|origin| origin.topic_partition.to_string())
        .collect();
    let indexes: HashMap<(&str, i64), usize> = call
        .origins
        .iter()
        .zip(&partitions)
        .enumerate()
        .map(|(index, (origin, partition))| ((partition.as_str(), origin.offset), index))
        .collect();
    let mut failed = Vec::with_capacity(failures.len().min(indexes.len()));
    for Failure { item_identifier } in &failures {
        let index = item_identifier.parts().and_then(|parts| indexes.get(&parts));
        failed.push(*index.ok_or("`batchItemFailures` names a record that was not in the event")?);
    }
    failed.sort_unstable();
    failed.dedup();
    Ok(failed)
}

#[derive(Deserialize)]
struct Handled<'a> {
    #[serde(borrow)]
    payload: Coordinates<'a>,
}

#[derive(Deserialize)]
struct Coordinates<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
}

/// The records that a list of results leaves out: all of them if it is empty. A function that answers nothing says nothing
/// about records.
fn results(call: &Call, body: &[u8]) -> Result<Vec<usize>, &'static str> {
    if matches!(body.trim_ascii(), b"" | b"null") {
        return Ok(Vec::new());
    }
    let results: Vec<Handled<'_>> = serde_json::from_slice(body)
        .map_err(|_| "the answer is not a list of `{\"payload\":{\"topic\",\"partition\",\"offset\",\"result\"}}`")?;
    let indexes: HashMap<(&str, i32, i64), usize> = call
        .origins
        .iter()
        .enumerate()
        .map(|(index, origin)| {
            let partition = &origin.topic_partition;
            ((partition.topic(), partition.partition(), origin.offset), index)
        })
        .collect();
    let mut is_handled = vec![false; call.origins.len()];
    for Handled { payload } in &results {
        let index = indexes.get(&(payload.topic.as_ref(), payload.partition, payload.offset));
        let handled = index.and_then(|index| is_handled.get_mut(*index));
        *handled.ok_or("the answer has the result of a record that was not in the event")? = true;
    }
    let left_out = is_handled.iter().enumerate().filter(|(_, is_handled)| !**is_handled);
    Ok(left_out.map(|(index, _)| index).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use klamm_connect_api::sink::RouteIndex;
    use klamm_connect_api::{Origin, TopicPartition};
    use proptest::prelude::*;

    use super::*;

    /// `orders-0` at 40 and 41, and `a-b-1` at 42.
    fn call() -> Call {
        let origins = [("orders", 0, 40), ("orders", 0, 41), ("a-b", 1, 42)];
        let origins = origins.map(|(topic, partition, offset)| Origin {
            topic_partition: TopicPartition::new(topic, partition),
            offset,
        });
        Call {
            route: RouteIndex(0),
            body: Bytes::new(),
            origins: origins.into(),
            timestamps: [None; 3].into(),
        }
    }

    fn short(said: Said) -> String {
        match said {
            Said::Whole => "whole".to_owned(),
            Said::Failed(failed) => format!("{failed:?}"),
            Said::Malformed(_) => "malformed".to_owned(),
        }
    }

    #[test]
    fn item_failures_are_named_by_object_or_by_text() {
        let object = |partition: &str, offset: i64| {
            format!(r#"{{"itemIdentifier":{{"partition":"{partition}","offset":{offset}}}}}"#)
        };
        let text = |id: &str| format!(r#"{{"itemIdentifier":"{id}"}}"#);
        let cases = [
            (vec![], "whole", "an empty list"),
            (
                vec![object("orders-0", 41), object("orders-0", 40)],
                "[0, 1]",
                "ascending",
            ),
            (
                vec![object("a-b-1", 42), object("a-b-1", 42)],
                "[2]",
                "without repetition",
            ),
            (
                vec![text("orders-0-41"), text("a-b-1-42")],
                "[1, 2]",
                "as text; names may have dashes",
            ),
            (vec![text("orders-0-40"), object("orders-0", 41)], "[0, 1]", "both"),
            (vec![object("orders-0", 99)], "malformed", "an unknown offset"),
            (vec![object("orders-1", 40)], "malformed", "an unknown partition"),
            (vec![text("40")], "malformed", "no such text"),
            (vec![text("orders-0-x")], "malformed", "no offset"),
            (
                vec![text("")],
                "malformed",
                "an empty identifier: all failed, says Lambda",
            ),
            (vec![r#"{"itemIdentifier":7}"#.to_owned()], "malformed", "a number"),
            (vec!["{}".to_owned()], "malformed", "no identifier"),
        ];
        for (items, wanted, why) in cases {
            let body = format!(r#"{{"batchItemFailures":[{}]}}"#, items.join(","));
            assert_eq!(
                short(read(Answers::Failures, &call(), body.as_bytes())),
                wanted,
                "{why}"
            );
        }
    }

    #[test]
    fn results_name_the_records_that_were_handled() {
        let result = |topic: &str, partition: i32, offset: i64| {
            format!(
                r#"{{"payload":{{"timestamp":1,"topic":"{topic}","partition":{partition},"offset":{offset},"result":{{"a":1}}}}}}"#
            )
        };
        let all = [result("a-b", 1, 42), result("orders", 0, 40), result("orders", 0, 41)].join(",");
        let cases = [
            (String::new(), "whole", "an empty answer"),
            ("null".to_owned(), "whole", "null"),
            ("[]".to_owned(), "[0, 1, 2]", "an empty list leaves all out"),
            (" [ ] ".to_owned(), "[0, 1, 2]", "the same with spaces"),
            ("{}".to_owned(), "malformed", "not a list either"),
            (format!("[{all}]"), "whole", "every record, in any order"),
            (
                format!("[{}]", result("orders", 0, 41)),
                "[0, 2]",
                "what is left out has failed",
            ),
            (
                format!("[{},{}]", result("orders", 0, 41), result("orders", 0, 41)),
                "[0, 2]",
                "a result that stands twice",
            ),
            (
                format!("[{all},{}]", result("orders", 0, 43)),
                "malformed",
                "a record that was not sent",
            ),
            (format!("[{}]", result("other", 0, 41)), "malformed", "an unknown topic"),
            (r#"{"a":1}"#.to_owned(), "malformed", "not a list"),
            (r#"[{"result":1}]"#.to_owned(), "malformed", "no coordinates"),
            ("[".to_owned(), "malformed", "cut off"),
        ];
        for (body, wanted, why) in cases {
            assert_eq!(short(read(Answers::Results, &call(), body.as_bytes())), wanted, "{why}");
        }
    }

    #[test]
    fn an_answer_that_nobody_reads_is_a_success_whatever_it_holds() {
        let body = br#"{"batchItemFailures":[{"itemIdentifier":"orders-0-40"}]}"#;
        assert_eq!(read(Answers::Ignored, &call(), body), Said::Whole);
        assert_eq!(read(Answers::Ignored, &call(), b"no JSON"), Said::Whole);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for answers in [Answers::Ignored, Answers::Failures, Answers::Results] {
                let _said = read(answers, &call(), &body);
            }
        }
    }
}

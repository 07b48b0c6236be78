//! Answer -> the result of each record, for reports and forwarding.
//!
//! Functions written for Confluent's sink answer an array of `{"payload": {"topic", "partition", "offset", "result"}}`:
//! each result then goes to its record. Whatever else a function answers is the result of every record of the call.

use std::collections::HashMap;

use bytes::Bytes;
use klamm_connect_api::Origin;
use serde::Deserialize;
use serde_json::value::RawValue;

const NULL: Bytes = Bytes::from_static(b"null");

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    topic: String,
    partition: i32,
    offset: i64,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The results of the records of a call as JSON texts, slices of the answer.
///
/// # Errors
/// The answer is no JSON, in words.
pub(crate) fn results(origins: &[Origin], body: &Bytes) -> Result<Vec<Option<Bytes>>, &'static str> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(vec![Some(NULL); origins.len()]);
    }
    let whole: &RawValue = serde_json::from_slice(body).map_err(|_| "it is no JSON")?;
    let by_record = serde_json::from_str::<Vec<Item<'_>>>(whole.get())
        .ok()
        .and_then(|items| by_record(origins, body, &items));
    Ok(by_record.unwrap_or_else(|| {
        let whole = body.slice_ref(whole.get().as_bytes());
        vec![Some(whole); origins.len()]
    }))
}

/// None if the items are not about these records. A record that no item is about has the result null.
fn by_record(origins: &[Origin], body: &Bytes, items: &[Item<'_>]) -> Option<Vec<Option<Bytes>>> {
    if items.is_empty() {
        return None;
    }
    // A transform may have renamed the topic that the function saw: then partition and offset tell, if they can.
    let mut indices: HashMap<(i32, i64), Vec<usize>> = HashMap::new();
    for (index, origin) in origins.iter().enumerate() {
        let at = (origin.topic_partition.partition(), origin.offset);
        indices.entry(at).or_default().push(index);
    }
    let mut results = vec![Some(NULL); origins.len()];
    for Item { payload } in items {
        let index = match indices.get(&(payload.partition, payload.offset))?.as_slice() {
            [index] => *index,
            several => {
                let is_of = |index: &&usize| origins[**index].topic_partition.topic() == payload.topic;
                *several.iter().find(is_of)?
            }
        };
        results[index] = Some(body.slice_ref(payload.result.get().as_bytes()));
    }
    Some(results)
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::TopicPartition;

    use super::*;

    fn origins(records: &[(&str, i32, i64)]) -> Vec<Origin> {
        let origin = |(topic, partition, offset): &(&str, i32, i64)| Origin {
            topic_partition: TopicPartition::new(*topic, *partition),
            offset: *offset,
        };
        records.iter().map(origin).collect()
    }

    #[test]
    fn a_function_tells_results_of_records_or_one_for_all() {
        let item = |topic: &str, partition: i32, offset: i64, result: &str| {
            format!(
                r#"{{"payload":{{"timestamp":1,"topic":"{topic}","partition":{partition},"offset":{offset},"result":{result}}}}}"#
            )
        };
        let two = origins(&[("t", 0, 5), ("t", 0, 6)]);
        let both = origins(&[("a", 0, 5), ("b", 0, 5)]);
        let array = |items: &[String]| format!("[{}]", items.join(", "));
        let cases = [
            // records, answer, results, why
            (&two, String::new(), ["null", "null"], "no answer"),
            (
                &two,
                " {\"n\": 2} ".to_owned(),
                ["{\"n\": 2}", "{\"n\": 2}"],
                "another shape is everybody's",
            ),
            (&two, "[1,2]".to_owned(), ["[1,2]", "[1,2]"], "also an array"),
            (&two, "[]".to_owned(), ["[]", "[]"], "also an empty one"),
            (
                &two,
                array(&[item("t", 0, 6, "{\"ok\":true}"), item("t", 0, 5, "\"x\"")]),
                ["\"x\"", "{\"ok\":true}"],
                "by coordinates, in any order",
            ),
            (
                &two,
                array(&[item("t", 0, 6, "1")]),
                ["null", "1"],
                "nothing was said about the first",
            ),
            (
                &two,
                array(&[item("renamed", 0, 5, "1")]),
                ["1", "null"],
                "a transform renamed the topic",
            ),
            (
                &both,
                array(&[item("b", 0, 5, "1")]),
                ["null", "1"],
                "the topic tells apart",
            ),
        ];
        for (records, answer, wanted, why) in cases {
            let found = results(records, &Bytes::from(answer)).unwrap();
            let found: Vec<&[u8]> = found.iter().map(|result| result.as_deref().unwrap()).collect();
            assert_eq!(found, wanted.map(str::as_bytes), "{why}");
        }
        let strange = array(&[item("t", 0, 7, "1")]);
        let found = results(&two, &Bytes::from(strange.clone())).unwrap();
        assert_eq!(
            found[0].as_deref(),
            Some(strange.as_bytes()),
            "a record that was not in the call"
        );
        assert_eq!(results(&two, &Bytes::from_static(b"no JSON")), Err("it is no JSON"));
        assert_eq!(results(&two, &Bytes::from_static(b"\xff")), Err("it is no JSON"));
    }
}

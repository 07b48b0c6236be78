//! How an outcome differs from what a case expects, by the rules of `tests/golden/README.md`. Works on the JSON alone, so
//! that what reads and writes it has another witness.

use serde_json::{Map, Value as Json};

type Difference = Result<(), String>;

fn differ(place: &str, got: &Json, wanted: &Json) -> Difference {
    Err(format!("{place}: got {got}, wanted {wanted}"))
}

fn equal(place: &str, got: &Json, wanted: &Json) -> Difference {
    if got == wanted {
        Ok(())
    } else {
        differ(place, got, wanted)
    }
}

/// Compares an outcome with the `expect` of a case.
pub(crate) fn outcome(got: &Json, wanted: &Json) -> Difference {
    if let Some(wanted) = wanted.get("record") {
        let got = got.get("record").ok_or_else(|| format!("got {got}, wanted {wanted}"))?;
        return record(got, wanted);
    }
    if wanted.get("dropped").is_some() {
        return equal("outcome", got, wanted);
    }
    error(&got["error"], &wanted["error"]).map_err(|what| format!("{what} in {got}"))
}

fn error(got: &Json, wanted: &Json) -> Difference {
    equal("stage", &got["stage"], &wanted["stage"])?;
    equal("part", &got["part"], wanted.get("part").unwrap_or(&Json::Null))?;
    equal(
        "transform",
        &got["transform"],
        wanted.get("transform").unwrap_or(&Json::Null),
    )?;
    // Classes of Java itself are accidents.
    let class = wanted["class"].as_str().unwrap_or_default();
    if class.starts_with("org.apache.kafka.") {
        equal("class", &got["class"], &wanted["class"])?;
    }
    let keys = wanted["errors"].as_object().into_iter().flat_map(Map::keys);
    for key in keys {
        if got["errors"].get(key).is_none() {
            return Err(format!("no error of {key}"));
        }
    }
    assert!(
        got["message"].is_string() && got["class"].is_string(),
        "incomplete: {got}"
    );
    Ok(())
}

/// Compares two records.
pub(crate) fn record(got: &Json, wanted: &Json) -> Difference {
    for member in ["topic", "partition", "offset", "timestamp", "timestampType"] {
        equal(member, &got[member], wanted.get(member).unwrap_or(&Json::Null))?;
    }
    // Not all cases whose topic changes say where the record was.
    if let Some(wanted) = wanted.get("originalTopic") {
        equal("originalTopic", &got["originalTopic"], wanted)?;
    }
    for part in ["key", "value"] {
        data(part, &got[part], &wanted[part])?;
    }
    let (got, wanted) = (&got["headers"], &wanted["headers"]);
    let (Some(got_headers), Some(wanted_headers)) = (got.as_array(), wanted.as_array()) else {
        return differ("headers", got, wanted);
    };
    if got_headers.len() != wanted_headers.len() {
        return differ("headers", got, wanted);
    }
    for (got, wanted) in got_headers.iter().zip(wanted_headers) {
        equal("header name", &got["name"], &wanted["name"])?;
        data("header", &got["value"], &wanted["value"])?;
    }
    Ok(())
}

/// Compares two envelopes of schema and payload.
pub(crate) fn data(place: &str, got: &Json, wanted: &Json) -> Difference {
    let place = &format!("{place} {got}");
    schema(place, &got["schema"], &wanted["schema"])?;
    value(place, &wanted["schema"], &got["payload"], &wanted["payload"])
}

fn schema(place: &str, got: &Json, wanted: &Json) -> Difference {
    let (Some(got_members), Some(wanted_members)) = (got.as_object(), wanted.as_object()) else {
        return equal(place, got, wanted);
    };
    if let Some(unknown) = got_members.keys().find(|key| {
        // What is absent is not optional.
        !wanted_members.contains_key(*key) && *key != "optional"
    }) {
        return Err(format!("{place}: {unknown} is not wanted"));
    }
    for member in wanted_members.keys() {
        let (got_member, wanted_member) = (&got[member], &wanted[member]);
        match member.as_str() {
            "items" | "keys" | "values" => schema(place, got_member, wanted_member)?,
            "default" => value(place, wanted, got_member, wanted_member)?,
            "fields" => {
                let (got, wanted) = (got_member.as_array().unwrap(), wanted_member.as_array().unwrap());
                if got.len() != wanted.len() {
                    return differ(place, got_member, wanted_member);
                }
                got.iter()
                    .zip(wanted)
                    .try_for_each(|(got, wanted)| schema(place, got, wanted))?;
            }
            _ => equal(place, got_member, wanted_member)?,
        }
    }
    if wanted.get("optional").is_none() && got["optional"] != Json::Bool(false) {
        return Err(format!("{place}: optional"));
    }
    Ok(())
}

fn value(place: &str, schema: &Json, got: &Json, wanted: &Json) -> Difference {
    match (got, wanted) {
        (Json::Number(_), Json::Number(_)) => number(place, schema, got, wanted),
        (Json::Object(got_members), Json::Object(wanted_members)) => {
            let is_struct = schema["type"] == "struct";
            let same_keys = if is_struct {
                got_members.keys().eq(wanted_members.keys())
            } else {
                got_members.len() == wanted_members.len()
            };
            if !same_keys {
                return differ(place, got, wanted);
            }
            wanted_members.iter().try_for_each(|(key, wanted)| {
                let of = if is_struct {
                    field(schema, key)
                } else {
                    &schema["values"]
                };
                let got = got_members.get(key).ok_or_else(|| format!("{place}: no {key}"))?;
                value(place, of, got, wanted)
            })
        }
        (Json::Array(got_items), Json::Array(wanted_items)) if got_items.len() == wanted_items.len() => {
            if schema["type"] == "map" {
                let has = |wanted: &Json| {
                    got_items.iter().any(|got| {
                        value(place, &schema["keys"], &got[0], &wanted[0]).is_ok()
                            && value(place, &schema["values"], &got[1], &wanted[1]).is_ok()
                    })
                };
                return match wanted_items.iter().find(|wanted| !has(wanted)) {
                    Some(missing) => differ(place, got, missing),
                    None => Ok(()),
                };
            }
            let mut items = got_items.iter().zip(wanted_items);
            items.try_for_each(|(got, wanted)| value(place, &schema["items"], got, wanted))
        }
        _ => equal(place, got, wanted),
    }
}

fn field<'a>(schema: &'a Json, name: &str) -> &'a Json {
    let fields = schema["fields"].as_array().into_iter().flatten();
    fields
        .into_iter()
        .find(|field| field["field"] == name)
        .unwrap_or(&Json::Null)
}

#[expect(clippy::cast_possible_truncation, reason = "rounded, as the cases say")]
fn number(place: &str, schema: &Json, got: &Json, wanted: &Json) -> Difference {
    let as_f32 = |number: &Json| number.as_f64().map(|number| number as f32);
    let is_same = match (got.as_i64(), wanted.as_i64()) {
        (Some(got), Some(wanted)) => got == wanted,
        _ if schema["type"] == "float" || schema.is_null() => as_f32(got) == as_f32(wanted),
        _ => got.as_f64() == wanted.as_f64(),
    };
    if is_same { Ok(()) } else { differ(place, got, wanted) }
}

use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;

/// What can be done to a map.
#[derive(Debug, Clone)]
enum Step {
    Insert(u8, i64),
    Remove(u8),
    Retain(u8),
    /// Adds to each key from the first on.
    Rename(u8, u8),
    Change(u8, i64),
}

fn name(key: u8) -> String {
    // Some are held in place, some are not.
    let long = if key.is_multiple_of(3) {
        "-with-a-name-that-is-long"
    } else {
        ""
    };
    format!("k{key}{long}")
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..40_u8;
    prop_oneof![
        4 => (key.clone(), any::<i64>()).prop_map(|(key, value)| Step::Insert(key, value)),
        1 => key.clone().prop_map(Step::Remove),
        1 => (2..7_u8).prop_map(Step::Retain),
        1 => (key.clone(), 0..4_u8).prop_map(|(from, by)| Step::Rename(from, by)),
        1 => (key, any::<i64>()).prop_map(|(key, value)| Step::Change(key, value)),
    ]
}

fn entries(map: &Map) -> Vec<(String, i64)> {
    let entries = map.iter().map(|(key, value)| match value {
        Value::Int64(number) => (key.as_str().unwrap().to_owned(), *number),
        other => panic!("{other:?}"),
    });
    entries.collect()
}

fn number(name: &str) -> u8 {
    let digits: String = name.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

proptest! {
    /// Against an `IndexMap`, whose order and hashing are the model; the sizes lie around the bound of the list.
    #[test]
    fn a_map_does_what_an_index_map_does(steps in prop::collection::vec(step(), 0..80)) {
        let mut map = Map::new();
        let mut model: IndexMap<String, i64> = IndexMap::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    let old = map.insert(name(key), Value::Int64(value));
                    prop_assert_eq!(old, model.insert(name(key), value).map(Value::Int64));
                }
                Step::Remove(key) => {
                    let old = map.remove(&name(key));
                    prop_assert_eq!(old, model.shift_remove(&name(key)).map(Value::Int64));
                }
                Step::Retain(divisor) => {
                    map.retain(|key, _| !number(key.as_str().unwrap()).is_multiple_of(divisor));
                    model.retain(|key, _| !number(key).is_multiple_of(divisor));
                }
                Step::Rename(from, by) => {
                    let renamed = |key: &str| Some(number(key)).filter(|key| *key >= from).map(|key| name((key + by) % 44));
                    map.rename(|key| renamed(key.as_str().unwrap()).map(Value::from));
                    model = model.into_iter().map(|(key, value)| (renamed(&key).unwrap_or(key), value)).collect();
                }
                Step::Change(key, value) => {
                    if let Some(place) = map.get_mut(&Value::from(name(key))) {
                        *place = Value::Int64(value);
                    }
                    if let Some(place) = model.get_mut(&name(key)) {
                        *place = value;
                    }
                }
            }
            let wanted: Vec<_> = model.iter().map(|(key, value)| (key.clone(), *value)).collect();
            prop_assert_eq!(entries(&map), wanted);
            prop_assert_eq!(map.len(), model.len());
            for key in 0..44 {
                let wanted = model.get(&name(key)).copied().map(Value::Int64);
                prop_assert_eq!(map.get(&name(key)), wanted.as_ref());
                prop_assert_eq!(map.get_value(&Value::from(name(key))), wanted.as_ref());
            }
        }
        let reversed: Map = map.clone().into_iter().collect::<Vec<_>>().into_iter().rev().collect();
        prop_assert_eq!(&map, &reversed, "order does not count");
        let mut other = map.clone();
        other.insert("another", Value::Null);
        prop_assert_ne!(&map, &other);
    }
}

#[test]
fn of_entries_that_come_to_have_one_key_the_last_value_stands_in_the_place_of_the_first() {
    let mut map: Map = [("a", 1), ("b", 2), ("c", 3)]
        .map(|(key, value)| (Value::from(key), Value::Int64(value)))
        .into_iter()
        .collect();
    map.rename(|key| (key.as_str() == Some("c")).then(|| Value::from("a")));
    assert_eq!(entries(&map), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    map.rename(|key| Some(Value::from(if key.as_str() == Some("a") { "b" } else { "a" })));
    assert_eq!(
        entries(&map),
        [("b".to_owned(), 3), ("a".to_owned(), 2)],
        "all at the same time"
    );
}

#[test]
fn hashes_know_entries_and_not_their_order() {
    let hash = |entries: &[(&str, i64)]| {
        let entries = entries
            .iter()
            .map(|(key, value)| (Value::from(*key), Value::Int64(*value)));
        let mut hasher = std::hash::DefaultHasher::new();
        entries.collect::<Map>().hash(&mut hasher);
        hasher.finish()
    };
    let of = hash(&[("a", 1), ("b", 2)]);
    assert_eq!(of, hash(&[("b", 2), ("a", 1)]));
    for other in [[("a", 2), ("b", 1)], [("a", 1), ("c", 2)], [("a", 1), ("b", 3)]] {
        assert_ne!(of, hash(&other), "{other:?}");
    }
}

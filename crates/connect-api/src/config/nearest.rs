/// Names longer than this are not compared: the work grows with the square of it.
const MAX_LENGTH: usize = 200;

/// The name among `known` that `name` is most likely a slip of: one that takes few edits to become it. None if all are
/// too far away.
///
/// ```
/// use klamm_connect_api::config::nearest;
/// assert_eq!(nearest("feild", ["field", "format"]), Some("field"));
/// assert_eq!(nearest("colour", ["field", "format"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let chars: Vec<char> = name.chars().collect();
    let most = (chars.len() / 3).max(2);
    let distances = known.into_iter().filter_map(|known| {
        let distance = distance(&chars, &known.chars().collect::<Vec<_>>())?;
        (distance <= most && distance < chars.len()).then_some((distance, known))
    });
    distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many characters have to be inserted, removed, replaced or swapped with their neighbour; case does not count.
fn distance(a: &[char], b: &[char]) -> Option<usize> {
    if a.len() > MAX_LENGTH || b.len() > MAX_LENGTH {
        return None;
    }
    // Of the last three rows of the table.
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, char) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(!char.eq_ignore_ascii_case(other));
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *char == b[j - 1] && a[i - 1] == *other {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_found() {
        let known = ["regex", "replacement", "static.field", "static.value", "topic.field"];
        let cases = [
            ("regx", Some("regex"), "a letter is missing"),
            ("replacment", Some("replacement"), "a letter is missing"),
            ("REGEX", Some("regex"), "case"),
            ("static.feild", Some("static.field"), "two letters change places"),
            ("topics.field", Some("topic.field"), "a letter too many"),
            ("delimiter", None, "another word"),
            ("r", None, "nothing of it is left"),
            ("", None, "nothing"),
        ];
        for (name, wanted, why) in cases {
            assert_eq!(nearest(name, known), wanted, "{name}: {why}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None, "no work without bound");
    }
}

//! Record -> destinations: which routes take the records of a topic.

use std::collections::HashMap;

use klamm_connect_api::sink::RouteIndex;
use klamm_java_compat::Pattern;

use crate::config::Topics;

/// Knows the routes of every topic.
#[derive(Debug, Default)]
pub(crate) struct Router {
    everywhere: Vec<RouteIndex>,
    named: HashMap<String, Vec<RouteIndex>>,
    matching: Vec<(Pattern, RouteIndex)>,
}

impl Router {
    /// A router over the routes' topics, in the order of the routes.
    pub(crate) fn new<'a>(topics: impl IntoIterator<Item = &'a Topics>) -> Self {
        let mut router = Self::default();
        for (index, topics) in topics.into_iter().enumerate() {
            let index = RouteIndex(index);
            match topics {
                Topics::All => router.everywhere.push(index),
                Topics::Matching(pattern) => router.matching.push((Pattern::clone(pattern), index)),
                Topics::Named(topics) => {
                    for topic in topics {
                        let routes = router.named.entry(topic.clone()).or_default();
                        if routes.last() != Some(&index) {
                            routes.push(index);
                        }
                    }
                }
            }
        }
        router
    }

    /// Appends the routes of `topic`. Says whether there are any.
    pub(crate) fn routes(&self, topic: &str, routes: &mut Vec<RouteIndex>) -> bool {
        let before = routes.len();
        routes.extend_from_slice(&self.everywhere);
        if let Some(named) = self.named.get(topic) {
            routes.extend_from_slice(named);
        }
        routes.extend(
            self.matching
                .iter()
                .filter(|(pattern, _)| matches(pattern, topic))
                .map(|(_, index)| *index),
        );
        routes.len() > before
    }
}

/// As for a subscription: a pattern that takes too many steps on a name does not match it.
pub(crate) fn matches(pattern: &Pattern, topic: &str) -> bool {
    pattern.matches(topic).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(topics: &[&str]) -> Topics {
        Topics::Named(topics.iter().map(|&topic| topic.to_owned()).collect())
    }

    #[test]
    fn a_topic_goes_to_every_route_that_takes_it_and_to_no_other() {
        let router = Router::new(&[
            named(&["orders", "refunds", "orders"]),
            named(&["orders"]),
            Topics::Matching(Box::new(Pattern::try_new("(?!pay-).*s").unwrap())),
        ]);
        let cases: [(&str, &[usize], &str); 5] = [
            ("orders", &[0, 1, 2], "fan-out, a repeated name counts once"),
            ("refunds", &[0, 2], "several topics to one function"),
            ("payments", &[2], "by pattern"),
            ("pay-slips", &[], "a look-ahead, as `topics.regex` takes it"),
            ("audit", &[], "nobody"),
        ];
        for (topic, wanted, why) in cases {
            let mut routes = Vec::new();
            assert_eq!(router.routes(topic, &mut routes), !wanted.is_empty(), "{why}");
            assert_eq!(routes.iter().map(|route| route.0).collect::<Vec<_>>(), wanted, "{why}");
        }
    }
}

//! The three grammars that name destinations: one function, functions by topic, routes.

use std::collections::HashSet;

use klamm_connect_api::ConfigError;

use super::super::function::FunctionRef;
use super::super::keys::{aliases, parse_map_entry, topic_regex};
use super::{Destination, FUNCTION, MAP, MODE, Planner, Topics};

impl Planner<'_> {
    /// `aws.lambda.function.name` or `aws.lambda.topic2function.map`.
    pub(super) fn shorthand(&mut self) -> Vec<Destination<'static>> {
        let function_key = if self.is_set("aws.lambda.function.arn") {
            "aws.lambda.function.arn"
        } else {
            FUNCTION
        };
        let multiple = match self.parsed.str(MODE) {
            Some(mode) => mode.eq_ignore_ascii_case("multiple"),
            None => return Vec::new(),
        };
        if multiple {
            if self.is_set(function_key) {
                self.error(
                    function_key,
                    format!("has no effect with `{MODE}=multiple`: leave it out, or set `{MODE}=single` and leave `{MAP}` out"),
                );
            }
            return self.mapped();
        }
        if self.is_set(MAP) {
            self.error(
                MAP,
                format!("has no effect with `{MODE}=single`: set `{MODE}=multiple`, or leave the map out"),
            );
        }
        let Some(text) = self.parsed.str(FUNCTION).filter(|text| !text.is_empty()) else {
            if !self.is_set(function_key) && !self.is_set(MAP) {
                self.error(
                    FUNCTION,
                    format!(
                        "names no function: set it, or `{MODE}=multiple` with `{MAP}`, or `routes` with \
                         `routes.<alias>.function`"
                    ),
                );
            }
            return Vec::new();
        };
        let Ok(function) = FunctionRef::parse(text) else {
            return Vec::new();
        };
        vec![Destination {
            name: function.label(),
            prefix: String::new(),
            function_key,
            function,
            topics: Topics::All,
        }]
    }

    /// The map's entries, those of one function as one route, in the order in which functions first stand.
    fn mapped(&mut self) -> Vec<Destination<'static>> {
        if !self.is_set(MAP) {
            self.error(
                MAP,
                format!("`{MODE}=multiple` needs it: accepted is `<topic>;<function>,<topic>;<function>`"),
            );
            return Vec::new();
        }
        let mut by_function: Vec<(FunctionRef, Vec<String>)> = Vec::new();
        for entry in self.parsed.list(MAP) {
            let Ok((topic, function)) = parse_map_entry(entry) else {
                continue;
            };
            let index = by_function
                .iter()
                .position(|(known, _)| *known == function)
                .unwrap_or_else(|| {
                    by_function.push((function, Vec::new()));
                    by_function.len() - 1
                });
            let topics = &mut by_function[index].1;
            if topics.iter().any(|known| known == topic) {
                let message = format!("entry `{entry}` stands twice: keep one of them");
                self.errors.push(ConfigError::new(MAP, message));
            } else {
                topics.push(topic.to_owned());
            }
        }
        let labels: Vec<String> = by_function.iter().map(|(function, _)| function.label()).collect();
        by_function
            .into_iter()
            .zip(&labels)
            .map(|((function, topics), label)| {
                let shared = labels.iter().filter(|other| *other == label).count() > 1;
                Destination {
                    name: if shared { function.to_string() } else { label.clone() },
                    prefix: String::new(),
                    function_key: MAP,
                    function,
                    topics: Topics::Named(topics),
                }
            })
            .collect()
    }

    /// `routes.<alias>.…`
    pub(super) fn routes(&mut self) -> Vec<Destination<'static>> {
        for key in [FUNCTION, "aws.lambda.function.arn", MAP] {
            if self.is_set(key) {
                self.error(key, "has no effect with `routes`: leave it out, or leave `routes` out");
            }
        }
        let listed = self.parsed.list("routes");
        let mut seen = HashSet::new();
        for alias in listed {
            if !seen.insert(alias) {
                self.errors.push(ConfigError::new(
                    "routes",
                    format!("`{alias}` stands twice: keep one of them"),
                ));
            }
        }
        aliases(self.raw)
            .into_iter()
            .filter_map(|alias| self.route_destination(&alias))
            .collect()
    }

    fn route_destination(&mut self, alias: &str) -> Option<Destination<'static>> {
        let prefix = format!("routes.{alias}.");
        let (topics_key, regex_key) = (format!("{prefix}topics"), format!("{prefix}topics.regex"));
        let topics = match (self.is_set(&topics_key), self.is_set(&regex_key)) {
            (true, true) => {
                self.error(regex_key, format!("`{topics_key}` is set too: keep one of them"));
                None
            }
            (false, false) => {
                self.error(
                    &topics_key,
                    format!("route `{alias}` takes no topics: set `{topics_key}` or `{regex_key}`"),
                );
                None
            }
            (true, false) => {
                let topics: Vec<_> = self
                    .parsed
                    .list(&topics_key)
                    .iter()
                    .filter(|topic| !topic.is_empty())
                    .cloned()
                    .collect();
                Some(Topics::Named(topics))
            }
            (false, true) => self
                .parsed
                .str(&regex_key)
                .and_then(|text| topic_regex(text).ok())
                .map(|pattern| Topics::Matching(Box::new(pattern))),
        };
        let function = self
            .parsed
            .str(&format!("{prefix}function"))
            .and_then(|text| FunctionRef::parse(text).ok());
        Some(Destination {
            name: alias.to_owned(),
            prefix,
            function_key: "function",
            function: function?,
            topics: topics?,
        })
    }
}

//! The three grammars that name destinations: one function, functions by topic, routes.

use std::collections::HashSet;

use klamm_connect_api::ConfigError;

use super::super::function::{FunctionRef, FunctionTemplate, parse_weighted};
use super::super::keys::{FUNCTION_ALIASES, aliases, parse_map_entry, topic_regex};
use super::{Callee, Destination, FUNCTION, MAP, MODE, Planner, Share, Topics};

impl Planner<'_> {
    /// `aws.lambda.function.name` or `aws.lambda.topic2function.map`.
    pub(super) fn shorthand(&mut self) -> Vec<Destination<'static>> {
        let function_key = FUNCTION_ALIASES
            .into_iter()
            .find(|key| self.is_set(key))
            .unwrap_or(FUNCTION);
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
            function: Callee::Function(function),
            topics: Topics::All,
            share: None,
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
                    function: Callee::Function(function),
                    topics: Topics::Named(topics),
                    share: None,
                }
            })
            .collect()
    }

    /// `routes.<alias>.…`
    pub(super) fn routes(&mut self) -> Vec<Destination<'static>> {
        for key in FUNCTION_ALIASES.into_iter().chain([FUNCTION, MAP]) {
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
            .flat_map(|alias| self.route_destinations(&alias))
            .collect()
    }

    fn route_destinations(&mut self, alias: &str) -> Vec<Destination<'static>> {
        let prefix = format!("routes.{alias}.");
        let topics = self.route_topics(alias, &prefix);
        match (
            self.is_set(&format!("{prefix}function")),
            self.is_set(&format!("{prefix}functions")),
        ) {
            (true, true) => {
                self.error(
                    format!("{prefix}functions"),
                    format!("`{prefix}function` is set too: keep one of them"),
                );
                Vec::new()
            }
            (false, false) => {
                self.error(
                    format!("{prefix}function"),
                    format!("route `{alias}` names no function: set it, or `{prefix}functions` with weights"),
                );
                Vec::new()
            }
            (true, false) => self.one_function(alias, prefix, topics),
            (false, true) => self.weighted_functions(alias, &prefix, topics),
        }
    }

    /// `routes.<alias>.function`: one, or one for each topic.
    fn one_function(&mut self, alias: &str, prefix: String, topics: Option<Topics>) -> Vec<Destination<'static>> {
        let allow_key = format!("{prefix}function.allow");
        let allow = self.parsed.str(&allow_key).filter(|text| !text.is_empty());
        let Some(text) = self.parsed.str(&format!("{prefix}function")) else {
            return Vec::new();
        };
        let destination = |name: String, prefix: &str, function: Callee, topics: Topics| Destination {
            name,
            prefix: prefix.to_owned(),
            function_key: "function",
            function,
            topics,
            share: None,
        };
        if !FunctionTemplate::is_one(text) {
            if allow.is_some() {
                self.error(
                    allow_key,
                    format!("has no effect without `${{topic}}` in `{prefix}function`: leave it out"),
                );
            }
            let function = FunctionRef::parse(text).ok();
            let destination = function
                .zip(topics)
                .map(|(function, topics)| destination(alias.to_owned(), &prefix, Callee::Function(function), topics));
            return destination.into_iter().collect();
        }
        let Some(allow) = allow else {
            if !self.is_set(&allow_key) {
                self.error(
                    allow_key,
                    format!(
                        "is missing: a topic's name chooses the function in `{prefix}function`, so say which functions may \
                         be called, such as `fn-.*`"
                    ),
                );
            }
            return Vec::new();
        };
        let (Ok(template), Ok(pattern), Some(topics)) = (FunctionTemplate::parse(text), topic_regex(allow), topics)
        else {
            return Vec::new();
        };
        let template = Box::new(FunctionTemplate::new(template, pattern, allow.to_owned()));
        // Each topic that is known by name has a route of its own, so that one function's troubles stay with it. Routes take
        // topics as transforms leave them, and the function comes from the topic as consumed: both are known to be the
        // same only without transforms.
        let names = match topics {
            Topics::Named(names) if !self.is_set("transforms") => names,
            topics => {
                let function = Callee::ByTopic(template);
                return vec![destination(alias.to_owned(), &prefix, function, topics)];
            }
        };
        let mut destinations = Vec::with_capacity(names.len());
        for topic in names {
            match template.of(&topic) {
                Ok(function) => destinations.push(destination(
                    format!("{alias}/{topic}"),
                    &prefix,
                    Callee::Function(function),
                    Topics::Named(vec![topic]),
                )),
                Err(why) => self.error(format!("{prefix}function"), format!("topic `{topic}`: {why}")),
            }
        }
        destinations
    }

    /// `routes.<alias>.functions`: a route for each, with its share of the records.
    fn weighted_functions(&mut self, alias: &str, prefix: &str, topics: Option<Topics>) -> Vec<Destination<'static>> {
        let key = format!("{prefix}functions");
        let mut functions: Vec<(FunctionRef, u32)> = Vec::new();
        for entry in self.parsed.list(&key) {
            let Ok((function, weight)) = parse_weighted(entry) else {
                continue;
            };
            if functions.iter().any(|(known, _)| *known == function) {
                self.errors.push(ConfigError::new(
                    &key,
                    format!("`{function}` stands twice: keep one of them"),
                ));
            }
            functions.push((function, weight));
        }
        let of = functions.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut start = 0;
        let destinations =
            functions
                .into_iter()
                .zip(std::iter::repeat(topics))
                .filter_map(|((function, weight), topics)| {
                    let range = start..start + u64::from(weight);
                    start = range.end;
                    Some(Destination {
                        name: format!("{alias}/{}", function.label()),
                        prefix: prefix.to_owned(),
                        function_key: "functions",
                        function: Callee::Function(function),
                        topics: topics?,
                        share: Some(Share { range, of }),
                    })
                });
        destinations.collect()
    }

    fn route_topics(&mut self, alias: &str, prefix: &str) -> Option<Topics> {
        let (topics_key, regex_key) = (format!("{prefix}topics"), format!("{prefix}topics.regex"));
        match (self.is_set(&topics_key), self.is_set(&regex_key)) {
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
            (false, true) => self.parsed.str(&regex_key).and_then(|text| {
                let pattern = Box::new(topic_regex(text).ok()?);
                let text = text.to_owned();
                Some(Topics::Matching { text, pattern })
            }),
        }
    }
}

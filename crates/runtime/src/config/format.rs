//! Confluent Cloud's formats: one word in place of a converter's class and its settings.

use klamm_connect_api::RawConfig;

use super::stripped;

/// `input.data.format` and `input.key.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputFormat {
    Avro,
    JsonSchema,
    Protobuf,
    Json,
    String,
    Bytes,
}

const ALL: [(&str, InputFormat); 6] = [
    ("AVRO", InputFormat::Avro),
    ("JSON_SR", InputFormat::JsonSchema),
    ("PROTOBUF", InputFormat::Protobuf),
    ("JSON", InputFormat::Json),
    ("STRING", InputFormat::String),
    ("BYTES", InputFormat::Bytes),
];

/// Beginnings of settings of a schema registry that Cloud has once for a connector, not for each converter.
const SHARED: [&str; 7] = [
    "schema.registry.",
    "schema.context",
    "basic.auth.",
    "bearer.auth.",
    "proxy.",
    "request.header.",
    "use.latest.",
];
const CONTEXT: &str = "schema.context.name";

/// Whether a setting is about the registry of all converters that a format chooses.
pub(super) fn is_shared(key: &str) -> bool {
    SHARED.iter().any(|start| key.starts_with(start))
}

impl InputFormat {
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.trim();
        ALL.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, format)| *format)
    }

    /// For errors: which formats there are.
    pub(super) fn known() -> String {
        format!("Value must be one of: {}", ALL.map(|(name, _)| name).join(", "))
    }

    /// The class that reads it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Avro => "io.confluent.connect.avro.AvroConverter",
            Self::JsonSchema => "io.confluent.connect.json.JsonSchemaConverter",
            Self::Protobuf => "io.confluent.connect.protobuf.ProtobufConverter",
            Self::Json => "org.apache.kafka.connect.json.JsonConverter",
            Self::String => "org.apache.kafka.connect.storage.StringConverter",
            Self::Bytes => "org.apache.kafka.connect.converters.ByteArrayConverter",
        }
    }

    fn has_registry(self) -> bool {
        match self {
            Self::Avro | Self::JsonSchema | Self::Protobuf => true,
            Self::Json | Self::String | Self::Bytes => false,
        }
    }

    /// The converter's settings: the connector's own under `<converter>.`, then what the connector says about the
    /// registry for all its converters, then the registry of the worker's converter.
    pub(super) fn settings(self, converter: &str, raw: &RawConfig, worker: &RawConfig) -> RawConfig {
        let prefix = format!("{converter}.");
        let mut settings = stripped(raw, &prefix);
        if self == Self::Json {
            // Cloud's JSON has no envelope.
            settings
                .entry("schemas.enable".to_owned())
                .or_insert_with(|| "false".to_owned());
        }
        if !self.has_registry() {
            return settings;
        }
        let shared = |from: &RawConfig| -> Vec<(String, String)> {
            let all = from.iter().filter(|(key, _)| is_shared(key));
            all.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        for (key, value) in shared(raw) {
            // Cloud's word for having none.
            if key != CONTEXT || value != "default" {
                settings.entry(key).or_insert(value);
            }
        }
        // The worker's credentials go the worker's way or not at all: a connector that says anything of its own about who
        // is asked and how (an address, a token's issuer, a proxy, a trust store) could lead them elsewhere.
        let leads_elsewhere = |key: &String| is_shared(key) && !key.starts_with("use.latest.") && key != CONTEXT;
        if !settings.keys().any(leads_elsewhere) {
            for (key, value) in shared(&stripped(worker, &prefix)) {
                settings.entry(key).or_insert(value);
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "schema.registry.url";

    fn config(entries: &[(&str, &str)]) -> RawConfig {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn settings_of_the_registry_come_from_the_nearest_place() {
        let url = |settings: &RawConfig| settings.get(URL).cloned().unwrap_or_default();
        let worker = config(&[
            ("value.converter.schema.registry.url", "http://worker"),
            ("value.converter.basic.auth.user.info", "w:w"),
            ("value.converter.schemas.enable", "true"),
        ]);
        let own = config(&[
            ("value.converter.schema.registry.url", "http://own"),
            ("schema.registry.url", "http://shared"),
            ("schema.context.name", "default"),
            ("value.converter.use.latest.version", "true"),
        ]);
        let shared = config(&[
            ("schema.registry.url", "http://shared"),
            ("schema.context.name", ".blue"),
        ]);
        let avro = |raw: &RawConfig| InputFormat::Avro.settings("value.converter", raw, &worker);
        assert_eq!(url(&avro(&own)), "http://own");
        assert_eq!(avro(&own).get(CONTEXT), None, "the default context is no context");
        assert_eq!(avro(&own).get("use.latest.version").map(String::as_str), Some("true"));
        assert_eq!(url(&avro(&shared)), "http://shared");
        assert_eq!(
            avro(&shared).get("basic.auth.user.info"),
            None,
            "the worker's credentials are for the worker's registry"
        );
        for own in [
            ("bearer.auth.issuer.endpoint.url", "http://elsewhere"),
            ("proxy.host", "elsewhere"),
            ("value.converter.schema.registry.ssl.truststore.certificates", "own"),
        ] {
            let settings = avro(&config(&[own]));
            assert_eq!(url(&settings), "", "{own:?}");
            assert_eq!(
                settings.get("basic.auth.user.info"),
                None,
                "{own:?} leads credentials elsewhere"
            );
        }
        let latest = avro(&config(&[
            ("value.converter.use.latest.version", "true"),
            (CONTEXT, ".blue"),
        ]));
        assert_eq!(
            url(&latest),
            "http://worker",
            "what leads nowhere keeps the worker's registry"
        );
        let from_worker = avro(&RawConfig::new());
        assert_eq!(url(&from_worker), "http://worker");
        assert_eq!(from_worker.get("basic.auth.user.info").map(String::as_str), Some("w:w"));
        let json = |raw: &RawConfig| InputFormat::Json.settings("value.converter", raw, &worker);
        assert_eq!(json(&own).get("schemas.enable").map(String::as_str), Some("false"));
        let enveloped = config(&[("value.converter.schemas.enable", "true")]);
        assert_eq!(json(&enveloped).get("schemas.enable").map(String::as_str), Some("true"));
    }

    #[test]
    fn formats_are_words_of_any_case() {
        assert_eq!(InputFormat::of(" json_sr "), Some(InputFormat::JsonSchema));
        assert_eq!(InputFormat::of("XML"), None);
    }
}

//! Which plugins a worker has, and by which names users may call them.

use std::sync::Arc;

use klamm_connect_api::failures::FailureDestinations;
use klamm_connect_api::provider::ConfigProviderPlugin;
use klamm_connect_api::sink::SinkConnector;
use klamm_connect_api::{
    ConfigDef, ConverterPlugin, HeaderConverterPlugin, PluginInfo, PluginKind, PredicatePlugin, RawConfig,
    TransformPlugin,
};

/// The plugins of a worker. The binary fills it with everything that ships; a service that embeds a worker may add
/// its own.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    sinks: Vec<Arc<dyn SinkConnector>>,
    converters: Vec<ConverterPlugin>,
    header_converters: Vec<HeaderConverterPlugin>,
    transforms: Vec<TransformPlugin>,
    predicates: Vec<PredicatePlugin>,
    failure_destinations: Vec<Arc<dyn FailureDestinations>>,
    config_providers: Vec<Arc<dyn ConfigProviderPlugin>>,
}

impl Plugins {
    /// No plugins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sink connector.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn SinkConnector>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Adds converters of keys and values.
    #[must_use]
    pub fn with_converters(mut self, converters: impl IntoIterator<Item = ConverterPlugin>) -> Self {
        self.converters.extend(converters);
        self
    }

    /// Adds converters of header values.
    #[must_use]
    pub fn with_header_converters(mut self, converters: impl IntoIterator<Item = HeaderConverterPlugin>) -> Self {
        self.header_converters.extend(converters);
        self
    }

    /// Adds transforms.
    #[must_use]
    pub fn with_transforms(mut self, transforms: impl IntoIterator<Item = TransformPlugin>) -> Self {
        self.transforms.extend(transforms);
        self
    }

    /// Adds predicates.
    #[must_use]
    pub fn with_predicates(mut self, predicates: impl IntoIterator<Item = PredicatePlugin>) -> Self {
        self.predicates.extend(predicates);
        self
    }

    /// Adds a kind of destinations for failed records.
    #[must_use]
    pub fn with_failure_destinations(mut self, destinations: Arc<dyn FailureDestinations>) -> Self {
        self.failure_destinations.push(destinations);
        self
    }

    /// The kinds of destinations for failed records.
    #[must_use]
    pub fn failure_destinations(&self) -> &[Arc<dyn FailureDestinations>] {
        &self.failure_destinations
    }

    /// Adds kinds of config providers, beside those of Kafka that every worker has.
    #[must_use]
    pub fn with_config_providers(mut self, providers: impl IntoIterator<Item = Arc<dyn ConfigProviderPlugin>>) -> Self {
        self.config_providers.extend(providers);
        self
    }

    /// The kinds of config providers that were added.
    #[must_use]
    pub fn config_providers(&self) -> &[Arc<dyn ConfigProviderPlugin>] {
        &self.config_providers
    }

    /// The sink connector that `name` means.
    #[must_use]
    pub fn sink(&self, name: &str) -> Option<&Arc<dyn SinkConnector>> {
        self.sinks.iter().find(|sink| answers_to(sink.info(), name))
    }

    /// The converter that `name` means.
    #[must_use]
    pub fn converter(&self, name: &str) -> Option<&ConverterPlugin> {
        self.converters.iter().find(|plugin| answers_to(&plugin.info, name))
    }

    /// The header converter that `name` means.
    #[must_use]
    pub fn header_converter(&self, name: &str) -> Option<&HeaderConverterPlugin> {
        self.header_converters
            .iter()
            .find(|plugin| answers_to(&plugin.info, name))
    }

    /// The converters.
    #[must_use]
    pub fn converters(&self) -> &[ConverterPlugin] {
        &self.converters
    }

    /// The header converters.
    #[must_use]
    pub fn header_converters(&self) -> &[HeaderConverterPlugin] {
        &self.header_converters
    }

    /// The transforms.
    #[must_use]
    pub fn transforms(&self) -> &[TransformPlugin] {
        &self.transforms
    }

    /// The predicates.
    #[must_use]
    pub fn predicates(&self) -> &[PredicatePlugin] {
        &self.predicates
    }

    /// All plugins in Connect's order: sinks, transforms, predicates, converters, header converters.
    pub fn infos(&self) -> impl Iterator<Item = &PluginInfo> {
        let sinks = self.sinks.iter().map(|plugin| plugin.info());
        sinks
            .chain(self.transforms.iter().map(|plugin| &plugin.info))
            .chain(self.predicates.iter().map(|plugin| &plugin.info))
            .chain(self.converters.iter().map(|plugin| &plugin.info))
            .chain(self.header_converters.iter().map(|plugin| &plugin.info))
    }

    /// The plugin of any kind that `name` means.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&PluginInfo> {
        self.infos().find(|info| answers_to(info, name))
    }

    /// The settings of the plugin of any kind that `name` means, for `GET /connector-plugins/{name}/config`.
    #[must_use]
    pub fn config_def(&self, name: &str) -> Option<ConfigDef> {
        let sink = self.sink(name).map(|sink| sink.config_def(&RawConfig::new()));
        let transform = || {
            self.transforms
                .iter()
                .find(|plugin| answers_to(&plugin.info, name))
                .map(|p| (p.config_def)())
        };
        let predicate = || {
            self.predicates
                .iter()
                .find(|plugin| answers_to(&plugin.info, name))
                .map(|p| (p.config_def)())
        };
        let converter = || self.converter(name).map(|plugin| (plugin.config_def)());
        let header = || self.header_converter(name).map(|plugin| (plugin.config_def)());
        sink.or_else(transform)
            .or_else(predicate)
            .or_else(converter)
            .or_else(header)
    }

    /// Class names of the sink connectors, for error texts.
    #[must_use]
    pub fn sink_classes(&self) -> String {
        self.sinks
            .iter()
            .map(|sink| sink.info().class)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Connect's rule: the class name, the simple class name, or that without the suffix of its kind; and the plugin's
/// own aliases.
fn answers_to(info: &PluginInfo, name: &str) -> bool {
    if info.class == name || info.aliases.contains(&name) {
        return true;
    }
    let simple = info.class.rsplit('.').next().unwrap_or(info.class);
    let suffixes: &[&str] = match info.kind {
        PluginKind::Sink => &["Connector"],
        PluginKind::Transformation => &["Transformation"],
        PluginKind::Predicate => &["Predicate"],
        PluginKind::Converter => &["Converter"],
        PluginKind::HeaderConverter => &["HeaderConverter", "Converter"],
    };
    simple == name
        || suffixes
            .iter()
            .any(|suffix| simple.strip_suffix(suffix).is_some_and(|short| short == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_answers_to_class_simple_name_short_name_and_aliases() {
        let info = PluginInfo {
            kind: PluginKind::Sink,
            class: "io.acme.FooSinkConnector",
            aliases: &["Fancy"],
            version: "1",
        };
        let cases = [
            ("io.acme.FooSinkConnector", true, "class"),
            ("FooSinkConnector", true, "simple class name"),
            ("FooSink", true, "without the suffix of its kind"),
            ("Fancy", true, "alias"),
            ("Foo", false, "FooSinkConnector is FooSink, never Foo"),
            ("", false, "empty"),
        ];
        for (name, wanted, why) in cases {
            assert_eq!(answers_to(&info, name), wanted, "{name}: {why}");
        }
    }
}

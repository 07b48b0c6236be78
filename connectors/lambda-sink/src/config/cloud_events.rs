//! The settings of `event.format=cloudevents`: attributes as templates.

use klamm_connect_api::config::Validator;
use klamm_connect_api::{ConfigKey, ConfigType, Importance};

use crate::template::{Placeholder, Template};

pub(crate) const ID: &str = "cloudevents.id";
pub(crate) const SOURCE: &str = "cloudevents.source";
pub(crate) const TYPE: &str = "cloudevents.type";
pub(crate) const SUBJECT: &str = "cloudevents.subject";
pub(super) const KEYS: [&str; 4] = [ID, SOURCE, TYPE, SUBJECT];

/// Reads the template of an attribute.
pub(super) fn parse(key: &str, text: &str) -> Result<Template, String> {
    use Placeholder::{Key, Offset, Partition, Topic};
    let accepted: &[Placeholder] = match key {
        ID => &[Topic, Partition, Offset],
        // A key may hold anything, which a URI and a name may not.
        SOURCE => &[Topic, Partition],
        TYPE => &[Topic],
        _ => &[Topic, Partition, Offset, Key],
    };
    let template = Template::parse(text, accepted)?;
    if template.pieces().is_empty() && key != SUBJECT {
        return Err("Value must not be empty: CloudEvents require this attribute".to_owned());
    }
    if key == SOURCE && text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{text}` is no URI: it may not hold spaces"));
    }
    Ok(template)
}

pub(super) fn keys() -> Vec<ConfigKey> {
    let key = |name: &'static str, default: &str, doc: &str| {
        ConfigKey::new(name, ConfigType::String, Importance::Low, doc)
            .default(default)
            .validator(Validator::new(move |text| parse(name, text).map(|_| ())))
    };
    vec![
        key(
            ID,
            "${topic}-${partition}-${offset}",
            "The attribute `id` of `event.format=cloudevents`. `${topic}`, `${partition}` and `${offset}` are those of the \
             record as consumed; with `source` they have to name each record once.",
        ),
        key(
            SOURCE,
            "kafka:${topic}",
            "The attribute `source` of `event.format=cloudevents`, a URI; may hold `${topic}` and `${partition}`. Name the \
             cluster in it if functions get the same topic from several.",
        ),
        key(
            TYPE,
            "kafka.record",
            "The attribute `type` of `event.format=cloudevents`; may hold `${topic}`.",
        ),
        key(
            SUBJECT,
            "${key}",
            "The attribute `subject` of `event.format=cloudevents`; may hold `${topic}`, `${partition}`, `${offset}` and \
             `${key}`. Left out for a record that has no key to fill in, and by an empty setting.",
        ),
    ]
}

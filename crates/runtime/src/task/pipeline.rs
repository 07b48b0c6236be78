//! What happens to one record between Kafka and delivery: convert, transform, route, encode. In order, on its
//! partition's own actor.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use klamm_connect_api::delivery::{ErrorPolicy, Ordering};
use klamm_connect_api::sink::{EncodeError, RouteError, RouteIndex, Sink};
use klamm_connect_api::{DataError, DataErrorKind, Datum, Header, Origin, Record, TimestampType, TopicPartition};
use klamm_delivery::{Delivery, Destinations};
use klamm_kafka::ConsumedRecord;
use tracing::warn;

use super::counters::Counters;
use super::letters::LetterBox;
use crate::config::{ConnectorConfig, Tolerance};
use crate::herder::ActiveTopic;

/// Where in Connect's words a record failed (KIP-298).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    KeyConverter,
    ValueConverter,
    HeaderConverter,
    Transformation,
    TaskPut,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KeyConverter => "KEY_CONVERTER",
            Self::ValueConverter => "VALUE_CONVERTER",
            Self::HeaderConverter => "HEADER_CONVERTER",
            Self::Transformation => "TRANSFORMATION",
            Self::TaskPut => "TASK_PUT",
        }
    }
}

/// A record that cannot go on.
#[derive(Debug, Clone)]
pub(crate) struct RecordFailure {
    pub(crate) origin: Origin,
    pub(crate) timestamp: Option<i64>,
    pub(crate) stage: Stage,
    /// Class of the converter, transform or sink that failed.
    pub(crate) class: &'static str,
    pub(crate) error: DataError,
}

impl RecordFailure {
    /// What a person can do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self.stage {
            Stage::TaskPut => {
                "mend the configuration and restart the task, or set `behavior.on.error=log` to skip such records, or `dlq`"
            }
            Stage::KeyConverter | Stage::ValueConverter | Stage::HeaderConverter | Stage::Transformation => {
                "mend the record's producer or the configuration and restart the task, or set `errors.tolerance=all` to \
                 skip such records"
            }
        }
    }

    /// What decides about the record.
    pub(crate) fn consequence(&self, config: &ConnectorConfig, sink: &dyn Sink) -> Consequence {
        let has_queue = config.letters.keeps_failures();
        let log = config.errors.log;
        if self.stage == Stage::TaskPut {
            return match sink.unrouted_policy() {
                ErrorPolicy::Fail => Consequence::Fail { is_reported: false },
                ErrorPolicy::Log => Consequence::Skip { log: true },
                ErrorPolicy::Ignore => Consequence::Skip { log: false },
                ErrorPolicy::DeadLetter => Consequence::DeadLetter { log },
            };
        }
        match config.errors.tolerance {
            Tolerance::None => Consequence::Fail { is_reported: has_queue },
            Tolerance::All if has_queue => Consequence::DeadLetter { log },
            Tolerance::All => Consequence::Skip { log },
        }
    }
}

impl fmt::Display for RecordFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = self.advice();
        write!(
            f,
            "record {} failed in stage {} with class {}: {}: {}. Its offset is not committed: {advice}",
            self.origin,
            self.stage.name(),
            self.class,
            self.error.kind().java_class(),
            self.error,
        )
    }
}

/// What becomes of a record that failed before delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// The task fails; its dead letter may be written before, as Connect does under `errors.tolerance=none`.
    Fail {
        is_reported: bool,
    },
    Skip {
        log: bool,
    },
    DeadLetter {
        log: bool,
    },
}

/// Converts, transforms, routes and encodes the records of one partition.
#[derive(Debug)]
pub(crate) struct Pipeline {
    config: Arc<ConnectorConfig>,
    sink: Arc<dyn Sink>,
    topic_partition: TopicPartition,
    counters: Arc<Counters>,
    hashes_keys: bool,
    letters: Option<Arc<LetterBox>>,
    active_topic: ActiveTopic,
    /// Kept between records, so that routing allocates nothing.
    routes: Vec<RouteIndex>,
    /// Records that could not be encoded for a route that is not required.
    passed_by: u64,
}

impl Pipeline {
    pub(super) fn new(
        config: Arc<ConnectorConfig>,
        sink: Arc<dyn Sink>,
        topic_partition: TopicPartition,
        counters: Arc<Counters>,
        letters: Option<Arc<LetterBox>>,
        active_topic: ActiveTopic,
    ) -> Self {
        let hashes_keys = sink
            .routes()
            .iter()
            .any(|route| route.delivery.ordering == Ordering::Key);
        Self {
            config,
            sink,
            topic_partition,
            counters,
            hashes_keys,
            letters,
            active_topic,
            routes: Vec::new(),
            passed_by: 0,
        }
    }

    pub(crate) fn config(&self) -> &ConnectorConfig {
        &self.config
    }

    pub(crate) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where records are kept, if the connector keeps any.
    pub(super) fn letters(&self) -> Option<&Arc<LetterBox>> {
        self.letters.as_ref()
    }

    /// A delivery that is done at once: the record was filtered or skipped.
    pub(crate) fn nothing(&self, consumed: &ConsumedRecord) -> Delivery {
        let origin = self.origin(consumed);
        Delivery {
            origin,
            timestamp: timestamp(consumed),
            key_hash: None,
            routes: Destinations::new(),
            original: None,
            dead_letter: None,
        }
    }

    /// Takes a record to the brink of delivery.
    ///
    /// # Errors
    /// The failure to be handled under `errors.*`; or, of the kind [`NotReady`](klamm_connect_api::DataErrorKind::NotReady), the wish for
    /// [`Pipeline::prepare`].
    pub(crate) fn process(&mut self, consumed: &ConsumedRecord) -> Result<Delivery, Box<RecordFailure>> {
        let record = self.convert(consumed)?;
        self.active_topic.note();
        let transformed = self.config.chain.apply(record).map_err(|failure| {
            let class = failure.class;
            self.failure(consumed, Stage::Transformation, class, failure.into_error())
        })?;
        let Some(mut record) = transformed else {
            return Ok(self.nothing(consumed));
        };
        self.routes.clear();
        match self.sink.route(&mut record, &mut self.routes) {
            Ok(()) => {}
            Err(RouteError::NoRoute(message)) => {
                let class = self.config.sink.info().class;
                return Err(self.failure(consumed, Stage::TaskPut, class, DataError::data(message)));
            }
            Err(RouteError::Encode(error)) => return Err(self.encode_failure(consumed, &error)),
        }
        let mut delivery = self.nothing(consumed);
        delivery.key_hash = if self.hashes_keys {
            consumed.key.as_ref().map(hash)
        } else {
            None
        };
        if let Some(letters) = &self.letters {
            let kept = letters.keep(consumed, &record.key, &self.routes);
            delivery.original = kept.map_err(|error| self.encode_failure(consumed, &error))?;
        }
        for index in &self.routes {
            let error = match self.sink.encode(*index, &record) {
                Ok(encoded) => {
                    delivery.routes.push((*index, encoded));
                    continue;
                }
                Err(error) => error,
            };
            let route = self.sink.routes().get(index.0);
            match route.filter(|route| !route.delivery.is_required) {
                Some(route) if error.data_error().kind() != DataErrorKind::NotReady => {
                    // A line at the first such record, and whenever there are twice as many.
                    self.passed_by += 1;
                    if self.passed_by.is_power_of_two() {
                        let (route, record, records) = (&*route.name, record.origin(), self.passed_by);
                        warn!(route, %record, records, %error, "records that have no form for it pass a route by that is not required");
                    }
                }
                _ => return Err(self.encode_failure(consumed, &error)),
            }
        }
        Ok(delivery)
    }

    /// Fetches what the converters lack for a record.
    pub(crate) async fn prepare(&self, consumed: &ConsumedRecord) -> Result<(), Box<RecordFailure>> {
        let topic = self.topic_partition.topic();
        let parts = [
            (&self.config.key_converter, Stage::KeyConverter, &consumed.key),
            (&self.config.value_converter, Stage::ValueConverter, &consumed.value),
        ];
        for ((class, converter), stage, bytes) in parts {
            converter
                .prepare(topic, &consumed.headers, bytes.as_ref())
                .await
                .map_err(|error| self.failure(consumed, stage, class, error))?;
        }
        Ok(())
    }

    fn convert(&self, consumed: &ConsumedRecord) -> Result<Record, Box<RecordFailure>> {
        let topic = self.topic_partition.topic();
        let headers = &consumed.headers;
        let (class, converter) = (self.config.key_converter.0, &self.config.key_converter.1);
        let key = converter
            .to_connect(topic, headers, consumed.key.as_ref())
            .map_err(|error| self.failure(consumed, Stage::KeyConverter, class, error))?;
        let (class, converter) = (self.config.value_converter.0, &self.config.value_converter.1);
        let value = converter
            .to_connect(topic, headers, consumed.value.as_ref())
            .map_err(|error| self.failure(consumed, Stage::ValueConverter, class, error))?;
        let mut record = Record::new(self.origin(consumed), key, value);
        record.timestamp = timestamp(consumed);
        record.timestamp_type = timestamp_type(consumed);
        if !headers.is_empty() {
            let (class, converter) = (self.config.header_converter.0, &self.config.header_converter.1);
            let convert = |(key, value): &(bytes::Bytes, Option<bytes::Bytes>)| {
                let key = String::from_utf8_lossy(key);
                let value: Datum = converter.to_connect_header(topic, &key, value.as_ref())?;
                Ok(Header {
                    key: Arc::from(key),
                    value,
                })
            };
            let converted: Result<_, DataError> = headers.iter().map(convert).collect();
            record.headers = converted.map_err(|error| self.failure(consumed, Stage::HeaderConverter, class, error))?;
        }
        Ok(record)
    }

    fn origin(&self, consumed: &ConsumedRecord) -> Origin {
        Origin {
            topic_partition: self.topic_partition.clone(),
            offset: consumed.offset,
        }
    }

    fn encode_failure(&self, consumed: &ConsumedRecord, error: &EncodeError) -> Box<RecordFailure> {
        let (stage, class) = match error {
            EncodeError::Key(_) => (Stage::KeyConverter, self.config.key_converter.0),
            EncodeError::Value(_) => (Stage::ValueConverter, self.config.value_converter.0),
            EncodeError::Header(_) => (Stage::HeaderConverter, self.config.header_converter.0),
        };
        self.failure(consumed, stage, class, error.data_error().clone())
    }

    fn failure(
        &self,
        consumed: &ConsumedRecord,
        stage: Stage,
        class: &'static str,
        error: DataError,
    ) -> Box<RecordFailure> {
        Box::new(RecordFailure {
            origin: self.origin(consumed),
            timestamp: timestamp(consumed),
            stage,
            class,
            error,
        })
    }
}

/// Kafka writes "no timestamp" as -1.
pub(crate) fn timestamp(consumed: &ConsumedRecord) -> Option<i64> {
    (consumed.timestamp >= 0).then_some(consumed.timestamp)
}

/// Whose clock the timestamp comes from, in Connect's words.
pub(crate) fn timestamp_type(consumed: &ConsumedRecord) -> TimestampType {
    match consumed.timestamp_type {
        _ if timestamp(consumed).is_none() => TimestampType::NoTimestampType,
        klamm_kafka::TimestampType::CreateTime => TimestampType::CreateTime,
        klamm_kafka::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
    }
}

/// Keys in one lane must not overtake each other; two keys that share a hash only wait for each other needlessly.
fn hash(key: &bytes::Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::delivery::{DeliveryDefaults, DeliverySettings};
    use klamm_connect_api::sink::{
        Call, Encoded, LimitKey, LimitKeys, PayloadBuilder, Route, SinkConnector, SinkContext, Verdict,
    };
    use klamm_connect_api::{
        BoxFuture, ConfigDef, ConfigError, ConfigErrors, Map, ParsedConfig, PluginInfo, PluginKind, RawConfig,
        SchemaAndValue, Value,
    };

    use super::*;
    use crate::config::WorkerConfig;
    use crate::plugins::Plugins;

    /// Sends every record to all its routes, and has no form for those of offset 7 on the last one.
    #[derive(Debug)]
    struct TwoRoutes {
        routes: [Route; 2],
        error: DataErrorKind,
    }

    impl TwoRoutes {
        fn new(last_is_required: bool, error: DataErrorKind) -> Arc<Self> {
            let config = ConfigDef::new().parse(&RawConfig::new()).unwrap();
            let defaults = DeliveryDefaults {
                ordering: Ordering::None,
                batch_bytes_limit: 1000,
                call_timeout: std::time::Duration::from_secs(1),
            };
            let route = |name: &str, is_required| Route {
                name: name.into(),
                destination: name.into(),
                resource: name.into(),
                limits: LimitKeys {
                    function: LimitKey::new(name),
                    account: LimitKey::new(""),
                },
                delivery: DeliverySettings {
                    is_required,
                    ..DeliverySettings::from_config(&config.scope(), &defaults).unwrap()
                },
            };
            let routes = [route("first", true), route("last", last_is_required)];
            Arc::new(Self { routes, error })
        }
    }

    impl Sink for TwoRoutes {
        fn routes(&self) -> &[Route] {
            &self.routes
        }

        fn route(&self, _: &mut Record, routes: &mut Vec<RouteIndex>) -> Result<(), RouteError> {
            routes.extend([RouteIndex(0), RouteIndex(1)]);
            Ok(())
        }

        fn encode(&self, route: RouteIndex, record: &Record) -> Result<Encoded, EncodeError> {
            if route.0 == 1 && record.origin().offset == 7 {
                return Err(EncodeError::Value(DataError::new(self.error, "no form")));
            }
            Ok(Encoded::from(Vec::new()))
        }

        fn payload_builder(&self, _: RouteIndex) -> Box<dyn PayloadBuilder> {
            unreachable!("nothing is sent")
        }

        fn send(&self, _: Call) -> BoxFuture<'_, Verdict> {
            unreachable!("nothing is sent")
        }

        fn unrouted_policy(&self) -> ErrorPolicy {
            ErrorPolicy::Fail
        }
    }

    #[derive(Debug)]
    struct Connector(PluginInfo);

    impl SinkConnector for Connector {
        fn info(&self) -> &PluginInfo {
            &self.0
        }

        fn config_def(&self, _: &RawConfig) -> ConfigDef {
            ConfigDef::new()
        }

        fn validate(&self, _: &RawConfig, _: &ParsedConfig) -> Vec<ConfigError> {
            Vec::new()
        }

        fn open(&self, _: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors> {
            unreachable!("the test opens its own")
        }
    }

    fn routes_of(sink: Arc<TwoRoutes>, offset: i64) -> Result<Vec<usize>, String> {
        let raw = |entries: &[(&str, &str)]| -> RawConfig {
            let entries = entries.iter();
            entries
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let worker = WorkerConfig::from_properties(&raw(&[("bootstrap.servers", "localhost:1")])).unwrap();
        let connector = Connector(PluginInfo {
            kind: PluginKind::Sink,
            class: "test.Sink",
            aliases: &[],
            version: "1",
        });
        let plugins = Plugins::new()
            .with_sink(Arc::new(connector))
            .with_converters(klamm_converters::converters())
            .with_header_converters(klamm_converters::header_converters());
        let entries = [("name", "c"), ("connector.class", "test.Sink"), ("topics", "t")];
        let config = Arc::new(ConnectorConfig::parse(&raw(&entries), &worker, &plugins).unwrap());
        let topic_partition = TopicPartition::new("t", 0);
        let mut pipeline = Pipeline::new(
            config,
            sink,
            topic_partition,
            Arc::default(),
            None,
            ActiveTopic::new(Arc::default(), "t"),
        );
        let consumed = ConsumedRecord {
            offset,
            timestamp: 0,
            timestamp_type: klamm_kafka::TimestampType::CreateTime,
            key: None,
            value: None,
            headers: Vec::new(),
            leader_epoch: None,
        };
        let delivery = pipeline
            .process(&consumed)
            .map_err(|failure| failure.error.to_string())?;
        Ok(delivery.routes.iter().map(|(route, _)| route.0).collect())
    }

    #[test]
    fn a_record_that_has_no_form_for_a_route_that_is_not_required_goes_to_the_others() {
        let shadow = |error| TwoRoutes::new(false, error);
        assert_eq!(routes_of(shadow(DataErrorKind::Data), 6), Ok(vec![0, 1]));
        assert_eq!(routes_of(shadow(DataErrorKind::Data), 7), Ok(vec![0]));
        assert!(
            routes_of(shadow(DataErrorKind::NotReady), 7).is_err(),
            "its schema comes"
        );
        assert!(routes_of(TwoRoutes::new(true, DataErrorKind::Data), 7).is_err());
    }

    #[test]
    fn a_failed_transform_is_told_with_record_stage_class_alias_and_field() {
        let settings = [
            ("transforms", "cents"),
            (
                "transforms.cents.type",
                "org.apache.kafka.connect.transforms.Cast$Value",
            ),
            ("transforms.cents.spec", "total.amount:int32"),
            ("transforms.cents.field.syntax.version", "V2"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let chain = klamm_smt::Chain::build(
            &RawConfig::from(settings),
            &klamm_smt::transforms(),
            &klamm_smt::predicates(),
        );
        let origin = Origin {
            topic_partition: TopicPartition::new("orders", 3),
            offset: 42,
        };
        let total = Value::Map(Map::from_iter([("amount".into(), Value::from("a secret"))]));
        let value = Value::Map(Map::from_iter([("total".into(), total)]));
        let record = Record::new(origin.clone(), Datum::NULL, SchemaAndValue::schemaless(value).into());
        let failed = chain.unwrap().apply(record).unwrap_err();
        let failure = RecordFailure {
            origin,
            timestamp: None,
            stage: Stage::Transformation,
            class: failed.class,
            error: failed.into_error(),
        };
        assert_eq!(
            failure.to_string(),
            "record orders-3@42 failed in stage TRANSFORMATION with class org.apache.kafka.connect.transforms.Cast$Value: \
             org.apache.kafka.connect.errors.DataException: transform `cents`: field `total`: field `amount`: the text is \
             no number of type int32, or out of its range. Its offset is not committed: mend the record's producer or the \
             configuration and restart the task, or set `errors.tolerance=all` to skip such records"
        );
    }
}

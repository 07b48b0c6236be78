//! What the broker does not allow is told with who, which permission, and on what.

use std::error::Error;
use std::sync::Arc;

use klamm_kafka::{
    ConfigChange, ConfigResource, ConsumerConfig, Existing, GroupMember, IsolationLevel, KafkaClient, KafkaError,
    NewTopic, OffsetSpec, OffsetToCommit, PerItem, ProduceRecord, Producer, ProducerConfig, ResponseError,
    StartPosition, Submission, Subscription, TopicPartition, TransactionalProducer,
};

use super::support::{PATIENCE, from, pool};
use super::{broker, cert, client, parse};

/// To the authorizer alice may do nothing with it; what else there is has no ACLs and is open to all.
const CLOSED: &str = "closed";
/// Alice may DESCRIBE it, and no more.
const SEEN: &str = "seen";

fn connect(listener: &str, settings: &[(&'static str, &str)]) -> Arc<KafkaClient> {
    let mut all = vec![("bootstrap.servers", broker().variable(listener))];
    all.extend(settings);
    client(parse(&all).unwrap())
}

/// The chain of an error, as a status shows it.
fn text<T>(result: Result<T, impl Error>) -> String {
    let Err(err) = result else { panic!("it was allowed") };
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

fn first<K, T>(answers: Result<PerItem<K, T>, KafkaError>) -> Result<T, KafkaError> {
    answers.and_then(|answers| answers.into_iter().next().unwrap().1)
}

async fn member(client: &Arc<KafkaClient>, group: &str, topic: &str, wanted: &str) {
    let subscription = Subscription::topics([topic]);
    let (member, mut events) = GroupMember::join(client, ConsumerConfig::new(group), subscription);
    let told = async {
        while !member.state().detail.contains(wanted) {
            events.recv().await.unwrap();
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert!(told.is_ok(), "wanted {wanted}, got {:?}", member.state());
}

async fn read(client: &Arc<KafkaClient>, topic: &str) -> String {
    let mut reader = pool(client).open(from(topic, StartPosition::Earliest));
    let next = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap();
    text(next)
}

async fn write(client: &Arc<KafkaClient>, topic: &str) -> String {
    let mut record = ProduceRecord::new(topic);
    record.value = Some("v".into());
    text(Producer::new(client, ProducerConfig::default()).send(record).await)
}

async fn own(client: &Arc<KafkaClient>, id: &str) -> String {
    let config = ProducerConfig {
        transactional_id: Some(id.into()),
        ..ProducerConfig::default()
    };
    text(TransactionalProducer::start(client, config).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_names_principal_mechanism_operation_and_resource() {
    let admin = connect("KAFKA_BOOTSTRAP", &[]);
    for topic in [CLOSED, SEEN] {
        let topic = NewTopic::new(topic).with_partitions(1);
        admin.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    }
    let grant = |user: &str, name: &str, more: &[&str]| {
        let mut args = vec!["acls", "--add", "--allow-principal", user, "--operation", "Describe"];
        args.extend(["--topic", name, "--group", name, "--transactional-id", name]);
        args.extend(more);
        broker().run(&args);
    };
    grant("User:nobody", CLOSED, &["--cluster"]);
    grant("User:alice", SEEN, &[]);

    let alice = connect(
        "KAFKA_BOOTSTRAP_SASL",
        &[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            (
                "sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" \
                 password=\"alice-secret\";",
            ),
        ],
    );
    let closed = [TopicPartition::new(CLOSED, 0)];
    let (closed_group, closed_topic, seen) = (
        [Arc::from(CLOSED)],
        ConfigResource::Topic(CLOSED.into()),
        [Arc::from(SEEN)],
    );
    let retention = ConfigChange::Set("retention.ms".to_owned(), "1".to_owned());
    let offset = OffsetToCommit {
        topic: SEEN.into(),
        partition: 0,
        offset: 0,
        leader_epoch: None,
        metadata: String::new(),
    };
    let create = async |client: &KafkaClient| {
        let topics = [NewTopic::new(CLOSED).with_partitions(1)];
        text(first(client.create_topics(&topics, Submission::ValidateOnly).await))
    };
    let configs = async |resource: ConfigResource| text(first(alice.describe_configs(&[resource]).await));
    let alter = async |resource: ConfigResource| {
        let changes = [(resource, vec![retention.clone()])];
        text(first(alice.alter_configs(&changes, Submission::ValidateOnly).await))
    };
    let ends = alice.list_offsets(&closed, OffsetSpec::Latest, IsolationLevel::ReadUncommitted);
    let cases = [
        (read(&alice, CLOSED).await, "DESCRIBE", "topic `closed`"),
        (read(&alice, SEEN).await, "READ", "topic `seen`"),
        (text(ends.await), "DESCRIBE", "topic `closed`"),
        (write(&alice, CLOSED).await, "DESCRIBE", "topic `closed`"),
        (write(&alice, SEEN).await, "WRITE", "topic `seen`"),
        (own(&alice, CLOSED).await, "WRITE", "transactional id `closed`"),
        (own(&alice, SEEN).await, "WRITE", "transactional id `seen`"),
        (
            text(alice.fetch_committed(CLOSED, None).await),
            "DESCRIBE",
            "group `closed`",
        ),
        (
            text(first(alice.describe_groups(&closed_group).await)),
            "DESCRIBE",
            "group `closed`",
        ),
        (text(first(alice.delete_groups(&seen).await)), "DELETE", "group `seen`"),
        (
            text(alice.alter_group_offsets(SEEN, vec![offset.clone()]).await),
            "READ",
            "group `seen`",
        ),
        (
            text(alice.alter_group_offsets("open", vec![offset]).await),
            "READ",
            "topic `seen`",
        ),
        (create(&alice).await, "CREATE", "topic `closed`"),
        (text(first(alice.delete_topics(&seen).await)), "DELETE", "topic `seen`"),
        (
            text(first(
                alice
                    .create_partitions(&[(SEEN.into(), 2)], Submission::ValidateOnly)
                    .await,
            )),
            "ALTER",
            "topic `seen`",
        ),
        (
            configs(closed_topic.clone()).await,
            "DESCRIBE_CONFIGS",
            "topic `closed`",
        ),
        (alter(closed_topic).await, "ALTER_CONFIGS", "topic `closed`"),
        (
            alter(ConfigResource::Broker(None)).await,
            "ALTER_CONFIGS",
            "the cluster",
        ),
    ];
    for (told, operation, resource) in cases {
        let who = format!("principal `alice` (SCRAM-SHA-256) may not {operation} {resource} (");
        let advice = format!("AuthorizationFailed): grant it {operation} on {resource}");
        assert!(
            told.contains(&who) && told.contains(&advice),
            "wanted {operation}, got {told}"
        );
    }
    member(&alice, CLOSED, SEEN, "may not DESCRIBE group `closed`").await;
    member(&alice, SEEN, SEEN, "may not READ group `seen`").await;
    member(&alice, "open", CLOSED, "may not DESCRIBE topic `closed`").await;

    let pem = |name: &str| std::fs::read_to_string(cert(name)).unwrap();
    let certified = connect(
        "KAFKA_BOOTSTRAP_MTLS",
        &[
            ("security.protocol", "SSL"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &cert("ca.crt")),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.certificate.chain", &pem("client.crt")),
            ("ssl.keystore.key", &pem("client.key")),
        ],
    );
    let told = create(&certified).await;
    let wanted = "the principal of the client certificate (SSL) may not CREATE topic `closed`";
    assert!(told.starts_with(wanted), "{told}");

    let denied = first(alice.delete_topics(&seen).await).unwrap_err();
    assert_eq!(denied.code(), Some(ResponseError::TopicAuthorizationFailed));
    assert!(!denied.is_retriable(), "a person must grant it");
    for client in [admin, alice, certified] {
        client.shutdown().await;
    }
}

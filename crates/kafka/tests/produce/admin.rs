//! Administration, each call by its effect.

use std::sync::Arc;

use klamm_kafka::{
    ConfigChange, ConfigResource, ConfigSource, ConsumerConfig, DeleteUpTo, Existing, GroupEvent, GroupMember,
    GroupType, IsolationLevel, KafkaClient, KafkaError, NewTopic, OffsetSpec, OffsetToCommit, PartitionLag, PerItem,
    ProduceRecord, Producer, ProducerConfig, Submission, Subscription, TopicPartition,
};

use crate::support::{PATIENCE, broker, client, unique};

/// The answer about the one item that was asked for.
fn only<K, T>(answers: PerItem<K, T>) -> Result<T, KafkaError> {
    assert_eq!(answers.len(), 1);
    answers.into_iter().next().unwrap().1
}

async fn topic(client: &KafkaClient, stem: &str, partitions: i32) -> Arc<str> {
    let topic = NewTopic::new(unique(stem)).with_partitions(partitions);
    assert_eq!(
        client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap(),
        partitions
    );
    topic.name
}

async fn write(client: &Arc<KafkaClient>, topic: &Arc<str>, partition: i32, count: usize) {
    let producer = Producer::new(client, ProducerConfig::default());
    for _ in 0..count {
        let mut record = ProduceRecord::new(Arc::clone(topic));
        record.partition = Some(partition);
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close().await;
}

#[tokio::test]
async fn topics_are_made_with_configs_and_again_is_an_answer() {
    let client = client();
    let topic = NewTopic::new(unique("made"))
        .with_partitions(3)
        .with_config("cleanup.policy", "compact");
    let topics = std::slice::from_ref(&topic);
    let checked = only(client.create_topics(topics, Submission::ValidateOnly).await.unwrap());
    assert_eq!(checked.unwrap().partitions, Some(3));
    assert_eq!(client.topic(&topic.name).await.unwrap(), None, "only checked");
    let made = only(client.create_topics(topics, Submission::Apply).await.unwrap()).unwrap();
    assert_eq!((made.partitions, made.replication_factor), (Some(3), Some(1)));
    let again = only(client.create_topics(topics, Submission::Apply).await.unwrap());
    let name = &topic.name;
    assert_eq!(
        again.unwrap_err().to_string(),
        format!("CREATE on topic `{name}` (Topic '{name}' already exists.): TopicAlreadyExists")
    );
    assert_eq!(client.ensure_topic(&topic, Existing::MustMatch).await.unwrap(), 3);
    let other = NewTopic::new(Arc::clone(name))
        .with_partitions(1)
        .with_config("cleanup.policy", "delete");
    assert_eq!(client.ensure_topic(&other, Existing::MayDiffer).await.unwrap(), 3);
    assert_eq!(
        client
            .ensure_topic(&other, Existing::MustMatch)
            .await
            .unwrap_err()
            .to_string(),
        format!(
            "topic `{name}` exists with 3 partitions where 1 are needed, cleanup.policy=compact where `delete` is \
             needed: change it, or name another"
        )
    );

    let more = |total| [(Arc::clone(name), total)];
    only(client.create_partitions(&more(5), Submission::Apply).await.unwrap()).unwrap();
    while client.topic(name).await.unwrap().unwrap().partitions != 5 {}
    let fewer = only(client.create_partitions(&more(2), Submission::Apply).await.unwrap());
    let text = fewer.unwrap_err().to_string();
    assert!(text.starts_with(&format!("ALTER on topic `{name}` (")), "{text}");

    only(client.delete_topics(&[Arc::clone(name)]).await.unwrap()).unwrap();
    while client.topic(name).await.unwrap().is_some() {}
    let gone = only(client.delete_topics(&[Arc::clone(name)]).await.unwrap());
    assert!(
        gone.unwrap_err()
            .to_string()
            .starts_with(&format!("DELETE on topic `{name}`"))
    );
    client.shutdown().await;
}

#[tokio::test]
async fn configs_are_described_and_changed_one_by_one() {
    let client = client();
    let resource = ConfigResource::Topic(topic(&client, "configs", 1).await);
    let value = async |key: &str| {
        let entries = only(client.describe_configs(std::slice::from_ref(&resource)).await.unwrap()).unwrap();
        let entry = entries.into_iter().find(|entry| &*entry.name == key).unwrap();
        (entry.value.unwrap().to_string(), entry.source)
    };
    assert_eq!(
        value("cleanup.policy").await,
        ("delete".to_owned(), ConfigSource::Default)
    );
    let text = |text: &str| text.to_owned();
    let changes = vec![
        ConfigChange::Set(text("retention.ms"), text("1000")),
        ConfigChange::Append(text("cleanup.policy"), text("compact")),
    ];
    let alter = async |changes| {
        let changes = [(resource.clone(), changes)];
        only(client.alter_configs(&changes, Submission::Apply).await.unwrap())
    };
    alter(changes).await.unwrap();
    // Brokers learn of it a moment later.
    while value("cleanup.policy").await != (text("delete,compact"), ConfigSource::Resource) {}
    assert_eq!(value("retention.ms").await, (text("1000"), ConfigSource::Resource));
    alter(vec![
        ConfigChange::Delete(text("retention.ms")),
        ConfigChange::Subtract(text("cleanup.policy"), text("delete")),
    ])
    .await
    .unwrap();
    while value("cleanup.policy").await != (text("compact"), ConfigSource::Resource) {}
    assert_eq!(value("retention.ms").await.1, ConfigSource::Default);
    let err = alter(vec![ConfigChange::Set(text("retention.ms"), text("soon"))])
        .await
        .unwrap_err();
    let ConfigResource::Topic(name) = &resource else {
        unreachable!()
    };
    assert!(
        err.to_string()
            .starts_with(&format!("ALTER_CONFIGS on topic `{name}` (")),
        "{err}"
    );

    let brokers = [ConfigResource::Broker(Some(1)), ConfigResource::Topic("nowhere".into())];
    let answers = client.describe_configs(&brokers).await.unwrap();
    assert!(
        answers[0]
            .1
            .as_ref()
            .unwrap()
            .iter()
            .any(|entry| &*entry.name == "log.dirs")
    );
    let err = answers[1].1.as_ref().unwrap_err();
    assert!(
        err.to_string().starts_with("DESCRIBE_CONFIGS on topic `nowhere`"),
        "{err}"
    );
    client.shutdown().await;
}

#[tokio::test]
async fn the_cluster_tells_its_brokers() {
    let client = client();
    let cluster = client.describe_cluster().await.unwrap();
    assert_eq!(cluster.cluster_id, client.cluster_id().or(cluster.cluster_id.clone()));
    assert!(cluster.cluster_id.is_some());
    let [broker] = &cluster.brokers[..] else {
        panic!("{cluster:?}")
    };
    assert_eq!((broker.id, broker.rack.as_deref()), (1, Some("rack-1")));
    assert_eq!(cluster.controller, Some(1));
    client.shutdown().await;
}

#[tokio::test]
async fn records_are_deleted_from_the_start() {
    let client = client();
    let topic = topic(&client, "deleted", 2).await;
    write(&client, &topic, 0, 5).await;
    write(&client, &topic, 1, 5).await;
    let partitions = [0, 1].map(|index| TopicPartition::new(Arc::clone(&topic), index));
    let [first, second] = partitions.clone();
    let wanted = [(first, DeleteUpTo::Offset(3)), (second, DeleteUpTo::End)];
    let answers = client.delete_records(&wanted).await.unwrap();
    let starts: Vec<_> = answers.into_iter().map(|(_, start)| start.unwrap()).collect();
    assert_eq!(starts, [3, 5]);
    let listed = client
        .list_offsets(&partitions, OffsetSpec::Earliest, IsolationLevel::ReadUncommitted)
        .await
        .unwrap();
    assert_eq!(listed[&partitions[0]].offset, Some(3));
    let beyond = [(partitions[0].clone(), DeleteUpTo::Offset(9))];
    let err = only(client.delete_records(&beyond).await.unwrap()).unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("DELETE on topic `{topic}` (partition 0): OffsetOutOfRange")
    );
    client.shutdown().await;
}

fn to_commit(topic: &Arc<str>, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: Arc::clone(topic),
        partition,
        offset,
        leader_epoch: None,
        metadata: "moved".to_owned(),
    }
}

#[tokio::test]
async fn offsets_of_stopped_groups_are_moved_and_deleted() {
    let client = client();
    let topic = topic(&client, "moved", 3).await;
    write(&client, &topic, 1, 7).await;
    let group = unique("stopped");
    let offsets = vec![to_commit(&topic, 0, 0), to_commit(&topic, 1, 4)];
    client.alter_group_offsets(&group, offsets).await.unwrap();
    let found = client.group_offsets(&group).await.unwrap();
    let partition = |index| TopicPartition::new(Arc::clone(&topic), index);
    assert_eq!(
        (found[&partition(1)].offset, &*found[&partition(1)].metadata),
        (4, "moved")
    );
    let lag = client.group_lag(&group).await.unwrap();
    let wanted = |partition, committed, log_end| PartitionLag {
        topic: Arc::clone(&topic),
        partition,
        committed: Some(committed),
        log_end: Some(log_end),
        lag: Some(log_end - committed),
    };
    assert_eq!(lag, [wanted(0, 0, 0), wanted(1, 4, 7)]);

    client
        .delete_group_offsets(&group, &[partition(1), partition(2)])
        .await
        .unwrap();
    let left = client.group_offsets(&group).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&partition(0)]);
    let err = client
        .alter_group_offsets(&group, vec![to_commit(&topic, 9, 1)])
        .await
        .unwrap_err();
    assert!(
        err.to_string()
            .starts_with(&format!("altering the offset of {topic}-9 in group `{group}`: ")),
        "{err}"
    );

    let group: Arc<str> = group.into();
    only(client.delete_groups(&[Arc::clone(&group)]).await.unwrap()).unwrap();
    let gone = only(client.delete_groups(&[Arc::clone(&group)]).await.unwrap());
    assert_eq!(
        gone.unwrap_err().to_string(),
        format!("DELETE on group `{group}`: GroupIdNotFound")
    );
    let err = client.group_lag(&group).await.unwrap_err();
    assert_eq!(err.to_string(), format!("DESCRIBE on group `{group}`: GroupIdNotFound"));
    client.shutdown().await;
}

#[tokio::test]
async fn a_group_is_described_and_its_members_guard_its_offsets() {
    let client = client();
    let topic = topic(&client, "guarded", 2).await;
    let group: Arc<str> = unique("guarded-by").into();
    let (member, mut events) = GroupMember::join(
        &client,
        ConsumerConfig::new(Arc::clone(&group)),
        Subscription::topics([Arc::clone(&topic)]),
    );
    let assigned = async { while !matches!(events.recv().await.unwrap(), GroupEvent::Assign { .. }) {} };
    tokio::time::timeout(PATIENCE, assigned).await.unwrap();

    let found = only(client.describe_groups(&[Arc::clone(&group)]).await.unwrap()).unwrap();
    assert_eq!(
        (&found.group_type, &*found.protocol_type, &*found.state),
        (&GroupType::Classic, "consumer", "Stable")
    );
    assert!(found.assignor.is_some());
    assert_eq!(&*found.coordinator, broker().bootstrap);
    let [described] = &found.members[..] else {
        panic!("{found:?}")
    };
    assert_eq!((&*described.client_id, &*described.host), ("klamm", "/127.0.0.1"));
    let both = [0, 1].map(|index| TopicPartition::new(Arc::clone(&topic), index));
    assert_eq!(described.assignment.as_deref(), Some(&both[..]));
    let listed = client.list_groups().await.unwrap();
    let listed = listed.iter().find(|listed| listed.group_id == group).unwrap();
    assert_eq!(
        (listed.state.as_deref(), &listed.group_type),
        (Some("Stable"), &Some(GroupType::Classic))
    );
    let lag = client.group_lag(&group).await.unwrap();
    assert_eq!(lag.len(), 2, "also without a commit: {lag:?}");
    assert_eq!((lag[0].committed, lag[0].log_end, lag[0].lag), (None, Some(0), None));

    let wanted = format!("group `{group}` is Stable with 1 members (klamm at 127.0.0.1): stop them first");
    let err = client
        .alter_group_offsets(&group, vec![to_commit(&topic, 0, 0)])
        .await
        .unwrap_err();
    assert_eq!(err.to_string(), wanted);
    let err = client.delete_group_offsets(&group, &both).await.unwrap_err();
    assert_eq!(err.to_string(), wanted);
    let err = only(client.delete_groups(&[Arc::clone(&group)]).await.unwrap()).unwrap_err();
    assert_eq!(err.to_string(), wanted);
    member.leave().await;
    client
        .alter_group_offsets(&group, vec![to_commit(&topic, 0, 0)])
        .await
        .unwrap();
    client.shutdown().await;
}

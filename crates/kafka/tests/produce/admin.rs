//! Administration, each call by its effect.

use klamm_kafka::{NewTopic, Submission};

use crate::support::{client, unique};

#[tokio::test]
async fn topics_are_made_with_configs_and_again_is_an_answer() {
    let client = client();
    let topic = NewTopic::new(unique("made"))
        .with_partitions(3)
        .with_config("cleanup.policy", "compact");
    let checked = client
        .create_topics(std::slice::from_ref(&topic), Submission::ValidateOnly)
        .await
        .unwrap();
    assert_eq!(checked[0].1.as_ref().unwrap().partitions, Some(3));
    assert_eq!(client.topic(&topic.name).await.unwrap(), None, "only checked");
    let made = client
        .create_topics(std::slice::from_ref(&topic), Submission::Apply)
        .await
        .unwrap();
    let made = made[0].1.as_ref().unwrap();
    assert_eq!((made.partitions, made.replication_factor), (Some(3), Some(1)));
    let again = client
        .create_topics(std::slice::from_ref(&topic), Submission::Apply)
        .await
        .unwrap();
    let name = &topic.name;
    assert_eq!(
        again[0].1.as_ref().unwrap_err().to_string(),
        format!("CREATE on topic `{name}` (Topic '{name}' already exists.): TopicAlreadyExists")
    );
    assert_eq!(client.ensure_topic(&topic).await.unwrap(), 3);
    client.list_groups().await.unwrap();
    client.shutdown().await;
}

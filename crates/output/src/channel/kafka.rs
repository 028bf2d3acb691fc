//! A topic of Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nabe_event::alert::Alert;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;

use super::{Channel, Error, Failure};
use crate::render::Render;

/// How long a try may take: the client itself tries again without end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends alerts as JSON, with the rule as key.
pub struct Kafka {
    brokers: Vec<String>,
    topic: String,
    render: Render,
    runtime: tokio::runtime::Runtime,
    client: Option<PartitionClient>,
}

impl Kafka {
    /// Brokers as `host:port`; partition 0 of the topic. Nothing is sent yet.
    ///
    /// # Errors
    /// When the system has nothing to wait with.
    pub fn new(brokers: Vec<String>, topic: &str, render: Render) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Start { program: "the Kafka client".into(), source })?;
        let render = Render { json: true, ..render };
        Ok(Self { brokers, topic: topic.to_owned(), render, runtime, client: None })
    }

    fn failed(&self, reason: String) -> Failure {
        let (brokers, topic) = (self.brokers.join(","), self.topic.clone());
        Failure::passing(0, Error::Kafka { brokers, topic, reason })
    }

    async fn connect(brokers: Vec<String>, topic: String) -> Result<PartitionClient, String> {
        let client = ClientBuilder::new(brokers).build().await.map_err(|error| error.to_string())?;
        client
            .partition_client(topic, 0, UnknownTopicHandling::Error)
            .await
            .map_err(|error| error.to_string())
    }
}

impl Channel for Kafka {
    fn name(&self) -> &str {
        "kafka"
    }

    fn batch(&self) -> usize {
        256
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let records = alerts
            .iter()
            .map(|alert| Record {
                key: Some(alert.rule.as_bytes().to_vec()),
                value: Some(self.render.line(alert).into_bytes()),
                headers: BTreeMap::new(),
                timestamp: chrono::DateTime::from_timestamp_nanos(alert.ts_ns.cast_signed()),
            })
            .collect();
        let (brokers, topic, client) = (self.brokers.clone(), self.topic.clone(), self.client.take());
        let sent = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                let client = match client {
                    Some(client) => client,
                    None => Self::connect(brokers, topic).await?,
                };
                let produced = client.produce(records, Compression::NoCompression).await;
                produced.map(|_| client).map_err(|error| error.to_string())
            })
            .await
        });
        match sent {
            Ok(Ok(client)) => {
                self.client = Some(client);
                Ok(())
            }
            Ok(Err(reason)) => Err(self.failed(reason)),
            Err(_) => Err(self.failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

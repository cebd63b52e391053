//! What is measured of the GPUs: exporters' pages, a history of them, and a query API over it.
//!
//! - [`page`]: what a node's exporter says.
//! - [`history`]: what was said at each scrape.
//! - [`query`]: the queries that are understood.
//! - `api`: questions and answers of the Prometheus API.

mod api;
pub mod history;
pub mod page;
pub mod query;

use std::sync::Arc;

use crate::policy::config::Millis;

use super::arm::Arm;
use super::fleet::{Fleet, Node, Phase};
use super::message::{Call, Reply};
use super::scenario::{Labels, MetricsSpec, Scenario};
use history::{History, LabelSet};

/// A Prometheus that scrapes the exporters of one cluster.
#[derive(Debug, Clone)]
pub struct Metrics {
    spec: MetricsSpec,
    cluster: String,
    next_ms: Millis,
    history: History,
}

impl Metrics {
    /// The metrics server of a scenario. It scrapes first at `now_ms`.
    #[must_use]
    pub fn new(scenario: &Scenario, now_ms: Millis) -> Self {
        Self {
            spec: scenario.metrics,
            cluster: scenario.cluster_name.clone(),
            next_ms: now_ms,
            history: History::new(scenario.metrics.retention.as_millis()),
        }
    }

    /// When it scrapes next.
    #[must_use]
    pub fn next_event_ms(&self) -> Millis {
        self.next_ms
    }

    /// Scrapes every exporter that answers. The machines have to be at that time.
    pub fn scrape(&mut self, arm: &Arm) {
        let at_ms = self.next_ms;
        self.next_ms = at_ms.saturating_add(self.spec.scrape_interval.as_millis());
        for (pool, fleet) in arm.fleets() {
            let answering = fleet.nodes().iter().filter(|node| answers(node, at_ms));
            for node in answering {
                let utilization = fleet.utilization(at_ms);
                for gpu in 0..fleet.gpus_per_node() {
                    let labels = self.labels(pool, node, gpu);
                    for reading in page::readings(utilization) {
                        self.history.push(reading.metric, &labels, at_ms, reading.micro);
                    }
                }
            }
        }
        self.history.close(at_ms);
    }

    /// Answers a request to the query API as of `now_ms`.
    #[must_use]
    pub fn handle(&self, now_ms: Millis, call: &Call) -> Reply {
        api::answer(&self.history, now_ms, call)
    }

    fn labels(&self, pool: &str, node: &Node, gpu: u32) -> LabelSet {
        let mut labels = vec![
            ("cluster".to_owned(), self.cluster.clone()),
            ("gpu".to_owned(), gpu.to_string()),
            ("instance".to_owned(), node.name.clone()),
            ("job".to_owned(), "dcgm-exporter".to_owned()),
        ];
        if self.spec.labels == Labels::Full {
            let of_page = page::labels(&node.name, gpu);
            labels.extend(of_page.into_iter().map(|(name, value)| (name.to_owned(), value)));
            labels.push(("agentpool".to_owned(), pool.to_owned()));
        }
        labels.sort_unstable();
        labels.dedup();
        Arc::new(labels)
    }
}

/// Whether the exporter of a node answers: its driver is there.
fn answers(node: &Node, now_ms: Millis) -> bool {
    node.phase(now_ms) == Phase::Schedulable
}

/// The page of a node, if its exporter answers.
#[must_use]
pub fn page_of(fleet: &Fleet, node: &str, now_ms: Millis) -> Option<String> {
    let node = fleet.node(node).filter(|node| answers(node, now_ms))?;
    Some(page::render(
        &node.name,
        fleet.gpus_per_node(),
        fleet.utilization(now_ms),
    ))
}

#[cfg(test)]
mod tests;

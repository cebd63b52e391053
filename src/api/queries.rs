//! What a policy asks its metrics source for: the side of its signals that the engine does not see.
//!
//! [`compile`](fn@super::compile) turns a policy into what the engine decides by; this turns it into what has to be
//! fetched, or found in a recording. Both lists are in the order of the policy's signals.

use crate::policy::dcgm::DcgmMetric;

use super::GpuScalePolicy;
use super::compile::metric;
use super::signal::{Signal, Source};

/// What one signal is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The signal's name.
    pub signal: String,
    /// Where its samples come from.
    pub source: QuerySource,
}

/// Where samples come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuerySource {
    /// The series of a DCGM metric, one for each device.
    Dcgm {
        /// The metric.
        metric: DcgmMetric,
        /// Labels that a series must carry, matched exactly.
        match_labels: Vec<(String, String)>,
    },
    /// A Prometheus expression that gives one number for the pool.
    Promql(String),
    /// Pods that wait, from the cluster view.
    GpuRequests,
}

/// What the signals of a policy are read from, in their order. A signal that has not exactly one source, which
/// [`compile`](fn@super::compile) refuses, has no query.
#[must_use]
pub fn queries(policy: &GpuScalePolicy) -> Vec<Query> {
    policy.spec.signals.iter().filter_map(query).collect()
}

fn query(signal: &Signal) -> Option<Query> {
    let source = match signal.source()? {
        Source::Dcgm(dcgm) => QuerySource::Dcgm {
            metric: metric(dcgm.metric),
            match_labels: dcgm
                .match_labels
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
        },
        Source::PromQl(expression, _) => QuerySource::Promql(expression.as_str().to_owned()),
        Source::GpuRequests => QuerySource::GpuRequests,
    };
    Some(Query {
        signal: signal.name.as_str().to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_its_query_in_the_order_of_the_policy() {
        let policy = crate::api::validate(
            "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
             targetRef: { kind: AksNodePool, name: p }\n  maxNodes: 4\n  signals:\n  \
             - { name: gpu, dcgm: { metric: SmActive, matchLabels: { modelName: A100 } } }\n  \
             - { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }\n  \
             - { name: pods, gpuRequests: {} }\n",
        )
        .unwrap();
        let found = queries(&policy);
        let names: Vec<&str> = found.iter().map(|query| query.signal.as_str()).collect();
        assert_eq!(names, ["gpu", "queue", "pods"]);
        let dcgm = QuerySource::Dcgm {
            metric: DcgmMetric::SmActive,
            match_labels: vec![("modelName".to_owned(), "A100".to_owned())],
        };
        assert_eq!(found[0].source, dcgm);
        assert_eq!(found[1].source, QuerySource::Promql("sum(waiting)".to_owned()));
        assert_eq!(found[2].source, QuerySource::GpuRequests);
    }
}

//! What a policy has to read: one selector for each metric, each once, and what it is read for.

use crate::api::{Query, QuerySource};
use crate::control::ports::Selector;
use crate::devices::{MEMORY_FREE, XID_ERRORS};
use crate::policy::Config;
use crate::policy::config::{SeriesUnit, SignalSource};
use crate::policy::dcgm::DcgmMetric;

/// A selector that is to be read at every tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Which series.
    pub selector: Selector,
    /// Whether a signal depends on it.
    pub role: Role,
}

/// What a selector is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A signal is read from it: without an answer the signal has none.
    Signal,
    /// It tells whether a signal can be believed and whether a node may go: power, memory, XIDs.
    Auxiliary,
}

/// One use of a selector's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A signal of the policy, read per device.
    Device(u16, DcgmMetric),
    /// A signal of the policy that is one series.
    Series(u16, SeriesUnit),
    /// Whether a zero can be believed.
    Power,
    /// Whether a node may go.
    Memory,
    /// Full scale of memory.
    MemoryFree,
    /// Faults of the hardware.
    Xid,
}

impl Use {
    pub(super) fn signal(self) -> Option<u16> {
        match self {
            Self::Device(signal, _) | Self::Series(signal, _) => Some(signal),
            Self::Power | Self::Memory | Self::MemoryFree | Self::Xid => None,
        }
    }
}

/// The selectors of a policy, those of its signals first, and the uses of each.
///
/// Power, memory and XIDs are read with the labels of the signal that they are for: without them they would be those
/// of every GPU that the source knows.
pub(super) fn wants(config: &Config, queries: &[Query]) -> (Vec<Want>, Vec<Vec<Use>>) {
    let mut lists = (Vec::new(), Vec::new());
    let mut labels: Vec<&Vec<(String, String)>> = Vec::new();
    for ((index, signal), query) in (0_u16..).zip(&config.signals).zip(queries) {
        match (&query.source, signal.source) {
            (QuerySource::Dcgm { metric, match_labels }, _) => {
                let selector = metric_selector(metric.series(), match_labels);
                add(&mut lists, selector, Use::Device(index, *metric));
                if !labels.contains(&match_labels) {
                    labels.push(match_labels);
                }
            }
            (QuerySource::Promql(promql), SignalSource::Series(unit)) => {
                let selector = Selector::Expression {
                    promql: promql.clone(),
                    step_ms: config.data_quality.scrape_interval_ms,
                };
                add(&mut lists, selector, Use::Series(index, unit));
            }
            (QuerySource::Promql(_) | QuerySource::GpuRequests, _) => {}
        }
    }
    for labels in labels {
        for (name, what) in [
            (DcgmMetric::PowerRatio.series(), Use::Power),
            (DcgmMetric::MemoryUsed.series(), Use::Memory),
            (MEMORY_FREE, Use::MemoryFree),
            (XID_ERRORS, Use::Xid),
        ] {
            add(&mut lists, metric_selector(name, labels), what);
        }
    }
    lists
}

/// What a policy reads, each question once.
pub fn selectors(config: &Config, queries: &[Query]) -> impl Iterator<Item = Selector> {
    let (wants, _) = wants(config, queries);
    wants.into_iter().map(|want| want.selector)
}

fn metric_selector(name: &'static str, match_labels: &[(String, String)]) -> Selector {
    let mut match_labels = match_labels.to_vec();
    match_labels.sort_unstable();
    Selector::Metric { name, match_labels }
}

fn add((wants, uses): &mut (Vec<Want>, Vec<Vec<Use>>), selector: Selector, what: Use) {
    let known = wants.iter().position(|want| want.selector == selector);
    if let Some(uses) = known.and_then(|place| uses.get_mut(place)) {
        uses.push(what);
        return;
    }
    wants.push(Want {
        selector,
        role: if what.signal().is_some() {
            Role::Signal
        } else {
            Role::Auxiliary
        },
    });
    uses.push(vec![what]);
}

//! A recording of metrics as a policy would have met it: its samples, its devices and its pool, over time.
//!
//! The series of the recording are sorted out once, by the rules of [`devices`](crate::devices): which device reported
//! for which signal, which node it is in, how much of a GPU it is. What the pool had (nodes asked for, nodes Ready,
//! inventory, price) is read from the series of the [`schema`](crate::recording::schema), from what was declared, or is assumed from the
//! devices that were seen, in this order.
//!
//! It hands samples out in order of time and decides nothing.

mod demand;
mod fleet;
mod sorter;
mod steps;
mod tracks;

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Query, QuerySource};
use crate::devices::{Identity, LabelMapping};
use crate::policy::Config;
use crate::policy::config::{Micro, Millis};
use crate::policy::observation::{Placement, PodRequest};
use crate::policy::sample::{Channel, DeviceId, Sample};
use crate::policy::windows::Device;
use crate::recording::{Labels, Metrics, Series, schema};

pub use demand::{Derived, Stretch};
use fleet::{Fleet, Frame};
use sorter::Sorter;
use steps::Steps;
use tracks::Track;

/// Why a recording cannot be replayed through a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A recording that a newer gpuscale wrote.
    #[error(
        "the recording has schema version `{found}`, and this gpuscale reads version {}; use a newer one",
        schema::VERSION
    )]
    Version {
        /// The version as read.
        found: String,
    },
    /// None of the policy's signals is in the recording.
    #[error(
        "the recording has nothing that the policy reads; it reads {wanted}, and the recording has {has}"
    )]
    NothingRead {
        /// What the policy's signals are read from.
        wanted: String,
        /// Metrics of the recording.
        has: String,
    },
    /// A series whose labels do not say which device it is of.
    #[error(
        "`{series}` does not say which GPU it is of; it needs the label `UUID`, or `gpu` and one for the node"
    )]
    Unidentified {
        /// The series.
        series: String,
    },
    /// More than one series where there can be one.
    #[error("{what} has several series: {series}; keep the one of the pool")]
    Several {
        /// What they are of.
        what: String,
        /// The series.
        series: String,
    },
    /// The closed loop needs a demand, and no device signal gives one.
    #[error(
        "demand is derived from the utilization of devices, and the policy reads none that is in the recording; run it \
         with `--loop open`, or with a recording of demand"
    )]
    NoUtilization,
    /// A demand that cannot be put on a grid.
    #[error(transparent)]
    Demand(#[from] crate::recording::RecordingError),
}

/// Where the number of devices that should report comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inventory {
    /// The recording has the GPUs of each node.
    Recorded,
    /// It has none: devices are taken to be there from their first sample to their last.
    Assumed,
}

/// A recording sorted out for one policy.
#[derive(Debug, Clone)]
pub struct History<'a> {
    frame: Frame,
    tracks: Vec<Track<'a>>,
    fleet: Fleet,
    devices: usize,
    requested: Option<Steps>,
    ready: Option<Steps>,
    price: Option<Steps>,
    /// Pods that wait, by the GPUs that each asks for; empty if the recording has none.
    waiting: Vec<(u32, Steps)>,
    inventory: Inventory,
    gpus_per_node: u32,
    pods: bool,
}

impl<'a> History<'a> {
    /// Sorts a recording out for a policy, given as its configuration and its queries.
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the recording is of another version, holds nothing that the policy reads, or a series
    /// cannot be told apart.
    pub fn new(
        metrics: &'a Metrics,
        config: &Config,
        queries: &[Query],
        mapping: &LabelMapping,
    ) -> Result<Self, HistoryError> {
        let info = info(metrics)?;
        let (start_ms, end_ms) = metrics.span_ms();
        let frame = Frame {
            start_ms,
            end_ms,
            hold_ms: config.data_quality.hold_limit_ms(),
        };
        let sorter = Sorter { metrics, mapping };
        let readings = sorter.readings(queries)?;
        let inventory = sorter.inventory();
        let devices = sorter.devices(&readings, &inventory);
        let ids: BTreeMap<&Identity, DeviceId> = devices.keys().zip((0..).map(DeviceId)).collect();
        let mut tracks = sorter.signals(config, queries, &readings, &ids, &devices)?;
        let pods_read = queries
            .iter()
            .any(|query| query.source == QuerySource::GpuRequests)
            && !metrics.of(schema::PODS_WAITING).is_empty();
        if tracks.is_empty() && !pods_read {
            return Err(nothing_read(metrics, queries));
        }
        tracks.extend(sorter.channels(&ids));
        let recorded = !inventory.is_empty();
        let health = sorter.health(&ids, start_ms);
        Ok(Self {
            frame,
            tracks,
            devices: devices.len(),
            requested: one_of(metrics, schema::NODES_REQUESTED)?,
            ready: one_of(metrics, schema::NODES_READY)?,
            price: one_of(metrics, schema::NODE_PRICE)?,
            waiting: waiting(metrics),
            inventory: if recorded {
                Inventory::Recorded
            } else {
                Inventory::Assumed
            },
            gpus_per_node: info.unwrap_or_else(|| {
                let listed = inventory.values().flat_map(Steps::changes).map(|&(_, gpus)| gpus);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to what a node can have"
                )]
                let listed = listed.fold(0.0, f64::max).round().clamp(0.0, 64.0) as u32;
                if listed > 0 {
                    listed
                } else {
                    Fleet::most_gpus_in_a_node(&devices)
                }
            }),
            pods: sorter.has_pods(&readings),
            fleet: Fleet::new(&devices, &inventory, health, frame),
        })
    }

    /// Devices that reported.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// Nodes that devices were in.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.fleet.nodes().len()
    }

    /// The first and the last sample, unix milliseconds.
    #[must_use]
    pub fn span_ms(&self) -> (Millis, Millis) {
        (self.frame.start_ms, self.frame.end_ms)
    }

    /// Where the number of devices that should report comes from.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        self.inventory
    }

    /// GPUs of one node: as the recording says, else the most that a node showed; 0 if it shows none.
    #[must_use]
    pub fn gpus_per_node(&self) -> u32 {
        self.gpus_per_node
    }

    /// Price of a node in micro-USD per hour, if the recording has it.
    #[must_use]
    pub fn price_at(&self, at_ms: Millis) -> Option<Micro> {
        let usd = self.price.as_ref()?.at(at_ms)?;
        crate::policy::sample::micros(usd).ok()
    }

    /// Nodes asked for, if the recording says.
    pub(super) fn requested_at(&self, at_ms: Millis) -> Option<u32> {
        self.requested.as_ref()?.count_at(at_ms)
    }

    /// Nodes Ready, if the recording says.
    pub(super) fn ready_at(&self, at_ms: Millis) -> Option<u32> {
        self.ready.as_ref()?.count_at(at_ms)
    }

    /// The pods that wait at a time; `None` if the recording does not have them.
    pub(super) fn waiting_at(&self, at_ms: Millis) -> Option<Vec<PodRequest>> {
        /// More pods than any pool places in one step.
        const MOST: u32 = 10_000;
        if self.waiting.is_empty() {
            return None;
        }
        let mut pods = Vec::new();
        for (gpus, steps) in &self.waiting {
            let count = steps.count_at(at_ms).unwrap_or(0).min(MOST);
            let pod = PodRequest {
                gpus: *gpus,
                placement: Placement::AnyNode,
            };
            pods.extend((0..count).map(|_| pod));
        }
        Some(pods)
    }

    /// Hands out the readings after those of the last call, up to and including `now_ms`.
    pub(super) fn read_until(&mut self, now_ms: Millis, mut take: impl FnMut(Sample)) {
        for track in &mut self.tracks {
            track.read_until(now_ms, &mut take);
        }
    }

    /// The devices expected at `now_ms`, ordered by id, if they changed since the last call.
    pub(super) fn devices_changed(&mut self, now_ms: Millis) -> Option<&[Device]> {
        self.fleet.changed(now_ms)
    }

    /// The devices expected at the last call of [`History::devices_changed`].
    pub(super) fn expected(&self) -> &[Device] {
        self.fleet.current()
    }

    /// Nodes that have a device at the last call of [`History::devices_changed`].
    pub(super) fn nodes_present(&self) -> u32 {
        self.fleet.nodes_present()
    }

    /// Devices that a pod had at their last reading.
    pub(super) fn with_pods(&self) -> BTreeSet<DeviceId> {
        let loads = self.tracks.iter().filter(|track| track.channel == Channel::Load);
        loads
            .filter(|track| track.has_pod())
            .map(|track| track.device)
            .collect()
    }

    /// Whether any series ever named a pod, so that a device without one can be taken for free.
    pub(super) fn knows_pods(&self) -> bool {
        self.pods
    }
}

/// GPUs per node as the recording says; checks its version.
fn info(metrics: &Metrics) -> Result<Option<u32>, HistoryError> {
    let mut gpus = None;
    for series in metrics.of(schema::INFO) {
        let labels = series.labels();
        let version = labels.get(schema::VERSION_LABEL).unwrap_or_default();
        if version != schema::VERSION {
            return Err(HistoryError::Version {
                found: version.to_owned(),
            });
        }
        let stated = labels
            .get(schema::GPUS_PER_NODE_LABEL)
            .and_then(|text| text.parse().ok());
        gpus = gpus.or(stated.filter(|gpus| (1..=64).contains(gpus)));
    }
    Ok(gpus)
}

/// Pods that wait over time, by the GPUs that each asks for.
fn waiting(metrics: &Metrics) -> Vec<(u32, Steps)> {
    let series = metrics.of(schema::PODS_WAITING).iter();
    series
        .filter_map(|series| {
            let gpus = series.labels().get(schema::GPUS_LABEL)?.parse().ok()?;
            Some((gpus, Steps::of(series)))
        })
        .collect()
}

/// The one series of a metric.
fn one_of(metrics: &Metrics, name: &str) -> Result<Option<Steps>, HistoryError> {
    one(metrics.of(name).iter().collect(), name).map(|series| series.map(Steps::of))
}

fn one<'a>(series: Vec<&'a Series>, what: &str) -> Result<Option<&'a Series>, HistoryError> {
    match series.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        many => Err(HistoryError::Several {
            what: format!("`{what}`"),
            series: listed(many.iter().map(|series| series.labels().to_string())),
        }),
    }
}

/// The first few of many names.
fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn nothing_read(metrics: &Metrics, queries: &[Query]) -> HistoryError {
    let wanted = queries.iter().map(|query| match &query.source {
        QuerySource::Dcgm { metric, match_labels } => {
            let labels = match_labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let name = metric.series();
            Labels::new(name, labels).map_or_else(|_| name.to_owned(), |labels| labels.to_string())
        }
        QuerySource::Promql(_) => {
            format!(
                "{}{{{}=\"{}\"}}",
                schema::SIGNAL,
                schema::SIGNAL_LABEL,
                query.signal
            )
        }
        QuerySource::GpuRequests => schema::PODS_WAITING.to_owned(),
    });
    let mut names: Vec<String> = metrics
        .series()
        .iter()
        .map(|series| series.labels().name().to_owned())
        .collect();
    names.dedup();
    HistoryError::NothingRead {
        wanted: listed(wanted),
        has: listed(names.into_iter()),
    }
}

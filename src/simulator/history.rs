//! A recording of metrics as a policy would have met it: its samples, its devices and its pool, over time.
//!
//! The series of the recording are sorted out once, by the rules of [`devices`](crate::devices): which device reported
//! for which signal, which node it is in, how much of a GPU it is. What the pool had (nodes asked for, nodes Ready,
//! inventory, price) is read from the series of the [`schema`], from what was declared, or is assumed from the
//! devices that were seen, in this order.
//!
//! It hands samples out in order of time and decides nothing.

mod demand;
mod error;
mod fleet;
mod lacking;
mod sorter;
mod steps;
mod tracks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::api::{Query, QuerySource};
use crate::devices::{Identity, LabelMapping};
use crate::policy::Config;
use crate::policy::config::{Micro, Millis};
use crate::policy::observation::{Placement, PodRequest};
use crate::policy::sample::{Channel, DeviceId, Sample};
use crate::policy::windows::{Device, ReadStatus};
use crate::recording::{Labels, MAX_POINTS, Metrics, Series, schema};

pub use demand::{Derived, Stretch};
pub use error::HistoryError;
use fleet::{Fleet, Frame};
use lacking::Lacking;
use sorter::Sorter;
use steps::Steps;
use tracks::Track;

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
    /// Series of the first and of the last sample.
    ends: [String; 2],
    /// Signals of the policy that the recording does not have.
    lacking_signals: Vec<usize>,
    remarks: Vec<String>,
    lacking: Lacking,
    expected: Vec<Device>,
    /// Since when the inventory says anything.
    listed_from_ms: Option<Millis>,
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
        plausible(metrics)?;
        let (start_ms, end_ms, ends) = span(metrics);
        let frame = Frame {
            start_ms,
            end_ms,
            hold_ms: config.data_quality.hold_limit_ms(),
        };
        let sorter = Sorter { metrics, mapping };
        let readings = sorter.readings(queries)?;
        let inventory = sorter.inventory()?;
        let devices = sorter.devices(&readings, &inventory);
        if devices.is_empty() && !readings.is_empty() {
            return Err(sorter.other_nodes(&readings, &inventory));
        }
        let ids: BTreeMap<&Identity, DeviceId> = devices.keys().zip((0..).map(DeviceId)).collect();
        let mut tracks = sorter.signals(config, queries, &readings, &ids, &devices)?;
        let waiting = waiting(metrics)?;
        let read = |signal: usize, query: &Query| match query.source {
            QuerySource::GpuRequests => !waiting.is_empty(),
            _ => tracks.iter().any(|track| usize::from(track.signal) == signal),
        };
        let numbered = || queries.iter().enumerate();
        let lacking_signals: Vec<usize> = numbered()
            .filter(|&(signal, query)| !read(signal, query))
            .map(|(signal, _)| signal)
            .collect();
        if lacking_signals.len() == queries.len() {
            return Err(nothing_read(metrics, queries));
        }
        tracks.extend(sorter.channels(&ids));
        let recorded = !inventory.is_empty();
        let health = sorter.health(&ids, start_ms);
        let remarks = sorter.remarks(queries, &lacking_signals, &readings, &inventory, frame);
        Ok(Self {
            frame,
            tracks,
            devices: devices.len(),
            requested: one_of(metrics, schema::NODES_REQUESTED)?,
            ready: one_of(metrics, schema::NODES_READY)?,
            price: one_of(metrics, schema::NODE_PRICE)?,
            waiting,
            inventory: if recorded {
                Inventory::Recorded
            } else {
                Inventory::Assumed
            },
            gpus_per_node: info.unwrap_or_else(|| {
                let listed = inventory
                    .values()
                    .flat_map(Steps::changes)
                    .map(|&(_, gpus)| steps::count(gpus));
                let listed = listed.max().unwrap_or(0).min(64);
                if listed > 0 {
                    listed
                } else {
                    Fleet::most_gpus_in_a_node(&devices)
                }
            }),
            pods: sorter.has_pods(&readings),
            ends,
            lacking_signals,
            remarks,
            lacking: Lacking::default(),
            expected: Vec::new(),
            listed_from_ms: inventory.values().filter_map(Steps::start_ms).min(),
            fleet: Fleet::new(&devices, &inventory, health, frame),
        })
    }

    /// States the shape of the pool where the recording does not have it: nodes Ready, and GPUs of each.
    ///
    /// Where no more nodes ever reported than are there all the time, one that falls silent has not left.
    pub(super) fn declare(&mut self, nodes: Option<u32>, gpus_per_node: u32) {
        let reported = u32::try_from(self.fleet.nodes().len()).unwrap_or(u32::MAX);
        let counted = self.requested.is_some() || self.ready.is_some();
        if self.inventory == Inventory::Assumed && !counted && nodes.is_some_and(|nodes| reported <= nodes) {
            self.fleet.nobody_leaves();
        }
        self.lacking.declared = nodes;
        self.gpus_per_node = gpus_per_node;
    }

    /// Whether the recording is long enough for one step of `step_ms` and short enough to be walked through.
    ///
    /// # Errors
    ///
    /// [`HistoryError::TooShort`] and [`HistoryError::TooLong`].
    pub fn walkable(&self, step_ms: Millis) -> Result<(), HistoryError> {
        let (start_ms, end_ms) = self.span_ms();
        let [first, last] = [start_ms, end_ms].map(instant);
        let step = format!("{} s", step_ms / 1000);
        if end_ms.div_euclid(step_ms) * step_ms < start_ms {
            return Err(HistoryError::TooShort { first, last, step });
        }
        let steps = usize::try_from((end_ms - start_ms) / step_ms).unwrap_or(usize::MAX);
        if steps < MAX_POINTS {
            return Ok(());
        }
        let [first_series, last_series] = self.ends.clone();
        Err(HistoryError::TooLong {
            first,
            first_series,
            last,
            last_series,
            step,
        })
    }

    /// What has to be known of the recording to believe a result, in sentences without a full stop.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// How each signal is read: one that the recording lacks is not answered, whatever the policy takes its absence
    /// for.
    pub(super) fn reads(&self, signals: usize) -> Vec<ReadStatus> {
        let status = |signal: usize| {
            if self.lacking_signals.contains(&signal) {
                ReadStatus::Failed
            } else {
                ReadStatus::Answered
            }
        };
        (0..signals).map(status).collect()
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
            let count = steps::count(steps.known_at(at_ms)?).min(MOST);
            let pod = PodRequest {
                gpus: *gpus,
                placement: Placement::AnyNode,
            };
            pods.extend((0..count).map(|_| pod));
        }
        Some(pods)
    }

    /// Hands out the readings after those of the last call, up to and including `now_ms`.
    pub(crate) fn read_until(&mut self, now_ms: Millis, mut take: impl FnMut(Sample)) {
        for track in &mut self.tracks {
            track.read_until(now_ms, &mut take);
        }
    }

    /// The devices expected at `now_ms`, ordered by id, if they changed since the last call: those that reported, GPUs
    /// of listed nodes that never did, and those of nodes that are Ready and show no device at all.
    pub(super) fn devices_changed(&mut self, now_ms: Millis) -> Option<&[Device]> {
        let changed = self.fleet.changed(now_ms);
        let ready = self.ready_at(now_ms).or(self.lacking.declared).unwrap_or(0);
        let lacking = ready.saturating_sub(self.fleet.nodes_present());
        let news = self.lacking.note(lacking, ready, now_ms, self.frame);
        if !changed && !news {
            return None;
        }
        self.expected.clear();
        self.expected.extend(self.fleet.current());
        self.expected.extend(self.lacking.devices(self.gpus_per_node));
        Some(&self.expected)
    }

    /// The devices expected at the last call of [`History::devices_changed`].
    pub(super) fn expected(&self) -> &[Device] {
        &self.expected
    }

    /// Nodes that have a device at the last call of [`History::devices_changed`].
    pub(super) fn nodes_present(&self) -> u32 {
        self.fleet.nodes_present()
    }

    /// Whether it is known that the pool has no node at a time, so that nothing is wanted of nobody.
    pub(super) fn known_empty(&self, at_ms: Millis) -> bool {
        let counted = self.ready.as_ref().and_then(|ready| ready.known_at(at_ms));
        let listed = || self.listed_from_ms.is_some_and(|from_ms| at_ms >= from_ms);
        counted.map_or_else(listed, |nodes| nodes == 0.0)
    }

    /// Devices that no pod has, which only a reading that still holds can tell.
    pub(super) fn free_devices(&self, now_ms: Millis) -> BTreeSet<DeviceId> {
        let loads = self.tracks.iter().filter(|track| track.channel == Channel::Load);
        let free = loads.filter(|track| track.is_free(now_ms, self.frame.hold_ms));
        free.map(|track| track.device).collect()
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
        let label = |label, wanted| HistoryError::Label {
            series: labels.to_string(),
            label,
            wanted,
        };
        match labels.get(schema::VERSION_LABEL) {
            Some(schema::VERSION) => {}
            Some(found) => {
                return Err(HistoryError::Version {
                    found: found.to_owned(),
                });
            }
            None => return Err(label(schema::VERSION_LABEL, ", which is 1")),
        }
        if let Some(text) = labels.get(schema::GPUS_PER_NODE_LABEL) {
            let stated = text.parse().ok().filter(|gpus| (1..=64).contains(gpus));
            gpus = Some(
                stated.ok_or_else(|| label(schema::GPUS_PER_NODE_LABEL, " to be a number from 1 to 64"))?,
            );
        }
    }
    Ok(gpus)
}

/// Refuses counts and prices that cannot be.
fn plausible(metrics: &Metrics) -> Result<(), HistoryError> {
    for (name, most, wanted) in [
        (
            schema::NODES_REQUESTED,
            100_000.0,
            "a number of nodes is from 0 to 100000",
        ),
        (
            schema::NODES_READY,
            100_000.0,
            "a number of nodes is from 0 to 100000",
        ),
        (schema::NODE_GPUS, 64.0, "a node has from 0 to 64 GPUs"),
        (
            schema::NODE_PRICE,
            10_000.0,
            "a node-hour costs from 0 to 10000 USD",
        ),
        (
            schema::PODS_WAITING,
            100_000.0,
            "a number of pods is from 0 to 100000",
        ),
    ] {
        for series in metrics.of(name) {
            let odd = |&(_, value): &(i64, f64)| value.is_finite() && !(0.0..=most).contains(&value);
            if let Some((_, value)) = series.samples().find(odd) {
                return Err(HistoryError::Value {
                    series: series.labels().to_string(),
                    found: value.to_string(),
                    wanted,
                });
            }
        }
    }
    Ok(())
}

/// The first and the last sample, and the series that they are of. What the recording says of itself has no time.
fn span(metrics: &Metrics) -> (Millis, Millis, [String; 2]) {
    let timed = metrics
        .series()
        .iter()
        .filter(|series| series.labels().name() != schema::INFO);
    let spans = timed.filter_map(|series| Some((series.span_ms()?, series)));
    let first = spans.clone().min_by_key(|((start_ms, _), _)| *start_ms);
    let last = spans.max_by_key(|((_, end_ms), _)| *end_ms);
    if let (Some(((start_ms, _), first)), Some(((_, end_ms), last))) = (first, last) {
        let ends = [first, last].map(|series| format!("`{}`", series.labels()));
        return (start_ms, end_ms, ends);
    }
    let (start_ms, end_ms) = metrics.span_ms();
    (start_ms, end_ms, Default::default())
}

/// Pods that wait over time, by the GPUs that each asks for.
fn waiting(metrics: &Metrics) -> Result<Vec<(u32, Steps)>, HistoryError> {
    let series = metrics.of(schema::PODS_WAITING).iter();
    series
        .map(|series| {
            let gpus = series
                .labels()
                .get(schema::GPUS_LABEL)
                .and_then(|text| text.parse().ok());
            let gpus = gpus
                .filter(|gpus| (1..=64).contains(gpus))
                .ok_or_else(|| HistoryError::Label {
                    series: series.labels().to_string(),
                    label: schema::GPUS_LABEL,
                    wanted: " to be a number from 1 to 64",
                })?;
            Ok((gpus, Steps::of(series)))
        })
        .collect()
}

/// The one series of a metric.
fn one_of(metrics: &Metrics, name: &str) -> Result<Option<Steps>, HistoryError> {
    let series: Vec<&Series> = metrics.of(name).iter().collect();
    one(&series, name).map(|series| series.map(Steps::of))
}

fn one<'a>(series: &[&'a Series], what: &str) -> Result<Option<&'a Series>, HistoryError> {
    match series {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        many => Err(HistoryError::Several {
            what: format!("`{what}`"),
            series: listed(many.iter().map(|series| series.labels().to_string())),
        }),
    }
}

fn instant(ms: Millis) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// The first few of many names.
fn listed(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
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

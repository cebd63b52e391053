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
mod steps;
mod tracks;

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Query, QuerySource};
use crate::devices::{Identity, LabelMapping, memory_mib, power_limit_watts};
use crate::policy::Config;
use crate::policy::config::{Micro, Millis, ONE, SignalSource};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::observation::{Placement, PodRequest};
use crate::policy::sample::{Channel, DeviceId, POOL, Sample};
use crate::policy::windows::{Device, Health};
use crate::recording::{Labels, Metrics, Series, schema};

pub use demand::{Derived, Stretch};
use fleet::{Fleet, Frame, Seen, health_changes};
use steps::Steps;
use tracks::{Member, Track, Unit};

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

/// A series that a device reported for a signal.
struct Reading<'a> {
    signal: usize,
    identity: Identity,
    series: &'a Series,
}

/// Sorts the series of a recording by device.
struct Sorter<'a, 'm> {
    metrics: &'a Metrics,
    mapping: &'m LabelMapping,
}

impl<'a> Sorter<'a, '_> {
    /// Every series that a device signal reads. A whole GPU that is split at any time counts by its instances.
    fn readings(&self, queries: &[Query]) -> Result<Vec<Reading<'a>>, HistoryError> {
        let mut readings = Vec::new();
        for (signal, query) in queries.iter().enumerate() {
            let QuerySource::Dcgm { metric, match_labels } = &query.source else {
                continue;
            };
            let matches = |series: &&Series| {
                let mut labels = match_labels.iter();
                labels.all(|(name, value)| series.labels().get(name).unwrap_or_default() == value)
            };
            for series in self.metrics.of(metric.series()).iter().filter(matches) {
                let Some(identity) = self.mapping.identity(series.labels()) else {
                    return Err(HistoryError::Unidentified {
                        series: series.labels().to_string(),
                    });
                };
                readings.push(Reading {
                    signal,
                    identity,
                    series,
                });
            }
        }
        let split: BTreeSet<Identity> = readings
            .iter()
            .filter(|reading| reading.identity.is_instance())
            .map(|reading| reading.identity.gpu())
            .collect();
        readings.retain(|reading| !split.contains(&reading.identity));
        Ok(readings)
    }

    /// GPUs of each node over time, if the recording has them.
    fn inventory(&self) -> BTreeMap<String, Steps> {
        let series = self.metrics.of(schema::NODE_GPUS).iter();
        series
            .filter_map(|series| {
                let node = series.labels().get(schema::NODE_LABEL)?;
                Some((node.to_owned(), Steps::of(series)))
            })
            .collect()
    }

    /// The devices that reported. With an inventory, those of nodes that it does not list are not of the pool.
    fn devices(
        &self,
        readings: &[Reading<'_>],
        inventory: &BTreeMap<String, Steps>,
    ) -> BTreeMap<Identity, Seen> {
        let mut devices: BTreeMap<Identity, Seen> = BTreeMap::new();
        for reading in readings {
            let node = self.mapping.node(reading.series.labels()).unwrap_or_default();
            if !inventory.is_empty() && !inventory.contains_key(node) {
                continue;
            }
            let Some((first_ms, last_ms)) = reading.series.span_ms() else {
                continue;
            };
            let seen = devices.entry(reading.identity.clone()).or_insert_with(|| Seen {
                node: node.to_owned(),
                weight: self.mapping.weight(reading.series.labels()),
                first_ms,
                last_ms,
            });
            seen.first_ms = seen.first_ms.min(first_ms);
            seen.last_ms = seen.last_ms.max(last_ms);
        }
        devices
    }

    fn signals(
        &self,
        config: &Config,
        queries: &[Query],
        readings: &[Reading<'a>],
        ids: &BTreeMap<&Identity, DeviceId>,
        devices: &BTreeMap<Identity, Seen>,
    ) -> Result<Vec<Track<'a>>, HistoryError> {
        let mut members: BTreeMap<(usize, DeviceId), Vec<&Reading<'a>>> = BTreeMap::new();
        for reading in readings {
            if let Some(&device) = ids.get(&reading.identity) {
                members.entry((reading.signal, device)).or_default().push(reading);
            }
        }
        let mut tracks = Vec::new();
        for ((signal, device), readings) in members {
            let (Some(SignalSource::Device(metric)), Some(first)) = (
                config.signals.get(signal).map(|signal| signal.source),
                readings.first(),
            ) else {
                continue;
            };
            let weight = devices.get(&first.identity).map_or(ONE, |seen| seen.weight);
            let unit = Unit::Dcgm(
                metric,
                self.full_scale(metric, &first.identity, first.series.labels()),
            );
            let series = readings.iter().map(|reading| reading.series);
            let target = (u16::try_from(signal).unwrap_or(u16::MAX), Channel::Load);
            tracks.push(Track::new(target, (device, weight), unit, self.members(series)));
        }
        for (index, (signal, query)) in config.signals.iter().zip(queries).enumerate() {
            let SignalSource::Series(unit) = signal.source else {
                continue;
            };
            let own = |series: &&Series| series.labels().get(schema::SIGNAL_LABEL) == Some(&query.signal);
            let series: Vec<&Series> = self.metrics.of(schema::SIGNAL).iter().filter(own).collect();
            if let Some(series) = one(series, &format!("signal {}", query.signal))? {
                let target = (u16::try_from(index).unwrap_or(u16::MAX), Channel::Load);
                let members = self.members(std::iter::once(series));
                tracks.push(Track::new(target, (POOL, ONE), Unit::Series(unit), members));
            }
        }
        Ok(tracks)
    }

    fn members(&self, series: impl Iterator<Item = &'a Series>) -> Vec<Member<'a>> {
        let member = |series: &'a Series| {
            Some(Member {
                start_ms: series.span_ms()?.0,
                samples: series.samples(),
                pod: self.mapping.pod(series.labels()).is_some(),
            })
        };
        series.filter_map(member).collect()
    }

    /// Power and memory of the devices, which tell whether a zero can be believed and whether a node may go. A MIG
    /// instance repeats the power of its whole GPU, which says nothing about the instance.
    fn channels(&self, ids: &BTreeMap<&Identity, DeviceId>) -> Vec<Track<'a>> {
        let mut tracks = Vec::new();
        for (metric, channel) in [
            (DcgmMetric::PowerRatio, Channel::Power),
            (DcgmMetric::MemoryUsed, Channel::Memory),
        ] {
            let mut members: BTreeMap<DeviceId, (Identity, Vec<&'a Series>)> = BTreeMap::new();
            for series in self.metrics.of(metric.series()) {
                let Some(identity) = self.mapping.identity(series.labels()) else {
                    continue;
                };
                let repeated = channel == Channel::Power && identity.is_instance();
                if let Some(&device) = ids.get(&identity).filter(|_| !repeated) {
                    members
                        .entry(device)
                        .or_insert_with(|| (identity, Vec::new()))
                        .1
                        .push(series);
                }
            }
            for (device, (identity, series)) in members {
                let Some(first) = series.first() else { continue };
                let unit = Unit::Dcgm(metric, self.full_scale(metric, &identity, first.labels()));
                let members = self.members(series.iter().copied());
                tracks.push(Track::new((0, channel), (device, ONE), unit, members));
            }
        }
        tracks
    }

    /// The full scale of a device for metrics that are not a fraction of it: its power limit in watts, its used and
    /// free memory in MiB. As recorded, else of its model, else 0, which makes every reading unknown.
    fn full_scale(&self, metric: DcgmMetric, identity: &Identity, labels: &Labels) -> f64 {
        let last = |name: &str| {
            let own = |series: &&Series| self.mapping.identity(series.labels()).as_ref() == Some(identity);
            let samples = self.metrics.of(name).iter().find(own)?.samples();
            samples.map(|(_, value)| value).find(|value| value.is_finite())
        };
        let model = labels.get("modelName").unwrap_or_default();
        match metric {
            DcgmMetric::PowerRatio => last("DCGM_FI_DEV_POWER_MGMT_LIMIT")
                .or_else(|| power_limit_watts(model))
                .unwrap_or(0.0),
            DcgmMetric::MemoryUsed => {
                let used_and_free = || Some(last("DCGM_FI_DEV_FB_USED")? + last("DCGM_FI_DEV_FB_FREE")?);
                let whole = || memory_mib(model).filter(|_| !identity.is_instance());
                used_and_free().or_else(whole).unwrap_or(0.0)
            }
            _ => 0.0,
        }
    }

    fn health(
        &self,
        ids: &BTreeMap<&Identity, DeviceId>,
        start_ms: Millis,
    ) -> Vec<(Millis, DeviceId, Health)> {
        let mut codes: BTreeMap<DeviceId, Vec<(Millis, u32)>> = BTreeMap::new();
        for series in self.metrics.of("DCGM_FI_DEV_XID_ERRORS") {
            let device = self
                .mapping
                .identity(series.labels())
                .and_then(|identity| ids.get(&identity));
            let Some(&device) = device else { continue };
            let known = series.samples().filter(|(_, code)| (0.0..1e6).contains(code));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range after the filter"
            )]
            codes
                .entry(device)
                .or_default()
                .extend(known.map(|(at_ms, code)| (at_ms, code as u32)));
        }
        let mut changes: Vec<_> = codes
            .into_iter()
            .flat_map(|(device, mut codes)| {
                codes.sort_unstable();
                health_changes(device, codes.into_iter(), start_ms)
            })
            .collect();
        changes.sort_unstable_by_key(|&(at_ms, device, _)| (at_ms, device));
        changes
    }

    fn has_pods(&self, readings: &[Reading<'_>]) -> bool {
        readings
            .iter()
            .any(|reading| self.mapping.pod(reading.series.labels()).is_some())
    }
}

//! Sorts the series of a recording by device: who reported what for which signal.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::api::{Query, QuerySource};
use crate::devices::{
    Identity, LabelMapping, MEBIBYTES, MEMORY_FREE, POWER_LIMIT, Unit, WATTS, XID_ERRORS, memory_mib,
    power_limit_watts, xid_code,
};
use crate::policy::Config;
use crate::policy::config::{Millis, ONE, SignalSource};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::sample::{Channel, DeviceId, POOL};
use crate::policy::windows::Health;
use crate::recording::{Labels, Metrics, Series, schema};

use super::fleet::{Frame, Seen, health_changes};
use super::steps::Steps;
use super::tracks::{Member, Track};
use super::{HistoryError, listed, one};

/// A series that a device reported for a signal.
pub(super) struct Reading<'a> {
    signal: usize,
    identity: Identity,
    series: &'a Series,
}

/// Sorts the series of a recording by device.
pub(super) struct Sorter<'a, 'm> {
    pub(super) metrics: &'a Metrics,
    pub(super) mapping: &'m LabelMapping,
}

impl<'a> Sorter<'a, '_> {
    /// Every series that a device signal reads. A whole GPU that is split at any time counts by its instances.
    pub(super) fn readings(&self, queries: &[Query]) -> Result<Vec<Reading<'a>>, HistoryError> {
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
                if identity.is_instance() && self.mapping.profile(series.labels()).is_none() {
                    return Err(HistoryError::Label {
                        series: series.labels().to_string(),
                        label: "GPU_I_PROFILE",
                        wanted: ", or nobody knows how much of the GPU the instance is",
                    });
                }
                readings.push(Reading {
                    signal,
                    identity,
                    series,
                });
            }
        }
        // While a GPU is split, its instances speak for it.
        let mut split: BTreeMap<Identity, (Millis, Millis)> = BTreeMap::new();
        for reading in readings.iter().filter(|reading| reading.identity.is_instance()) {
            let Some((first_ms, last_ms)) = reading.series.span_ms() else {
                continue;
            };
            let span = split.entry(reading.identity.gpu()).or_insert((first_ms, last_ms));
            *span = (span.0.min(first_ms), span.1.max(last_ms));
        }
        readings.retain(
            |reading| match (split.get(&reading.identity), reading.series.span_ms()) {
                (Some(&(from_ms, to_ms)), Some((first_ms, last_ms))) => last_ms < from_ms || first_ms > to_ms,
                _ => true,
            },
        );
        Ok(readings)
    }

    /// GPUs of each node over time, if the recording has them.
    pub(super) fn inventory(&self) -> Result<BTreeMap<String, Steps>, HistoryError> {
        let mut nodes: BTreeMap<String, Vec<&Series>> = BTreeMap::new();
        for series in self.metrics.of(schema::NODE_GPUS) {
            let node = series
                .labels()
                .get(schema::NODE_LABEL)
                .ok_or_else(|| HistoryError::Label {
                    series: series.labels().to_string(),
                    label: schema::NODE_LABEL,
                    wanted: "",
                })?;
            nodes.entry(node.to_owned()).or_default().push(series);
        }
        let steps = nodes.into_iter().filter_map(|(node, series)| {
            let what = format!("{}{{node=\"{node}\"}}", schema::NODE_GPUS);
            let steps = one(&series, &what).transpose()?;
            Some(steps.map(|series| (node, Steps::of(series))))
        });
        steps.collect()
    }

    /// The devices are in other nodes than the inventory lists.
    pub(super) fn other_nodes(
        &self,
        readings: &[Reading<'_>],
        inventory: &BTreeMap<String, Steps>,
    ) -> HistoryError {
        let nodes = readings
            .iter()
            .filter_map(|reading| self.mapping.node(reading.series.labels()));
        let nodes: BTreeSet<String> = nodes.map(str::to_owned).collect();
        HistoryError::OtherNodes {
            devices: listed(nodes.into_iter()),
            inventory: listed(inventory.keys().cloned()),
        }
    }

    /// What has to be known of the recording to believe a result.
    pub(super) fn remarks(
        &self,
        queries: &[Query],
        lacking: &[usize],
        readings: &[Reading<'_>],
        inventory: &BTreeMap<String, Steps>,
        frame: Frame,
    ) -> Vec<String> {
        let mut remarks = Vec::new();
        for query in lacking.iter().filter_map(|&signal| queries.get(signal)) {
            remarks.push(format!(
                "the recording has nothing of signal `{}`, which is unknown throughout; no data is never zero",
                query.signal
            ));
        }
        let whole = |signal: usize| {
            let source = queries.get(signal).map(|query| &query.source);
            matches!(
                source,
                Some(QuerySource::Dcgm {
                    metric: DcgmMetric::GpuUtilization,
                    ..
                })
            )
        };
        if readings
            .iter()
            .any(|reading| reading.identity.is_instance() && whole(reading.signal))
        {
            remarks.push(
                "`GpuUtilization` does not exist for MIG instances, so what the exporter writes there is unknown; use \
                 `GraphicsEngineActive`"
                    .to_owned(),
            );
        }
        let elsewhere: BTreeSet<&str> = readings
            .iter()
            .filter_map(|reading| self.mapping.node(reading.series.labels()))
            .filter(|node| !inventory.is_empty() && !inventory.contains_key(*node))
            .collect();
        if !elsewhere.is_empty() {
            remarks.push(format!(
                "devices of {} are not of the pool, since the inventory does not list them",
                listed(elsewhere.into_iter().map(str::to_owned))
            ));
        }
        let power = self.metrics.of(DcgmMetric::PowerRatio.series());
        let limits = self.largest(POWER_LIMIT, WATTS);
        let unlimited = |series: &&Series| {
            let model = series.labels().get("modelName").unwrap_or_default();
            let known = self
                .mapping
                .identity(series.labels())
                .is_some_and(|id| limits.contains_key(&id));
            !known && power_limit_watts(model).is_none()
        };
        if let Some(series) = power.iter().find(unlimited) {
            remarks.push(format!(
                "the power limit of `{}` is not known, so its power cannot tell a lying zero; record `{POWER_LIMIT}`",
                series.labels().get("modelName").unwrap_or("a GPU without a model")
            ));
        }
        remarks.extend(sparse(readings, frame));
        remarks
    }

    /// The devices that reported. With an inventory, those of nodes that it does not list are not of the pool.
    pub(super) fn devices(
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

    pub(super) fn signals(
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
        let scales = Scales::of_all(self);
        for ((signal, device), readings) in members {
            let (Some(SignalSource::Device(metric)), Some(first)) = (
                config.signals.get(signal).map(|signal| signal.source),
                readings.first(),
            ) else {
                continue;
            };
            let weight = devices.get(&first.identity).map_or(ONE, |seen| seen.weight);
            let unit = match metric {
                DcgmMetric::GpuUtilization if first.identity.is_instance() => Unit::Nothing,
                _ => Unit::Dcgm(metric, scales.of(metric, &first.identity, first.series.labels())),
            };
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
            if let Some(series) = one(&series, &format!("signal {}", query.signal))? {
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
    pub(super) fn channels(&self, ids: &BTreeMap<&Identity, DeviceId>) -> Vec<Track<'a>> {
        let mut tracks = Vec::new();
        let scales = Scales::of_all(self);
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
                let unit = Unit::Dcgm(metric, scales.of(metric, &identity, first.labels()));
                let members = self.members(series.iter().copied());
                tracks.push(Track::new((0, channel), (device, ONE), unit, members));
            }
        }
        tracks
    }

    /// The first plausible value of a metric for each device; the largest, where it has several rows.
    fn largest(&self, name: &str, plausible: RangeInclusive<f64>) -> BTreeMap<Identity, f64> {
        let mut largest: BTreeMap<Identity, f64> = BTreeMap::new();
        for series in self.metrics.of(name) {
            let value = series
                .samples()
                .map(|(_, value)| value)
                .find(|value| plausible.contains(value));
            if let (Some(identity), Some(value)) = (self.mapping.identity(series.labels()), value) {
                let known = largest.entry(identity).or_insert(value);
                *known = known.max(value);
            }
        }
        largest
    }

    pub(super) fn health(
        &self,
        ids: &BTreeMap<&Identity, DeviceId>,
        start_ms: Millis,
    ) -> Vec<(Millis, DeviceId, Health)> {
        let mut codes: BTreeMap<DeviceId, Vec<(Millis, u32)>> = BTreeMap::new();
        for series in self.metrics.of(XID_ERRORS) {
            let device = self
                .mapping
                .identity(series.labels())
                .and_then(|identity| ids.get(&identity));
            let Some(&device) = device else { continue };
            let known = series
                .samples()
                .filter_map(|(at_ms, value)| xid_code(value).map(|code| (at_ms, code)));
            codes.entry(device).or_default().extend(known);
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

    pub(super) fn has_pods(&self, readings: &[Reading<'_>]) -> bool {
        readings
            .iter()
            .any(|reading| self.mapping.pod(reading.series.labels()).is_some())
    }
}

/// The full scale of devices for metrics that are not a fraction of it.
struct Scales {
    watts: BTreeMap<Identity, f64>,
    used: BTreeMap<Identity, f64>,
    free: BTreeMap<Identity, f64>,
}

impl Scales {
    fn of_all(sorter: &Sorter<'_, '_>) -> Self {
        Self {
            watts: sorter.largest(POWER_LIMIT, WATTS),
            used: sorter.largest(DcgmMetric::MemoryUsed.series(), MEBIBYTES),
            free: sorter.largest(MEMORY_FREE, MEBIBYTES),
        }
    }

    /// A device's power limit in watts, its used and free memory in MiB: as recorded, else of its model, else 0, which
    /// makes every reading unknown.
    fn of(&self, metric: DcgmMetric, identity: &Identity, labels: &Labels) -> f64 {
        let model = labels.get("modelName").unwrap_or_default();
        let recorded = match metric {
            DcgmMetric::PowerRatio => self.watts.get(identity).copied(),
            DcgmMetric::MemoryUsed => {
                let used_and_free = self.used.get(identity).zip(self.free.get(identity));
                used_and_free.map(|(used, free)| used + free)
            }
            _ => None,
        };
        let of_model = || match metric {
            DcgmMetric::PowerRatio => power_limit_watts(model),
            DcgmMetric::MemoryUsed => memory_mib(model).filter(|_| !identity.is_instance()),
            _ => None,
        };
        recorded.or_else(of_model).unwrap_or(0.0)
    }
}

/// Samples that are further apart than one holds leave the devices unknown in between.
fn sparse(readings: &[Reading<'_>], frame: Frame) -> Option<String> {
    const LOOKED_AT: usize = 50;
    let series = readings
        .iter()
        .map(|reading| reading.series)
        .max_by_key(|series| series.len())?;
    let times: Vec<Millis> = series.samples().take(LOOKED_AT).map(|(at_ms, _)| at_ms).collect();
    let mut gaps: Vec<Millis> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let usual = *gaps.get(gaps.len() / 2)?;
    (usual > frame.hold_ms).then(|| {
        format!(
            "samples are {} s apart and each counts for {} s, so devices are unknown in between; record more often, or \
             set `dataQuality.scrapeInterval` to what it is",
            usual / 1000,
            frame.hold_ms / 1000
        )
    })
}

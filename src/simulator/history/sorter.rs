//! Sorts the series of a recording by device: who reported what for which signal.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Query, QuerySource};
use crate::devices::{Identity, LabelMapping, memory_mib, power_limit_watts};
use crate::policy::Config;
use crate::policy::config::{Millis, ONE, SignalSource};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::sample::{Channel, DeviceId, POOL};
use crate::policy::windows::Health;
use crate::recording::{Labels, Metrics, Series, schema};

use super::fleet::{Seen, health_changes};
use super::steps::Steps;
use super::tracks::{Member, Track, Unit};
use super::{HistoryError, one};

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
    pub(super) fn inventory(&self) -> BTreeMap<String, Steps> {
        let series = self.metrics.of(schema::NODE_GPUS).iter();
        series
            .filter_map(|series| {
                let node = series.labels().get(schema::NODE_LABEL)?;
                Some((node.to_owned(), Steps::of(series)))
            })
            .collect()
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
    pub(super) fn channels(&self, ids: &BTreeMap<&Identity, DeviceId>) -> Vec<Track<'a>> {
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

    pub(super) fn health(
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

    pub(super) fn has_pods(&self, readings: &[Reading<'_>]) -> bool {
        readings
            .iter()
            .any(|reading| self.mapping.pod(reading.series.labels()).is_some())
    }
}

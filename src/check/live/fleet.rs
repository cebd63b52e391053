//! The devices of an answer: who reports, who fell silent, how often, and who is there twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::ports::{Answer, Series};
use crate::devices::{Identity, LabelMapping};
use crate::policy::config::Millis;
use crate::recording::Labels;

use super::MEASURED_MS;

/// Gaps that a series must have for its interval to be told.
const LEAST_GAPS: usize = 3;

/// What an answer says about devices.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    answer: &'a Answer,
    /// The newest sample of each device, and its node.
    devices: BTreeMap<Identity, Device<'a>>,
    /// Series that do not tell their device.
    pub(super) nameless: Vec<&'a Labels>,
    /// Time between two samples of a series, in ms.
    pub(super) interval_ms: Option<Millis>,
}

#[derive(Debug)]
struct Device<'a> {
    node: Option<&'a str>,
    newest_ms: Millis,
    /// Each series of it and its newest sample.
    series: Vec<(&'a Labels, Millis)>,
}

impl<'a> Fleet<'a> {
    pub(super) fn of(answer: &'a Answer, mapping: &LabelMapping) -> Self {
        let mut devices: BTreeMap<Identity, Device<'a>> = BTreeMap::new();
        let mut nameless = Vec::new();
        for series in answer.series.iter() {
            let labels = series.labels.as_ref();
            let Some(&(newest_ms, _)) = series.samples.last() else {
                continue;
            };
            let Some(identity) = mapping.identity(labels) else {
                nameless.push(labels);
                continue;
            };
            let device = devices.entry(identity).or_insert(Device {
                node: mapping.node(labels),
                newest_ms,
                series: Vec::new(),
            });
            device.newest_ms = device.newest_ms.max(newest_ms);
            device.series.push((labels, newest_ms));
        }
        Self {
            answer,
            devices,
            nameless,
            interval_ms: interval(answer),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    /// Devices with a sample that is no older than this.
    pub(super) fn reporting(&self, max_age_ms: Millis) -> usize {
        self.devices
            .values()
            .filter(|device| self.is_young(device, max_age_ms))
            .count()
    }

    fn is_young(&self, device: &Device<'_>, max_age_ms: Millis) -> bool {
        self.answer.now_ms.saturating_sub(device.newest_ms) <= max_age_ms
    }

    /// Nodes with a silent device, in order.
    pub(super) fn silent_nodes(&self, max_age_ms: Millis) -> Vec<&'a str> {
        let silent = self
            .devices
            .values()
            .filter(|device| !self.is_young(device, max_age_ms));
        let nodes: BTreeSet<&str> = silent.filter_map(|device| device.node).collect();
        nodes.into_iter().collect()
    }

    /// How many devices have several series that all go on, and the labels in which those differ.
    ///
    /// A pod that comes or goes makes a new series as well, but then the old one ends.
    pub(super) fn duplicates(&self) -> (usize, BTreeSet<&'a str>) {
        let Some(interval_ms) = self.interval_ms else {
            return (0, BTreeSet::new());
        };
        let newest_ms = self.devices.values().map(|device| device.newest_ms).max();
        let from_ms = newest_ms
            .unwrap_or_default()
            .saturating_sub(interval_ms.saturating_mul(3) / 2);
        let (mut count, mut names) = (0, BTreeSet::new());
        for device in self.devices.values() {
            let alive = device
                .series
                .iter()
                .filter(|(_, newest_ms)| *newest_ms >= from_ms);
            let alive: Vec<&Labels> = alive.map(|(labels, _)| *labels).collect();
            if let [first, others @ ..] = &*alive
                && !others.is_empty()
            {
                count += 1;
                names.extend(others.iter().flat_map(|other| differing(first, other)));
            }
        }
        (count, names)
    }
}

/// Names of the labels in which two series differ.
fn differing<'a>(one: &'a Labels, other: &'a Labels) -> impl Iterator<Item = &'a str> {
    let names = one.iter().chain(other.iter()).map(|(name, _)| name);
    names.filter(|name| one.get(name) != other.get(name))
}

/// The median over all series of the median time between two samples, in the last minutes.
fn interval(answer: &Answer) -> Option<Millis> {
    let from_ms = answer.now_ms.saturating_sub(MEASURED_MS);
    let of = |series: Series<'_>| {
        let times: Vec<Millis> = series.samples.iter().map(|(at_ms, _)| *at_ms).collect();
        let late = times.partition_point(|at_ms| *at_ms < from_ms);
        let times = times.get(late..).unwrap_or_default();
        let gaps = times
            .windows(2)
            .filter_map(|pair| Some(pair.last()?.saturating_sub(*pair.first()?)));
        let gaps: Vec<Millis> = gaps.filter(|gap| *gap > 0).collect();
        (gaps.len() >= LEAST_GAPS).then(|| median(gaps)).flatten()
    };
    median(answer.series.iter().filter_map(of).collect())
}

fn median(mut values: Vec<Millis>) -> Option<Millis> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

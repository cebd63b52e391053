//! The series of one selector: who each is of, and which samples of it were taken.
//!
//! A source that gives the same list of series as last time is recognised by one comparison.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::ports::{Answer, Series, SeriesTable};
use crate::devices::{LabelMapping, memory_mib, power_limit_watts};
use crate::policy::config::Millis;
use crate::policy::dcgm::DcgmMetric;
use crate::policy::sample::DeviceId;
use crate::recording::Labels;

use super::census::{Census, Moved, retain};
use super::recent::Recent;
use super::wants::Use;

/// What is known of a series. There are some hundreds for each policy, and at every tick all of them are gone through:
/// so they fill one line of the cache each, and their labels are elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) recent: Recent,
    /// Full scale by the model of the device, where it is known.
    pub(super) model: f64,
    device: Located,
    node: Located,
}

const _: () = assert!(
    size_of::<Known>() <= 64,
    "a series takes more than a line of the cache"
);

impl Known {
    /// Place of its device; `None` if its labels do not say.
    pub(super) fn device(&self) -> Option<usize> {
        self.device.place()
    }

    /// Place of its node.
    pub(super) fn node(&self) -> Option<usize> {
        self.node.place()
    }
}

/// A place in a list, or none, in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Located(u32);

impl Located {
    const NOWHERE: Self = Self(u32::MAX);

    fn place(self) -> Option<usize> {
        (self != Self::NOWHERE).then_some(self.0 as usize)
    }
}

impl From<Option<usize>> for Located {
    /// No list has so many places that four bytes do not number them.
    fn from(place: Option<usize>) -> Self {
        place
            .and_then(|place| u32::try_from(place).ok())
            .map_or(Self::NOWHERE, Self)
    }
}

/// What is missing of what was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gaps {
    /// Whether an answer said that it was partial, and not all of the window was read since.
    pub(super) left: bool,
    /// Whether the answer that is being taken is of all of the window.
    pub(super) read_again: bool,
}

/// The series of one selector.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    pub(super) uses: Vec<Use>,
    pub(super) known: Vec<Known>,
    /// The labels of each of them.
    labels: Vec<Arc<Labels>>,
    by_labels: BTreeMap<Arc<Labels>, usize>,
    /// The list of the last answer.
    list: Arc<[Arc<Labels>]>,
    /// For each series of the last answer, its place among the known.
    places: Vec<Option<usize>>,
    /// Whether each of them has one.
    placed: bool,
    /// Places in the answer and among the known, in the order of devices: what comes out does not depend on the
    /// order of an answer.
    pub(super) order: Vec<(usize, usize)>,
    /// The samples taken of an expression, which is one series whatever its labels.
    pub(super) pool: Recent,
    /// The last samples of its last answer, oldest first: a value of a moment may become another one when samples come
    /// late that it is made of.
    pub(super) said: Vec<(Millis, f64)>,
    /// Whether any series is of a MIG instance.
    pub(super) split: bool,
    pub(super) gaps: Gaps,
    /// Whether all of the window is to be read again.
    pub(super) again: bool,
}

impl Reader {
    pub(super) fn new(uses: Vec<Use>) -> Self {
        Self {
            uses,
            ..Self::default()
        }
    }

    pub(super) fn is_of_signal(&self) -> bool {
        self.uses.iter().any(|what| what.signal().is_some())
    }

    pub(super) fn is_expression(&self) -> bool {
        self.uses.iter().any(|what| matches!(what, Use::Series(..)))
    }

    pub(super) fn has(&self, wanted: Use) -> bool {
        self.uses.contains(&wanted)
    }

    /// The series of an answer with what is known of each, in the order of devices.
    pub(super) fn answered<'r>(
        &'r self,
        answer: &'r Answer,
    ) -> impl Iterator<Item = (Series<'r>, &'r Known)> {
        let order = self.order.iter();
        order.filter_map(|&(at, place)| Some((answer.series.get(at)?, self.known.get(place)?)))
    }

    /// The first series of a device in an answer.
    pub(super) fn answered_of<'r>(
        &self,
        answer: &'r Answer,
        census: &Census,
        id: Option<DeviceId>,
    ) -> Option<Series<'r>> {
        let id_of = |place: usize| {
            let known = self.known.get(place)?;
            census.devices.get(known.device()?)?.id
        };
        let first = self.order.partition_point(|&(_, place)| id_of(place) < id);
        let &(at, place) = self.order.get(first)?;
        answer.series.get(at).filter(|_| id_of(place) == id)
    }

    /// Tells that the devices of the last answer report for a signal.
    pub(super) fn report(&self, census: &mut Census) {
        for &place in self.places.iter().flatten() {
            if let Some(device) = self.known.get(place).and_then(Known::device) {
                census.reports(device);
            }
        }
    }

    /// Finds every series of an answer among the known; says whether any moved or is new. Then they are to be sorted.
    pub(super) fn locate(
        &mut self,
        series: &SeriesTable,
        mapping: &LabelMapping,
        census: &mut Census,
    ) -> bool {
        if self.placed && Arc::ptr_eq(&self.list, series.labels()) {
            return false;
        }
        self.list = Arc::clone(series.labels());
        self.order.clear();
        let mut places = std::mem::take(&mut self.places);
        places.resize(series.len(), None);
        let mut new: Vec<Series<'_>> = Vec::new();
        for (place, series) in places.iter_mut().zip(series.iter()) {
            *place = self.find(*place, series);
            if place.is_none() && !series.samples.is_empty() {
                new.push(series);
            }
        }
        if !new.is_empty() {
            // Nodes and devices are numbered in the order of labels, which is the same in every answer.
            new.sort_unstable_by(|one, other| one.labels.cmp(other.labels));
            new.dedup_by(|one, other| one.labels == other.labels);
            for series in new {
                self.add(series, mapping, census);
            }
            for (place, series) in places.iter_mut().zip(series.iter()) {
                *place = self.find(*place, series);
            }
        }
        self.placed = places.iter().all(Option::is_some);
        self.places = places;
        self.is_split(census);
        true
    }

    /// The series at its place of last time, else anywhere.
    fn find(&mut self, before: Option<usize>, series: Series<'_>) -> Option<usize> {
        if series.samples.is_empty() {
            return None;
        }
        let same = before.filter(|&place| self.labels.get(place) == Some(series.labels));
        let place = same.or_else(|| self.by_labels.get(series.labels).copied())?;
        *self.labels.get_mut(place)? = Arc::clone(series.labels);
        Some(place)
    }

    fn add(&mut self, series: Series<'_>, mapping: &LabelMapping, census: &mut Census) {
        let labels = series.labels;
        let (mut device, mut node, mut model) = (None, None, 0.0);
        if let Some(identity) = mapping.identity(labels) {
            model = self.full_scale(labels, identity.is_instance());
            let name = mapping.node(labels).unwrap_or_default();
            node = Some(census.node(name));
            // An instance of unknown size makes its GPU a split one, and is itself unknown.
            let unsized_instance = identity.is_instance() && mapping.profile(labels).is_none();
            let weight = if unsized_instance {
                0
            } else {
                mapping.weight(labels)
            };
            device = Some(census.device(identity, weight));
        }
        self.by_labels.insert(Arc::clone(labels), self.known.len());
        self.labels.push(Arc::clone(labels));
        self.known.push(Known {
            recent: Recent::default(),
            model,
            device: device.into(),
            node: node.into(),
        });
    }

    fn full_scale(&self, labels: &Labels, instance: bool) -> f64 {
        let model = labels.get("modelName").unwrap_or_default();
        let of_memory = |what: &Use| matches!(what, Use::Memory | Use::Device(_, DcgmMetric::MemoryUsed));
        let full = if self.uses.iter().any(of_memory) {
            memory_mib(model).filter(|_| !instance)
        } else {
            power_limit_watts(model)
        };
        full.unwrap_or(0.0)
    }

    fn is_split(&mut self, census: &Census) {
        let mut devices = self.places.iter().flatten().filter_map(|&place| {
            let device = self.known.get(place)?.device()?;
            census.devices.get(device)
        });
        self.split = devices.any(|device| device.instance);
    }

    /// Puts the series of the answer in the order of devices.
    pub(super) fn sort(&mut self, census: &Census) {
        self.order.clear();
        let places = self.places.iter().enumerate();
        self.order
            .extend(places.filter_map(|(at, place)| Some((at, (*place)?))));
        let (known, labels) = (&self.known, &self.labels);
        let key = |place: usize| {
            let series = known.get(place);
            let device = series.and_then(|series| census.devices.get(series.device()?));
            (device.and_then(|device| device.id), labels.get(place))
        };
        self.order
            .sort_unstable_by(|one, other| (key(one.1), one.0).cmp(&(key(other.1), other.0)));
    }

    /// What was said of a time after `now_ms` was never so.
    pub(super) fn forget_after(&mut self, now_ms: Millis) {
        self.pool.forget_after(now_ms);
        self.said.retain(|&(at_ms, _)| at_ms <= now_ms);
        for series in &mut self.known {
            series.recent.forget_after(now_ms);
        }
    }

    /// Lets every sample pass once more: the windows know which of them they have.
    pub(super) fn begin_again(&mut self) {
        self.again = false;
        self.gaps.read_again = true;
        self.pool = Recent::default();
        self.said.clear();
        for series in &mut self.known {
            series.recent = Recent::default();
        }
    }

    /// Marks the devices of the series that stay, and drops those that are no longer answered and have been silent
    /// since `oldest_ms`.
    pub(super) fn sweep(&mut self, oldest_ms: Millis, in_use: &mut [bool]) {
        let mut answered = vec![false; self.known.len()];
        for &place in self.places.iter().flatten() {
            if let Some(answered) = answered.get_mut(place) {
                *answered = true;
            }
        }
        let before = self.known.len();
        for (stays, series) in answered.iter_mut().zip(&self.known) {
            *stays = *stays || series.recent.newest_ms >= oldest_ms;
        }
        let stays = answered;
        retain(&mut self.known, &stays);
        retain(&mut self.labels, &stays);
        for device in self.known.iter().filter_map(Known::device) {
            if let Some(in_use) = in_use.get_mut(device) {
                *in_use = true;
            }
        }
        if self.known.len() < before {
            let labels = self.labels.iter().enumerate();
            self.by_labels = labels
                .map(|(place, labels)| (Arc::clone(labels), place))
                .collect();
            self.places.clear();
            self.placed = false;
            self.order.clear();
        }
    }

    pub(super) fn moved(&mut self, moved: &Moved) {
        for series in &mut self.known {
            series.device = series.device().and_then(|place| moved.device(place)).into();
            series.node = series.node().and_then(|place| moved.node(place)).into();
        }
    }
}

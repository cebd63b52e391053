//! What pages said, for as long as windows look back.
//!
//! Bounded in time, by the longest window that was ever asked for, and in number: an exporter whose labels change at every
//! scrape makes series without end. When the samples are too many, the oldest go first, and a window that lacks them is
//! known to a lesser part, as it should be. Series that are too many are not kept, and whoever asks is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::control::ports::SeriesBuilder;
use crate::policy::config::Millis;
use crate::recording::Labels;

/// The shortest time that is kept: what most windows look back.
const LEAST_KEPT_MS: Millis = 30 * 60_000;

/// When there are too many samples, the oldest part of the time goes: one in this many.
const PARTS: Millis = 10;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) series: usize,
    pub(super) samples: usize,
}

/// The samples of one series, oldest first.
type Samples = VecDeque<(Millis, f64)>;

/// What is remembered of all series.
#[derive(Debug)]
pub(super) struct History {
    bounds: Bounds,
    by_name: BTreeMap<String, BTreeMap<Arc<Labels>, Samples>>,
    series: usize,
    samples: usize,
    kept_ms: Millis,
    /// When a series had no room.
    full_ms: Option<Millis>,
}

impl History {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            by_name: BTreeMap::new(),
            series: 0,
            samples: 0,
            kept_ms: LEAST_KEPT_MS,
            full_ms: None,
        }
    }

    /// A window of that length is asked for, and will be again.
    pub(super) fn reach(&mut self, window_ms: Millis) {
        self.kept_ms = self.kept_ms.max(window_ms);
    }

    /// Takes a sample. A series that says two things at one time is believed the first time, as Prometheus does.
    pub(super) fn push(&mut self, labels: Labels, at_ms: Millis, value: f64) {
        if !self.by_name.contains_key(labels.name()) {
            self.by_name.insert(labels.name().to_owned(), BTreeMap::new());
        }
        let Some(series) = self.by_name.get_mut(labels.name()) else {
            return;
        };
        if let Some(samples) = series.get_mut(&labels) {
            if samples.back().is_none_or(|&(last_ms, _)| last_ms < at_ms) {
                samples.push_back((at_ms, value));
                self.samples += 1;
            }
        } else if self.series < self.bounds.series {
            series.insert(Arc::new(labels), VecDeque::from([(at_ms, value)]));
            self.series += 1;
            self.samples += 1;
        } else {
            self.full_ms = Some(at_ms);
        }
    }

    /// Lets go of what no window reaches any more, and of more if there is too much.
    pub(super) fn sweep(&mut self, now_ms: Millis) {
        let mut kept_ms = self.kept_ms;
        self.forget_until(now_ms.saturating_sub(kept_ms));
        while self.samples > self.bounds.samples && kept_ms > 0 {
            kept_ms -= (kept_ms / PARTS).max(1);
            self.forget_until(now_ms.saturating_sub(kept_ms));
        }
    }

    fn forget_until(&mut self, until_ms: Millis) {
        self.by_name.retain(|_, series| {
            series.retain(|_, samples| {
                while samples.front().is_some_and(|&(at_ms, _)| at_ms <= until_ms) {
                    samples.pop_front();
                    self.samples -= 1;
                }
                self.series -= usize::from(samples.is_empty());
                !samples.is_empty()
            });
            !series.is_empty()
        });
        self.full_ms = self.full_ms.filter(|&full_ms| full_ms > until_ms);
    }

    /// Whether there were more series within the time that is kept than there is room for.
    pub(super) fn is_full(&self) -> bool {
        self.full_ms.is_some()
    }

    /// Adds the samples in `(from_ms, to_ms]` of the series with that name and those labels.
    pub(super) fn read(
        &self,
        name: &str,
        match_labels: &[(String, String)],
        (from_ms, to_ms): (Millis, Millis),
        into: &mut SeriesBuilder,
    ) {
        let of_name = self.by_name.get(name).into_iter().flatten();
        // A label that must be empty is one that is not there.
        let fits = |labels: &Labels| {
            let mut wanted = match_labels.iter();
            wanted.all(|(label, value)| labels.get(label).unwrap_or_default() == value)
        };
        for (labels, samples) in of_name.filter(|(labels, _)| fits(labels)) {
            let first = samples.partition_point(|&(at_ms, _)| at_ms <= from_ms);
            let end = samples.partition_point(|&(at_ms, _)| at_ms <= to_ms);
            for &(at_ms, value) in samples.range(first.min(end)..end) {
                into.push(at_ms, value);
            }
            if first < end {
                into.end(labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ports::SeriesTable;

    const BOUNDS: Bounds = Bounds {
        series: 3,
        samples: 100,
    };

    fn labels(name: &str, gpu: &str) -> Labels {
        Labels::new(name, [("gpu", gpu)]).unwrap()
    }

    fn read(history: &History, name: &str, wanted: &[(&str, &str)], from_ms: Millis) -> SeriesTable {
        let wanted: Vec<(String, String)> = wanted
            .iter()
            .map(|&(label, value)| (label.to_owned(), value.to_owned()))
            .collect();
        let mut into = SeriesBuilder::after(&Arc::default());
        history.read(name, &wanted, (from_ms, Millis::MAX), &mut into);
        into.finish()
    }

    #[test]
    fn a_window_is_open_at_its_beginning_and_labels_choose() {
        let mut history = History::new(BOUNDS);
        for at_ms in [1_000, 2_000, 2_000, 3_000] {
            history.push(labels("util", "0"), at_ms, 5.0);
        }
        history.push(labels("util", "1"), 3_000, 7.0);
        history.push(labels("power", "0"), 3_000, 300.0);
        let all = read(&history, "util", &[], 1_000);
        let found: Vec<_> = all
            .iter()
            .map(|series| (series.labels.get("gpu"), series.samples))
            .collect();
        assert_eq!(
            found,
            [
                (Some("0"), [(2_000, 5.0), (3_000, 5.0)].as_slice()),
                (Some("1"), &[(3_000, 7.0)])
            ]
        );
        assert_eq!(read(&history, "util", &[("gpu", "1")], 0).labels().len(), 1);
        assert_eq!(read(&history, "util", &[("pod", "")], 0).labels().len(), 2);
        assert_eq!(read(&history, "util", &[("pod", "p")], 0).labels().len(), 0);
        assert_eq!(read(&history, "util", &[], 3_000).labels().len(), 0);
    }

    #[test]
    fn an_answer_shows_the_series_of_the_last_one_again() {
        let mut history = History::new(BOUNDS);
        history.push(labels("util", "0"), 1_000, 1.0);
        let first = read(&history, "util", &[], 0);
        history.push(labels("util", "0"), 2_000, 1.0);
        let second = read(&history, "util", &[], 0);
        assert!(Arc::ptr_eq(&first.labels()[0], &second.labels()[0]));
    }

    #[test]
    fn what_no_window_reaches_is_forgotten() {
        let mut history = History::new(BOUNDS);
        history.push(labels("util", "0"), 0, 1.0);
        history.push(labels("util", "1"), LEAST_KEPT_MS, 1.0);
        history.sweep(LEAST_KEPT_MS);
        assert_eq!(
            (history.series, history.samples),
            (1, 1),
            "its window is open at its beginning"
        );
        history.reach(2 * LEAST_KEPT_MS);
        history.sweep(2 * LEAST_KEPT_MS);
        assert_eq!(history.series, 1);
        history.sweep(3 * LEAST_KEPT_MS);
        assert_eq!((history.series, history.samples), (0, 0));
        assert!(history.by_name.is_empty());
    }

    #[test]
    fn too_many_samples_cost_the_oldest() {
        let mut history = History::new(BOUNDS);
        for at in 0..1_000 {
            history.push(labels("util", "0"), at * 1_000, 1.0);
            history.sweep(at * 1_000);
            assert!(history.samples <= BOUNDS.samples);
        }
        let kept = read(&history, "util", &[], 0);
        let samples = kept.iter().next().unwrap().samples.to_vec();
        assert!(samples.len() > 80, "{} are kept", samples.len());
        assert_eq!(samples.last().unwrap().0, 999_000);
    }

    #[test]
    fn too_many_series_are_told_until_they_are_gone() {
        let mut history = History::new(BOUNDS);
        for gpu in 0..4 {
            history.push(labels("util", &gpu.to_string()), 1_000, 1.0);
        }
        assert!(history.is_full());
        assert_eq!(history.series, 3);
        history.sweep(LEAST_KEPT_MS);
        assert!(history.is_full());
        history.sweep(LEAST_KEPT_MS + 1_000);
        assert!(!history.is_full());
    }
}

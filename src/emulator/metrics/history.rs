//! What the exporters said, for as long as it is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::policy::config::{Micro, Millis};

use super::query::Selector;

/// Labels by name, in order of their names.
pub type LabelSet = Arc<Vec<(String, String)>>;

/// How long an instant query looks back: five minutes, as every Prometheus does by default.
const LOOK_BACK_MS: Millis = 5 * 60_000;

/// A value at a time. `None` says that the series has ended: the staleness marker.
type Sample = (Millis, Option<Micro>);

/// Series of one metric by their labels.
type OfMetric = BTreeMap<LabelSet, VecDeque<Sample>>;

/// What a query finds in a series: pairs of a time and a value in millionths.
pub type Found = Vec<(LabelSet, Vec<(Millis, Micro)>)>;

/// Samples of the last while.
#[derive(Debug, Clone)]
pub struct History {
    retention_ms: Millis,
    metrics: BTreeMap<&'static str, OfMetric>,
}

impl History {
    /// An empty one that keeps samples for so long.
    #[must_use]
    pub fn new(retention_ms: Millis) -> Self {
        Self {
            retention_ms,
            metrics: BTreeMap::new(),
        }
    }

    /// A sample. Times of a series rise.
    pub fn push(&mut self, metric: &'static str, labels: &LabelSet, at_ms: Millis, micro: Micro) {
        let series = self.metrics.entry(metric).or_default();
        let samples = series.entry(Arc::clone(labels)).or_default();
        samples.push_back((at_ms, Some(micro)));
    }

    /// The scrape of `at_ms` is over: series that it did not bring end there, and what is too old goes.
    pub fn close(&mut self, at_ms: Millis) {
        let oldest_ms = at_ms.saturating_sub(self.retention_ms);
        for series in self.metrics.values_mut() {
            for samples in series.values_mut() {
                if samples
                    .back()
                    .is_some_and(|&(last_ms, value)| last_ms < at_ms && value.is_some())
                {
                    samples.push_back((at_ms, None));
                }
                while samples.front().is_some_and(|&(first_ms, _)| first_ms < oldest_ms) {
                    samples.pop_front();
                }
            }
            series.retain(|_, samples| !samples.is_empty());
        }
    }

    fn series<'a>(
        &'a self,
        selector: &'a Selector,
    ) -> impl Iterator<Item = (&'a LabelSet, &'a VecDeque<Sample>)> {
        let of_metric = self.metrics.get(selector.metric.as_str());
        let series = of_metric.into_iter().flatten();
        series.filter(|(labels, _)| selector.takes(labels))
    }

    /// The samples of `(from_ms, to_ms]`: ranges are open on the left, as in Prometheus 3.
    #[must_use]
    pub fn range(&self, selector: &Selector, from_ms: Millis, to_ms: Millis) -> Found {
        let series = self.series(selector).map(|(labels, samples)| {
            let inside = samples
                .iter()
                .filter(|(at_ms, _)| *at_ms > from_ms && *at_ms <= to_ms);
            let values = inside.filter_map(|&(at_ms, value)| Some((at_ms, value?)));
            (Arc::clone(labels), values.collect())
        });
        series
            .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
            .collect()
    }

    /// The newest sample of each series that has not ended and is younger than the look-back, as of `at_ms`.
    #[must_use]
    pub fn instant(&self, selector: &Selector, at_ms: Millis) -> Found {
        let series = self.series(selector).filter_map(|(labels, samples)| {
            let micro = newest(samples, at_ms)?;
            Some((Arc::clone(labels), vec![(at_ms, micro)]))
        });
        series.collect()
    }

    /// The instant answers at every multiple of `step_ms` in `(from_ms, to_ms]`.
    #[must_use]
    pub fn steps(&self, selector: &Selector, from_ms: Millis, to_ms: Millis, step_ms: Millis) -> Found {
        let first_ms = (from_ms.div_euclid(step_ms) + 1).saturating_mul(step_ms);
        let series = self.series(selector).map(|(labels, samples)| {
            let times = std::iter::successors(Some(first_ms), |at_ms| at_ms.checked_add(step_ms));
            let times = times.take_while(|at_ms| *at_ms <= to_ms);
            let values = times.filter_map(|at_ms| Some((at_ms, newest(samples, at_ms)?)));
            (Arc::clone(labels), values.collect())
        });
        series
            .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
            .collect()
    }
}

/// The value of a series at a time.
fn newest(samples: &VecDeque<Sample>, at_ms: Millis) -> Option<Micro> {
    let after = samples.partition_point(|(sample_ms, _)| *sample_ms <= at_ms);
    let &(sample_ms, value) = samples.get(after.checked_sub(1)?)?;
    value.filter(|_| sample_ms > at_ms.saturating_sub(LOOK_BACK_MS))
}

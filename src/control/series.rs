//! The series of an answer: who reports, and the samples of each.
//!
//! At every tick a source answers the same question with the same series and a few new samples. So the list of series
//! is shared from one answer to the next, and all samples of an answer lie in one row: recognising a thousand series
//! that were there before is one comparison, and passing them on one count of references.

use std::iter;
use std::sync::Arc;

use crate::policy::config::Millis;
use crate::recording::Labels;

/// Samples per series that an answer has room for from the start: a read at a tick overlaps the last one by two
/// scrapes.
const SAMPLES_OF_A_TICK: usize = 4;

/// Series, each once, with their samples.
#[derive(Debug, Clone, Default)]
pub struct SeriesTable {
    labels: Arc<[Arc<Labels>]>,
    /// Where the samples of each end among all.
    ends: Vec<usize>,
    samples: Vec<(Millis, f64)>,
}

/// One series of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Series<'t> {
    /// Who reports.
    pub labels: &'t Arc<Labels>,
    /// Source time in ms and value as exported, in order of time. Values may be anything a float can be.
    pub samples: &'t [(Millis, f64)],
}

impl SeriesTable {
    /// The number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number of samples of all series.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Who reports, in order. A source gives the list of its last answer as long as it stays the same.
    #[must_use]
    pub fn labels(&self) -> &Arc<[Arc<Labels>]> {
        &self.labels
    }

    /// The series at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Series<'_>> {
        let start = match place.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Some(Series {
            labels: self.labels.get(place)?,
            samples: self.samples.get(start..*self.ends.get(place)?)?,
        })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Series<'_>> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends);
        self.labels
            .iter()
            .zip(ranges)
            .map(|(labels, (start, &end))| Series {
                labels,
                samples: self.samples.get(start..end).unwrap_or_default(),
            })
    }
}

/// Builds an answer's series one after the other.
#[derive(Debug)]
pub struct SeriesBuilder {
    before: Arc<[Arc<Labels>]>,
    /// All labels so far, from the first one on that is not as before.
    labels: Vec<Arc<Labels>>,
    ends: Vec<usize>,
    samples: Vec<(Millis, f64)>,
}

impl SeriesBuilder {
    /// Begins an answer. `before` is the list of the last answer to the same question, which is taken again if it
    /// fits.
    #[must_use]
    pub fn after(before: &Arc<[Arc<Labels>]>) -> Self {
        Self {
            before: Arc::clone(before),
            labels: Vec::new(),
            ends: Vec::with_capacity(before.len()),
            samples: Vec::with_capacity(before.len() * SAMPLES_OF_A_TICK),
        }
    }

    /// Adds a sample to the series that is next.
    pub fn push(&mut self, at_ms: Millis, value: f64) {
        self.samples.push((at_ms, value));
    }

    /// The number of samples of all series so far, with those of the next one.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// The number of samples that the next series has so far.
    #[must_use]
    pub fn pushed(&self) -> usize {
        self.samples.len() - self.ends.last().copied().unwrap_or_default()
    }

    /// Says of whom the samples since the last call are.
    pub fn end(&mut self, labels: &Arc<Labels>) {
        let place = self.ends.len();
        let as_before = self.labels.is_empty()
            && self
                .before
                .get(place)
                .is_some_and(|known| Arc::ptr_eq(known, labels));
        if !as_before {
            if self.labels.is_empty() {
                self.labels.extend(self.before.iter().take(place).cloned());
            }
            self.labels.push(Arc::clone(labels));
        }
        self.ends.push(self.samples.len());
    }

    /// The series. Samples that nobody was named for are dropped.
    #[must_use]
    pub fn finish(mut self) -> SeriesTable {
        let labels = if !self.labels.is_empty() {
            self.labels.into()
        } else if self.ends.len() == self.before.len() {
            self.before
        } else {
            self.before.iter().take(self.ends.len()).cloned().collect()
        };
        self.samples
            .truncate(self.ends.last().copied().unwrap_or_default());
        SeriesTable {
            labels,
            ends: self.ends,
            samples: self.samples,
        }
    }
}

impl<S: IntoIterator<Item = (Millis, f64)>> FromIterator<(Arc<Labels>, S)> for SeriesTable {
    fn from_iter<I: IntoIterator<Item = (Arc<Labels>, S)>>(all: I) -> Self {
        let mut builder = SeriesBuilder::after(&Arc::default());
        for (labels, samples) in all {
            for (at_ms, value) in samples {
                builder.push(at_ms, value);
            }
            builder.end(&labels);
        }
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Arc<Labels> {
        Arc::new(Labels::new(name, [("gpu", "0")]).unwrap())
    }

    fn build(before: &SeriesTable, all: &[&Arc<Labels>]) -> SeriesTable {
        let mut builder = SeriesBuilder::after(before.labels());
        for (at_ms, labels) in (0..).zip(all) {
            builder.push(at_ms, 1.0);
            builder.end(labels);
        }
        builder.finish()
    }

    fn shown(table: &SeriesTable) -> Vec<(String, Vec<Millis>)> {
        let times = |series: Series<'_>| series.samples.iter().map(|(at_ms, _)| *at_ms).collect();
        let all = table.iter();
        all.map(|series| (series.labels.name().to_owned(), times(series)))
            .collect()
    }

    #[test]
    fn the_list_of_series_is_shared_for_as_long_as_it_stays_the_same() {
        let (a, b, c) = (labels("a"), labels("b"), labels("c"));
        let first = build(&SeriesTable::default(), &[&a, &b]);
        let same = build(&first, &[&a, &b]);
        assert!(Arc::ptr_eq(first.labels(), same.labels()));
        let cases: [&[&Arc<Labels>]; 5] = [&[&a], &[&a, &c], &[&b, &a], &[&a, &b, &c], &[]];
        for other in cases {
            let table = build(&first, other);
            assert!(!Arc::ptr_eq(first.labels(), table.labels()));
            let expected: Vec<_> = (0..)
                .zip(other)
                .map(|(at_ms, labels)| (labels.name().to_owned(), vec![at_ms]))
                .collect();
            assert_eq!(shown(&table), expected);
            assert_eq!((table.len(), table.is_empty()), (other.len(), other.is_empty()));
        }
    }

    #[test]
    fn each_series_has_its_own_samples() {
        let all = [
            (labels("a"), vec![(1, 0.5), (2, 1.5)]),
            (labels("b"), vec![]),
            (labels("c"), vec![(3, 2.5)]),
        ];
        let table: SeriesTable = all.into_iter().collect();
        let of = |name: &str, times: &[Millis]| (name.to_owned(), times.to_vec());
        assert_eq!(shown(&table), [of("a", &[1, 2]), of("b", &[]), of("c", &[3])]);
        for (place, series) in table.iter().enumerate() {
            assert_eq!(table.get(place).unwrap().samples, series.samples);
        }
        assert!(table.get(3).is_none());
        assert_eq!(table.samples(), 3);
    }

    #[test]
    fn samples_that_nobody_was_named_for_are_of_nobody() {
        let mut builder = SeriesBuilder::after(&Arc::default());
        builder.push(1, 0.5);
        builder.end(&labels("a"));
        builder.push(2, 0.5);
        assert_eq!(builder.pushed(), 1);
        let table = builder.finish();
        assert_eq!((table.len(), table.samples()), (1, 1));
    }
}

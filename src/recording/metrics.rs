//! Recorded series in memory: eight bytes for a value, and nearly nothing for its time.
//!
//! A month of 512 GPUs at 15 seconds is 91 million samples. Held as pairs they are 1.5 GB; but the GPUs of an
//! exporter are scraped together and most scrapes are evenly spaced, so the times of a series are known from very
//! little. A series is cut into blocks at absolute multiples of two hours, as Prometheus cuts its own. A block's
//! times are either a start and a step, or a list of four-byte offsets that is shared between all series which
//! have the same ones. Since blocks are cut by time and not by count, a device that appeared in the middle of the
//! recording shares its times from the next block on. At the very worst, when no two series share anything, a
//! sample takes 12 bytes.
//!
//! Samples may come in any order; those that come late are put into their place at the end and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Labels;
use super::read_error::Cause;

/// Length of a block of samples in milliseconds.
const BLOCK_MS: i64 = 2 * 3_600_000;

/// Most samples in a block: two hours at a second, and room for jitter.
const BLOCK_SAMPLES: usize = 8192;

/// The most series of a recording: what a fleet of 5,000 nodes with 8 GPUs exports in five metrics.
pub const MAX_SERIES: usize = 200_000;

/// The most samples of a recording (2 GiB of values): a month of 1,500 devices at 15 seconds.
pub const MAX_SAMPLES: u64 = 1 << 28;

/// The most bytes that names and labels of all series may take (2.5 KiB for each of [`MAX_SERIES`]): a small packed
/// file can unpack to long labels, and they are not samples.
const MAX_LABEL_BYTES: usize = 512 << 20;

/// A series of a [`MetricsBuilder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

/// What was seen while a recording was read. Nothing of it is an error; all of it is worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Samples kept.
    pub samples: u64,
    /// Samples that are NaN or infinite, stale markers among them; kept, since each ends the one before it.
    pub not_finite: u64,
    /// Samples that were there before, with the same time and value; dropped.
    pub duplicates: Seen,
    /// Samples of one series with the same time and another value; the larger one is kept.
    pub conflicts: Seen,
    /// Samples older than one of the same series that came before them; sorted in.
    pub late: Seen,
}

/// How often something was seen, and where first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// Line (row, for formats without lines) of the first one, from 1; 0 if there was none.
    pub first_line: u64,
}

impl Seen {
    fn note(&mut self, line: u64) {
        if self.count == 0 {
            self.first_line = line;
        }
        self.count += 1;
    }
}

/// Times of a block.
#[derive(Debug, Clone)]
enum Times {
    /// Evenly spaced.
    Even { start_ms: i64, step_ms: i64 },
    /// Offsets from the start in milliseconds.
    Listed { start_ms: i64, offsets: Arc<[u32]> },
}

#[derive(Debug, Clone)]
struct Block {
    times: Times,
    values: Box<[f64]>,
}

impl Block {
    fn at(&self, index: usize) -> Option<(i64, f64)> {
        let value = *self.values.get(index)?;
        let at_ms = match &self.times {
            Times::Even { start_ms, step_ms } => start_ms + step_ms * i64::try_from(index).unwrap_or(0),
            Times::Listed { start_ms, offsets } => start_ms + i64::from(*offsets.get(index)?),
        };
        Some((at_ms, value))
    }

    fn first_ms(&self) -> i64 {
        match self.times {
            Times::Even { start_ms, .. } | Times::Listed { start_ms, .. } => start_ms,
        }
    }
}

/// One recorded series: times strictly rising.
#[derive(Debug, Clone)]
pub struct Series {
    labels: Labels,
    blocks: Vec<Block>,
}

impl Series {
    /// Its identity.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.values.len()).sum()
    }

    /// Whether there are none; never so in a [`Metrics`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Its samples as (unix milliseconds, value as exported), times rising. A value that is not finite ends the one
    /// before it.
    #[must_use]
    pub fn samples(&self) -> Samples<'_> {
        Samples {
            blocks: &self.blocks,
            index: 0,
        }
    }

    fn not_finite(&self) -> u64 {
        let values = self.blocks.iter().flat_map(|block| &block.values);
        values.map(|value| u64::from(!value.is_finite())).sum()
    }

    /// The time of the first and of the last sample.
    #[must_use]
    pub fn span_ms(&self) -> Option<(i64, i64)> {
        let last = self.blocks.last()?;
        let (last_ms, _) = last.at(last.values.len().checked_sub(1)?)?;
        Some((self.blocks.first()?.first_ms(), last_ms))
    }
}

/// Iterates over the samples of a [`Series`].
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    blocks: &'a [Block],
    index: usize,
}

impl Samples<'_> {
    /// The next sample, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<(i64, f64)> {
        self.blocks.first()?.at(self.index)
    }
}

impl Iterator for Samples<'_> {
    type Item = (i64, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, rest) = self.blocks.split_first()?;
        let sample = first.at(self.index)?;
        self.index += 1;
        if self.index == first.values.len() {
            (self.blocks, self.index) = (rest, 0);
        }
        Some(sample)
    }
}

/// Everything that a recording of metrics holds, series ordered by their labels; at least one sample.
#[derive(Debug, Clone)]
pub struct Metrics {
    series: Vec<Series>,
    tally: Tally,
}

impl Metrics {
    /// All series, ordered by name and labels, none empty.
    #[must_use]
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The series of one metric.
    #[must_use]
    pub fn of(&self, name: &str) -> &[Series] {
        let start = self.series.partition_point(|series| series.labels.name() < name);
        let end = self.series.partition_point(|series| series.labels.name() <= name);
        &self.series[start..end]
    }

    /// Several recordings as one. A series that is in more than one of them is joined, as if its samples had stood
    /// in one file.
    ///
    /// # Errors
    ///
    /// [`Cause::NoSamples`] of nothing, [`Cause::TooManySeries`] and [`Cause::TooManySamples`] of too much.
    pub fn merged(parts: Vec<Self>) -> Result<Self, Cause> {
        let mut series: Vec<Series> = Vec::new();
        let mut tally = Tally::default();
        for part in parts {
            series.extend(part.series);
            tally.add(&part.tally);
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut merged: Vec<Series> = Vec::with_capacity(series.len());
        let mut rest = series.into_iter().peekable();
        while let Some(first) = rest.next() {
            let same = |other: &Series| other.labels == first.labels;
            let mut group: Vec<Series> = std::iter::from_fn(|| rest.next_if(same)).collect();
            if group.is_empty() {
                merged.push(first);
                continue;
            }
            group.push(first);
            merged.extend(Self::joined(&group, &mut tally)?);
        }
        match (
            merged.is_empty(),
            merged.len() > MAX_SERIES,
            tally.samples > MAX_SAMPLES,
        ) {
            (true, ..) => Err(Cause::NoSamples),
            (_, true, _) => Err(Cause::TooManySeries),
            (.., true) => Err(Cause::TooManySamples),
            _ => Ok(Self {
                series: merged,
                tally,
            }),
        }
    }

    /// Series with the same labels as one.
    fn joined(group: &[Series], tally: &mut Tally) -> Result<Vec<Series>, Cause> {
        let mut builder = MetricsBuilder::new();
        for series in group {
            let id = builder.series(series.labels.clone())?;
            for (at_ms, value) in series.samples() {
                builder.push(id, at_ms, value, 0)?;
            }
        }
        let joined = builder.finish()?;
        // That one file goes on where another ended is no disorder.
        let late = tally.late;
        tally.samples -= group.iter().map(|series| series.len() as u64).sum::<u64>();
        tally.not_finite -= group.iter().map(Series::not_finite).sum::<u64>();
        tally.add(&joined.tally);
        tally.late = late;
        Ok(joined.series)
    }

    /// Its one series under other labels; `None` if it has several.
    #[must_use]
    pub fn relabelled(self, labels: Labels) -> Option<Self> {
        let Self { series, tally } = self;
        let [only] = <[Series; 1]>::try_from(series).ok()?;
        Some(Self {
            series: vec![Series { labels, ..only }],
            tally,
        })
    }

    /// What was seen while it was read.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The time of the first and of the last sample, unix milliseconds.
    #[must_use]
    pub fn span_ms(&self) -> (i64, i64) {
        let spans = self.series.iter().filter_map(Series::span_ms);
        spans.fold((i64::MAX, i64::MIN), |(first, last), (start, end)| {
            (first.min(start), last.max(end))
        })
    }

    /// Bytes that it holds on the heap: what 8 bytes for each sample are compared with.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let mut shared: BTreeMap<*const u32, usize> = BTreeMap::new();
        let mut bytes = 0;
        for series in &self.series {
            bytes += series.labels.heap_bytes() + series.blocks.capacity() * size_of::<Block>();
            for block in &series.blocks {
                bytes += size_of_val(&*block.values);
                if let Times::Listed { offsets, .. } = &block.times {
                    shared.insert(offsets.as_ptr(), size_of_val(&**offsets));
                }
            }
        }
        bytes + shared.values().sum::<usize>() + self.series.capacity() * size_of::<Series>()
    }
}

/// A series while it is read.
#[derive(Debug)]
struct Growing {
    labels: Labels,
    blocks: Vec<Block>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Samples that came after a later one, or at the time of a sample that is in a finished block.
    late: Vec<(i64, f64)>,
    newest_ms: i64,
}

/// Collects samples into a [`Metrics`].
#[derive(Debug, Default)]
pub struct MetricsBuilder {
    series: Vec<Growing>,
    by_labels: HashMap<Labels, SeriesId>,
    offsets: HashSet<Arc<[u32]>>,
    label_bytes: usize,
    tally: Tally,
}

impl MetricsBuilder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The series of these labels, which may be new.
    ///
    /// # Errors
    ///
    /// [`Cause::TooManySeries`] beyond [`MAX_SERIES`], [`Cause::LabelsTooLarge`] if their labels are too long.
    pub fn series(&mut self, labels: Labels) -> Result<SeriesId, Cause> {
        if let Some(&id) = self.by_labels.get(&labels) {
            return Ok(id);
        }
        let id = match u32::try_from(self.series.len()) {
            Ok(id) if self.series.len() < MAX_SERIES => SeriesId(id),
            _ => return Err(Cause::TooManySeries),
        };
        // Twice, since they are also the key by which they are found.
        self.label_bytes += 2 * labels.heap_bytes();
        if self.label_bytes > MAX_LABEL_BYTES {
            return Err(Cause::LabelsTooLarge {
                limit: MAX_LABEL_BYTES,
            });
        }
        self.series.push(Growing {
            labels: labels.clone(),
            blocks: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            late: Vec::new(),
            newest_ms: i64::MIN,
        });
        self.by_labels.insert(labels, id);
        Ok(id)
    }

    /// Adds a sample that was found in `line`.
    ///
    /// `at_ms` has to be a plausible time (see [`plausible`](super::time::plausible)).
    ///
    /// # Errors
    ///
    /// [`Cause::TooManySamples`] beyond [`MAX_SAMPLES`].
    #[inline]
    pub fn push(&mut self, id: SeriesId, at_ms: i64, value: f64, line: u64) -> Result<(), Cause> {
        let series = &mut self.series[id.0 as usize];
        // Minus zero is zero: which of two equal values is kept must not depend on their order.
        let value = value + 0.0;
        if at_ms > series.newest_ms {
            let full = series.times.len() == BLOCK_SAMPLES;
            let next = at_ms.div_euclid(BLOCK_MS) != series.newest_ms.div_euclid(BLOCK_MS);
            if (full || next) && !series.times.is_empty() {
                series.seal(&mut self.offsets);
            }
            series.times.push(at_ms);
            series.values.push(value);
            series.newest_ms = at_ms;
        } else {
            match series.values.last_mut() {
                Some(last) if at_ms == series.newest_ms => {
                    self.tally.meet(last, value, line);
                    return Ok(());
                }
                _ => {
                    if at_ms < series.newest_ms {
                        self.tally.late.note(line);
                    }
                    series.late.push((at_ms, value));
                }
            }
        }
        self.tally.samples += 1;
        if self.tally.samples > MAX_SAMPLES {
            return Err(Cause::TooManySamples);
        }
        Ok(())
    }

    /// Samples so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.tally.samples
    }

    /// Everything that was collected, late samples in their places.
    ///
    /// # Errors
    ///
    /// [`Cause::NoSamples`] if there was none.
    pub fn finish(self) -> Result<Metrics, Cause> {
        let Self {
            series,
            by_labels,
            mut offsets,
            label_bytes: _,
            mut tally,
        } = self;
        drop(by_labels);
        let mut finished = Vec::with_capacity(series.len());
        for mut growing in series {
            if !growing.times.is_empty() {
                growing.seal(&mut offsets);
            }
            if !growing.late.is_empty() {
                growing.sort_in(&mut offsets, &mut tally);
            }
            growing.blocks.shrink_to_fit();
            if !growing.blocks.is_empty() {
                finished.push(Series {
                    labels: growing.labels,
                    blocks: growing.blocks,
                });
            }
        }
        finished.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        if finished.is_empty() {
            return Err(Cause::NoSamples);
        }
        tally.not_finite = finished.iter().map(Series::not_finite).sum();
        Ok(Metrics {
            series: finished,
            tally,
        })
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.not_finite += other.not_finite;
        for (own, other) in [
            (&mut self.duplicates, other.duplicates),
            (&mut self.conflicts, other.conflicts),
            (&mut self.late, other.late),
        ] {
            if own.count == 0 {
                own.first_line = other.first_line;
            }
            own.count += other.count;
        }
    }

    /// A second sample of one series and time: a pure function of the two, so that it does not matter which came
    /// first. A number wins over NaN, the larger over the smaller.
    fn meet(&mut self, kept: &mut f64, other: f64, line: u64) {
        if kept.to_bits() == other.to_bits() || (kept.is_nan() && other.is_nan()) {
            self.duplicates.note(line);
        } else {
            self.conflicts.note(line);
            *kept = kept.max(other);
        }
    }
}

impl Growing {
    /// Ends the open block.
    fn seal(&mut self, known: &mut HashSet<Arc<[u32]>>) {
        let times = Times::of(&self.times, known);
        self.blocks.push(Block {
            times,
            values: self.values.as_slice().into(),
        });
        self.times.clear();
        self.values.clear();
    }

    /// Puts late samples into their places; the series is laid out anew.
    fn sort_in(&mut self, known: &mut HashSet<Arc<[u32]>>, tally: &mut Tally) {
        let blocks = std::mem::take(&mut self.blocks);
        let mut samples: Vec<(i64, f64)> = Samples {
            blocks: &blocks,
            index: 0,
        }
        .collect();
        drop(blocks);
        samples.append(&mut self.late);
        samples.sort_by_key(|&(at_ms, _)| at_ms);
        samples.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                // The line is not known any more; the first one that is met in order was counted with it.
                tally.meet(&mut kept.1, later.1, 0);
                tally.samples -= 1;
            }
            same
        });
        for (at_ms, value) in samples {
            let block = at_ms.div_euclid(BLOCK_MS);
            let open = self.times.last().map(|last| last.div_euclid(BLOCK_MS));
            if open.is_some_and(|open| open != block) || self.times.len() == BLOCK_SAMPLES {
                self.seal(known);
            }
            self.times.push(at_ms);
            self.values.push(value);
        }
        if !self.times.is_empty() {
            self.seal(known);
        }
    }
}

impl Times {
    fn of(times: &[i64], known: &mut HashSet<Arc<[u32]>>) -> Self {
        let start_ms = times.first().copied().unwrap_or_default();
        let step_ms = times.get(1).map_or(0, |second| second - start_ms);
        if times.windows(2).all(|pair| pair[1] - pair[0] == step_ms) {
            return Self::Even { start_ms, step_ms };
        }
        // A block is two hours long at most, so an offset fits.
        let offset = |&at_ms: &i64| u32::try_from(at_ms - start_ms).unwrap_or(u32::MAX);
        let offsets: Arc<[u32]> = times.iter().map(offset).collect();
        let shared = match known.get(&offsets) {
            Some(shared) => Arc::clone(shared),
            None => offsets,
        };
        known.insert(Arc::clone(&shared));
        Self::Listed {
            start_ms,
            offsets: shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: i64 = 1_700_000_000_000;

    fn labels(gpu: usize) -> Labels {
        Labels::new("DCGM_FI_DEV_GPU_UTIL", [("gpu", gpu.to_string())]).unwrap()
    }

    fn build(samples: &[(usize, i64, f64)]) -> Metrics {
        let mut builder = MetricsBuilder::new();
        for (line, &(gpu, at_ms, value)) in (1..).zip(samples) {
            let id = builder.series(labels(gpu)).unwrap();
            builder.push(id, at_ms, value, line).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn series_are_ordered_and_found_by_name() {
        let mut builder = MetricsBuilder::new();
        for name in ["b", "a", "c", "b"] {
            for gpu in ["1", "0"] {
                let id = builder
                    .series(Labels::new(name, [("gpu", gpu)]).unwrap())
                    .unwrap();
                builder.push(id, T0, 1.0, 1).unwrap();
            }
        }
        let metrics = builder.finish().unwrap();
        let found: Vec<String> = metrics.of("b").iter().map(|s| s.labels().to_string()).collect();
        assert_eq!(found, [r#"b{gpu="0"}"#, r#"b{gpu="1"}"#]);
        assert_eq!(metrics.series().len(), 6);
        assert!(metrics.of("aa").is_empty());
        assert_eq!(
            metrics.tally().duplicates,
            Seen {
                count: 2,
                first_line: 1
            }
        );
    }

    #[test]
    fn late_and_double_samples_are_counted_and_put_right() {
        let metrics = build(&[
            (0, T0, 1.0),
            (0, T0 + 30_000, 3.0),
            (0, T0 + 15_000, 2.0),
            (0, T0 + 30_000, 3.0),
            (0, T0 + 30_000, 9.0),
            (0, T0, 0.5),
            (0, T0 + 15_000, f64::NAN),
        ]);
        let samples: Vec<_> = metrics.series()[0].samples().collect();
        assert_eq!(samples, [(T0, 1.0), (T0 + 15_000, 2.0), (T0 + 30_000, 9.0)]);
        let tally = metrics.tally();
        assert_eq!(tally.samples, 3);
        assert_eq!(
            tally.late,
            Seen {
                count: 3,
                first_line: 3
            }
        );
        assert_eq!(
            tally.duplicates,
            Seen {
                count: 1,
                first_line: 4
            }
        );
        assert_eq!(
            tally.conflicts,
            Seen {
                count: 3,
                first_line: 5
            }
        );
    }

    #[test]
    fn nothing_is_an_error_of_its_own() {
        assert_eq!(MetricsBuilder::new().finish().unwrap_err(), Cause::NoSamples);
    }

    #[test]
    fn recordings_are_merged_and_a_series_in_both_is_joined() {
        let first = build(&[(0, T0, 1.0), (0, T0 + 15_000, 2.0), (1, T0, 5.0)]);
        let second = build(&[(0, T0 + 15_000, 2.0), (0, T0 + 30_000, 3.0), (2, T0, f64::NAN)]);
        let merged = Metrics::merged(vec![first, second]).unwrap();
        let samples: Vec<_> = merged.series()[0].samples().collect();
        assert_eq!(samples, [(T0, 1.0), (T0 + 15_000, 2.0), (T0 + 30_000, 3.0)]);
        assert_eq!(merged.series().len(), 3);
        let tally = merged.tally();
        assert_eq!(
            (tally.samples, tally.not_finite, tally.duplicates.count),
            (5, 1, 1)
        );
        assert_eq!(Metrics::merged(Vec::new()).unwrap_err(), Cause::NoSamples);
    }

    #[test]
    fn only_a_single_series_is_relabelled() {
        let signal = Labels::new("gpuscale_signal", [("signal", "queue")]).unwrap();
        let one = build(&[(0, T0, 1.0)]).relabelled(signal.clone()).unwrap();
        assert_eq!(one.of("gpuscale_signal").len(), 1);
        assert!(build(&[(0, T0, 1.0), (1, T0, 1.0)]).relabelled(signal).is_none());
    }

    #[test]
    fn a_jittered_axis_is_shared_by_the_devices_of_an_exporter() {
        let mut samples = Vec::new();
        for tick in 0..2000_i64 {
            for gpu in 0..8 {
                samples.push((gpu, T0 + tick * 15_000 + tick % 7, 50.0));
            }
        }
        let metrics = build(&samples);
        let bytes = metrics.heap_bytes();
        assert!(
            bytes * 2 < samples.len() * 19,
            "{bytes} bytes for {} samples",
            samples.len()
        );
        let even: Vec<_> = samples
            .iter()
            .map(|&(gpu, t, v)| (gpu, t - t.rem_euclid(15_000), v))
            .collect();
        assert!(build(&even).heap_bytes() < metrics.heap_bytes());
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_series(
            mut samples in prop::collection::vec((0_usize..3, 0_i64..40_000_000, 0_u8..4), 1..200),
        ) {
            let as_samples = |rows: &[(usize, i64, u8)]| -> Vec<(usize, i64, f64)> {
                rows.iter().map(|&(gpu, at, v)| (gpu, T0 + at / 1000 * 1000, f64::from(v))).collect()
            };
            let all = |metrics: &Metrics| -> Vec<(String, Vec<(i64, f64)>)> {
                metrics.series().iter().map(|s| (s.labels().to_string(), s.samples().collect())).collect()
            };
            let first = build(&as_samples(&samples));
            let mut wanted: BTreeMap<(String, i64), f64> = BTreeMap::new();
            for (gpu, at, value) in as_samples(&samples) {
                let kept = wanted.entry((labels(gpu).to_string(), at)).or_insert(value);
                *kept = kept.max(value);
            }
            prop_assert_eq!(first.tally().samples, wanted.len() as u64);
            let flat: BTreeMap<(String, i64), f64> = all(&first)
                .into_iter()
                .flat_map(|(name, rows)| rows.into_iter().map(move |(at, v)| ((name.clone(), at), v)))
                .collect();
            prop_assert_eq!(&flat, &wanted);
            samples.reverse();
            prop_assert_eq!(all(&build(&as_samples(&samples))), all(&first));
        }
    }
}

//! Series in bounded memory: what a page can draw of any number of ticks.
//!
//! A chart is some thousand points wide and a run may have millions of ticks, so each series has a bound and a rule
//! that coarsens it when the bound is reached. The rules lose resolution, never extremes of the measured series
//! ([`Buckets`] keep the least and the most), and each series can say how coarse it became, so that the page can.
//! Times are numbers of ticks from the start.

/// The values of one series within a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// The least, meaningless while `count` is 0.
    pub(super) min: i64,
    /// The most.
    pub(super) max: i64,
    sum: i64,
    count: u32,
}

impl Spread {
    pub(super) fn add(&mut self, value: i64) {
        self.join(Self {
            min: value,
            max: value,
            sum: value,
            count: 1,
        });
    }

    fn join(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.count += other.count;
    }

    /// The mean; `None` if nothing was known in the bucket.
    pub(super) fn mean(&self) -> Option<i64> {
        (self.count > 0).then(|| self.sum / i64::from(self.count))
    }
}

/// Some ticks in a row as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    ticks: u32,
    /// Demand in micro-GPUs.
    pub(super) demand: Spread,
    /// Busy share of the ready GPUs in micros; known only where GPUs are ready.
    pub(super) busy: Spread,
    /// Nodes asked for, summed over the ticks.
    pub(super) asked: u64,
    /// Nodes that the policy would ask for, summed over the ticks.
    pub(super) would: u64,
}

impl Bucket {
    /// One tick.
    pub(super) fn tick(demand: i64, busy: Option<i64>, asked: u32, would: u32) -> Self {
        let mut bucket = Self {
            ticks: 1,
            asked: asked.into(),
            would: would.into(),
            ..Self::default()
        };
        bucket.demand.add(demand);
        if let Some(busy) = busy {
            bucket.busy.add(busy);
        }
        bucket
    }

    fn join(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.demand.join(other.demand);
        self.busy.join(other.busy);
        self.asked += other.asked;
        self.would += other.would;
    }
}

/// Ticks in equal buckets; when there would be too many, two become one.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    most: usize,
    per: u32,
    done: Vec<Bucket>,
}

impl Buckets {
    /// At most `most` buckets, which is even.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.next_multiple_of(2).max(2),
            per: 1,
            done: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, tick: &Bucket) {
        if self.done.len() == self.most && self.done.last().is_some_and(|last| last.ticks == self.per) {
            self.per = self.per.saturating_mul(2);
            let pairs = self.done.chunks(2).map(|pair| {
                let mut joined = pair[0];
                pair[1..].iter().for_each(|other| joined.join(other));
                joined
            });
            self.done = pairs.collect();
        }
        match self.done.last_mut() {
            Some(last) if last.ticks < self.per => last.join(tick),
            _ => self.done.push(*tick),
        }
    }

    /// Ticks in each bucket but the last.
    pub(super) fn per(&self) -> u32 {
        self.per
    }

    pub(super) fn as_slice(&self) -> &[Bucket] {
        &self.done
    }
}

/// A value that changes now and then: its changes, of which those too close together count as one.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    most: usize,
    gap: u32,
    changes: Vec<(u32, u32)>,
}

impl Steps {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(2),
            gap: 1,
            changes: Vec::new(),
        }
    }

    /// The value from `tick` on.
    pub(super) fn push(&mut self, tick: u32, value: u32) {
        match self.changes.last_mut() {
            Some((_, last)) if *last == value => return,
            // Within the gap the newest value wins, so that what stands after it is right.
            Some((at, last)) if tick - *at < self.gap => {
                *last = value;
                if let [.., (_, before), (_, last)] = self.changes[..]
                    && before == last
                {
                    self.changes.pop();
                }
                return;
            }
            _ => self.changes.push((tick, value)),
        }
        while self.changes.len() > self.most {
            self.gap = self.gap.saturating_mul(2);
            for (tick, value) in std::mem::take(&mut self.changes) {
                self.push(tick, value);
            }
        }
    }

    /// Ticks within which changes count as one; 1 if every change is there.
    pub(super) fn gap(&self) -> u32 {
        self.gap
    }

    pub(super) fn as_slice(&self) -> &[(u32, u32)] {
        &self.changes
    }
}

/// Stretches of ticks; those too close together are one.
#[derive(Debug, Clone)]
pub(super) struct Spans {
    most: usize,
    gap: u32,
    spans: Vec<(u32, u32)>,
}

impl Spans {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            gap: 0,
            spans: Vec::new(),
        }
    }

    /// Adds the ticks from `from` up to `to`, which is not one of them. `from` must not fall.
    pub(super) fn push(&mut self, from: u32, to: u32) {
        if from >= to {
            return;
        }
        match self.spans.last_mut() {
            Some((_, end)) if from <= end.saturating_add(self.gap) => *end = to.max(*end),
            _ => self.spans.push((from, to)),
        }
        while self.spans.len() > self.most {
            self.gap = (self.gap * 2).max(1);
            for (from, to) in std::mem::take(&mut self.spans) {
                self.push(from, to);
            }
        }
    }

    /// Ticks between two stretches that are drawn as one; 0 if every stretch is there.
    pub(super) fn gap(&self) -> u32 {
        self.gap
    }

    pub(super) fn as_slice(&self) -> &[(u32, u32)] {
        &self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_ticks_are_kept_one_by_one() {
        let mut buckets = Buckets::new(4);
        for value in [5, 1, 3] {
            buckets.push(&Bucket::tick(value, None, 2, 2));
        }
        assert_eq!(buckets.per(), 1);
        let means: Vec<_> = buckets
            .as_slice()
            .iter()
            .map(|bucket| bucket.demand.mean())
            .collect();
        assert_eq!(means, [Some(5), Some(1), Some(3)]);
        assert!(
            buckets
                .as_slice()
                .iter()
                .all(|bucket| bucket.busy.mean().is_none())
        );
    }

    #[test]
    fn many_ticks_keep_their_extremes_and_their_sum() {
        let mut buckets = Buckets::new(8);
        let value = |tick: i64| (tick * 7919) % 1000;
        for tick in 0..1000 {
            buckets.push(&Bucket::tick(value(tick), Some(tick), 3, 4));
        }
        let all = buckets.as_slice();
        assert_eq!((buckets.per(), all.len()), (128, 8));
        assert_eq!(all.iter().map(|bucket| bucket.asked).sum::<u64>(), 3000);
        assert_eq!(all.iter().map(|bucket| bucket.would).sum::<u64>(), 4000);
        for (number, bucket) in (0..).zip(all) {
            let ticks = (number * 128)..((number + 1) * 128).min(1000);
            let (least, most) = (ticks.clone().map(value).min(), ticks.clone().map(value).max());
            assert_eq!((Some(bucket.demand.min), Some(bucket.demand.max)), (least, most));
            assert_eq!(
                bucket.busy.mean(),
                Some(i64::midpoint(ticks.start, ticks.end - 1))
            );
        }
    }

    #[test]
    fn only_changes_are_kept() {
        let mut steps = Steps::new(10);
        for (tick, value) in (0..).zip([2, 2, 3, 3, 3, 2]) {
            steps.push(tick, value);
        }
        assert_eq!(steps.as_slice(), [(0, 2), (2, 3), (5, 2)]);
        assert_eq!(steps.gap(), 1);
    }

    #[test]
    fn too_many_changes_become_coarser_and_end_right() {
        let mut steps = Steps::new(16);
        for tick in 0..1001 {
            steps.push(tick, tick % 2);
        }
        steps.push(1001, 9);
        assert!(steps.as_slice().len() <= 16 && steps.gap() > 1, "{steps:?}");
        assert_eq!(steps.as_slice().last().map(|last| last.1), Some(9));
        let rising = |pair: &[(u32, u32)]| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1;
        assert!(steps.as_slice().windows(2).all(rising), "{steps:?}");
    }

    #[test]
    fn stretches_grow_together() {
        let mut spans = Spans::new(100);
        for (from, to) in [(0, 1), (1, 2), (5, 5), (7, 9), (8, 10)] {
            spans.push(from, to);
        }
        assert_eq!(spans.as_slice(), [(0, 2), (7, 10)]);
        let mut spans = Spans::new(4);
        for from in 0..100 {
            spans.push(from * 10, from * 10 + 1);
        }
        assert!(spans.as_slice().len() <= 4 && spans.gap() >= 9, "{spans:?}");
        assert_eq!(spans.as_slice()[0].0, 0);
        assert_eq!(spans.as_slice().last().map(|last| last.1), Some(991));
    }
}

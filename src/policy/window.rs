//! Sliding windows over one step function of time.
//!
//! A signal is, at every instant, a [`Level`]: how busy the pool is with unknown devices taken for idle, how busy
//! with them taken for busy, and whether enough devices are known to say so at all. Levels change when samples
//! arrive and when they expire; between changes they are constant. A [`Series`] keeps the changes of the last
//! window, each with the integrals of everything before it.
//!
//! Every statistic is then a difference of two integrals, whatever the length of the window:
//!
//! - `Mean` = ∫u dt ÷ known time.
//! - `Hold` of `u ≥ θ`: the time with `u ≥ θ` is all of the known time.
//! - `Quantile(q) ≥ θ`: by the Galois property of quantiles, inf{v : F(v) ≥ q} ≥ θ exactly when F(θ−) < q, that
//!   is when the share of known time with `u ≥ θ` is larger than 1 − q. `Quantile(q) ≤ θ` exactly when the share
//!   with `u ≤ θ` is at least q. So a quantile *rule* needs no ordered structure, and is exact.
//!
//! Additions wrap, because a difference of two wrapped sums is still right; only the span itself has to fit.
//!
//! Integrals are integers, so a window that slid to a place and one rebuilt there are equal to the bit: both are
//! differences, and where counting began cancels out.
//!
//! Windows are half-open, (now − N, now]; since a level is a right-continuous step function the edges have no
//! measure, and the two- and three-point arguments about inclusive edges that separate Prometheus 2 from 3 and
//! from `VictoriaMetrics` do not arise.

use super::config::{Micro, Millis, Rule, Statistic};

/// The state of a signal between two changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Whether enough of the expected devices are known; an uncovered level counts for nothing but coverage.
    pub covered: Covered,
    /// The signal's value with unknown devices idle, in micros of its unit.
    pub low: Micro,
    /// The signal's value with unknown devices fully busy.
    pub high: Micro,
    /// Busy GPUs among the known devices, in micro-GPUs.
    pub busy: Micro,
    /// GPUs expected but unknown, in micro-GPUs.
    pub missing: Micro,
    /// GPUs so busy that they may hide demand, in micro-GPUs.
    pub pinned: Micro,
}

/// Whether a level may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Covered {
    /// Enough expected devices are known.
    Yes,
    /// Too few are, or none is expected.
    #[default]
    No,
}

/// Integrals over a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Time with a covered level.
    pub covered_ms: Millis,
    /// Time with `low` at or above the up threshold.
    pub above_ms: Millis,
    /// Time with `high` at or below the down threshold.
    pub below_ms: Millis,
    /// ∫ low dt, in micros × ms.
    pub low: i128,
    /// ∫ high dt.
    pub high: i128,
    /// ∫ busy dt, in micro-GPUs × ms.
    pub busy: i128,
    /// ∫ missing dt.
    pub missing: i128,
    /// ∫ pinned dt.
    pub pinned: i128,
}

/// Thresholds whose time is counted; a series serves one up rule and one down rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Counted as `low ≥ above`.
    pub above: Micro,
    /// Counted as `high ≤ below`.
    pub below: Micro,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            above: Micro::MAX,
            below: Micro::MIN,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    start_ms: Millis,
    level: Level,
    /// Integrals over everything before `start_ms`.
    before: Totals,
}

/// A step function of the recent past, with its integrals.
#[derive(Debug, Clone)]
pub struct Series {
    thresholds: Thresholds,
    segments: Ring,
    /// For each window that is asked for, the segment its left edge was last seen in.
    cursors: [Cursor; CURSORS],
    /// How far back anything may be asked for.
    keep_ms: Millis,
}

/// Windows that one series serves: demand, up and down.
pub const CURSORS: usize = 3;

#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    /// Distance from `now` to the edge that this cursor follows.
    back_ms: Millis,
    segment: usize,
}

/// A queue whose places are numbered from the beginning of time, so that a cursor stays valid while the front
/// leaves. The storage is a power of two, so that a place is found by masking its number.
#[derive(Debug, Clone)]
struct Ring {
    places: Vec<Segment>,
    first: usize,
    end: usize,
}

impl Ring {
    fn new() -> Self {
        Self {
            places: vec![Segment::default(); 16],
            first: 0,
            end: 0,
        }
    }

    /// Segment number `index`, if it is still, and already, there.
    #[inline]
    fn get(&self, index: usize) -> Option<&Segment> {
        if index < self.first || index >= self.end {
            return None;
        }
        self.places.get(index & (self.places.len() - 1))
    }

    #[inline]
    fn last(&self) -> Option<&Segment> {
        self.get(self.end.wrapping_sub(1))
    }

    #[inline]
    fn last_mut(&mut self) -> Option<&mut Segment> {
        if self.first == self.end {
            return None;
        }
        let mask = self.places.len() - 1;
        self.places.get_mut((self.end - 1) & mask)
    }

    #[inline]
    fn push(&mut self, segment: Segment) {
        if self.end - self.first == self.places.len() {
            self.grow();
        }
        let mask = self.places.len() - 1;
        if let Some(place) = self.places.get_mut(self.end & mask) {
            *place = segment;
            self.end += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mut places = vec![Segment::default(); self.places.len() * 2];
        let mask = places.len() - 1;
        for index in self.first..self.end {
            if let Some(segment) = self.get(index) {
                places[index & mask] = *segment;
            }
        }
        self.places = places;
    }
}

impl Level {
    #[inline]
    fn add_to(&self, totals: &Totals, thresholds: Thresholds, duration_ms: Millis) -> Totals {
        if self.covered == Covered::No {
            return *totals;
        }
        let above = Millis::from(self.low >= thresholds.above);
        let below = Millis::from(self.high <= thresholds.below);
        let over = |value: Micro| i128::from(value) * i128::from(duration_ms);
        Totals {
            covered_ms: totals.covered_ms.wrapping_add(duration_ms),
            above_ms: totals.above_ms.wrapping_add(above * duration_ms),
            below_ms: totals.below_ms.wrapping_add(below * duration_ms),
            low: totals.low.wrapping_add(over(self.low)),
            high: totals.high.wrapping_add(over(self.high)),
            busy: totals.busy.wrapping_add(over(self.busy)),
            missing: totals.missing.wrapping_add(over(self.missing)),
            pinned: totals.pinned.wrapping_add(over(self.pinned)),
        }
    }
}

impl Totals {
    #[inline]
    fn minus(&self, earlier: &Self) -> Self {
        Self {
            covered_ms: self.covered_ms.wrapping_sub(earlier.covered_ms),
            above_ms: self.above_ms.wrapping_sub(earlier.above_ms),
            below_ms: self.below_ms.wrapping_sub(earlier.below_ms),
            low: self.low.wrapping_sub(earlier.low),
            high: self.high.wrapping_sub(earlier.high),
            busy: self.busy.wrapping_sub(earlier.busy),
            missing: self.missing.wrapping_sub(earlier.missing),
            pinned: self.pinned.wrapping_sub(earlier.pinned),
        }
    }

    /// The time-weighted mean of an integral over the covered time, `None` without covered time.
    #[must_use]
    #[inline]
    pub fn mean(&self, integral: i128) -> Option<Micro> {
        if self.covered_ms <= 0 {
            return None;
        }
        // Integrals of windows that people use fit 64 bits, where a division is an order of magnitude cheaper.
        match i64::try_from(integral) {
            Ok(integral) => Some(integral / self.covered_ms),
            Err(_) => Micro::try_from(integral / i128::from(self.covered_ms)).ok(),
        }
    }

    /// Whether an up rule is satisfied by this span; `None` without covered time.
    #[must_use]
    #[inline]
    pub fn satisfies_up(&self, rule: &Rule) -> Option<bool> {
        Some(match rule.statistic {
            Statistic::Mean => self.mean(self.low)? >= rule.threshold,
            Statistic::Hold => self.covered_ms > 0 && self.above_ms == self.covered_ms,
            Statistic::Quantile(q) => {
                self.share(self.above_ms)? > i128::from(super::config::ONE - q) * i128::from(self.covered_ms)
            }
        })
    }

    /// Whether a down rule is satisfied by this span; `None` without covered time.
    #[must_use]
    #[inline]
    pub fn satisfies_down(&self, rule: &Rule) -> Option<bool> {
        Some(match rule.statistic {
            // Rounded up, so that a mean just above the threshold is not taken for one at it.
            Statistic::Mean => {
                self.covered_ms > 0 && self.high <= i128::from(rule.threshold) * i128::from(self.covered_ms)
            }
            Statistic::Hold => self.covered_ms > 0 && self.below_ms == self.covered_ms,
            Statistic::Quantile(q) => {
                self.share(self.below_ms)? >= i128::from(q) * i128::from(self.covered_ms)
            }
        })
    }

    /// A share of the covered time, scaled by one million so that it compares with `q × covered` exactly.
    fn share(&self, part_ms: Millis) -> Option<i128> {
        (self.covered_ms > 0).then(|| i128::from(part_ms) * i128::from(super::config::ONE))
    }
}

impl Series {
    /// An empty series that counts the time above and below `thresholds`, and follows the window edges that lie
    /// `backs_ms` before now, so that finding them does not depend on the window's length. Changes are kept for the
    /// longest of them and `pad_ms` more.
    #[must_use]
    pub fn new(thresholds: Thresholds, backs_ms: [Millis; CURSORS], pad_ms: Millis) -> Self {
        Self {
            thresholds,
            segments: Ring::new(),
            cursors: backs_ms.map(|back_ms| Cursor { back_ms, segment: 0 }),
            keep_ms: backs_ms.iter().max().map_or(0, |longest| longest + pad_ms),
        }
    }

    /// The level in force, and since when.
    #[must_use]
    pub fn last(&self) -> Option<(Millis, Level)> {
        self.segments
            .last()
            .map(|segment| (segment.start_ms, segment.level))
    }

    /// Appends a change at `at_ms`, which must not be before the last one; a second change at the same instant
    /// replaces the first.
    #[inline]
    pub fn push(&mut self, at_ms: Millis, level: Level) {
        let before = match self.segments.last_mut() {
            None => Totals::default(),
            Some(last) if last.start_ms >= at_ms => {
                last.level = level;
                return;
            }
            // Nothing changed: one segment says it.
            Some(last) if last.level == level => return,
            Some(last) => {
                last.level
                    .add_to(&last.before, self.thresholds, at_ms.saturating_sub(last.start_ms))
            }
        };
        self.segments.push(Segment {
            start_ms: at_ms,
            level,
            before,
        });
    }

    /// Forgets every change at or after `at_ms`.
    pub fn truncate(&mut self, at_ms: Millis) {
        while self.segments.last().is_some_and(|last| last.start_ms >= at_ms) {
            self.segments.end -= 1;
        }
    }

    /// Forgets what no window needs any more and moves the cursors to where windows that end at `now_ms` begin.
    #[inline]
    pub fn slide(&mut self, now_ms: Millis) {
        let oldest_ms = now_ms.saturating_sub(self.keep_ms);
        // The segment that is in force at the oldest edge stays.
        while self
            .segments
            .get(self.segments.first + 1)
            .is_some_and(|second| second.start_ms <= oldest_ms)
        {
            self.segments.first += 1;
        }
        for index in 0..CURSORS {
            let Cursor { back_ms, segment } = self.cursors[index];
            if back_ms > 0 {
                self.cursors[index].segment = self.seek(now_ms.saturating_sub(back_ms), segment);
            }
        }
    }

    /// The integrals over (`from_ms`, `to_ms`], where `cursor` names the window whose left edge `from_ms` is.
    /// Time before the first change is uncovered.
    #[must_use]
    #[inline]
    pub fn span(&self, cursor: usize, from_ms: Millis, to_ms: Millis) -> Totals {
        let hint = self.cursors.get(cursor).map_or(0, |cursor| cursor.segment);
        let start = self.integral(self.seek(from_ms, hint), from_ms);
        let end = self.integral(self.seek(to_ms, self.segments.end), to_ms);
        end.minus(&start)
    }

    /// The level in force at `at_ms`, looked for from the left edge of the window `cursor` on.
    #[must_use]
    #[inline]
    pub fn level_at(&self, cursor: usize, at_ms: Millis) -> Option<Level> {
        let hint = self.cursors.get(cursor).map_or(0, |cursor| cursor.segment);
        let segment = self.segments.get(self.seek(at_ms, hint));
        segment
            .filter(|segment| segment.start_ms <= at_ms)
            .map(|segment| segment.level)
    }

    /// The number of the segment in force at `at_ms`, looked for from `hint` on; the first one for earlier times.
    #[inline]
    fn seek(&self, at_ms: Millis, hint: usize) -> usize {
        let Ring { first, end, .. } = self.segments;
        let starts_by = |index: usize| {
            self.segments
                .get(index)
                .is_some_and(|segment| segment.start_ms <= at_ms)
        };
        let mut index = hint.min(end.saturating_sub(1)).max(first);
        while index > first && !starts_by(index) {
            index -= 1;
        }
        while starts_by(index + 1) {
            index += 1;
        }
        index
    }

    #[inline]
    fn integral(&self, segment: usize, at_ms: Millis) -> Totals {
        match self.segments.get(segment) {
            Some(segment) if segment.start_ms <= at_ms => segment.level.add_to(
                &segment.before,
                self.thresholds,
                at_ms.saturating_sub(segment.start_ms),
            ),
            // Nothing is known of earlier times, so nothing was counted there.
            first => first.map_or_else(Totals::default, |first| first.before),
        }
    }
}

#[cfg(test)]
mod tests;

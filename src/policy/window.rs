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
//! Integrals are integers, so a window that slid to a place and one rebuilt there are equal to the bit: both are
//! differences, and where counting began cancels out.
//!
//! Windows are half-open, (now − N, now]; since a level is a right-continuous step function the edges have no
//! measure, and the two- and three-point arguments about inclusive edges that separate Prometheus 2 from 3 and
//! from `VictoriaMetrics` do not arise.

use std::collections::VecDeque;

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

#[derive(Debug, Clone, Copy)]
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
    segments: VecDeque<Segment>,
    /// Segments dropped from the front so far: cursors count from the beginning of time.
    dropped: u64,
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
    segment: u64,
}

impl Level {
    fn add_to(&self, totals: &Totals, thresholds: Thresholds, duration_ms: Millis) -> Totals {
        if self.covered == Covered::No {
            return *totals;
        }
        let above = Millis::from(self.low >= thresholds.above);
        let below = Millis::from(self.high <= thresholds.below);
        let over = |value: Micro| i128::from(value) * i128::from(duration_ms);
        Totals {
            covered_ms: totals.covered_ms + duration_ms,
            above_ms: totals.above_ms + above * duration_ms,
            below_ms: totals.below_ms + below * duration_ms,
            low: totals.low + over(self.low),
            high: totals.high + over(self.high),
            busy: totals.busy + over(self.busy),
            missing: totals.missing + over(self.missing),
            pinned: totals.pinned + over(self.pinned),
        }
    }
}

impl Totals {
    fn minus(&self, earlier: &Self) -> Self {
        Self {
            covered_ms: self.covered_ms - earlier.covered_ms,
            above_ms: self.above_ms - earlier.above_ms,
            below_ms: self.below_ms - earlier.below_ms,
            low: self.low - earlier.low,
            high: self.high - earlier.high,
            busy: self.busy - earlier.busy,
            missing: self.missing - earlier.missing,
            pinned: self.pinned - earlier.pinned,
        }
    }

    /// The time-weighted mean of an integral over the covered time, `None` without covered time.
    #[must_use]
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
            keep_ms: backs_ms.iter().max().map_or(0, |longest| longest + pad_ms),
            thresholds,
            segments: VecDeque::new(),
            dropped: 0,
            cursors: backs_ms.map(|back_ms| Cursor { back_ms, segment: 0 }),
        }
    }

    /// The level in force, and since when.
    #[must_use]
    pub fn last(&self) -> Option<(Millis, Level)> {
        self.segments
            .back()
            .map(|segment| (segment.start_ms, segment.level))
    }

    /// Appends a change at `at_ms`, which must not be before the last one; a second change at the same instant
    /// replaces the first.
    pub fn push(&mut self, at_ms: Millis, level: Level) {
        let before = match self.segments.back_mut() {
            None => Totals::default(),
            Some(last) if last.start_ms >= at_ms => {
                last.level = level;
                return;
            }
            // Nothing changed: one segment says it.
            Some(last) if last.level == level => return,
            Some(last) => last
                .level
                .add_to(&last.before, self.thresholds, at_ms - last.start_ms),
        };
        self.segments.push_back(Segment {
            start_ms: at_ms,
            level,
            before,
        });
    }

    /// Forgets every change at or after `at_ms`.
    pub fn truncate(&mut self, at_ms: Millis) {
        while self.segments.back().is_some_and(|last| last.start_ms >= at_ms) {
            self.segments.pop_back();
        }
    }

    /// Forgets what no window needs any more and moves the cursors to where windows that end at `now_ms` begin.
    pub fn slide(&mut self, now_ms: Millis) {
        // The segment that is in force at the oldest edge stays.
        while self
            .segments
            .get(1)
            .is_some_and(|second| second.start_ms <= now_ms - self.keep_ms)
        {
            self.segments.pop_front();
            self.dropped += 1;
        }
        for index in 0..CURSORS {
            let Cursor { back_ms, segment } = self.cursors[index];
            self.cursors[index].segment = self.seek(now_ms - back_ms, segment);
        }
    }

    /// The integrals over (`from_ms`, `to_ms`], where `cursor` names the window whose left edge `from_ms` is.
    /// Time before the first change is uncovered.
    #[must_use]
    pub fn span(&self, cursor: usize, from_ms: Millis, to_ms: Millis) -> Totals {
        let hint = self.cursors.get(cursor).map_or(0, |cursor| cursor.segment);
        let start = self.integral(self.seek(from_ms, hint), from_ms);
        let end = self.integral(self.seek(to_ms, self.dropped + self.segments.len() as u64), to_ms);
        end.minus(&start)
    }

    /// The level in force at `at_ms`, looked for from the left edge of the window `cursor` on.
    #[must_use]
    pub fn level_at(&self, cursor: usize, at_ms: Millis) -> Option<Level> {
        let hint = self.cursors.get(cursor).map_or(0, |cursor| cursor.segment);
        let local = usize::try_from(self.seek(at_ms, hint) - self.dropped).ok()?;
        self.segments
            .get(local)
            .filter(|segment| segment.start_ms <= at_ms)
            .map(|segment| segment.level)
    }

    /// The number, from the beginning of time, of the segment in force at `at_ms`, looked for from `hint` on.
    fn seek(&self, at_ms: Millis, hint: u64) -> u64 {
        let count = self.segments.len() as u64;
        let starts_by = |index: u64| {
            let local = usize::try_from(index).unwrap_or(usize::MAX);
            self.segments
                .get(local)
                .is_some_and(|segment| segment.start_ms <= at_ms)
        };
        let mut index = hint.saturating_sub(self.dropped).min(count.saturating_sub(1));
        while index > 0 && !starts_by(index) {
            index -= 1;
        }
        while starts_by(index + 1) {
            index += 1;
        }
        self.dropped + index
    }

    fn integral(&self, segment: u64, at_ms: Millis) -> Totals {
        let local = usize::try_from(segment - self.dropped).unwrap_or(usize::MAX);
        match self.segments.get(local) {
            Some(segment) if segment.start_ms <= at_ms => {
                segment
                    .level
                    .add_to(&segment.before, self.thresholds, at_ms - segment.start_ms)
            }
            // Nothing is known of earlier times, so nothing was counted there.
            first => first.map_or_else(Totals::default, |first| first.before),
        }
    }
}

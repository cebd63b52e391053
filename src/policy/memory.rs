//! What the engine remembers between ticks, and across restarts.
//!
//! [`Memory`] is small (at most 16 KiB as JSON, whatever happens) and is persisted by the caller: in the object's
//! status, or in a state file. Cooldowns, recommendations and rate limits live here, so a restart forgets none of
//! them. Samples do not: windows are fetched again.
//!
//! Timers run on a monotonic clock whose origin changes with each start; [`Memory::resume`] moves them.

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::config::{Config, MINUTE_MS, Millis};
use super::observation::{Failure, Now, Observation};

/// Foreign writes within an hour from which the pool counts as fought over.
pub const FOREIGN_WRITES_ALLOWED: usize = 3;

/// How long a foreign write is remembered, and a fight keeps its peace.
pub const FOREIGN_MEMORY_MS: Millis = 60 * MINUTE_MS;

/// Longest time that a restart may seem to have taken: a clock that jumped by years must not end every timer, and
/// one that went back must not start them again.
const LONGEST_OUTAGE_MS: Millis = 24 * 60 * MINUTE_MS;

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The count as the engine left it or last saw it.
    pub asked: Option<u32>,
    /// A resize that was decided and is not yet seen.
    pub intent: Option<Intent>,
    /// Timer of the last resize that was seen to happen.
    pub resized_at_ms: Option<Millis>,
    /// Source time from which up windows count: the completion of the last resize.
    pub up_since_ms: Option<Millis>,
    /// Source time from which down windows count: the last foreign write, or the first sight of the pool.
    pub down_since_ms: Option<Millis>,
    /// Source time at which nodes last left: their load is elsewhere, and no window has seen it there yet.
    pub departed_at_ms: Option<Millis>,
    /// Nodes whose GPUs were schedulable at the last tick.
    pub schedulable: u32,
    /// Most nodes that were schedulable since the count last changed. Supply arrives when there are more; a node
    /// that comes and goes is no arrival.
    pub most_schedulable: u32,
    /// Timer at which supply last arrived.
    pub arrived_at_ms: Option<Millis>,
    /// Resizes of the recent past, for the rate limits.
    pub resizes: Ledger,
    /// Wishes of the shrinking window, largest first.
    pub largest_wishes: Extremes,
    /// Wishes of the growing window, smallest first.
    pub smallest_wishes: Extremes,
    /// The last capacity failure and the timer at which it may be tried again.
    pub capacity: Option<(Failure, Millis)>,
    /// Timers of the last foreign writes, oldest first.
    pub foreign_writes: Vec<Millis>,
    /// Timer until which the pool counts as fought over.
    pub conflicting_until_ms: Option<Millis>,
    /// Nodes that were asked for, did not come, and were asked for once more.
    pub missing: Option<Missing>,
    /// Saturated growths in a row without relief.
    pub growths_without_relief: u32,
    /// Timer at which the breaker lets growth through again.
    pub breaker_until_ms: Option<Millis>,
    /// What the clocks read when the source last answered.
    pub told: Option<Told>,
    /// Timer until which windows may hold a time that the source's clock told twice, or left out.
    pub doubtful_until_ms: Option<Millis>,
}

/// What the clocks read when the source last answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The source's clock.
    pub wall_ms: Millis,
    /// The timer; not known across a restart.
    pub timer_ms: Option<Millis>,
}

/// Nodes that were asked for, did not come, and were asked for once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Timer at which they were asked for again.
    pub at_ms: Millis,
    /// How many.
    pub nodes: u32,
}

/// A resize that was decided and is not yet seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Nodes asked for before.
    pub from: u32,
    /// Nodes to ask for.
    pub to: u32,
    /// Timer of the decision.
    pub at_ms: Millis,
    /// Whether devices were pinned when it grew.
    pub saturated: bool,
}

impl Memory {
    /// Takes note of what changed since the last tick: our own resize becoming visible, somebody else's, supply
    /// arriving, an operation failing.
    pub(super) fn notice(&mut self, config: &Config, observation: &Observation<'_>, now: Now) {
        self.doubt_the_future(now);
        let schedulable = observation.schedulable;
        match self.asked {
            None => {
                (self.schedulable, self.most_schedulable) = (schedulable, schedulable);
                self.meet(config, observation.asked, now);
            }
            Some(asked) if asked != observation.asked => {
                self.most_schedulable = schedulable.min(self.schedulable);
                if observation.asked < asked {
                    self.up_since_ms = Some(now.wall_ms);
                }
                self.changed(config, asked, observation.asked, now);
            }
            Some(_) => {}
        }
        self.asked = Some(observation.asked);
        if schedulable > self.most_schedulable {
            self.most_schedulable = schedulable;
            self.arrived_at_ms = Some(now.timer_ms);
            self.up_since_ms = Some(now.wall_ms);
        }
        if schedulable < self.schedulable {
            self.departed_at_ms = Some(now.wall_ms);
        }
        self.schedulable = schedulable;
        if let Some(failure) = observation.failure {
            self.capacity = Some((failure, now.timer_ms.saturating_add(failure.backoff_ms())));
        }
        self.capacity = self.capacity.filter(|&(_, until_ms)| until_ms > now.timer_ms);
        self.foreign_writes
            .retain(|at_ms| now.timer_ms.saturating_sub(*at_ms) < FOREIGN_MEMORY_MS);
        self.conflicting_until_ms = self
            .conflicting_until_ms
            .filter(|&until_ms| until_ms > now.timer_ms);
        if self
            .breaker_until_ms
            .is_some_and(|until_ms| until_ms <= now.timer_ms)
        {
            self.breaker_until_ms = None;
            self.growths_without_relief = 0;
        }
    }

    /// What is remembered of a time that has not come was read off a clock that was wrong. It counts from now.
    fn doubt_the_future(&mut self, now: Now) {
        [
            &mut self.up_since_ms,
            &mut self.down_since_ms,
            &mut self.departed_at_ms,
        ]
        .into_iter()
        .flatten()
        .for_each(|at_ms| *at_ms = (*at_ms).min(now.wall_ms));
    }

    /// The source told the time. Where its clock was set by more than a reading speaks for, what was read under the
    /// clock of before does not mean what it says: after a step back, samples of the time that is told twice are those
    /// of the first time (Prometheus stores none that is older than its newest one), and after a step forward another
    /// server may tell again what this one told. So windows are doubtful until nothing in them is older than the step.
    pub(super) fn hear_clock(&mut self, config: &Config, now: Now) {
        let told = self.told.replace(Told {
            wall_ms: now.wall_ms,
            timer_ms: Some(now.timer_ms),
        });
        self.doubtful_until_ms = self.doubtful_until_ms.filter(|&until_ms| until_ms > now.timer_ms);
        let Some(told) = told else { return };
        let passed_ms = now.wall_ms.saturating_sub(told.wall_ms);
        let (stepped_ms, least_ms) = match told.timer_ms {
            Some(timer_ms) => (
                passed_ms.saturating_sub(now.timer_ms.saturating_sub(timer_ms)),
                config.data_quality.hold_limit_ms(),
            ),
            // Time does not go back, however long the process was away.
            None => (passed_ms.min(0), config.data_quality.scrape_interval_ms),
        };
        if stepped_ms.saturating_abs() > least_ms {
            let back_ms = stepped_ms.saturating_neg().clamp(0, LONGEST_OUTAGE_MS);
            let until_ms = now
                .timer_ms
                .saturating_add(back_ms)
                .saturating_add(config.look_back_ms());
            self.doubtful_until_ms = self.doubtful_until_ms.max(Some(until_ms));
        }
    }

    /// First sight of a pool: its size is taken for a recommendation, so nothing shrinks before a full
    /// stabilization window was seen (the HPA does the same).
    fn meet(&mut self, config: &Config, asked: u32, now: Now) {
        self.largest_wishes
            .keep_largest(now.timer_ms, asked, config.down.stabilization_ms);
    }

    fn changed(&mut self, config: &Config, before: u32, asked: u32, now: Now) {
        if let Some(intent) = self.intent.take_if(|intent| intent.to == asked) {
            self.resizes
                .add(intent.at_ms, i64::from(asked) - i64::from(before));
            self.resized_at_ms = Some(now.timer_ms);
            if intent.saturated && asked > before {
                self.growths_without_relief = self.growths_without_relief.saturating_add(1);
            }
            return;
        }
        // A resize of ours that somebody changed before it was seen has happened all the same, as far as anybody knows.
        if let Some(intent) = self.intent.take() {
            self.resized_at_ms = self.resized_at_ms.max(Some(intent.at_ms));
        }
        if self.foreign_writes.len() >= 2 * FOREIGN_WRITES_ALLOWED {
            self.foreign_writes.remove(0);
        }
        self.foreign_writes.push(now.timer_ms);
        if self.foreign_writes.len() >= FOREIGN_WRITES_ALLOWED || self.conflicting_until_ms.is_some() {
            self.conflicting_until_ms = Some(now.timer_ms.saturating_add(FOREIGN_MEMORY_MS));
        }
        self.down_since_ms = Some(now.wall_ms);
        self.largest_wishes = Extremes::default();
        self.meet(config, asked, now);
    }

    /// A resize that was decided did not happen: it was refused, or nobody sent it. What somebody else does to the
    /// pool later must not be taken for it.
    pub fn not_sent(&mut self) {
        self.intent = None;
    }

    /// The platform had no capacity. [`evaluate`](fn@super::evaluate) forgets it when the demand is gone.
    pub fn no_capacity(&mut self, failure: Failure, now: Now) {
        self.capacity = Some((failure, now.timer_ms.saturating_add(failure.backoff_ms())));
    }

    /// A resize that the engine did not decide in these words was asked for in its name: growth on a fallback pool. `saturated`
    /// is [`Evaluation::guesses`](super::evaluation::Evaluation::guesses).
    pub fn asked_for(&mut self, from: u32, to: u32, saturated: bool, now: Now) {
        self.intent = Some(Intent {
            from,
            to,
            at_ms: now.timer_ms,
            saturated,
        });
    }

    /// Our own resize failed and the platform took the count back to `asked`: nobody else wrote it.
    pub fn taken_back(&mut self, asked: u32) {
        self.asked = Some(asked);
        self.intent = None;
    }

    /// Goes on after a stop that nobody saw coming: the wishes between the last save and the end are lost, so the
    /// size as it was is taken for the largest of them, and a full stabilization window has to pass.
    pub fn resume_after_crash(&mut self, config: &Config, saved: Now, now: Now) {
        self.resume(saved, now);
        if let Some(asked) = self.asked {
            self.meet(config, asked, now);
        }
    }

    /// Whether others change the count so often that holding still is the only way out.
    #[must_use]
    pub fn is_conflicting(&self) -> bool {
        self.conflicting_until_ms.is_some()
    }

    /// Whether somebody else changed the count at this tick.
    #[must_use]
    pub fn adopted_at(&self, now: Now) -> bool {
        self.foreign_writes.last() == Some(&now.timer_ms)
    }

    /// Moves the timers of a memory that was saved at `saved` to the clock of a process that starts at `now`.
    ///
    /// The time in between is read from the source's clock and clamped to [0, 24 h], so that no jump of a clock
    /// ends a cooldown early by years or makes one endless.
    pub fn resume(&mut self, saved: Now, now: Now) {
        let outage_ms = now
            .wall_ms
            .saturating_sub(saved.wall_ms)
            .clamp(0, LONGEST_OUTAGE_MS);
        let shift_ms = now
            .timer_ms
            .saturating_sub(outage_ms)
            .saturating_sub(saved.timer_ms);
        let shift = |at_ms: &mut Millis| *at_ms = at_ms.saturating_add(shift_ms);
        [
            &mut self.resized_at_ms,
            &mut self.arrived_at_ms,
            &mut self.conflicting_until_ms,
            &mut self.breaker_until_ms,
            &mut self.doubtful_until_ms,
        ]
        .into_iter()
        .flatten()
        .for_each(shift);
        if let Some(told) = &mut self.told {
            told.timer_ms = None;
        }
        self.missing
            .iter_mut()
            .for_each(|missing| shift(&mut missing.at_ms));
        self.intent.iter_mut().for_each(|intent| shift(&mut intent.at_ms));
        self.capacity.iter_mut().for_each(|(_, until_ms)| shift(until_ms));
        self.foreign_writes.iter_mut().for_each(shift);
        self.resizes
            .0
            .iter_mut()
            .for_each(|event| shift(&mut event.at_ms));
        for wishes in [&mut self.largest_wishes, &mut self.smallest_wishes] {
            wishes.0.iter_mut().for_each(|entry| shift(&mut entry.at_ms));
        }
    }
}

impl Memory {
    /// The checksum over everything that is remembered.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let Self {
            asked,
            intent,
            resized_at_ms,
            up_since_ms,
            down_since_ms,
            departed_at_ms,
            schedulable,
            most_schedulable,
            arrived_at_ms,
            resizes,
            largest_wishes,
            smallest_wishes,
            capacity,
            foreign_writes,
            conflicting_until_ms,
            missing,
            growths_without_relief,
            breaker_until_ms,
            told,
            doubtful_until_ms,
        } = self;
        let mut sum = Checksum::new();
        for time in [
            &asked.map(i64::from),
            resized_at_ms,
            up_since_ms,
            down_since_ms,
            departed_at_ms,
            arrived_at_ms,
            conflicting_until_ms,
            breaker_until_ms,
            doubtful_until_ms,
            &told.map(|told| told.wall_ms),
            &told.and_then(|told| told.timer_ms),
        ] {
            sum.option(*time);
        }
        sum.pair(*schedulable, *most_schedulable);
        sum.word(u64::from(*growths_without_relief));
        sum.option(intent.map(|intent| intent.at_ms));
        let Intent {
            from, to, saturated, ..
        } = intent.unwrap_or_default();
        sum.pair(from, to);
        sum.word(u64::from(saturated));
        sum.option(capacity.map(|(_, until_ms)| until_ms));
        sum.option(capacity.map(|(failure, _)| failure as i64));
        sum.option(missing.map(|missing| missing.at_ms));
        sum.option(missing.map(|missing| i64::from(missing.nodes)));
        sum.length(foreign_writes.len());
        for at_ms in foreign_writes {
            sum.signed(*at_ms);
        }
        sum.length(resizes.0.len());
        for Resize { at_ms, added } in &resizes.0 {
            sum.signed(*at_ms);
            sum.signed(*added);
        }
        for Extremes(wishes) in [largest_wishes, smallest_wishes] {
            sum.length(wishes.len());
            for Entry { at_ms, size } in wishes {
                sum.signed(*at_ms);
                sum.word(u64::from(*size));
            }
        }
        sum.value()
    }
}

/// Resizes of the recent past.
///
/// At most 64: the two oldest are merged when there is no room, at the later of their times, which can only make a
/// limit stricter for a while.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger(Vec<Resize>);

/// One resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resize {
    at_ms: Millis,
    added: i64,
}

impl Ledger {
    const CAPACITY: usize = 64;

    fn add(&mut self, at_ms: Millis, added: i64) {
        if self.0.len() >= Self::CAPACITY {
            // Merge only what goes the same way: a growth must not hide a shrink.
            let pair = self
                .0
                .windows(2)
                .position(|pair| (pair[0].added > 0) == (pair[1].added > 0));
            let first = pair.unwrap_or(0);
            let merged = self.0.remove(first);
            if pair.is_some() {
                self.0[first].added = self.0[first].added.saturating_add(merged.added);
            }
        }
        self.0.push(Resize { at_ms, added });
    }

    /// Nodes (added, removed) within the last `period_ms`.
    #[must_use]
    pub fn within(&self, now_ms: Millis, period_ms: Millis) -> (i64, i64) {
        let recent = self
            .0
            .iter()
            .rev()
            .take_while(|resize| now_ms.saturating_sub(resize.at_ms) < period_ms);
        recent.fold((0, 0), |(added, removed), resize| {
            (
                added.saturating_add(resize.added.max(0)),
                removed.saturating_add(resize.added.saturating_neg().max(0)),
            )
        })
    }

    pub(super) fn forget_before(&mut self, oldest_ms: Millis) {
        if self.0.first().is_some_and(|resize| resize.at_ms < oldest_ms) {
            self.0.retain(|resize| resize.at_ms >= oldest_ms);
        }
    }
}

/// The most cautious wishes of a window: a monotone queue of at most 32 entries.
///
/// Entries of the same thirtieth of a window share a place and take the later time, so a wish may count for a
/// thirtieth of the window longer than it must, and never shorter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extremes(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    at_ms: Millis,
    size: u32,
}

impl Extremes {
    const PLACES: Millis = 30;

    /// Adds a wish and returns the largest of the window (now − window, now].
    pub(super) fn keep_largest(&mut self, now_ms: Millis, size: u32, window_ms: Millis) -> u32 {
        self.keep(now_ms, size, window_ms, |old, new| old <= new)
    }

    /// Adds a wish and returns the smallest of the window.
    pub(super) fn keep_smallest(&mut self, now_ms: Millis, size: u32, window_ms: Millis) -> u32 {
        self.keep(now_ms, size, window_ms, |old, new| old >= new)
    }

    fn keep(
        &mut self,
        now_ms: Millis,
        size: u32,
        window_ms: Millis,
        beaten: impl Fn(u32, u32) -> bool,
    ) -> u32 {
        if window_ms <= 0 {
            self.0.clear();
            return size;
        }
        let gone = self
            .0
            .iter()
            .take_while(|entry| now_ms.saturating_sub(entry.at_ms) >= window_ms)
            .count();
        self.0.drain(..gone);
        let beaten_by_new = self
            .0
            .iter()
            .rev()
            .take_while(|entry| beaten(entry.size, size))
            .count();
        self.0.truncate(self.0.len() - beaten_by_new);
        let place = (window_ms / Self::PLACES).max(1);
        match self.0.last_mut() {
            // The one before is larger and of the same place: it speaks for both.
            Some(last) if last.at_ms.div_euclid(place) == now_ms.div_euclid(place) => last.at_ms = now_ms,
            _ => self.0.push(Entry { at_ms: now_ms, size }),
        }
        self.0.first().map_or(size, |entry| entry.size)
    }

    /// The extreme of the window as of the last wish.
    pub(super) fn extreme(&self) -> Option<u32> {
        self.0.first().map(|entry| entry.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_those_of_the_window_and_never_forget_early() {
        let window = 30 * MINUTE_MS;
        let mut largest = Extremes::default();
        let mut history: Vec<(Millis, u32)> = Vec::new();
        let mut seed = 7_u64;
        for tick in 0..5_000 {
            let now = tick * 15_000;
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let size = u32::try_from(seed >> 60).unwrap();
            history.push((now, size));
            let kept = largest.keep_largest(now, size, window);
            let max_since =
                |since: Millis| history.iter().filter(|h| h.0 > since).map(|h| h.1).max().unwrap();
            assert!(kept >= max_since(now - window), "forgot early at {now}");
            assert!(
                kept <= max_since(now - window - 2 * window / Extremes::PLACES),
                "remembered too long at {now}"
            );
            assert!(largest.0.len() <= 32);
        }
    }

    #[test]
    fn the_ledger_counts_both_directions_within_the_period() {
        let mut ledger = Ledger::default();
        for (at, added) in [(0, 4), (10, -1), (20, 2)] {
            ledger.add(at, added);
        }
        assert_eq!(ledger.within(20, 100), (6, 1));
        assert_eq!(
            ledger.within(20, 20),
            (2, 1),
            "an event exactly one period old is out"
        );
        for at in 21..200 {
            ledger.add(at, 1);
        }
        assert!(ledger.0.len() <= Ledger::CAPACITY);
        assert_eq!(
            ledger.within(200, 1_000).1,
            1,
            "merging never hides a shrink behind growth"
        );
    }

    #[test]
    fn a_restart_keeps_timers_and_no_clock_jump_ends_or_prolongs_them() {
        let saved = Now {
            wall_ms: 1_000_000_000,
            timer_ms: 500_000,
        };
        for (wall_jump, wanted_age) in [
            (60_000, 160_000),
            (-3_600_000, 100_000),
            (50 * 365 * 86_400_000, 86_500_000),
        ] {
            let mut memory = Memory {
                resized_at_ms: Some(400_000),
                ..Memory::default()
            };
            let now = Now {
                wall_ms: saved.wall_ms + wall_jump,
                timer_ms: 7,
            };
            memory.resume(saved, now);
            assert_eq!(
                now.timer_ms - memory.resized_at_ms.unwrap(),
                wanted_age,
                "jump of {wall_jump} ms"
            );
        }
    }
}

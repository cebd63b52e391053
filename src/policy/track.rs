//! One device: its recent readings, and what it adds to the signal at an instant.

use super::config::{Micro, Millis, ONE};
use super::fixed::scaled;
use super::readings::{Inserted, Reading, Readings};
use super::sample::{Channel, DeviceId, NodeId, POOL};
use super::windows::Health;

/// Utilization up to which a device counts as reading zero, for the lying-metric check.
pub(crate) const READS_ZERO: Micro = 10_000;

/// Share of the board's power limit above which a device is not idle. An idle A100 draws about 50 W of 300 W
/// (`PCIe`) or 400 W (SXM); a third of the limit needs work.
pub(crate) const WORKING_POWER: Micro = 330_000;

/// Utilization up to which a device is idle, for the choice of nodes: a watchdog's occasional query is not work.
pub(super) const IDLE: Micro = 20_000;

#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) node: NodeId,
    pub(super) weight: Micro,
    pub(super) from_ms: Millis,
    pub(super) health: Health,
}

/// One device: its readings, and its state at the frontier of the merge.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) id: DeviceId,
    pub(super) expected: Option<Expected>,
    /// What the signal said, and the power that tells whether it can be believed. Memory that is held is no more than
    /// a time at which the device was busy.
    pub(super) loads: Readings,
    pub(super) powers: Readings,
    memory_ms: Millis,
    pub(super) load: State,
    pub(super) power: State,
    pub(super) counted: Counted,
    /// Last time the device was seen busy, for the choice of idle nodes.
    pub(super) busy_at_ms: Option<Millis>,
    runs: Runs,
}

/// Readings that follow each other without a gap longer than the hold limit: from when, until when, and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Run {
    since: Option<Millis>,
    until: Millis,
    last: Option<Millis>,
}

impl Run {
    fn then(self, reading: &Reading, hold_ms: Millis) -> Self {
        let unbroken = self.since.filter(|_| self.until >= reading.at_ms);
        let spoken = reading.value.get().map(|_| reading.at_ms);
        Self {
            since: spoken.and(unbroken.or(spoken)),
            until: reading.at_ms.saturating_add(hold_ms),
            last: Some(reading.at_ms),
        }
    }
}

/// The run up to the last reading, and up to the one before it: a second reading of an instant replaces the first.
#[derive(Debug, Clone, Copy, Default)]
struct Runs {
    now: Run,
    before: Run,
}

impl Runs {
    fn add(&mut self, reading: &Reading, hold_ms: Millis) {
        if self.now.last != Some(reading.at_ms) {
            self.before = self.now;
        }
        self.now = self.before.then(reading, hold_ms);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) value: Option<Micro>,
    pub(super) weight: Micro,
    pub(super) until_ms: Millis,
}

impl State {
    fn new(reading: &Reading, hold_ms: Millis) -> Self {
        Self {
            value: reading.value.get(),
            weight: reading.weight,
            until_ms: reading.at_ms.saturating_add(hold_ms),
        }
    }
}

/// What a device adds to the running sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) known: Micro,
    pub(super) busy: Micro,
    pub(super) missing: Micro,
    pub(super) pinned: Micro,
    pub(super) value: Micro,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Inventory,
    Series,
}

impl Track {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            id,
            expected: None,
            loads: Readings::default(),
            powers: Readings::default(),
            memory_ms: Millis::MIN,
            load: State::default(),
            power: State::default(),
            counted: Counted::default(),
            busy_at_ms: None,
            runs: Runs::default(),
        }
    }

    pub(super) fn of_pool() -> Self {
        Self::new(POOL)
    }

    /// Puts a reading where its time belongs. Two readings of one instant reduce by max: time-slicing and
    /// redundant servers show one device several times.
    pub(super) fn insert(&mut self, reading: Reading, channel: Channel) -> Inserted {
        match channel {
            Channel::Load => self.loads.insert(reading),
            Channel::Power => self.powers.insert(reading),
            Channel::Memory => {
                if reading.value.get().is_some_and(|value| value > IDLE) {
                    self.is_busy(reading.at_ms);
                }
                let new = reading.at_ms > self.memory_ms;
                self.memory_ms = self.memory_ms.max(reading.at_ms);
                if new { Inserted::Applied } else { Inserted::Same }
            }
        }
    }

    /// Forgets what was read as of a time after `now_ms`.
    pub(super) fn forget_after(&mut self, now_ms: Millis) {
        for readings in [&mut self.loads, &mut self.powers] {
            readings.forget_after(now_ms);
        }
        self.memory_ms = self.memory_ms.min(now_ms);
        self.busy_at_ms = self
            .busy_at_ms
            .map(|at_ms| at_ms.min(now_ms))
            .filter(|at_ms| *at_ms > Millis::MIN);
    }

    pub(super) fn forget_before(&mut self, oldest_ms: Millis) {
        for readings in [&mut self.loads, &mut self.powers] {
            readings.forget_before(oldest_ms);
        }
    }

    /// Whether nothing is known of the device since `oldest_ms`.
    pub(super) fn is_forgotten(&self, oldest_ms: Millis) -> bool {
        let busy = self.busy_at_ms.is_some_and(|at_ms| at_ms >= oldest_ms);
        !busy && self.loads.is_empty() && self.powers.is_empty()
    }

    /// Goes back to the state just before `from_ms`, and hands out what is to be applied again.
    pub(super) fn rewind(
        &mut self,
        from_ms: Millis,
        hold_ms: Millis,
        mut again: impl FnMut(Channel, Reading),
    ) {
        (self.load, self.power, self.counted) = Default::default();
        self.runs = Runs::default();
        for (channel, readings, state) in [
            (Channel::Power, &self.powers, &mut self.power),
            (Channel::Load, &self.loads, &mut self.load),
        ] {
            if let Some(last) = readings.before(from_ms).next_back() {
                *state = State::new(last, hold_ms);
            }
            readings
                .since(from_ms)
                .for_each(|reading| again(channel, *reading));
        }
        self.loads
            .before(from_ms)
            .for_each(|reading| self.runs.add(reading, hold_ms));
    }

    /// Takes the next reading in the order of time for the state of now.
    pub(super) fn set(&mut self, reading: &Reading, channel: Channel, hold_ms: Millis) {
        let state = State::new(reading, hold_ms);
        match channel {
            Channel::Load => {
                self.load = state;
                self.runs.add(reading, hold_ms);
            }
            Channel::Power => self.power = state,
            Channel::Memory => {}
        }
    }

    /// Notes that the device is busy at `at_ms`, if it is: by what it says, or by the power that belies it. To be told
    /// of every reading once its state is that of its time; what was noted stays when the merge goes back.
    pub(super) fn note_busy(&mut self, at_ms: Millis) {
        if self
            .load
            .value
            .is_some_and(|value| value > IDLE || self.lies(value))
        {
            self.is_busy(at_ms);
        }
    }

    fn is_busy(&mut self, at_ms: Millis) {
        self.busy_at_ms = self.busy_at_ms.max(Some(at_ms));
    }

    pub(super) fn expire(&mut self, at_ms: Millis) {
        for state in [&mut self.load, &mut self.power] {
            if state.until_ms <= at_ms {
                state.value = None;
            }
        }
    }

    pub(super) fn next_event_after(&self, at_ms: Millis) -> Millis {
        let expiry = |state: &State| state.value.map_or(Millis::MAX, |_| state.until_ms);
        let expected = self.expected.map_or(Millis::MAX, |expected| expected.from_ms);
        let expected = if expected > at_ms { expected } else { Millis::MAX };
        expiry(&self.load).min(expiry(&self.power)).min(expected)
    }

    pub(super) fn count(&self, membership: Membership, pinned_at: Micro, at_ms: Millis) -> Counted {
        let expected = match (membership, self.expected) {
            (Membership::Series, _) => None,
            (Membership::Inventory, Some(expected)) if expected.health == Health::Healthy => Some(expected),
            // A ghost, or a device that the platform calls broken.
            (Membership::Inventory, _) => return Counted::default(),
        };
        match self.load.value {
            Some(value) if !self.lies(value) => Counted {
                known: self.load.weight,
                busy: match membership {
                    Membership::Series => value,
                    Membership::Inventory => scaled(value, self.load.weight, ONE),
                },
                missing: 0,
                pinned: if membership == Membership::Inventory && value >= pinned_at {
                    self.load.weight
                } else {
                    0
                },
                value,
            },
            _ => Counted {
                missing: expected
                    .filter(|e| e.from_ms <= at_ms)
                    .map_or(0, |expected| expected.weight),
                ..Counted::default()
            },
        }
    }

    /// Zero utilization while the board draws more than an idle one does.
    fn lies(&self, value: Micro) -> bool {
        value <= READS_ZERO && self.power.value.is_some_and(|power| power > WORKING_POWER)
    }

    /// Known without a gap longer than the hold limit since `since_ms`, and never busy.
    pub(super) fn idle_since(&self, since_ms: Millis, hold_ms: Millis) -> bool {
        if self
            .busy_at_ms
            .is_some_and(|busy| busy.saturating_add(hold_ms) > since_ms)
        {
            return false;
        }
        if self
            .load
            .value
            .is_none_or(|value| value > IDLE || self.lies(value))
        {
            return false;
        }
        self.runs.now.since.is_some_and(|known_ms| known_ms <= since_ms)
    }
}

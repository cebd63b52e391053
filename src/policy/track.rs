//! One device: its recent readings, and what it adds to the signal at an instant.

use std::collections::VecDeque;

use super::config::{Micro, Millis, ONE};
use super::fixed::scaled;
use super::sample::{Channel, DeviceId, NodeId, POOL};
use super::windows::Health;

/// Utilization up to which a device counts as reading zero, for the lying-metric check.
pub(crate) const READS_ZERO: Micro = 10_000;

/// Share of the board's power limit above which a device is not idle. An idle A100 draws about 50 W of 300 W
/// (`PCIe`) or 400 W (SXM); a third of the limit needs work.
pub(crate) const WORKING_POWER: Micro = 330_000;

/// Utilization up to which a device is idle, for the choice of nodes: a watchdog's occasional query is not work.
pub(super) const IDLE: Micro = 20_000;

/// Readings that are looked at one by one before all are searched: two scrapes of three channels, and one more.
const LAST_FEW: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) at_ms: Millis,
    pub(super) value: Option<Micro>,
    pub(super) weight: Micro,
    pub(super) channel: Channel,
}

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
    pub(super) readings: VecDeque<Reading>,
    pub(super) load: State,
    pub(super) power: State,
    pub(super) counted: Counted,
    /// Last time the device was seen busy, for the choice of idle nodes.
    pub(super) busy_at_ms: Option<Millis>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) value: Option<Micro>,
    pub(super) weight: Micro,
    pub(super) until_ms: Millis,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    Changed,
    Same,
}

impl Track {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            id,
            expected: None,
            readings: VecDeque::new(),
            load: State::default(),
            power: State::default(),
            counted: Counted::default(),
            busy_at_ms: None,
        }
    }

    pub(super) fn of_pool() -> Self {
        Self::new(POOL)
    }

    /// Puts a reading where its time belongs. Two readings of one instant reduce by max: time-slicing and
    /// redundant servers show one device several times.
    pub(super) fn insert(&mut self, reading: Reading) -> Inserted {
        let newest = self.readings.back().map(|last| (last.at_ms, last.channel));
        if newest.is_none_or(|newest| newest < (reading.at_ms, reading.channel)) {
            self.readings.push_back(reading);
            return Inserted::Changed;
        }
        let place = self.place_of((reading.at_ms, reading.channel));
        match self.readings.get_mut(place) {
            Some(same) if same.at_ms == reading.at_ms && same.channel == reading.channel => {
                if reading.value <= same.value {
                    return Inserted::Same;
                }
                same.value = reading.value;
            }
            _ => self.readings.insert(place, reading),
        }
        Inserted::Changed
    }

    /// Where a reading with this key is or belongs. Nearly always that is among the last few: the channels of one
    /// scrape come one after the other. Searching all readings for it would cost a cache miss at every step.
    fn place_of(&self, key: (Millis, Channel)) -> usize {
        let last = self.readings.iter().rev().take(LAST_FEW);
        let later = last.take_while(|r| (r.at_ms, r.channel) >= key).count();
        if later < LAST_FEW {
            return self.readings.len() - later;
        }
        self.readings.partition_point(|r| (r.at_ms, r.channel) < key)
    }

    pub(super) fn forget_before(&mut self, oldest_ms: Millis) {
        while self
            .readings
            .front()
            .is_some_and(|reading| reading.at_ms < oldest_ms)
        {
            self.readings.pop_front();
        }
    }

    pub(super) fn set(&mut self, reading: &Reading, hold_ms: Millis) {
        let state = State {
            value: reading.value,
            weight: reading.weight,
            until_ms: reading.at_ms.saturating_add(hold_ms),
        };
        match reading.channel {
            Channel::Load => {
                self.load = state;
                if reading.value.is_some_and(|value| value > IDLE) {
                    self.busy_at_ms = self.busy_at_ms.max(Some(reading.at_ms));
                }
            }
            Channel::Power => self.power = state,
            // Memory that is held protects the node, not the pool.
            Channel::Memory => {
                if reading.value.is_some_and(|value| value > IDLE) {
                    self.busy_at_ms = self.busy_at_ms.max(Some(reading.at_ms));
                }
            }
        }
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
        let mut known_until = None;
        for reading in self
            .readings
            .iter()
            .filter(|reading| reading.channel == Channel::Load)
        {
            let reaches = reading.value.map(|_| reading.at_ms.saturating_add(hold_ms));
            match known_until {
                None if reading.at_ms > since_ms => return false,
                Some(until) if reading.at_ms > since_ms && until < reading.at_ms => return false,
                _ => {}
            }
            known_until = reaches.or(Some(reading.at_ms));
        }
        known_until.is_some()
    }
}

//! The readings of one device on one channel, in order of time.

use std::collections::VecDeque;

use super::config::{Micro, Millis};

/// Readings that are looked at one by one before all are searched: two scrapes, and one more.
const LAST_FEW: usize = 3;

/// One reading, in the order in which readings are merged. The value comes last but one, so that of two readings of
/// one instant the larger is applied last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reading {
    pub(super) at_ms: Millis,
    pub(super) value: Value,
    pub(super) weight: Micro,
}

/// A value, or none, in eight bytes: windows are mostly readings, and the time that they take is mostly spent waiting
/// for memory. No reading has the smallest integer, since what is possible ends at 10¹⁸.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(Micro);

impl Value {
    const NONE: Self = Self(Micro::MIN);

    pub(super) fn get(self) -> Option<Micro> {
        (self != Self::NONE).then_some(self.0)
    }
}

impl From<Option<Micro>> for Value {
    fn from(value: Option<Micro>) -> Self {
        value.map_or(Self::NONE, Self)
    }
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is to be merged.
    Changed,
    /// It is new, and there is nothing to merge.
    Applied,
    Same,
}

/// Readings in order of time, one for each instant.
///
/// The first time and the last are kept beside the list. At every tick one reading is added to each device and the
/// oldest is looked at, and the list itself has left the cache since the last tick: adding to it waits for nothing,
/// reading from it does.
#[derive(Debug, Clone)]
pub(super) struct Readings {
    list: VecDeque<Reading>,
    /// Of the first, or later than any.
    first_ms: Millis,
    /// Of the last, or earlier than any.
    last_ms: Millis,
}

impl Default for Readings {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            first_ms: Millis::MAX,
            last_ms: Millis::MIN,
        }
    }
}

impl Readings {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn last(&self) -> Option<&Reading> {
        self.list.back()
    }

    /// Those before `from_ms`.
    pub(super) fn before(&self, from_ms: Millis) -> impl DoubleEndedIterator<Item = &Reading> {
        self.list.range(..self.place_of(from_ms))
    }

    /// Those from `from_ms` on.
    pub(super) fn since(&self, from_ms: Millis) -> impl DoubleEndedIterator<Item = &Reading> {
        self.list.range(self.place_of(from_ms)..)
    }

    /// Puts a reading where its time belongs. Two readings of one instant reduce by max: time-slicing and redundant
    /// servers show one device several times.
    pub(super) fn insert(&mut self, reading: Reading) -> Inserted {
        if self.last_ms < reading.at_ms || self.list.is_empty() {
            self.list.push_back(reading);
            self.last_ms = reading.at_ms;
            self.first_ms = self.first_ms.min(reading.at_ms);
            return Inserted::Changed;
        }
        let place = self.place_of(reading.at_ms);
        match self.list.get_mut(place) {
            Some(same) if same.at_ms == reading.at_ms => {
                if reading.value <= same.value {
                    return Inserted::Same;
                }
                same.value = reading.value;
            }
            _ => {
                self.list.insert(place, reading);
                self.first_ms = self.first_ms.min(reading.at_ms);
            }
        }
        Inserted::Changed
    }

    pub(super) fn forget_after(&mut self, now_ms: Millis) {
        while self.list.back().is_some_and(|reading| reading.at_ms > now_ms) {
            self.list.pop_back();
        }
        self.find_ends();
    }

    pub(super) fn forget_before(&mut self, oldest_ms: Millis) {
        if self.first_ms >= oldest_ms {
            return;
        }
        while self.list.front().is_some_and(|reading| reading.at_ms < oldest_ms) {
            self.list.pop_front();
        }
        self.find_ends();
    }

    fn find_ends(&mut self) {
        self.first_ms = self.list.front().map_or(Millis::MAX, |first| first.at_ms);
        self.last_ms = self.list.back().map_or(Millis::MIN, |last| last.at_ms);
    }

    /// Where a reading of that time is or belongs. Nearly always that is among the last few. Searching all readings for
    /// it would cost a cache miss at every step.
    fn place_of(&self, at_ms: Millis) -> usize {
        let last = self.list.iter().rev().take(LAST_FEW);
        let later = last.take_while(|reading| reading.at_ms >= at_ms).count();
        if later < LAST_FEW {
            return self.list.len() - later;
        }
        self.list.partition_point(|reading| reading.at_ms < at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_ms: Millis, value: Micro) -> Reading {
        Reading {
            at_ms,
            value: Some(value).into(),
            weight: 1,
        }
    }

    fn times(readings: &Readings) -> Vec<Millis> {
        readings.since(Millis::MIN).map(|reading| reading.at_ms).collect()
    }

    #[test]
    fn readings_are_in_order_of_time_and_of_two_of_one_instant_the_larger_stays() {
        let mut readings = Readings::default();
        for (at_ms, value, inserted) in [
            (30, 1, Inserted::Changed),
            (10, 1, Inserted::Changed),
            (20, 5, Inserted::Changed),
            (20, 4, Inserted::Same),
            (20, 6, Inserted::Changed),
            (30, 1, Inserted::Same),
            (40, 1, Inserted::Changed),
            (10, 0, Inserted::Same),
        ] {
            assert_eq!(
                readings.insert(reading(at_ms, value)),
                inserted,
                "{at_ms}: {value}"
            );
        }
        assert_eq!(times(&readings), [10, 20, 30, 40]);
        let twenty = readings.before(30).last().copied();
        assert_eq!(twenty, Some(reading(20, 6)));
    }

    #[test]
    fn what_is_forgotten_at_either_end_can_come_again() {
        let mut readings = Readings::default();
        let all = [10, 20, 30, 40, 50];
        for at_ms in all {
            readings.insert(reading(at_ms, 1));
        }
        readings.forget_before(20);
        assert_eq!(times(&readings), [20, 30, 40, 50]);
        readings.forget_after(30);
        assert_eq!(times(&readings), [20, 30]);
        for at_ms in [40, 10] {
            assert_eq!(readings.insert(reading(at_ms, 1)), Inserted::Changed);
        }
        readings.forget_before(15);
        assert_eq!(times(&readings), [20, 30, 40]);
        readings.forget_after(0);
        assert!(readings.is_empty());
        assert_eq!(readings.insert(reading(Millis::MIN, 1)), Inserted::Changed);
        assert_eq!(readings.insert(reading(Millis::MAX, 1)), Inserted::Changed);
        assert_eq!(times(&readings), [Millis::MIN, Millis::MAX]);
    }
}

//! One signal's devices, merged into one step function.
//!
//! Each device keeps its recent readings. Readings of all devices are merged in time order into the signal's
//! [`Series`], together with two kinds of events that no sample announces: a reading that *expires*, because a
//! sample speaks for its device only for the hold limit H, and a device that *becomes expected*, because its node
//! has been Ready for the warm-up.
//!
//! The rules, for every instant t:
//!
//! - A device is **known** at t when its newest reading is valid: a sample at s is valid on [s, min(next, s + H)).
//!   A reading without a value ends the one before it.
//! - A device is **expected** at t when it is in the inventory and its node was Ready for the warm-up by t.
//! - A known device counts with its reading whether or not it is expected yet; an expected device that is not
//!   known is *missing*, and counts as idle in [`Level::low`] and as busy in [`Level::high`].
//! - A device that is not in the inventory is a ghost of a node that left, an unhealthy one a liar: neither counts.
//! - The level is covered when known ÷ (known + missing) is at least the least coverage.
//! - Zero utilization with power above the idle baseline is a lying metric: that device is not known.
//!
//! Late samples are welcome: the merge is rewound to the earliest of them and run again, so the series is always
//! what it would be if the samples had come in order. The same rewind rebuilds everything when the inventory
//! changes. That is why a window which slid and one which was refetched agree to the bit.

use std::cmp::Ordering;

use super::config::{Across, Config, Micro, Millis, ONE, Signal, SignalSource};
use super::fixed::{scaled, scaled_up};
use super::readings::{Inserted, Reading};
use super::sample::{Channel, DeviceId, NodeId, Sample};
use super::track::{Counted, Expected, Membership, Track};
use super::window::{Covered, Level, Series, Thresholds, Totals};
use super::windows::{Device, Ingested};

/// Most GPUs that one reading may stand for: a million, in micro-GPUs.
const HEAVIEST: Micro = 1_000_000 * ONE;

/// Readings of a device that room is kept for between two reads: four scrapes of two channels.
const QUEUED_PER_DEVICE: usize = 8;

/// A reading that is to be merged.
#[derive(Debug, Clone, Copy)]
struct Queued {
    reading: Reading,
    /// Place of the device's track.
    index: u32,
    channel: Channel,
}

impl Queued {
    /// The order of the merge: by time, then by device and channel, then by reading. The first three are compared as
    /// one number, since every tick sorts what is new of every device.
    fn order(&self, other: &Self) -> Ordering {
        let place = |queued: &Self| {
            let at = i128::from(queued.reading.at_ms) << 64;
            at | i128::from(queued.index) << 8 | i128::from(queued.channel as u8)
        };
        let by_place = place(self).cmp(&place(other));
        by_place.then_with(|| self.reading.cmp(&other.reading))
    }
}

/// Cursor numbers of the windows that a signal is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Demand = 0,
    Up = 1,
    Down = 2,
}

/// A signal's devices and the step function they make.
#[derive(Debug, Clone)]
pub(super) struct SignalWindow {
    across: Across,
    /// Whether membership comes from the inventory; a pool-wide series has none.
    membership: Membership,
    pinned_at: Micro,
    hold_ms: Millis,
    warm_up_ms: Millis,
    horizon_ms: Millis,
    min_coverage: Micro,
    tracks: Vec<Track>,
    sums: Counted,
    series: Series,
    /// Every event up to here has happened: what is read of an earlier time rewinds the merge.
    frontier_ms: Millis,
    /// No expiry and no expectation happens before this.
    next_event_ms: Millis,
    newest_ms: Option<Millis>,
    read_until_ms: Millis,
    queue: Vec<Queued>,
    /// Place of the track that was asked for last.
    last_track: usize,
}

impl SignalWindow {
    pub(super) fn new(config: &Config, signal: &Signal) -> Self {
        let quality = &config.data_quality;
        let hold_ms = quality.hold_limit_ms();
        let [demand, up, down] = signal.windows_ms();
        let longest = signal.look_back_ms().max(quality.idle_window_ms);
        Self {
            across: signal.across,
            membership: match signal.source {
                SignalSource::Device(_) => Membership::Inventory,
                _ => Membership::Series,
            },
            pinned_at: config.saturation.pinned_at,
            hold_ms,
            warm_up_ms: quality.warm_up_ms,
            horizon_ms: longest + 2 * hold_ms,
            min_coverage: quality.min_coverage,
            tracks: match signal.source {
                SignalSource::Series(_) => vec![Track::of_pool()],
                _ => Vec::new(),
            },
            sums: Counted::default(),
            series: Series::new(
                Thresholds {
                    above: signal.up.map_or(Micro::MAX, |rule| rule.threshold),
                    below: signal.down.map_or(Micro::MIN, |rule| rule.threshold),
                },
                [demand, up, down],
                hold_ms,
            ),
            frontier_ms: Millis::MIN,
            next_event_ms: Millis::MAX,
            newest_ms: None,
            read_until_ms: Millis::MIN,
            queue: Vec::new(),
            last_track: 0,
        }
    }

    /// Whether the signal is read per device.
    pub(super) fn has_devices(&self) -> bool {
        self.membership == Membership::Inventory
    }

    /// Whether a pool-wide series has nothing to say at `now_ms`: no reading yet, or its last one has expired. A
    /// zero counts as old after half its time, so that zeros which stand for an absent series follow each other
    /// without a gap. A reading that is no number is one: the series is there, and what it says is not known.
    pub(super) fn is_silent(&self, now_ms: Millis) -> bool {
        let speaks = |track: &Track| {
            track.loads.last().is_some_and(|last| {
                let speaks_for_ms = if last.value.get() == Some(0) {
                    self.hold_ms / 2
                } else {
                    self.hold_ms
                };
                last.at_ms.saturating_add(speaks_for_ms) > now_ms
            })
        };
        self.membership == Membership::Series && !self.tracks.iter().any(speaks)
    }

    /// How long a reading can matter: none that is older is kept.
    pub(super) fn horizon_ms(&self) -> Millis {
        self.horizon_ms.saturating_add(self.hold_ms)
    }

    /// Takes over when a value was last read, from windows that were not kept.
    pub(super) fn recall(&mut self, newest_ms: Millis) {
        self.newest_ms = self.newest_ms.max(Some(newest_ms));
    }

    /// Source time of the last read: nothing later is known.
    pub(super) fn read_until_ms(&self) -> Millis {
        self.read_until_ms
    }

    /// Time of the newest sample with a value.
    pub(super) fn newest_ms(&self) -> Option<Millis> {
        self.newest_ms
    }

    /// The integrals of the window of `edge` that ends at `to_ms`.
    pub(super) fn span(&self, edge: Edge, from_ms: Millis, to_ms: Millis) -> Totals {
        self.series.span(edge as usize, from_ms, to_ms)
    }

    /// Whether the window of `edge` that begins at `from_ms` is a whole one: something was known at its left edge,
    /// or within one hold limit before it (a gap that slides over the edge is no missing history). Looking back
    /// no further makes the answer the same for a window that slid there and one that was fetched anew.
    pub(super) fn has_history(&self, edge: Edge, from_ms: Millis) -> bool {
        let covered_at_edge = self
            .series
            .level_at(edge as usize, from_ms)
            .is_some_and(|level| level.covered == Covered::Yes);
        covered_at_edge
            || self
                .series
                .span(edge as usize, from_ms.saturating_sub(self.hold_ms), from_ms)
                .covered_ms
                > 0
    }

    /// Values that a reading can have. What is read of a device is a fraction of it; anything else ends the reading
    /// before it.
    fn possible(&self) -> std::ops::RangeInclusive<Micro> {
        const LARGEST: Micro = 1_000_000_000_000_000_000;
        match self.membership {
            Membership::Inventory => 0..=ONE,
            Membership::Series => -LARGEST..=LARGEST,
        }
    }

    /// Takes one reading in; [`SignalWindow::settle`] merges it.
    pub(super) fn take(&mut self, sample: &Sample, now_ms: Millis, counts: &mut Ingested) {
        if sample.at_ms > now_ms {
            counts.future += 1;
            return;
        }
        if sample.at_ms < now_ms.saturating_sub(self.horizon_ms) {
            counts.old += 1;
            return;
        }
        let index = self.track_of(sample.device);
        let value = sample.value.filter(|value| self.possible().contains(value));
        counts.impossible += u32::from(value.is_none() && sample.value.is_some());
        let reading = Reading {
            at_ms: sample.at_ms,
            value: value.into(),
            weight: sample.weight.clamp(0, HEAVIEST),
        };
        match self.tracks[index].insert(reading, sample.channel) {
            Inserted::Same => counts.duplicate += 1,
            Inserted::Applied => counts.taken += 1,
            Inserted::Changed => {
                counts.taken += 1;
                self.queue.push(queued(index, sample.channel, reading));
            }
        }
        if sample.channel == Channel::Load && value.is_some() {
            self.newest_ms = self.newest_ms.max(Some(sample.at_ms));
        }
    }

    /// The source's clock was put back. After a moment, what it said of the future was never so. After more than a
    /// reading speaks for, no time that it told before means what it means now: readings of then would fill the gaps
    /// of now, so all of them go, and whoever feeds the windows reads them anew.
    pub(super) fn set_back(&mut self, before_ms: Millis, now_ms: Millis) {
        let far = before_ms.saturating_sub(now_ms) > self.hold_ms;
        self.forget_after(if far { Millis::MIN } else { now_ms });
        self.read_until_ms = now_ms;
    }

    /// Forgets what was read as of a time after `now_ms`.
    fn forget_after(&mut self, now_ms: Millis) {
        for track in &mut self.tracks {
            track.forget_after(now_ms);
        }
        let readings = self
            .tracks
            .iter()
            .flat_map(|track| track.loads.since(Millis::MIN));
        let spoken = readings.filter(|reading| reading.value.get().is_some());
        self.newest_ms = spoken.map(|reading| reading.at_ms).max();
        self.rewind(now_ms.saturating_add(1));
    }

    /// Brings the series up to `now_ms` with everything taken since the last call.
    pub(super) fn settle(&mut self, now_ms: Millis, counts: &mut Ingested) {
        match self.queue.iter().map(|entry| entry.reading.at_ms).min() {
            Some(earliest) if earliest < self.frontier_ms => {
                counts.late += 1;
                self.rewind(earliest);
            }
            _ => {}
        }
        let mut queue = std::mem::take(&mut self.queue);
        queue.sort_unstable_by(Queued::order);
        for instant in queue.chunk_by(|one, next| one.reading.at_ms == next.reading.at_ms) {
            let Some(at_ms) = instant.first().map(|entry| entry.reading.at_ms) else {
                continue;
            };
            self.advance(at_ms);
            for entry in instant {
                self.apply(entry);
            }
            self.emit(at_ms);
        }
        queue.clear();
        // A first read and a rewind queue whole windows; room for them is not kept between.
        queue.shrink_to(self.tracks.len() * QUEUED_PER_DEVICE);
        self.queue = queue;
        self.advance(now_ms);
        self.read_until_ms = now_ms;
        self.series.slide(now_ms);
        let oldest = now_ms.saturating_sub(self.horizon_ms);
        for track in &mut self.tracks {
            track.forget_before(oldest);
        }
        if self.membership == Membership::Inventory {
            self.tracks
                .retain(|track| track.expected.is_some() || !track.is_forgotten(oldest));
        }
    }

    /// Replaces the inventory. Devices that left take their history with them: what a window says is what the
    /// devices that are in the pool now did.
    pub(super) fn set_inventory(&mut self, devices: &[Device]) {
        if self.membership == Membership::Series {
            return;
        }
        let mut changed = false;
        for track in &mut self.tracks {
            if devices
                .binary_search_by_key(&track.id, |device| device.id)
                .is_err()
            {
                changed |= track.expected.take().is_some();
            }
        }
        for device in devices {
            let index = self.track_of(device.id);
            let expected = Expected {
                node: device.node,
                weight: device.weight,
                from_ms: device.ready_since_ms.saturating_add(self.warm_up_ms),
                health: device.health,
            };
            let known = self.tracks[index].expected;
            let same = known
                .is_some_and(|known| known.from_ms == expected.from_ms && known.health == expected.health);
            let heavier = known.is_none_or(|known| known.weight != expected.weight);
            // A group of equal devices that reports may change its weight: its samples say so themselves.
            changed |= !same || (heavier && self.tracks[index].load.value.is_none());
            self.tracks[index].expected = Some(expected);
        }
        if changed {
            self.rewind(Millis::MIN);
        }
    }

    /// Whether every device of `node` is known and has been idle since `since_ms`.
    pub(super) fn node_idle_since(&self, node: NodeId, since_ms: Millis) -> bool {
        let mut devices = 0;
        for track in self
            .tracks
            .iter()
            .filter(|track| track.expected.is_some_and(|e| e.node == node))
        {
            devices += 1;
            if !track.idle_since(since_ms, self.hold_ms) {
                return false;
            }
        }
        devices > 0
    }

    /// Whether every device in the inventory is known and has been idle since `since_ms`.
    pub(super) fn all_idle_since(&self, since_ms: Millis) -> bool {
        let mut expected = self
            .tracks
            .iter()
            .filter(|track| track.expected.is_some())
            .peekable();
        expected.peek().is_some() && expected.all(|track| track.idle_since(since_ms, self.hold_ms))
    }

    fn track_of(&mut self, id: DeviceId) -> usize {
        // Samples come device by device: mostly it is that of the last sample or the next one, and looking among all
        // would cost a cache miss at every step.
        for near in [self.last_track, self.last_track + 1] {
            if self.tracks.get(near).is_some_and(|track| track.id == id) {
                self.last_track = near;
                return near;
            }
        }
        let index = self.search_track(id);
        self.last_track = index;
        index
    }

    fn search_track(&mut self, id: DeviceId) -> usize {
        match self.tracks.binary_search_by_key(&id, |track| track.id) {
            Ok(index) => index,
            Err(index) => {
                self.tracks.insert(index, Track::new(id));
                // Queued entries name tracks by index, and those after the new one moved.
                for entry in self
                    .queue
                    .iter_mut()
                    .filter(|entry| entry.index as usize >= index)
                {
                    entry.index += 1;
                }
                index
            }
        }
    }

    /// Lets expiries and expectations up to `to_ms` happen.
    fn advance(&mut self, to_ms: Millis) {
        // `MAX` stands for no event at all, also at the end of time.
        while self.next_event_ms <= to_ms && self.next_event_ms < Millis::MAX {
            let at_ms = self.next_event_ms;
            let was = self.sums;
            for index in 0..self.tracks.len() {
                self.tracks[index].expire(at_ms);
                self.recount(index, at_ms);
            }
            // The bound may have been that of a reading since replaced: then nothing happened.
            if self.sums != was {
                self.emit(at_ms);
            }
            // An expiry may show in no sum, as that of a power reading; what is read late has to go back before it.
            self.frontier_ms = self.frontier_ms.max(at_ms);
            self.next_event_ms = self
                .tracks
                .iter()
                .map(|track| track.next_event_after(at_ms))
                .min()
                .unwrap_or(Millis::MAX);
        }
    }

    fn apply(&mut self, entry: &Queued) {
        let (hold_ms, index) = (self.hold_ms, entry.index as usize);
        let at_ms = entry.reading.at_ms;
        let track = &mut self.tracks[index];
        track.set(&entry.reading, entry.channel, hold_ms);
        track.note_busy(at_ms);
        let next = track.next_event_after(at_ms);
        self.next_event_ms = self.next_event_ms.min(next);
        self.recount(index, at_ms);
    }

    fn recount(&mut self, index: usize, at_ms: Millis) {
        let counted = self.tracks[index].count(self.membership, self.pinned_at, at_ms);
        let was = std::mem::replace(&mut self.tracks[index].counted, counted);
        self.sums.known += counted.known - was.known;
        self.sums.busy += counted.busy - was.busy;
        self.sums.missing += counted.missing - was.missing;
        self.sums.pinned += counted.pinned - was.pinned;
    }

    fn emit(&mut self, at_ms: Millis) {
        let level = self.level_of_sums();
        self.series.push(at_ms, level);
        self.frontier_ms = self.frontier_ms.max(at_ms);
    }

    fn level_of_sums(&self) -> Level {
        let Counted {
            known,
            busy,
            missing,
            pinned,
            ..
        } = self.sums;
        let expected = known + missing;
        if known <= 0 || scaled(known, ONE, expected) < self.min_coverage {
            return Level::default();
        }
        let (low, high) = match (self.membership, self.across) {
            (Membership::Series, _) => (busy, busy),
            (_, Across::Mean) => (
                scaled(busy, ONE, expected),
                scaled_up(busy + missing, ONE, expected),
            ),
            (_, Across::Max) => {
                let max = self
                    .tracks
                    .iter()
                    .filter(|t| t.counted.known > 0)
                    .map(|t| t.counted.value)
                    .max();
                let max = max.unwrap_or(0);
                (max, if missing > 0 { ONE.max(max) } else { max })
            }
        };
        Level {
            covered: Covered::Yes,
            low,
            high,
            busy,
            missing,
            pinned,
        }
    }

    /// Undoes the merge from `from_ms` on and queues every reading since then again.
    fn rewind(&mut self, from_ms: Millis) {
        self.series.truncate(from_ms);
        self.queue.clear();
        self.sums = Counted::default();
        let hold_ms = self.hold_ms;
        // State just before `from_ms`; the merge itself starts at its first event.
        let before_ms = from_ms.saturating_sub(1);
        for index in 0..self.tracks.len() {
            let track = &mut self.tracks[index];
            track.rewind(from_ms, hold_ms, |channel, reading| {
                self.queue.push(queued(index, channel, reading));
            });
            track.expire(before_ms);
            self.recount(index, before_ms);
        }
        self.frontier_ms = before_ms;
        self.next_event_ms = self
            .tracks
            .iter()
            .map(|track| track.next_event_after(before_ms))
            .min()
            .unwrap_or(Millis::MAX);
    }
}

/// A signal has as many devices as it has identities, which are 32 bits wide.
fn queued(index: usize, channel: Channel, reading: Reading) -> Queued {
    Queued {
        reading,
        index: u32::try_from(index).unwrap_or(u32::MAX),
        channel,
    }
}

#[cfg(test)]
mod tests;

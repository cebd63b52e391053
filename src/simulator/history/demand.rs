//! From the utilization of devices back to the demand behind it.
//!
//! Demand at a time is the sum over all expected devices of utilization × share of a GPU. Two things cannot be read off
//! utilization, and both are said and not guessed away:
//!
//! - A device at 100 % hides what it could not serve. While any device is pinned, demand is a lower bound: such
//!   stretches are *censored*.
//! - A device that does not report is neither idle nor full. It counts as busy as the known devices of the moment;
//!   when none is known, as what was last known. Such stretches are *unknown*.

use std::collections::BTreeMap;

use crate::policy::config::{Config, Micro, Millis, ONE, SignalSource};
use crate::policy::sample::{Channel, DeviceId, POOL, Sample};
use crate::policy::windows::Device;
use crate::policy::{READS_ZERO, WORKING_POWER};
use crate::recording::{Demand, MAX_DEMAND};

use super::{History, HistoryError};

/// A stretch of time, unix milliseconds, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its beginning.
    pub from_ms: Millis,
    /// Its end.
    pub to_ms: Millis,
}

/// The demand behind a recording, and what is not known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// GPUs at work, on the grid that was asked for.
    pub demand: Demand,
    /// Where a device was pinned, so that the demand is a lower bound.
    pub censored: Vec<Stretch>,
    /// Where a device that should report did not.
    pub unknown: Vec<Stretch>,
    /// Share of all GPU-time in which the device was unknown, in micros.
    pub unknown_share: Micro,
    /// Nodes asked for at the beginning, if that is known.
    pub initial_nodes: Option<u32>,
}

impl Derived {
    /// The share of the recording's time that stretches cover, in micros.
    #[must_use]
    pub fn share(&self, stretches: &[Stretch]) -> Micro {
        let covered: Millis = stretches
            .iter()
            .map(|stretch| stretch.to_ms - stretch.from_ms)
            .sum();
        ratio(covered.into(), self.demand.duration_ms().into())
    }
}

fn ratio(part: i128, whole: i128) -> Micro {
    if whole == 0 {
        return 0;
    }
    Micro::try_from(part * i128::from(ONE) / whole).unwrap_or(Micro::MAX)
}

/// What a device said last.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    load: Option<Micro>,
    load_until_ms: Millis,
    power: Option<Micro>,
    power_until_ms: Millis,
}

impl Last {
    fn take(&mut self, sample: &Sample, hold_ms: Millis) {
        let until_ms = sample.at_ms.saturating_add(hold_ms);
        match sample.channel {
            Channel::Load => (self.load, self.load_until_ms) = (sample.value, until_ms),
            Channel::Power => (self.power, self.power_until_ms) = (sample.value, until_ms),
            Channel::Memory => {}
        }
    }

    /// Its utilization, unless it is silent or reads zero under power.
    fn known(&self, now_ms: Millis) -> Option<Micro> {
        let load = self.load.filter(|_| now_ms < self.load_until_ms)?;
        let power = self.power.filter(|_| now_ms < self.power_until_ms);
        let lies = load <= READS_ZERO && power.is_some_and(|power| power > WORKING_POWER);
        (!lies).then_some(load)
    }
}

/// The sums of one instant.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    busy: i128,
    known: Micro,
    expected: Micro,
    pinned: bool,
}

impl Sums {
    fn of(devices: &[Device], last: &BTreeMap<DeviceId, Last>, pinned_at: Micro, now_ms: Millis) -> Self {
        let mut sums = Self::default();
        // A device with a hardware fault counts as well: what it does is demand, and its fault code never falls back.
        for device in devices.iter().filter(|device| now_ms >= device.ready_since_ms) {
            sums.expected += device.weight;
            let Some(load) = last.get(&device.id).and_then(|last| last.known(now_ms)) else {
                continue;
            };
            sums.known += device.weight;
            sums.busy += i128::from(load) * i128::from(device.weight) / i128::from(ONE);
            sums.pinned |= load >= pinned_at;
        }
        sums
    }

    /// GPUs at work, with unknown devices as busy as the known ones; `None` when none is known.
    fn demand(&self) -> Option<Micro> {
        let all = self.busy * i128::from(self.expected);
        let known = i128::from(self.known);
        (known > 0).then(|| Micro::try_from(all / known).map_or(MAX_DEMAND, |demand| demand.min(MAX_DEMAND)))
    }
}

impl History<'_> {
    /// The demand behind the utilization of the policy's first device signal that the recording has, on a grid of
    /// `step_ms` whose points are absolute multiples of it.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NoUtilization`] if there is no such signal, [`HistoryError::Demand`] if the demand cannot be
    /// put on the grid.
    pub fn demand(&self, config: &Config, step_ms: Millis) -> Result<Derived, HistoryError> {
        let devices = |signal: u16| {
            let source = config
                .signals
                .get(usize::from(signal))
                .map(|signal| signal.source);
            matches!(source, Some(SignalSource::Device(_)))
        };
        let load = self.tracks.iter().filter(|track| track.channel == Channel::Load);
        let signal = load
            .map(|track| track.signal)
            .filter(|&signal| devices(signal))
            .min();
        let Some(signal) = signal else {
            return Err(HistoryError::NoUtilization);
        };
        self.walkable(step_ms)?;
        let mut replay = self.clone();
        let own = |channel: Channel, of: u16| {
            channel == Channel::Power || (channel == Channel::Load && of == signal)
        };
        replay
            .tracks
            .retain(|track| track.device != POOL && own(track.channel, track.signal));
        replay.derive(config.saturation.pinned_at, step_ms)
    }

    fn derive(mut self, pinned_at: Micro, step_ms: Millis) -> Result<Derived, HistoryError> {
        let (start_ms, end_ms) = self.span_ms();
        let first_ms = start_ms.div_euclid(step_ms) * step_ms;
        let hold_ms = self.frame.hold_ms;
        let mut last: BTreeMap<DeviceId, Last> = BTreeMap::new();
        let (mut values, mut before) = (Vec::new(), None);
        let (mut censored, mut unknown) = (Stretches::default(), Stretches::default());
        let (mut expected_time, mut unknown_time) = (0_i128, 0_i128);
        let mut now_ms = first_ms;
        while now_ms <= end_ms {
            // The first point stands before the first sample and takes what its interval brings.
            let until_ms = if now_ms < start_ms { start_ms } else { now_ms };
            self.read_until(until_ms, |sample| {
                last.entry(sample.device).or_default().take(&sample, hold_ms);
            });
            let _ = self.devices_changed(until_ms);
            let sums = Sums::of(self.expected(), &last, pinned_at, until_ms);
            let empty = sums.expected == 0 && self.known_empty(until_ms);
            let known = sums.demand().or(empty.then_some(0));
            if let (None, Some(first)) = (before, known) {
                // What was before the first sample is not known either, and not nothing.
                values.fill(first);
            }
            before = known.or(before);
            values.push(before.unwrap_or(0));
            censored.note(now_ms, step_ms, sums.pinned);
            unknown.note(now_ms, step_ms, known.is_none() || sums.known < sums.expected);
            expected_time += i128::from(sums.expected);
            unknown_time += i128::from(sums.expected - sums.known);
            now_ms += step_ms;
        }
        let initial_nodes = self.requested_at(first_ms).or_else(|| self.ready_at(first_ms));
        Ok(Derived {
            demand: Demand::new("utilization", first_ms, step_ms, values)?,
            censored: censored.0,
            unknown: unknown.0,
            unknown_share: ratio(unknown_time, expected_time),
            initial_nodes,
        })
    }
}

/// Stretches that grow step by step.
#[derive(Debug, Default)]
struct Stretches(Vec<Stretch>);

impl Stretches {
    fn note(&mut self, from_ms: Millis, step_ms: Millis, holds: bool) {
        if !holds {
            return;
        }
        let to_ms = from_ms + step_ms;
        match self.0.last_mut() {
            Some(last) if last.to_ms == from_ms => last.to_ms = to_ms,
            _ => self.0.push(Stretch { from_ms, to_ms }),
        }
    }
}

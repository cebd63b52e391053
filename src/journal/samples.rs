//! The readings of a tick, against those of the tick before it.
//!
//! One tick reads nearly what the last one read: the same devices in the same order, each a scrape later, and the
//! overlap. So a reading names its predecessor by how far it stands from the last one that was named, and says only
//! what is not as expected: most are one byte and their value.

use super::numbers::{Input, Malformed, put, put_difference, put_length, put_signed};
use super::seen::one_of;
use crate::policy::config::{Millis, ONE};
use crate::policy::sample::{Channel, DeviceId, Sample};

/// Most readings of one tick.
pub(super) const MOST_SAMPLES: usize = 1 << 20;

/// How the device is told, in the two lowest bits: the predecessor is this many places further, or this.
const SKIPS: usize = 3;
const SKIPPED: [u8; SKIPS] = [0, 1, 2];
const NAMED: u8 = 3;

/// The time is the expected one.
const ON_TIME: u8 = 4;
/// There is no value.
const EMPTY: u8 = 8;
/// The value is that of the predecessor.
const SAME_VALUE: u8 = 16;
/// The device is that of the reading before.
const SAME_DEVICE: u8 = 32;
/// The device is the one after that of the reading before.
const NEXT_DEVICE: u8 = 64;
/// It stands for something else than one GPU.
const WEIGHED: u8 = 128;

const NONE: Sample = Sample {
    at_ms: 0,
    signal: 0,
    device: DeviceId(0),
    value: Some(0),
    weight: ONE,
    channel: Channel::Load,
};

/// What the next reading is expected to be.
struct Expected<'a> {
    before: &'a [Sample],
    /// How much later readings are than their predecessors.
    shift_ms: Millis,
    /// The reading before, and how much later it was than the one before it.
    last: Sample,
    step_ms: Millis,
}

impl<'a> Expected<'a> {
    fn new(before: &'a [Sample], now_ms: Millis, tick_ms: Millis) -> Self {
        Self {
            before,
            shift_ms: tick_ms,
            last: Sample {
                at_ms: now_ms,
                ..NONE
            },
            step_ms: 0,
        }
    }

    #[inline]
    fn time_after(&self, predecessor: &Sample) -> Millis {
        predecessor.at_ms.wrapping_add(self.shift_ms)
    }

    #[inline]
    fn time_after_last(&self) -> Millis {
        self.last.at_ms.wrapping_add(self.step_ms)
    }

    /// Goes on behind a predecessor.
    #[inline]
    fn follow(&mut self, skip: usize, predecessor: &Sample, sample: &Sample) {
        self.before = self.before.get(skip + 1..).unwrap_or_default();
        self.shift_ms = sample.at_ms.wrapping_sub(predecessor.at_ms);
        self.last = *sample;
    }

    #[inline]
    fn go_on(&mut self, sample: &Sample) {
        self.step_ms = sample.at_ms.wrapping_sub(self.last.at_ms);
        self.last = *sample;
    }
}

#[inline]
fn same_series(one: &Sample, other: &Sample) -> bool {
    one.device == other.device
        && one.signal == other.signal
        && one.channel == other.channel
        && one.weight == other.weight
}

#[inline]
fn value_flag(value: Option<i64>, expected: i64) -> u8 {
    match value {
        None => EMPTY,
        Some(value) if value == expected => SAME_VALUE,
        Some(_) => 0,
    }
}

/// Writes the readings of a tick that is `tick_ms` after the last.
pub(super) fn put_samples(
    out: &mut Vec<u8>,
    samples: &[Sample],
    before: &[Sample],
    now_ms: Millis,
    tick_ms: Millis,
) {
    put_length(out, samples.len());
    let mut expected = Expected::new(before, now_ms, tick_ms);
    for sample in samples {
        let mut near = expected.before.iter().zip(SKIPPED);
        let predecessor = near.find(|(before, _)| same_series(before, sample));
        if let Some((before, skip)) = predecessor {
            put_followed(out, sample, before, skip, &expected);
            expected.follow(usize::from(skip), before, sample);
        } else {
            put_named(out, sample, &expected);
            expected.go_on(sample);
        }
    }
}

/// Writes a reading that follows a predecessor.
#[inline]
fn put_followed(out: &mut Vec<u8>, sample: &Sample, before: &Sample, skip: u8, expected: &Expected<'_>) {
    let value = before.value.unwrap_or(0);
    let at_ms = expected.time_after(before);
    let on_time = if sample.at_ms == at_ms { ON_TIME } else { 0 };
    let flags = skip | on_time | value_flag(sample.value, value);
    out.push(flags);
    if on_time == 0 {
        put_difference(out, sample.at_ms, at_ms);
    }
    if flags & (EMPTY | SAME_VALUE) == 0 {
        put_difference(out, sample.value.unwrap_or(0), value);
    }
}

/// Writes a reading that has no predecessor.
fn put_named(out: &mut Vec<u8>, sample: &Sample, expected: &Expected<'_>) {
    let last = &expected.last;
    let same_kind = sample.signal == last.signal && sample.channel == last.channel;
    let device = if same_kind && sample.device == last.device {
        SAME_DEVICE
    } else if same_kind && sample.device.0 == last.device.0.wrapping_add(1) {
        NEXT_DEVICE
    } else {
        0
    };
    let weighed = if sample.weight == ONE { 0 } else { WEIGHED };
    let at_ms = expected.time_after_last();
    let on_time = if sample.at_ms == at_ms { ON_TIME } else { 0 };
    let value = last.value.unwrap_or(0);
    let flags = NAMED | on_time | device | weighed | value_flag(sample.value, value);
    out.push(flags);
    if device == 0 {
        put(out, u64::from(sample.signal));
        put(out, u64::from(sample.device.0));
        out.push(sample.channel as u8);
    }
    if weighed != 0 {
        put_signed(out, sample.weight);
    }
    if on_time == 0 {
        put_difference(out, sample.at_ms, at_ms);
    }
    if flags & (EMPTY | SAME_VALUE) == 0 {
        put_difference(out, sample.value.unwrap_or(0), value);
    }
}

/// Reads the readings of a tick into `samples`.
pub(super) fn take_samples(
    input: &mut Input<'_>,
    samples: &mut Vec<Sample>,
    before: &[Sample],
    now_ms: Millis,
    tick_ms: Millis,
) -> Result<(), Malformed> {
    let mut expected = Expected::new(before, now_ms, tick_ms);
    for _ in 0..input.count(MOST_SAMPLES, "a number of readings")? {
        let flags = input.byte()?;
        let skip = usize::from(flags & NAMED);
        let predecessor = if skip < SKIPS {
            Some(
                *expected
                    .before
                    .get(skip)
                    .ok_or(Malformed::Range("a predecessor"))?,
            )
        } else {
            None
        };
        let (mut sample, at_ms) = match predecessor {
            Some(before) => (before, expected.time_after(&before)),
            None => (named(input, flags, &expected)?, expected.time_after_last()),
        };
        sample.at_ms = if flags & ON_TIME == 0 {
            input.difference(at_ms)?
        } else {
            at_ms
        };
        let value = sample.value.unwrap_or(0);
        sample.value = if flags & EMPTY != 0 {
            None
        } else if flags & SAME_VALUE != 0 {
            Some(value)
        } else {
            Some(input.difference(value)?)
        };
        match predecessor {
            Some(before) => expected.follow(skip, &before, &sample),
            None => expected.go_on(&sample),
        }
        samples.push(sample);
    }
    Ok(())
}

/// The series of a reading that has no predecessor, with the value of the reading before.
fn named(input: &mut Input<'_>, flags: u8, expected: &Expected<'_>) -> Result<Sample, Malformed> {
    let mut sample = expected.last;
    if flags & NEXT_DEVICE != 0 {
        sample.device.0 = sample.device.0.wrapping_add(1);
    } else if flags & SAME_DEVICE == 0 {
        let signal = u16::try_from(input.number()?);
        sample.signal = signal.map_err(|_| Malformed::Range("a signal"))?;
        sample.device = DeviceId(input.small("a device")?);
        let channels = [Channel::Power, Channel::Memory, Channel::Load];
        sample.channel = one_of(&channels, input.byte()?, "a channel")?;
    }
    sample.weight = if flags & WEIGHED == 0 {
        ONE
    } else {
        input.signed()?
    };
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample::POOL;

    fn round_trip(samples: &[Sample], before: &[Sample], now_ms: Millis) -> usize {
        let mut out = Vec::new();
        put_samples(&mut out, samples, before, now_ms, 15_000);
        let (mut input, mut back) = (Input(&out), Vec::new());
        take_samples(&mut input, &mut back, before, now_ms, 15_000).unwrap();
        assert_eq!(back, samples);
        assert!(input.0.is_empty());
        for length in 0..out.len() {
            assert!(
                take_samples(
                    &mut Input(&out[..length]),
                    &mut Vec::new(),
                    before,
                    now_ms,
                    15_000
                )
                .is_err()
            );
        }
        out.len()
    }

    #[test]
    fn readings_come_back_and_steady_ones_are_short() {
        let scrape = |at_ms: Millis| -> Vec<Sample> {
            (0..16)
                .map(|device| Sample::of_device(0, DeviceId(device), at_ms, 700_000))
                .collect()
        };
        let (first, second) = (scrape(15_000), scrape(30_000));
        assert!(round_trip(&first, &[], 15_000) < 80);
        assert_eq!(round_trip(&second, &first, 30_000), 17, "one byte each");
        // One device left, one came, one reports twice.
        let mut third = scrape(45_000);
        third.remove(3);
        third.push(Sample::of_device(0, DeviceId(40), 45_000, 5));
        third.insert(
            9,
            Sample {
                at_ms: 44_000,
                ..third[9]
            },
        );
        assert!(round_trip(&third, &second, 45_000) < 40);
    }

    #[test]
    fn odd_readings_come_back() {
        let odd = [
            Sample {
                value: None,
                ..Sample::of_pool(7, 1, 0)
            },
            Sample {
                weight: i64::MIN,
                ..Sample::of_pool(7, i64::MIN, i64::MAX)
            },
            Sample {
                channel: Channel::Memory,
                ..Sample::of_device(u16::MAX, POOL, i64::MAX, i64::MIN)
            },
            Sample {
                value: None,
                weight: 0,
                channel: Channel::Power,
                ..Sample::of_device(3, DeviceId(0), -1, 0)
            },
            Sample::of_device(3, DeviceId(0), -1, 0),
            Sample::of_device(3, DeviceId(0), -1, 0),
        ];
        round_trip(&odd, &[], i64::MAX);
        round_trip(&odd, &odd, i64::MIN);
        let reversed: Vec<Sample> = odd.iter().rev().copied().collect();
        round_trip(&reversed, &odd, 0);
    }
}

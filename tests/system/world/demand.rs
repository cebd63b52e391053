//! How much work there is: micro-GPUs wanted at every moment of a run, from a seed.
//!
//! A run is cut into phases that are drawn one after the other: idle stretches long enough to shrink in,
//! plateaus, ramps, spikes, more than the pool may ever hold, and waves round a level. The last two hours are
//! the same in every run, a plateau and then nothing: what the size must come to there is known beforehand.
//!
//! It knows no nodes: how the work comes to the GPUs is the fleet's matter.

use gpuscale::policy::config::{MINUTE_MS, Micro, Millis, ONE};

use crate::chance::{Stream, draw};

/// Time between two changes of the demand. Exporters are scraped once in between, so that no change goes
/// unseen.
pub const STEP_MS: Millis = 15_000;
/// When the plateau begins that every run ends with.
pub const PLATEAU_FROM_MS: Millis = 240 * MINUTE_MS;
/// When the work ends for good.
pub const SILENCE_FROM_MS: Millis = 300 * MINUTE_MS;
/// How long a run is.
pub const RUN_MS: Millis = 360 * MINUTE_MS;

/// The least demand that is not nothing, in percent of the most GPUs. An engine may take less than this for
/// idle.
const LEAST_PERCENT: i64 = 5;
/// What the draws of this file are for.
const DEMAND: u64 = 0xde3a;

/// Work wanted over a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// One value for each step of [`STEP_MS`].
    steps: Vec<Micro>,
    plateau: Micro,
    waves: usize,
}

/// A stretch of a run. Levels are in percent of the most GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No work at all.
    Idle,
    /// A level, with a little noise on it or none.
    Plateau { level: i64, noise: i64 },
    /// From where it was to a level, evenly.
    Ramp { to: i64 },
    /// A level with a short peak at its beginning.
    Spike { level: i64, peak: i64, peak_ms: Millis },
    /// Up and down round a level.
    Wave {
        shape: Shape,
        level: i64,
        swing: i64,
        period_ms: Millis,
    },
}

/// How a wave goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Two parabolas, which are a sine to the eye and integers to the machine.
    Sine,
    /// Half up, half down.
    Square,
    /// Slowly up, at once down.
    Sawtooth,
}

impl Demand {
    /// The demand on a pool (or a group of pools) that may have `max_gpus`.
    pub fn new(seed: u64, pool: u64, max_gpus: u32) -> Self {
        let most = Micro::from(max_gpus) * ONE;
        let mut stream = Stream::new(seed, &[DEMAND, pool]);
        let mut steps: Vec<Micro> = Vec::new();
        let mut before = 0;
        let mut waves = 0;
        for (length, phase) in phases(&mut stream) {
            waves += usize::from(matches!(phase, Phase::Wave { .. }));
            let mut level = 0;
            for step in 0..length / STEP_MS {
                let noise = draw(seed, &[DEMAND, pool, steps.len() as u64]);
                level = phase.at(step * STEP_MS, length, before, noise);
                steps.push(amount(most, level));
            }
            before = level / PPM_OF_PERCENT;
        }
        steps.truncate(count(PLATEAU_FROM_MS));
        let plateau = amount(most, stream.between(30, 80) * PPM_OF_PERCENT);
        steps.resize(count(SILENCE_FROM_MS), plateau);
        Self {
            steps,
            plateau,
            waves,
        }
    }

    /// The work wanted at a moment, in micro-GPUs; nothing outside of the run.
    pub fn at(&self, now_ms: Millis) -> Micro {
        let step = usize::try_from(now_ms.div_euclid(STEP_MS)).ok();
        step.and_then(|step| self.steps.get(step)).copied().unwrap_or(0)
    }

    /// The most that is wanted at any moment of `from_ms..=to_ms`.
    pub fn most(&self, from_ms: Millis, to_ms: Millis) -> Micro {
        let steps = from_ms.div_euclid(STEP_MS)..=to_ms.div_euclid(STEP_MS);
        steps.map(|step| self.at(step * STEP_MS)).max().unwrap_or(0)
    }

    /// How often it goes up and down for a while.
    pub fn waves(&self) -> usize {
        self.waves
    }

    /// The level from [`PLATEAU_FROM_MS`] to [`SILENCE_FROM_MS`].
    pub fn plateau(&self) -> Micro {
        self.plateau
    }

    /// The next moment after `now_ms` at which the demand changes, within the run.
    pub fn next_change_ms(&self, now_ms: Millis) -> Option<Millis> {
        let now = self.at(now_ms);
        let first = now_ms.div_euclid(STEP_MS) + 1;
        (first..=RUN_MS / STEP_MS)
            .map(|step| step * STEP_MS)
            .find(|&at_ms| self.at(at_ms) != now)
    }
}

/// Levels inside this file are in parts of a million of the most GPUs.
const PPM_OF_PERCENT: i64 = 10_000;

/// Micro-GPUs of a level: nothing, or enough that nobody takes it for nothing.
fn amount(most: Micro, level: i64) -> Micro {
    if level <= 0 {
        return 0;
    }
    most / 1_000 * level.max(LEAST_PERCENT * PPM_OF_PERCENT) / 1_000
}

fn count(until_ms: Millis) -> usize {
    usize::try_from(until_ms / STEP_MS).expect("runs do not end before they begin")
}

/// The phases of a run until its fixed end, with their lengths.
pub fn phases(stream: &mut Stream) -> Vec<(Millis, Phase)> {
    let mut phases = Vec::new();
    let mut until_ms = 0;
    while until_ms < PLATEAU_FROM_MS {
        let (length_ms, phase) = phase(stream);
        until_ms += length_ms;
        phases.push((length_ms, phase));
    }
    phases
}

fn phase(stream: &mut Stream) -> (Millis, Phase) {
    match stream.between(0, 9) {
        0..=2 => (minutes(stream, 20, 55), Phase::Idle),
        3 | 4 => {
            let noise = *stream.of(&[0, 0, 1, 3, 8]);
            let level = stream.between(8, 97);
            (minutes(stream, 10, 40), Phase::Plateau { level, noise })
        }
        5 => {
            let to = stream.between(0, 110);
            (minutes(stream, 3, 40), Phase::Ramp { to })
        }
        6 => {
            let level = *stream.of(&[0, 0, 10, 30, 60]);
            let peak = stream.between(50, 150);
            let peak_ms = STEP_MS * stream.between(1, 20);
            (minutes(stream, 8, 25), Phase::Spike { level, peak, peak_ms })
        }
        7 => {
            let level = stream.between(101, 180);
            (minutes(stream, 8, 30), Phase::Plateau { level, noise: 0 })
        }
        _ => wave(stream),
    }
}

fn wave(stream: &mut Stream) -> (Millis, Phase) {
    let shape = *stream.of(&[Shape::Sine, Shape::Square, Shape::Sawtooth]);
    let level = stream.between(20, 90);
    // A quarter of the waves goes down to nothing: idle for a while, and not for long enough.
    let swing = if stream.percent(25) {
        level
    } else {
        stream.between(3, 35)
    };
    let period_ms = STEP_MS * stream.between(4, 80);
    let wave = Phase::Wave {
        shape,
        level,
        swing,
        period_ms,
    };
    (minutes(stream, 20, 50), wave)
}

fn minutes(stream: &mut Stream, from: i64, to: i64) -> Millis {
    stream.between(from, to) * MINUTE_MS
}

impl Phase {
    /// The level `since_ms` into a phase of `length_ms`, in parts of a million; `before` is the level that it
    /// came from, in percent.
    pub fn at(self, since_ms: Millis, length_ms: Millis, before: i64, noise_draw: u64) -> i64 {
        match self {
            Self::Idle => 0,
            Self::Plateau { level, noise } => {
                let width = 2 * noise * PPM_OF_PERCENT + 1;
                let off = i64::try_from(noise_draw >> 1).unwrap_or(0) % width - noise * PPM_OF_PERCENT;
                (level * PPM_OF_PERCENT + off).max(1)
            }
            Self::Ramp { to } => (before + (to - before) * since_ms / length_ms) * PPM_OF_PERCENT,
            Self::Spike { level, peak, peak_ms } => {
                PPM_OF_PERCENT * if since_ms < peak_ms { peak } else { level }
            }
            Self::Wave {
                shape,
                level,
                swing,
                period_ms,
            } => (level * 1_000 + swing * shape.at(since_ms, period_ms)) * PPM_OF_PERCENT / 1_000,
        }
    }
}

impl Shape {
    /// Between -1,000 and 1,000.
    pub fn at(self, since_ms: Millis, period_ms: Millis) -> i64 {
        let part = since_ms.rem_euclid(period_ms) * 2_000 / period_ms;
        match self {
            Self::Square => {
                if part < 1_000 {
                    1_000
                } else {
                    -1_000
                }
            }
            Self::Sawtooth => part - 1_000,
            Self::Sine => {
                let half = part % 1_000;
                let height = 4 * half * (1_000 - half) / 1_000;
                if part < 1_000 { height } else { -height }
            }
        }
    }
}

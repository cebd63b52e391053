//! Samples: what a source delivers, turned into integers once and for all.
//!
//! Everything foreign passes through [`micros`]: a value that is not finite or too large for the engine's
//! integers is dropped and counted, never replaced by a zero. Times are milliseconds of the *source's* clock.

use super::config::{Micro, Millis, ONE};

/// A device, as an index that the caller assigned to its identity: (UUID, MIG instance), else (node, GPU index).
///
/// Pod labels are never identity: they change when a pod starts or stops while the device stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// A node, as an index that the caller assigned to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One reading of one device by one signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Source time in milliseconds.
    pub at_ms: Millis,
    /// Index of the signal in [`Config::signals`](super::Config::signals).
    pub signal: u16,
    /// The device; [`POOL`] for a signal that is one series.
    pub device: DeviceId,
    /// Micros of a device for DCGM metrics, of the signal's unit for queries; `None` ends the sample before it.
    ///
    /// `None` stands for a stale marker or for a value that [`micros`] dropped.
    pub value: Option<Micro>,
    /// How many GPUs the reading stands for, in micro-GPUs: 1 000 000 for a whole device, its slice for a MIG
    /// instance, the sum for devices that are equal by construction.
    pub weight: Micro,
    /// What was read.
    pub channel: Channel,
}

/// What a reading is about. Power and memory are not a signal of their own: they tell whether a signal's zero can
/// be believed, and whether a node may go. They concern every device signal, whatever `signal` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Channel {
    /// Power draw as a fraction of the board's limit.
    Power,
    /// Framebuffer in use as a fraction of the device's memory.
    Memory,
    /// The signal itself.
    #[default]
    Load,
}

/// The device of a signal that is one series for the whole pool.
pub const POOL: DeviceId = DeviceId(u32::MAX);

impl Sample {
    /// A reading of one whole device.
    #[must_use]
    pub fn of_device(signal: u16, device: DeviceId, at_ms: Millis, value: Micro) -> Self {
        Self {
            at_ms,
            signal,
            device,
            value: Some(value),
            weight: ONE,
            channel: Channel::Load,
        }
    }

    /// A reading of a pool-wide series.
    #[must_use]
    pub fn of_pool(signal: u16, at_ms: Millis, value: Micro) -> Self {
        Self {
            at_ms,
            signal,
            device: POOL,
            value: Some(value),
            weight: ONE,
            channel: Channel::Load,
        }
    }
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// NaN or an infinity; Prometheus' stale marker is a NaN.
    NotFinite,
    /// Outside the range of its unit.
    OutOfRange,
}

/// Largest magnitude a sample may have, in whole units: 1e12 leaves i128 integrals room for millennia.
pub const LARGEST: f64 = 1e12;

/// Turns a float into [`Micro`], rounding to nearest, ties away from zero.
///
/// # Errors
/// [`Dropped::NotFinite`] for NaN and infinities, [`Dropped::OutOfRange`] beyond ±[`LARGEST`].
#[allow(
    clippy::cast_possible_truncation,
    reason = "the range is checked on the line above"
)]
pub fn micros(value: f64) -> Result<Micro, Dropped> {
    if !value.is_finite() {
        return Err(Dropped::NotFinite);
    }
    if value.abs() > LARGEST {
        return Err(Dropped::OutOfRange);
    }
    Ok((value * 1e6).round() as Micro)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_values_are_integers_or_dropped() {
        for (value, wanted) in [
            (0.0, Ok(0)),
            (0.7, Ok(700_000)),
            (-3.25, Ok(-3_250_000)),
            (0.000_000_4, Ok(0)),
            (f64::NAN, Err(Dropped::NotFinite)),
            (f64::NEG_INFINITY, Err(Dropped::NotFinite)),
            (9.3e18, Err(Dropped::OutOfRange)),
            (1e12, Ok(1_000_000_000_000_000_000)),
        ] {
            assert_eq!(micros(value), wanted, "{value}");
        }
    }
}

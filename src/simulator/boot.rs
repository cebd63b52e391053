//! How long a node takes from the request to its first work.
//!
//! A [`BootDelay`] is what a scenario states. `Boots` draws from it, one delay for each node in the order of
//! the requests, by integer arithmetic on a `ChaCha8` stream: the same seed gives the same delays on every
//! machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::config::Millis;

/// The longest boot that makes sense: one day.
pub const LONGEST_BOOT_MS: Millis = 24 * 60 * 60 * 1000;

/// Boot delay of a node, without and with randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BootDelay {
    /// Every node takes this long.
    Constant(Millis),
    /// Each node's delay is drawn uniformly from this range, ends included.
    Uniform {
        /// Shortest.
        min_ms: Millis,
        /// Longest.
        max_ms: Millis,
    },
    /// Each node's delay is drawn from a triangle: most often `mode_ms`, never outside the ends.
    Triangular {
        /// Shortest.
        min_ms: Millis,
        /// Most frequent.
        mode_ms: Millis,
        /// Longest.
        max_ms: Millis,
    },
}

/// A boot delay that no node can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BootError {
    /// A time is negative or longer than [`LONGEST_BOOT_MS`].
    #[error("a boot delay of {0} ms is outside 0 ms to {LONGEST_BOOT_MS} ms (one day)")]
    OutOfRange(Millis),
    /// The ends of a range are the wrong way round.
    #[error("the shortest boot delay ({min_ms} ms) is above the longest ({max_ms} ms); swap them")]
    EmptyRange {
        /// The stated shortest.
        min_ms: Millis,
        /// The stated longest.
        max_ms: Millis,
    },
    /// A triangle's peak lies outside its ends.
    #[error("the most frequent boot delay ({mode_ms} ms) is outside {min_ms} ms to {max_ms} ms")]
    ModeOutside {
        /// The stated peak.
        mode_ms: Millis,
        /// The stated shortest.
        min_ms: Millis,
        /// The stated longest.
        max_ms: Millis,
    },
}

impl BootDelay {
    /// Checks that nodes can have this delay.
    ///
    /// # Errors
    ///
    /// [`BootError`], with the numbers at fault. A world that is run with such a delay all the same holds
    /// every number inside its bounds, so it neither fails nor hangs.
    pub fn validate(&self) -> Result<(), BootError> {
        let (min_ms, mode_ms, max_ms) = self.corners();
        if let Some(at_ms) = [min_ms, mode_ms, max_ms]
            .into_iter()
            .find(|at_ms| !(0..=LONGEST_BOOT_MS).contains(at_ms))
        {
            Err(BootError::OutOfRange(at_ms))
        } else if min_ms > max_ms {
            Err(BootError::EmptyRange { min_ms, max_ms })
        } else if !(min_ms..=max_ms).contains(&mode_ms) {
            Err(BootError::ModeOutside {
                mode_ms,
                min_ms,
                max_ms,
            })
        } else {
            Ok(())
        }
    }

    /// Shortest, most frequent (for a uniform range: the shortest) and longest delay.
    fn corners(&self) -> (Millis, Millis, Millis) {
        match *self {
            Self::Constant(ms) => (ms, ms, ms),
            Self::Uniform { min_ms, max_ms } => (min_ms, min_ms, max_ms),
            Self::Triangular {
                min_ms,
                mode_ms,
                max_ms,
            } => (min_ms, mode_ms, max_ms),
        }
    }
}

/// What a run draws from its seed, each on a stream of its own: drawing more of one changes nothing in the
/// others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// Boot delays.
    Boots = 1,
    /// Sizes of pods, and which of them leave.
    Pods = 2,
    /// Which nodes a fault hits.
    Faults = 3,
}

/// The stream of random numbers of `seed` for one purpose.
pub(super) fn stream(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    rng
}

/// A number of `0..below`, by multiplication instead of a remainder: its bias is below 2⁻³² for what is drawn
/// here.
pub(super) fn draw(rng: &mut ChaCha8Rng, below: u64) -> u64 {
    u64::try_from((u128::from(rng.next_u64()) * u128::from(below)) >> 64).unwrap_or(0)
}

/// Boot delays as they are drawn, one for each node.
#[derive(Debug, Clone)]
pub(super) struct Boots {
    delay: BootDelay,
    rng: ChaCha8Rng,
}

impl Boots {
    pub(super) fn new(delay: BootDelay, seed: u64) -> Self {
        let rng = stream(seed, Stream::Boots);
        Self { delay, rng }
    }

    /// The delay of every node, if it is no matter of chance.
    pub(super) fn constant(&self) -> Option<Millis> {
        match self.delay {
            BootDelay::Constant(ms) => Some(ms.clamp(0, LONGEST_BOOT_MS)),
            BootDelay::Uniform { .. } | BootDelay::Triangular { .. } => None,
        }
    }

    /// The delay of the next node, in milliseconds.
    pub(super) fn next_ms(&mut self) -> Millis {
        let (min_ms, mode_ms, max_ms) = self.delay.corners();
        let min_ms = min_ms.clamp(0, LONGEST_BOOT_MS);
        let max_ms = max_ms.clamp(min_ms, LONGEST_BOOT_MS);
        let span = max_ms.abs_diff(min_ms);
        let offset = match self.delay {
            BootDelay::Constant(_) => 0,
            BootDelay::Uniform { .. } => draw(&mut self.rng, span + 1),
            BootDelay::Triangular { .. } => {
                let rise = mode_ms.clamp(min_ms, max_ms).abs_diff(min_ms);
                triangular(self.rng.next_u64(), span, rise)
            }
        };
        min_ms + Millis::try_from(offset).unwrap_or(0)
    }
}

/// Inverse of the triangle's distribution function at `u` ÷ 2⁶⁴, for ends at 0 and `span` and the peak at
/// `rise`: √(u · span · rise) left of the peak, span − √((1 − u) · span · (span − rise)) right of it.
///
/// Times are at most a day (below 2²⁷ ms), so the products stay below 2¹¹⁸.
fn triangular(u: u64, span: u64, rise: u64) -> u64 {
    let (span, rise, u) = (u128::from(span), u128::from(rise), u128::from(u));
    let root = |fraction: u128, leg: u128| ((fraction * span * leg) >> 64).isqrt();
    let at = if u * span < rise << 64 {
        root(u, rise)
    } else {
        span - root((1 << 64) - u, span - rise).min(span)
    };
    u64::try_from(at).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Millis = 60_000;

    #[test]
    fn nonsense_is_refused_with_its_numbers() {
        let check = |delay: BootDelay, expected: Option<&str>| {
            let found = delay.validate().err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected, "{delay:?}");
        };
        let uniform = |min_ms, max_ms| BootDelay::Uniform { min_ms, max_ms };
        let triangular = |min_ms, mode_ms, max_ms| BootDelay::Triangular {
            min_ms,
            mode_ms,
            max_ms,
        };
        check(BootDelay::Constant(0), None);
        check(BootDelay::Constant(LONGEST_BOOT_MS), None);
        check(
            BootDelay::Constant(-1),
            Some("a boot delay of -1 ms is outside 0 ms to 86400000 ms (one day)"),
        );
        check(
            uniform(0, LONGEST_BOOT_MS + 1),
            Some("a boot delay of 86400001 ms is outside 0 ms to 86400000 ms (one day)"),
        );
        check(uniform(5, 5), None);
        check(
            uniform(6, 5),
            Some("the shortest boot delay (6 ms) is above the longest (5 ms); swap them"),
        );
        check(triangular(1, 2, 3), None);
        check(
            triangular(1, 4, 3),
            Some("the most frequent boot delay (4 ms) is outside 1 ms to 3 ms"),
        );
    }

    /// A change of these numbers is a change of every recorded scorecard with random boots.
    #[test]
    fn a_seed_gives_the_same_delays_for_ever() {
        let mut boots = Boots::new(
            BootDelay::Triangular {
                min_ms: 5 * MINUTE,
                mode_ms: 8 * MINUTE,
                max_ms: 12 * MINUTE,
            },
            42,
        );
        let found: Vec<Millis> = (0..5).map(|_| boots.next_ms()).collect();
        assert_eq!(found, FIRST_DELAYS_OF_42);
    }

    const FIRST_DELAYS_OF_42: [Millis; 5] = [551_041, 412_331, 491_587, 595_516, 370_933];

    #[test]
    fn a_triangle_has_its_mean_and_its_peak() {
        let (min_ms, mode_ms, max_ms) = (5 * MINUTE, 6 * MINUTE, 13 * MINUTE);
        let delay = BootDelay::Triangular {
            min_ms,
            mode_ms,
            max_ms,
        };
        let mut boots = Boots::new(delay, 7);
        let mut minutes = [0_u32; 8];
        let mut sum = 0;
        for _ in 0..100_000 {
            let ms = boots.next_ms();
            minutes[usize::try_from(((ms - min_ms) / MINUTE).min(7)).unwrap()] += 1;
            sum += ms;
        }
        let mean = sum / 100_000;
        // (a + b + c) ÷ 3 is 8 minutes.
        assert!((mean - 8 * MINUTE).abs() < MINUTE / 50, "mean {mean}");
        assert!(minutes[1..].is_sorted_by(|a, b| a > b), "{minutes:?}");
        // The rising minute holds 1/8 of the weight, the first falling one (49 − 36)/56.
        assert!((12_000..13_000).contains(&minutes[0]), "{minutes:?}");
        assert!((22_700..23_700).contains(&minutes[1]), "{minutes:?}");
    }

    #[test]
    fn a_uniform_range_has_both_its_ends() {
        let mut boots = Boots::new(BootDelay::Uniform { min_ms: 3, max_ms: 5 }, 1);
        let mut seen = [0_u32; 3];
        for _ in 0..3_000 {
            seen[usize::try_from(boots.next_ms() - 3).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (900..1_100).contains(&n)), "{seen:?}");
    }

    proptest! {
        /// Even a delay that validation refuses gives times that a world can live with.
        #[test]
        fn every_delay_is_in_bounds(a: i64, b: i64, c: i64, kind in 0..3_u8, seed: u64) {
            let delay = match kind {
                0 => BootDelay::Constant(a),
                1 => BootDelay::Uniform { min_ms: a, max_ms: b },
                _ => BootDelay::Triangular { min_ms: a, mode_ms: b, max_ms: c },
            };
            let mut boots = Boots::new(delay, seed);
            for _ in 0..20 {
                prop_assert!((0..=LONGEST_BOOT_MS).contains(&boots.next_ms()));
            }
        }

        #[test]
        fn a_valid_delay_stays_inside_its_ends(
            min in 0..1_000_i64, rise in 0..1_000_i64, fall in 0..1_000_i64, seed: u64,
        ) {
            let delay = BootDelay::Triangular { min_ms: min, mode_ms: min + rise, max_ms: min + rise + fall };
            prop_assert_eq!(delay.validate(), Ok(()));
            let mut boots = Boots::new(delay, seed);
            for _ in 0..50 {
                prop_assert!((min..=min + rise + fall).contains(&boots.next_ms()));
            }
        }
    }
}

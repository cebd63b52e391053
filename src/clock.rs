//! The real world: the machine's clocks, and chance.
//!
//! The only place of the library that reads a clock. Everything else is given one, so that tests and replays give it
//! another.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant, SystemTime};

use crate::control::ports::{Clock, Randomness};
use crate::policy::config::Millis;
use crate::policy::observation::Now;

/// The clocks of this machine: its wall clock, and one that counts from when this was made and never jumps.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A monotonic clock that reads zero now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where clocks are read")]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where clocks are read")]
    fn now(&self) -> Now {
        // A wall clock of before 1970 is one that nobody set.
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            wall_ms: millis(wall),
            timer_ms: millis(self.start.elapsed()),
        }
    }

    async fn sleep_until(&self, timer_ms: Millis) {
        let since_start = Duration::from_millis(u64::try_from(timer_ms).unwrap_or(0));
        if let Some(at) = self.start.checked_add(since_start) {
            tokio::time::sleep_until(at.into()).await;
        } else {
            // After the end of time.
            std::future::pending::<()>().await;
        }
    }
}

/// A clock that runs faster than this machine's, from a time of one's choice: for emulated days that nobody waits for.
///
/// Both of its readings come from the machine's monotonic clock, so neither of them jumps. Clones read the same.
#[derive(Debug, Clone, Copy)]
pub struct AcceleratedClock {
    start: Instant,
    start_wall_ms: Millis,
    factor: u32,
}

impl AcceleratedClock {
    /// A clock that reads `start_wall_ms` (since the Unix epoch) now and runs `factor` times as fast as this machine's; a
    /// factor of 0 counts as 1. Its monotonic reading begins at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where clocks are read")]
    pub fn new(start_wall_ms: Millis, factor: u32) -> Self {
        Self {
            start: Instant::now(),
            start_wall_ms,
            factor: factor.max(1),
        }
    }

    /// A clock that begins with this machine's wall clock.
    #[must_use]
    pub fn from_now(factor: u32) -> Self {
        Self::new(SystemClock::new().now().wall_ms, factor)
    }

    /// How many times as fast as this machine's it runs.
    #[must_use]
    pub fn factor(&self) -> u32 {
        self.factor
    }

    /// Both readings, also for those who are not in an async task.
    #[must_use]
    pub fn read(&self) -> Now {
        // Microseconds, so that a fast clock still shows every millisecond.
        let elapsed_us = self
            .start
            .elapsed()
            .as_micros()
            .saturating_mul(self.factor.into());
        let timer_ms = Millis::try_from(elapsed_us / 1000).unwrap_or(Millis::MAX);
        Now {
            wall_ms: self.start_wall_ms.saturating_add(timer_ms),
            timer_ms,
        }
    }
}

impl Clock for AcceleratedClock {
    fn now(&self) -> Now {
        self.read()
    }

    async fn sleep_until(&self, timer_ms: Millis) {
        // Rounded up: it must not come back early.
        let ms = u64::try_from(timer_ms).unwrap_or(0);
        let real_us = ms.saturating_mul(1000).div_ceil(self.factor.into());
        if let Some(at) = self.start.checked_add(Duration::from_micros(real_us)) {
            tokio::time::sleep_until(at.into()).await;
        } else {
            // After the end of time.
            std::future::pending::<()>().await;
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// Chance, seeded by the operating system: for spreading things in time, and for nothing that must not be guessed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn next(&self) -> u64 {
        // Keyed anew for every draw: the standard library counts its keys up from a random start and hashes them.
        RandomState::new().hash_one(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ() {
        let randomness = SystemRandomness;
        let mut draws: Vec<u64> = (0..1000).map(|_| randomness.next()).collect();
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), 1000);
    }

    #[test]
    fn an_accelerated_clock_is_ahead_by_its_factor_and_wakes_in_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (machine, clock) = (SystemClock::new(), AcceleratedClock::new(1_000_000, 1000));
            clock.sleep_until(20_000).await;
            let (real_ms, now) = (machine.now().timer_ms, clock.now());
            assert!(now.timer_ms >= 20_000 && now.wall_ms == now.timer_ms + 1_000_000);
            // The machine's was started earlier, and read earlier by less than any machine takes for nothing.
            assert!(now.timer_ms < (real_ms + 10_000) * 1000, "{real_ms} {now:?}");
            clock.sleep_until(-5).await;
        });
        assert_eq!(AcceleratedClock::new(0, 0).factor(), 1);
        assert!(AcceleratedClock::from_now(60).read().wall_ms > 1_700_000_000_000);
    }

    #[test]
    fn a_sleep_ends_when_the_clock_has_come_there_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = SystemClock::new();
            for ms in [0, 5, 20] {
                let until_ms = clock.now().timer_ms + ms;
                clock.sleep_until(until_ms).await;
                assert!(clock.now().timer_ms >= until_ms);
            }
            // A time that is over.
            clock.sleep_until(-5).await;
        });
        assert!(SystemClock::new().now().wall_ms > 1_700_000_000_000);
    }
}

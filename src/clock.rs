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

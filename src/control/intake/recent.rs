//! Which samples of a series were taken already.

use crate::policy::config::Millis;

/// Times of the newest samples of a series. Reads overlap by two scrapes, so this is three times what is needed.
const REMEMBERED: usize = 8;

/// The times of the newest samples taken, of which late ones are told apart. What is older than all of them counts
/// as taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recent {
    pub(super) newest_ms: Millis,
    floor_ms: Millis,
    times: [Millis; REMEMBERED],
    next: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            newest_ms: Millis::MIN,
            floor_ms: Millis::MIN,
            times: [Millis::MIN; REMEMBERED],
            next: 0,
        }
    }
}

impl Recent {
    /// Notes a time; false if it was noted before.
    pub(super) fn note(&mut self, at_ms: Millis) -> bool {
        if at_ms <= self.newest_ms {
            if at_ms == self.newest_ms || at_ms <= self.floor_ms || self.times.contains(&at_ms) {
                return false;
            }
        } else {
            self.newest_ms = at_ms;
        }
        if let Some(oldest) = self.times.get_mut(self.next) {
            self.floor_ms = self.floor_ms.max(*oldest);
            *oldest = at_ms;
        }
        self.next = (self.next + 1) % REMEMBERED;
        true
    }

    /// Forgets times after `now_ms`, which were read off a clock that was wrong.
    pub(super) fn forget_after(&mut self, now_ms: Millis) {
        if self.newest_ms <= now_ms {
            return;
        }
        if self.floor_ms > now_ms {
            *self = Self::default();
            return;
        }
        for time in &mut self.times {
            if *time > now_ms {
                *time = Millis::MIN;
            }
        }
        let newest = self.times.iter().copied().max();
        self.newest_ms = newest.unwrap_or(Millis::MIN).max(self.floor_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_taken_once_and_a_late_one_still_passes() {
        let mut recent = Recent::default();
        let taken: Vec<bool> = [10, 20, 40, 40, 20, 30, 30, 10, 50]
            .map(|at| recent.note(at))
            .to_vec();
        assert_eq!(taken, [true, true, true, false, false, true, false, false, true]);
    }

    #[test]
    fn what_is_older_than_all_that_is_remembered_counts_as_taken() {
        let mut recent = Recent::default();
        for at in 0..100 {
            assert!(recent.note(at));
        }
        for at in 0..100 {
            assert!(!recent.note(at), "{at}");
        }
    }

    #[test]
    fn what_a_wrong_clock_said_of_the_future_can_come_again() {
        let mut recent = Recent::default();
        for at in 0..20 {
            recent.note(at);
        }
        recent.forget_after(16);
        let taken: Vec<bool> = [15, 16, 17, 18].map(|at| recent.note(at)).to_vec();
        assert_eq!(taken, [false, false, true, true]);
        recent.forget_after(3);
        assert!(recent.note(3));
    }
}

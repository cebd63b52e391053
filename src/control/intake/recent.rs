//! Which samples of a series were taken already.

use crate::policy::config::Millis;

/// Times of the newest samples of a series. Reads overlap by two scrapes, so this is twice what is needed.
const REMEMBERED: u8 = 6;

/// The times of the newest samples taken, of which late ones are told apart. What is older than all of them counts
/// as taken. There is one for each series, and reading them is most of what a tick costs: so they are small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recent {
    pub(super) newest_ms: Millis,
    floor_ms: Millis,
    /// How much older than the newest each of them is.
    ages_ms: [u32; REMEMBERED as usize],
    next: u8,
}

/// The age of none, and of what is older than can be said: no window is seven weeks long.
const NEVER: u32 = u32::MAX;

impl Default for Recent {
    fn default() -> Self {
        Self {
            newest_ms: Millis::MIN,
            floor_ms: Millis::MIN,
            ages_ms: [NEVER; REMEMBERED as usize],
            next: 0,
        }
    }
}

impl Recent {
    /// Notes a time; false if it was noted before.
    pub(super) fn note(&mut self, at_ms: Millis) -> bool {
        let mut age_ms = 0;
        if at_ms <= self.newest_ms {
            age_ms = age(self.newest_ms, at_ms);
            if at_ms == self.newest_ms || at_ms <= self.floor_ms || self.ages_ms.contains(&age_ms) {
                return false;
            }
        } else {
            let later_ms = age(at_ms, self.newest_ms);
            for known in &mut self.ages_ms {
                *known = known.saturating_add(later_ms);
            }
            self.newest_ms = at_ms;
        }
        if let Some(oldest) = self.ages_ms.get_mut(usize::from(self.next)) {
            if *oldest != NEVER {
                self.floor_ms = self
                    .floor_ms
                    .max(self.newest_ms.saturating_sub(Millis::from(*oldest)));
            }
            *oldest = age_ms;
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
        let wrong_ms = age(self.newest_ms, now_ms);
        for known in self.ages_ms.iter_mut().filter(|age_ms| **age_ms < wrong_ms) {
            *known = NEVER;
        }
        let newest = self
            .ages_ms
            .iter()
            .copied()
            .filter(|age_ms| *age_ms != NEVER)
            .min();
        let time = |age_ms: u32| self.newest_ms.saturating_sub(Millis::from(age_ms));
        let newest_ms = newest.map_or(Millis::MIN, time).max(self.floor_ms);
        let earlier_ms = age(self.newest_ms, newest_ms);
        for known in self.ages_ms.iter_mut().filter(|age_ms| **age_ms != NEVER) {
            *known = known.saturating_sub(earlier_ms);
        }
        self.newest_ms = newest_ms;
    }
}

fn age(newest_ms: Millis, at_ms: Millis) -> u32 {
    u32::try_from(newest_ms.saturating_sub(at_ms)).unwrap_or(NEVER)
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

//! Nodes that were asked for and have not come.
//!
//! A platform does not say which nodes are on their way, so it is kept here: a count that grows brings nodes later, one
//! that shrinks gives up those that were asked for last, and what comes is what was asked for first.

use crate::control::state::Arrival;
use crate::policy::config::Millis;

/// Most batches that are told apart; beyond them the two oldest count as one.
const MOST: usize = 32;

/// Nodes of one pool on their way, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals(Vec<Arrival>);

impl Arrivals {
    /// What was saved, with the timers moved by `shift_ms` to this process's clock.
    #[must_use]
    pub fn resumed(saved: &[Arrival], shift_ms: Millis) -> Self {
        let mut arrivals = Self::default();
        for batch in saved.iter().filter(|batch| batch.nodes > 0) {
            arrivals.push(Arrival {
                since_ms: batch.since_ms.saturating_add(shift_ms),
                ..*batch
            });
        }
        arrivals
    }

    /// The batches, oldest first, as they are saved.
    #[must_use]
    pub fn batches(&self) -> &[Arrival] {
        &self.0
    }

    /// The batches that are on their way, as far as anybody knows.
    pub fn coming(&self) -> impl Iterator<Item = &Arrival> {
        self.0.iter().filter(|batch| !batch.refused)
    }

    /// Nodes that may come.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.0
            .iter()
            .fold(0, |sum, batch| sum.saturating_add(batch.nodes))
    }

    /// The count went from `before` to `after`, by whomever.
    pub fn asked_changed(&mut self, before: u32, after: u32, timer_ms: Millis) {
        let mut gone = before.saturating_sub(after);
        while gone > 0 {
            let Some(newest) = self.0.last_mut() else { return };
            let taken = newest.nodes.min(gone);
            newest.nodes -= taken;
            gone -= taken;
            if newest.nodes == 0 {
                self.0.pop();
            }
        }
        if after > before {
            self.push(Arrival {
                nodes: after - before,
                since_ms: timer_ms,
                refused: false,
            });
        }
    }

    /// The platform has no capacity for the `nodes` that were asked for last: they are not on their way, though some may come
    /// after all.
    pub fn refused(&mut self, nodes: u32) {
        let Some(newest) = self.0.last_mut().filter(|newest| !newest.refused) else {
            return;
        };
        let refused = Arrival {
            nodes: newest.nodes.min(nodes),
            since_ms: newest.since_ms,
            refused: true,
        };
        newest.nodes -= refused.nodes;
        if newest.nodes == 0 {
            self.0.pop();
        }
        self.push(refused);
    }

    /// Nodes came; the oldest are taken for them. Comes back with how many were on their way.
    pub fn arrived(&mut self, nodes: u32) -> u32 {
        let mut left = nodes;
        while left > 0 {
            let Some(oldest) = self.0.first_mut() else { break };
            let taken = oldest.nodes.min(left);
            oldest.nodes -= taken;
            left -= taken;
            if oldest.nodes == 0 {
                self.0.remove(0);
            }
        }
        nodes - left
    }

    fn push(&mut self, batch: Arrival) {
        let alike = |last: &&mut Arrival| (last.since_ms, last.refused) == (batch.since_ms, batch.refused);
        if let Some(same) = self.0.last_mut().filter(alike) {
            same.nodes = same.nodes.saturating_add(batch.nodes);
            return;
        }
        self.0.push(batch);
        if self.0.len() > MOST {
            // The later time counts: nobody is asked twice for what may still come.
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                next.nodes = next.nodes.saturating_add(oldest.nodes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arrivals: &Arrivals) -> Vec<(u32, i64)> {
        let batches = arrivals.batches().iter();
        batches.map(|batch| (batch.nodes, batch.since_ms)).collect()
    }

    #[test]
    fn what_was_asked_for_first_comes_first_and_what_was_asked_for_last_is_given_up_first() {
        let mut arrivals = Arrivals::default();
        arrivals.asked_changed(2, 5, 100);
        arrivals.asked_changed(5, 7, 200);
        assert_eq!(shown(&arrivals), [(3, 100), (2, 200)]);
        assert_eq!(arrivals.arrived(1), 1);
        arrivals.asked_changed(7, 4, 300);
        assert_eq!(shown(&arrivals), [(1, 100)]);
        assert_eq!(arrivals.arrived(4), 1);
        assert_eq!(arrivals.nodes(), 0);
        arrivals.asked_changed(4, 0, 400);
        assert_eq!(shown(&arrivals), []);
    }

    #[test]
    fn what_the_platform_has_no_capacity_for_is_not_on_its_way_and_may_come_all_the_same() {
        let mut arrivals = Arrivals::default();
        arrivals.asked_changed(2, 5, 100);
        arrivals.asked_changed(5, 9, 200);
        assert_eq!(arrivals.arrived(4), 4);
        arrivals.refused(4);
        assert_eq!((arrivals.coming().count(), arrivals.nodes()), (0, 3));
        arrivals.asked_changed(9, 10, 300);
        let coming: Vec<_> = arrivals
            .coming()
            .map(|batch| (batch.nodes, batch.since_ms))
            .collect();
        assert_eq!(coming, [(1, 300)]);
        assert_eq!(arrivals.arrived(1), 1);
        arrivals.asked_changed(10, 7, 400);
        assert_eq!(shown(&arrivals), []);
    }

    #[test]
    fn the_list_stays_short_and_loses_no_node() {
        let mut arrivals = Arrivals::default();
        for count in 0..100 {
            arrivals.asked_changed(count, count + 1, i64::from(count));
        }
        assert_eq!((arrivals.batches().len(), arrivals.nodes()), (MOST, 100));
        assert!(arrivals.batches().is_sorted_by_key(|batch| batch.since_ms));
    }

    #[test]
    fn a_restart_moves_the_timers() {
        let saved = [
            Arrival {
                nodes: 2,
                since_ms: 50,
                refused: false,
            },
            Arrival {
                nodes: 0,
                since_ms: 60,
                refused: false,
            },
        ];
        assert_eq!(shown(&Arrivals::resumed(&saved, 1_000)), [(2, 1_050)]);
    }
}

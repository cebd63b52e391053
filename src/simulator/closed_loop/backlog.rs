//! What becomes of work that finds no room in the fluid world.
//!
//! Lost work is gone after its interval. Queued work waits, and is served first come, first served, as soon
//! as there is room: what waited goes before what is new. The meter counts as served what was served *in
//! time*, in the interval in which it was wanted; so a miss is work that was lost, or that had to wait,
//! however short. What was served late costs GPU time too and is reported beside it.

use crate::policy::config::{Micro, Millis};
use crate::simulator::fluid::FluidPool;

use super::Unserved;

/// Work that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    rule: Unserved,
    length_ms: i128,
    horizon_ms: i128,
    /// Micro-GPU × ms.
    waiting: i128,
    /// Micro-GPU × ms that were served after their interval.
    late: i128,
}

/// What an interval's work meets, in micro-GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    /// The part of the new work that is served in its interval.
    pub(super) in_time: Micro,
    /// Mean utilization of the ready GPUs, as a fraction.
    pub(super) utilization: Micro,
    /// GPUs' worth of work that finds no room.
    pub(super) waiting: Micro,
}

impl Backlog {
    /// An empty backlog. What has piled up is shown as the GPUs that would serve it within `horizon_ms`: the
    /// boot time, since a node asked for now helps no sooner.
    pub(super) fn new(rule: Unserved, length_ms: Millis, horizon_ms: Millis) -> Self {
        Self {
            rule,
            length_ms: i128::from(length_ms),
            horizon_ms: i128::from(horizon_ms.max(length_ms).max(1)),
            waiting: 0,
            late: 0,
        }
    }

    /// What `wanted` meets on the nodes that are ready, without time passing.
    #[inline]
    pub(super) fn look(&self, pool: &FluidPool, wanted: Micro) -> Met {
        if self.waiting == 0 {
            let served = pool.serve(wanted);
            return Met {
                in_time: served.served,
                utilization: served.utilization_ppm,
                waiting: served.unserved,
            };
        }
        let queued = self.queued(pool, wanted);
        Met {
            in_time: micro(queued.in_time / self.length_ms),
            utilization: if queued.room == 0 {
                0
            } else {
                micro((queued.in_time + queued.late) * i128::from(crate::recording::MICRO) / queued.room)
            },
            waiting: (wanted - pool.capacity())
                .max(micro(queued.left / self.horizon_ms))
                .max(0),
        }
    }

    /// Lets the interval pass and returns the part of `wanted` that was served in time.
    #[inline]
    pub(super) fn pass(&mut self, pool: &FluidPool, wanted: Micro) -> Micro {
        let met = self.look(pool, wanted);
        if self.rule == Unserved::Queued {
            let queued = self.queued(pool, wanted);
            self.late += queued.late;
            self.waiting = queued.left;
        }
        met.in_time
    }

    /// Work that was served late and work that still waits, in micro-GPU × ms.
    pub(super) fn totals(&self) -> (i128, i128) {
        (self.late, self.waiting)
    }

    fn queued(&self, pool: &FluidPool, wanted: Micro) -> Queued {
        let room = i128::from(pool.capacity()) * self.length_ms;
        let new = i128::from(wanted) * self.length_ms;
        let late = self.waiting.min(room);
        let in_time = new.min(room - late);
        Queued {
            room,
            late,
            in_time,
            left: self.waiting - late + new - in_time,
        }
    }
}

/// One interval of a queue, in micro-GPU × ms.
struct Queued {
    room: i128,
    late: i128,
    in_time: i128,
    left: i128,
}

fn micro(value: i128) -> Micro {
    Micro::try_from(value).unwrap_or(Micro::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::MICRO;

    #[test]
    fn the_oldest_work_is_served_first() {
        let pool = FluidPool::new(4, 1);
        let mut queue = Backlog::new(Unserved::Queued, 15_000, 60_000);
        let gpu_intervals = |work: i128| work / 15_000 / i128::from(MICRO);
        let mut check = |gpus: i64, shown: (i64, i64, i64), left: i128| {
            let met = queue.look(&pool, gpus * MICRO);
            let found = (met.in_time / MICRO, met.utilization, met.waiting / MICRO);
            assert_eq!(found, shown, "{gpus} GPUs");
            assert_eq!(queue.pass(&pool, gpus * MICRO), met.in_time);
            assert_eq!(gpu_intervals(queue.totals().1), left, "{gpus} GPUs");
        };
        check(3, (3, 750_000, 0), 0);
        check(9, (4, MICRO, 5), 5);
        check(9, (0, MICRO, 5), 10);
        // What waits is one minute of 2.5 GPUs; nothing new fits, since four of ten are served first.
        check(0, (0, MICRO, 1), 6);
        check(1, (0, MICRO, 0), 3);
        check(1, (1, MICRO, 0), 0);
        check(2, (2, 500_000, 0), 0);
        assert_eq!(gpu_intervals(queue.totals().0), 5 + 9 + 1);
    }

    #[test]
    fn lost_work_leaves_nothing_behind() {
        let mut lost = Backlog::new(Unserved::Lost, 15_000, 60_000);
        let pool = FluidPool::new(4, 1);
        assert_eq!(lost.pass(&pool, 9 * MICRO), 4 * MICRO);
        assert_eq!(lost.totals(), (0, 0));
        assert_eq!(lost.look(&pool, MICRO).waiting, 0);
    }
}

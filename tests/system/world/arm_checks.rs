//! Checks of the platform and of the store, so that a world that is wrong is not taken for a controller that is.
//!
//! They run before the first seed and take a few milliseconds.

mod operations;
mod others;
mod stored;

use gpuscale::control::ports::{Accepted, Pool, PoolError, PoolErrorKind, Progress};
use gpuscale::policy::config::Millis;

use crate::event::{Arrived, Event, Left, Log};

use super::arm::{Arm, ArmFault, ArmFaultKind, First, Machines, Missing, Platform, PoolSetup, Taken};

const MINUTE_MS: Millis = 60_000;
const SETUP: PoolSetup = PoolSetup {
    count: 4,
    gpus_per_node: 1,
    price: 3_673_000,
    largest: 16,
};
const CALM: Platform = Platform {
    missing: Missing::StayAway,
    first: First::Etag,
};

/// Runs all checks.
pub fn run() {
    for seed in 0..4 {
        operations::growth_is_shown_at_once_and_boots(seed);
        operations::shrinking_takes_the_nodes(seed);
        operations::one_operation_at_a_time(seed);
        operations::capacity_is_refused(seed);
        operations::capacity_fails_late(seed);
        operations::part_is_filled(seed);
        operations::operations_get_stuck_lost_and_overtaken(seed);
        operations::the_count_is_shown_late(seed);
        operations::missing_nodes_stay_away_or_come(seed);
        others::others_write(seed);
        others::writes_come_in_between(seed);
        others::the_autoscaler_owns_the_count(seed);
        others::others_upgrade_and_stop(seed);
    }
    others::callers_are_sent_away();
    others::too_many_calls_are_found_out();
    for seed in 0..12 {
        others::anything_goes_and_ends(seed);
    }
    stored::saves_are_kept_and_lost();
}

/// Machines that are numbers.
#[derive(Debug, Default)]
struct Rack {
    up: u32,
    booting: Vec<Millis>,
}

impl Rack {
    fn mature(&mut self, now_ms: Millis) {
        let before = self.booting.len();
        self.booting.retain(|ready_ms| *ready_ms > now_ms);
        self.up += u32::try_from(before - self.booting.len()).unwrap();
    }
}

impl Machines for Rack {
    fn boot(&mut self, now_ms: Millis, boot_ms: Millis, driver_ms: Millis) {
        assert!((3 * MINUTE_MS..=9 * MINUTE_MS).contains(&boot_ms));
        assert!((10_000..=120_000).contains(&driver_ms));
        self.booting.push(now_ms + boot_ms);
    }

    fn remove_busiest(&mut self, now_ms: Millis, nodes: u32) -> Taken {
        let up = nodes.min(self.up);
        self.up -= up;
        let nodes = up + self.remove_booting(now_ms, nodes - up);
        Taken { nodes, busy: up }
    }

    fn remove_booting(&mut self, _now_ms: Millis, nodes: u32) -> u32 {
        let before = self.booting.len();
        self.booting.truncate(before.saturating_sub(nodes as usize));
        u32::try_from(before - self.booting.len()).unwrap()
    }

    fn evict(&mut self, now_ms: Millis, nodes: u32, _salt: u64) -> Taken {
        self.remove_busiest(now_ms, nodes)
    }

    fn present(&self) -> u32 {
        self.up + u32::try_from(self.booting.len()).unwrap()
    }
}

/// A platform of one pool with its machines, and the time.
struct Stage {
    arm: Arm,
    racks: [Rack; 1],
    log: Log,
    now_ms: Millis,
    /// The pool as it was before the last resize.
    before: Option<Pool>,
}

impl Stage {
    fn new(platform: Platform, seed: u64) -> Self {
        let rack = Rack {
            up: SETUP.count,
            booting: Vec::new(),
        };
        Self {
            arm: Arm::on(platform, seed, &[SETUP]),
            racks: [rack],
            log: Log::default(),
            now_ms: 0,
            before: None,
        }
    }

    fn calm(seed: u64) -> Self {
        Self::new(CALM, seed)
    }

    fn with(seed: u64, fault: ArmFault) -> Self {
        let mut stage = Self::calm(seed);
        stage.set(fault);
        stage
    }

    fn set(&mut self, fault: ArmFault) {
        self.arm.set(self.now_ms, 0, fault);
        self.pass(0);
    }

    fn clear(&mut self, kind: ArmFaultKind) {
        self.arm.clear(self.now_ms, 0, kind);
        self.pass(0);
    }

    fn pass(&mut self, ms: Millis) {
        self.now_ms += ms;
        self.arm.advance(self.now_ms, &mut self.racks, &mut self.log);
        assert!(self.arm.next_event_ms().is_none_or(|at_ms| at_ms > self.now_ms));
    }

    fn read(&mut self) -> Pool {
        let pool = self.arm.read(self.now_ms, 0).expect("the pool can be read");
        self.pass(0);
        pool
    }

    fn put(&mut self, etag: &str, count: u32) -> (Result<Accepted, PoolError>, Arrived) {
        let answer = self.arm.resize(self.now_ms, 0, etag, count);
        assert_eq!(answer.0.is_ok(), answer.1.answer == "accepted");
        self.pass(0);
        answer
    }

    fn resize(&mut self, count: u32) -> Result<Accepted, PoolError> {
        let pool = self.read();
        let before = self.before.insert(pool).etag.clone();
        self.put(&before, count).0
    }

    fn refused(&mut self, count: u32) -> PoolErrorKind {
        self.resize(count).expect_err("the resize is refused").kind
    }

    /// Resizes by an operation: one that is over at once is taken back until one is not.
    fn operation(&mut self, count: u32) -> String {
        loop {
            if let Some(operation) = self.resize(count).expect("the resize is accepted").operation {
                return operation;
            }
            self.resize(SETUP.count).expect("the resize is accepted");
            self.pass(4 * MINUTE_MS);
            self.racks[0] = Rack {
                up: SETUP.count,
                booting: Vec::new(),
            };
        }
    }

    fn poll(&mut self, operation: &str) -> Result<Progress, PoolError> {
        self.arm.poll(self.now_ms, operation)
    }

    fn present(&self) -> u32 {
        self.racks[0].present()
    }

    fn tells(&self, is: impl Fn(&Event) -> bool) -> bool {
        self.log.events.iter().any(|(_, event)| is(event))
    }

    fn taken(&self, by: Left) -> u32 {
        let taken = self.log.events.iter().map(|(_, event)| match event {
            Event::NodesLeft { nodes, why, .. } if *why == by => *nodes,
            _ => 0,
        });
        taken.sum()
    }
}

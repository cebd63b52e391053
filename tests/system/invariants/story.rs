//! Hand-made logs for the checks of the invariants, and the world in which they happened.

use gpuscale::policy::config::{Behavior, MINUTE_MS, Micro, Millis, ONE, RateKind, RatePolicy, SelectPolicy};

use super::super::event::{Arrived, Decided, Event, Left, PolicyId, PoolId};
use super::{Checker, Findings, Rules, Shrinks, Sight, Times, Truth};

/// When the story's growth, foreign write and shrink are decided.
pub const GROWTH_MS: Millis = 10 * MINUTE_MS;
pub const FOREIGN_MS: Millis = 30 * MINUTE_MS;
pub const SHRINK_MS: Millis = 65 * MINUTE_MS;
pub const STOP_MS: Millis = 70 * MINUTE_MS;
pub const END_MS: Millis = 75 * MINUTE_MS;

/// A log with the world in which it happened.
pub struct Story {
    pub events: Vec<(Millis, Event)>,
    pub truth: Fake,
    times: Times,
    end_ms: Millis,
}

impl Story {
    /// Growth that the platform refuses later, a foreign write, a shrink after a long quiet, an orderly restart; the
    /// brake and the removal of the policy come when a resize is past its last check.
    pub fn faults() -> Self {
        let mut story = Self {
            events: vec![(0, Event::Started)],
            truth: Fake::new(),
            times: Times {
                quiet_ms: 10 * END_MS,
                plateau_ms: 11 * END_MS,
                zero_ms: 12 * END_MS,
                end_ms: 13 * END_MS,
            },
            end_ms: END_MS,
        };
        story.live(END_MS, |at_ms| match at_ms {
            ..=GROWTH_MS => 3,
            ..=FOREIGN_MS => 5,
            ..=SHRINK_MS => 6,
            _ => 5,
        });
        story.add(
            GROWTH_MS + 300,
            Event::PolicyPresent {
                policy: 0,
                present: false,
            },
        );
        story.resize(GROWTH_MS, 3, 5, "AllocationFailed");
        story.add(
            GROWTH_MS + 5_000,
            Event::PolicyPresent {
                policy: 0,
                present: true,
            },
        );
        story.add(
            FOREIGN_MS,
            Event::ForeignWrite {
                pool: 0,
                from: 5,
                to: 6,
            },
        );
        let partial = Event::MetricsRead {
            policy: 0,
            of_signal: true,
            whole: false,
            newest_ms: Some(0),
        };
        story.add(20 * MINUTE_MS + 1, partial);
        story.add(
            20 * MINUTE_MS + 2,
            Event::Ticked {
                policy: 0,
                decided: Some(Decided {
                    known: false,
                    ..decided(5, 5)
                }),
            },
        );
        story.add(SHRINK_MS + 300, Event::Frozen(true));
        story.resize(SHRINK_MS, 6, 5, "succeeded");
        let shrunk = Some(decided(6, 5));
        story.add(
            SHRINK_MS + 800,
            Event::Ticked {
                policy: 0,
                decided: shrunk,
            },
        );
        story.add(SHRINK_MS + 5_000, Event::Frozen(false));
        story.add(
            SHRINK_MS + 60_000,
            Event::NodesLeft {
                pool: 0,
                nodes: 1,
                busy: 0,
                why: Left::Ours,
            },
        );
        story.add(STOP_MS, Event::StopAsked);
        story.add(STOP_MS + 5_000, Event::Stopped);
        story.add(STOP_MS + 10_000, Event::Started);
        story
    }

    /// No faults from the first hour on, a plateau that seven nodes carry, and an idle end.
    pub fn quiet() -> Self {
        let times = Times {
            quiet_ms: 60 * MINUTE_MS,
            plateau_ms: 70 * MINUTE_MS,
            zero_ms: 150 * MINUTE_MS,
            end_ms: 240 * MINUTE_MS,
        };
        let mut story = Self {
            events: vec![(0, Event::Started)],
            truth: Fake::new(),
            times,
            end_ms: times.end_ms,
        };
        story.truth.counts = [7, 7];
        story.truth.falls = true;
        story.truth.busy_until_ms = times.zero_ms;
        story.live(times.end_ms, |_| 7);
        let cooling = Decided {
            reason: "Cooldown",
            ..decided(7, 7)
        };
        story.add(
            100 * MINUTE_MS + 1,
            Event::Ticked {
                policy: 0,
                decided: Some(cooling),
            },
        );
        story
    }

    pub fn add(&mut self, at_ms: Millis, event: Event) {
        self.events.push((at_ms, event));
    }

    /// Reads and ticks of both policies, every minute, from the size that `from` says.
    fn live(&mut self, until_ms: Millis, from: impl Fn(Millis) -> u32) {
        for at_ms in (60_000..until_ms).step_by(60_000) {
            for policy in 0..2 {
                self.add(
                    at_ms - 2,
                    Event::MetricsRead {
                        policy,
                        of_signal: true,
                        whole: true,
                        newest_ms: Some(at_ms),
                    },
                );
                self.add(at_ms, hold(policy, if policy == 0 { from(at_ms) } else { 3 }));
            }
        }
    }

    /// A resize as it should be.
    fn resize(&mut self, at_ms: Millis, from: u32, to: u32, outcome: &'static str) {
        self.add(at_ms, Event::Recorded { policy: 0, from, to });
        self.add(
            at_ms + 100,
            Event::Saved {
                policy: 0,
                in_flight: true,
                kept: true,
            },
        );
        self.add(at_ms + 300, sent(0, to));
        self.add(at_ms + 500, Event::ResizeArrived(taken(0, from, to)));
        self.add(
            at_ms + 700,
            Event::ResizeReturned {
                pool: 0,
                answered: true,
            },
        );
        self.add(
            at_ms + 2 * MINUTE_MS,
            Event::OperationEnded {
                pool: 0,
                ours: true,
                outcome,
            },
        );
    }

    /// The arrival of the resize that was decided at `decided_ms`.
    pub fn arrival(&mut self, decided_ms: Millis) -> &mut Arrived {
        let near = decided_ms..decided_ms + 1_000;
        let mut arrivals = self.events.iter_mut().filter_map(|(at_ms, event)| match event {
            Event::ResizeArrived(arrived) if near.contains(at_ms) => Some(arrived),
            _ => None,
        });
        arrivals.next().unwrap()
    }

    pub fn replace(&mut self, change: impl Fn(&mut Event)) {
        self.events.iter_mut().for_each(|(_, event)| change(event));
    }

    pub fn without(&mut self, range: (Millis, Millis), what: impl Fn(&Event) -> bool) {
        self.events
            .retain(|(at_ms, event)| *at_ms < range.0 || *at_ms >= range.1 || !what(event));
    }

    pub fn play(mut self) -> Findings {
        self.events.sort_by_key(|(at_ms, _)| *at_ms);
        let mut checker = Checker::new(vec![rules(0), rules(1)], 2, self.times);
        for (at_ms, event) in &self.events {
            self.truth.follow(*at_ms, event, self.times);
            checker.see(*at_ms, event, &self.truth);
        }
        checker.end(self.end_ms, &self.truth);
        checker.findings
    }
}

/// A world of two pools with full knowledge of the past.
pub struct Fake {
    pub counts: [u32; 2],
    runs: [bool; 2],
    pub busy_until_ms: Millis,
    pub known: Micro,
    pub newest_ms: Millis,
    /// Whether the pools are at their minimum once the run is nearly over.
    pub falls: bool,
}

impl Fake {
    fn new() -> Self {
        Self {
            counts: [3, 3],
            runs: [false, false],
            busy_until_ms: 25 * MINUTE_MS,
            known: ONE,
            newest_ms: Millis::MAX,
            falls: false,
        }
    }

    fn follow(&mut self, at_ms: Millis, event: &Event, times: Times) {
        match event {
            Event::ForeignWrite { pool, to, .. } => self.counts[*pool] = *to,
            Event::ResizeArrived(arrived) if arrived.answer == "accepted" => {
                (self.counts[arrived.pool], self.runs[arrived.pool]) = (arrived.to, true);
            }
            Event::OperationEnded { pool, .. } => self.runs[*pool] = false,
            _ if self.falls && at_ms > times.end_ms - 10 * MINUTE_MS => self.counts = [1, 1],
            _ => {}
        }
    }
}

impl Truth for Fake {
    fn count(&self, pool: PoolId) -> u32 {
        self.counts[pool]
    }

    fn present(&self, pool: PoolId) -> u32 {
        self.counts[pool]
    }

    fn schedulable(&self, pool: PoolId) -> u32 {
        self.counts[pool]
    }

    fn unhealthy(&self, _: PoolId) -> u32 {
        0
    }

    fn operation_runs(&self, pool: PoolId) -> bool {
        self.runs[pool]
    }

    fn demand(&self, _: PolicyId, at_ms: Millis) -> Micro {
        if at_ms < self.busy_until_ms { 9 * ONE } else { 0 }
    }

    fn known_share(&self, _: PoolId, _: Millis, _: Millis, _: Millis, _: Millis) -> Micro {
        self.known
    }

    fn stepped_ms(&self, _: Millis, _: Millis) -> Millis {
        0
    }

    fn newest_sample_ms(&self, _: PoolId) -> Option<Millis> {
        Some(self.newest_ms)
    }
}

fn rules(pool: PoolId) -> Rules {
    let behavior = |value, minutes: Millis, stabilization_ms| Behavior {
        policies: vec![RatePolicy {
            kind: RateKind::Nodes,
            value,
            period_ms: minutes * MINUTE_MS,
        }],
        select: SelectPolicy::Max,
        tolerance: 0,
        stabilization_ms,
        cooldown_ms: 10 * MINUTE_MS,
    };
    Rules {
        pools: vec![pool],
        min: 1,
        max: 8,
        pool_max: 10,
        up: behavior(4, 1, 0),
        down: behavior(2, 5, 20 * MINUTE_MS),
        windows_ms: vec![MINUTE_MS, 30 * MINUTE_MS],
        up_window_ms: MINUTE_MS,
        settle_ms: 3 * MINUTE_MS,
        idle_ms: 30 * MINUTE_MS,
        min_coverage: 800_000,
        max_age_ms: 2 * MINUTE_MS,
        hold_ms: 90_000,
        warm_up_ms: 5 * MINUTE_MS,
        interval_ms: 15_000,
        provision_timeout_ms: 20 * MINUTE_MS,
        call_ms: 10_000,
        tick_ms: 60_000,
        grace_ms: 20_000,
        gpus_per_node: 2,
        boot_ms: 8 * MINUTE_MS,
        carries: Some(750_000),
        shrinks: Shrinks::PlatformChooses,
        sight: Sight::Named,
    }
}

pub fn sent(pool: PoolId, count: u32) -> Event {
    let etag = "etag".to_owned();
    Event::ResizeSent { pool, etag, count }
}

pub fn taken(pool: PoolId, from: u32, to: u32) -> Arrived {
    Arrived {
        pool,
        from,
        to,
        etag_current: true,
        ours_running: false,
        foreign_running: false,
        autoscaler: false,
        answer: "accepted",
    }
}

pub fn decided(from: u32, to: u32) -> Decided {
    Decided {
        from,
        to,
        wish: to.min(2),
        reason: "Stabilized",
        known: true,
        checksum: 0,
    }
}

pub fn hold(policy: PolicyId, from: u32) -> Event {
    let decided = Some(decided(from, from));
    Event::Ticked { policy, decided }
}

//! The closed loop: a policy drives a world, and the world's metrics drive the policy.
//!
//! It goes through the public [`policy::evaluate`](crate::policy::evaluate) with all its steps: what is judged here
//! is what runs in production.

use crate::policy::config::{Config, Micro, Millis};
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::{Booting, Nodes, Now, Observation};
use crate::policy::sample::{DeviceId, NodeId, Sample};
use crate::policy::windows::{Delta, Device};
use crate::policy::{Memory, Windows, evaluate};
use crate::recording::Demand;

use super::boot::BootDelay;
use super::fault::Fault;
use super::fluid::{FluidPool, PoolSpec};
use super::scorecard::{Interval, Meter};

/// One run: a policy, a demand, a pool.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The policy under judgement.
    pub config: &'a Config,
    /// Demand on the grid of the loop's interval.
    pub demand: &'a Demand,
    /// Shape and bounds of the pool, boot delay of its nodes.
    pub spec: PoolSpec,
    /// Nodes that serve from the start.
    pub initial_nodes: u32,
    /// Price of a node in micro-USD per hour, when known.
    pub node_price: Option<Micro>,
    /// How long nodes take to boot; `spec.boot_ms` is what the optimum and the peers reckon with.
    pub boot: BootDelay,
    /// Milliseconds from a node's Ready to its GPUs being schedulable: driver and device plugin.
    pub driver_delay_ms: Millis,
    /// Milliseconds from the release of a node to its end; it is billed until then and takes no pod. Only the pods
    /// world drains: in the fluid one a release is immediate.
    pub drain_ms: Millis,
    /// What goes wrong, in any order.
    pub faults: &'a [Fault],
    /// What becomes of work that finds no room.
    pub unserved: Unserved,
    /// Seed of everything that is drawn: boot delays, and in the pods world sizes and departures.
    pub seed: u64,
}

impl<'a> Setup<'a> {
    /// A run without faults, delays beyond the boot, or a known price: it starts with `initial_nodes` serving, boots
    /// take `spec.boot_ms`, work that finds no room is lost, and the seed is 0.
    #[must_use]
    pub fn new(config: &'a Config, demand: &'a Demand, spec: PoolSpec, initial_nodes: u32) -> Self {
        Self {
            config,
            demand,
            spec,
            initial_nodes,
            node_price: None,
            boot: BootDelay::Constant(spec.boot_ms),
            driver_delay_ms: 0,
            drain_ms: 0,
            faults: &[],
            unserved: Unserved::Lost,
            seed: 0,
        }
    }
}

/// What becomes of work that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unserved {
    /// It is lost.
    #[default]
    Lost,
    /// It waits, and is served when there is room.
    Queued,
}

/// One tick of a run, as it is shown to a [`Watch`].
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// When.
    pub now_ms: Millis,
    /// Demand of the interval, in micro-GPUs.
    pub demand: Micro,
    /// The part of it that was served.
    pub served: Micro,
    /// Nodes asked for after the decision.
    pub asked: u32,
    /// Nodes that serve in the interval.
    pub ready: u32,
    /// The decision and how it came about.
    pub evaluation: &'a Evaluation,
}

/// Looks at every tick of a run: a trace, a report, a test.
pub trait Watch {
    /// Sees one tick.
    fn tick(&mut self, tick: &Tick<'_>);
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn tick(&mut self, _: &Tick<'_>) {}
}

impl<F: FnMut(&Tick<'_>)> Watch for F {
    fn tick(&mut self, tick: &Tick<'_>) {
        self(tick);
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Costs and misses.
    pub meter: Meter,
    /// Checksum over every decision: two runs with the same checksum decided alike.
    pub checksum: u64,
    /// Ticks evaluated.
    pub ticks: u64,
}

/// FNV-1a over the decisions (Fowler, Noll, Vo; 64 bit).
#[derive(Debug, Clone, Copy)]
struct Checksum(u64);

impl Checksum {
    fn add(&mut self, evaluation: &Evaluation) {
        let decision = &evaluation.decision;
        for word in [decision.from, decision.to, decision.wish] {
            self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Runs a policy in the fluid world.
///
/// At each tick: nodes whose boot is over join, the exporters show the utilization that this interval's demand
/// makes on them, the policy decides, its decision takes effect at once, and what is ready then serves the
/// interval. The devices are equal by construction, so they report as one group.
pub fn fluid(setup: &Setup<'_>, watch: &mut impl Watch) -> Outcome {
    const GROUP: DeviceId = DeviceId(0);
    let config = setup.config;
    let mut pool = FluidPool::new(setup.spec.gpus_per_node, setup.spec.bounded(setup.initial_nodes));
    let mut meter = Meter::new(setup.spec.gpus_per_node);
    let (mut windows, mut memory) = (Windows::new(config), Memory::default());
    let mut checksum = Checksum(0xcbf2_9ce4_8422_2325);
    let mut booting: Vec<Booting> = Vec::new();
    let (length_ms, mut now_ms) = (setup.demand.step_ms(), setup.demand.start_ms());
    let device = |capacity: Micro| Device {
        weight: capacity,
        ..Device::new(GROUP, NodeId(0), now_ms)
    };
    let mut inventory = [device(pool.capacity())];
    windows.ingest(&Delta {
        now_ms,
        samples: &[],
        inventory: Some(&inventory),
        reads: &[],
    });
    for &wanted in setup.demand.values() {
        pool.advance(now_ms);
        let shown = pool.serve(wanted).utilization_ppm;
        let capacity = pool.capacity();
        let sample = Sample {
            weight: capacity,
            ..Sample::of_device(0, GROUP, now_ms, shown)
        };
        let samples: &[Sample] = if capacity > 0 {
            std::slice::from_ref(&sample)
        } else {
            &[]
        };
        let resized = inventory[0].weight != capacity;
        inventory[0].weight = capacity;
        windows.ingest(&Delta {
            now_ms,
            samples,
            inventory: resized.then_some(&inventory),
            reads: &[],
        });
        booting.clear();
        booting.extend(pool.boots().iter().map(|boot| Booting {
            nodes: boot.nodes,
            since_ms: boot.ready_at_ms - setup.spec.boot_ms,
        }));
        let asked = pool.asked();
        let observation = Observation {
            asked,
            ready: pool.ready(),
            schedulable: pool.ready(),
            booting: &booting,
            gpus_per_node: setup.spec.gpus_per_node,
            nodes: Nodes::Interchangeable,
            node_price: setup.node_price,
            ..Observation::default()
        };
        let evaluation = evaluate(config, &windows, &observation, &mut memory, Now::at(now_ms));
        checksum.add(&evaluation);
        let target = evaluation.decision.to;
        pool.resize(now_ms, target, setup.spec.boot_ms);
        meter.resized(now_ms, asked, target);
        let served = pool.serve(wanted).served;
        meter.interval(&Interval {
            length_ms,
            billed_nodes: pool.asked(),
            demand: wanted,
            served,
        });
        watch.tick(&Tick {
            now_ms,
            demand: wanted,
            served,
            asked: pool.asked(),
            ready: pool.ready(),
            evaluation: &evaluation,
        });
        now_ms += length_ms;
    }
    Outcome {
        meter,
        checksum: checksum.0,
        ticks: setup.demand.values().len() as u64,
    }
}

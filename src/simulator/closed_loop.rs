//! The closed loop: a policy drives a world, and the world's metrics drive the policy.
//!
//! It goes through the public [`policy::evaluate`](crate::policy::evaluate) with all its steps: what is judged here
//! is what runs in production.

mod backlog;
mod driver;
mod exporter;
mod fluid_world;
mod platform;

use crate::policy::config::{Config, Micro, Millis};
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::Observation;
use crate::recording::Demand;

use super::boot::BootDelay;
use super::fault::Fault;
use super::fluid::PoolSpec;
use super::scorecard::{Interval, Meter};

pub(super) use driver::Driver;
use exporter::Exporter;
pub(super) use exporter::{Shown, series};
use fluid_world::{ClusterView, World};
pub(super) use platform::{Change, Platform};

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
    /// Work that waited and was served later, in micro-GPU × ms; the meter counts it as missed.
    pub late: i128,
    /// Work that still waited at the end, in micro-GPU × ms; the meter counts it as missed.
    pub waiting: i128,
}

/// Runs a policy in the fluid world.
///
/// At each tick: faults strike, nodes whose boot is over join, the exporters show what this interval's demand makes
/// of them, the policy decides, its decision takes effect at once, and what is ready then serves the interval. A
/// node is Ready when its driver is. Any node may go, since load moves by itself, and booting ones go first.
///
/// What each kind of signal reads is said in the private module `exporter`: utilization for devices and shares,
/// demand for a series in GPUs, work that finds no room for a series that counts and for `gpuRequests`.
pub fn fluid(setup: &Setup<'_>, watch: &mut impl Watch) -> Outcome {
    let (length_ms, start_ms) = (setup.demand.step_ms(), setup.demand.start_ms());
    let mut world = World::new(setup);
    let mut driver = Driver::new(setup.config);
    let mut exporter = Exporter::new(setup.config, setup.faults, start_ms);
    let mut cluster_view = ClusterView::new(setup.config);
    let mut meter = Meter::new(setup.spec.gpus_per_node);
    let mut now_ms = start_ms;
    driver.ingest(now_ms, &[], Some(exporter.inventory()));
    for &wanted in setup.demand.values() {
        world.advance(now_ms);
        let met = world.backlog.look(&world.pool, wanted);
        let capacity = world.pool.capacity();
        if exporter.resized(capacity) {
            driver.ingest(now_ms, &[], Some(exporter.inventory()));
        }
        let shown = Shown {
            capacity,
            utilization: met.utilization,
            demand: wanted,
            waiting: met.waiting,
        };
        driver.ingest(
            now_ms,
            exporter.scrape(now_ms, shown, world.platform.active()),
            None,
        );
        let asked = world.platform.count();
        let observation = Observation {
            waiting: cluster_view.waiting(met.waiting),
            node_price: setup.node_price,
            ..world.observe()
        };
        let evaluation = driver.decide(now_ms, &observation);
        driver.note(&evaluation);
        world.resize(now_ms, evaluation.decision.to);
        meter.resized(now_ms, asked, world.platform.count());
        let served = world.backlog.pass(&world.pool, wanted);
        meter.interval(&Interval {
            length_ms,
            billed_nodes: world.pool.asked(),
            demand: wanted,
            served,
        });
        watch.tick(&Tick {
            now_ms,
            demand: wanted,
            served,
            asked: world.platform.count(),
            ready: world.pool.ready(),
            evaluation: &evaluation,
        });
        now_ms += length_ms;
    }
    let (late, waiting) = world.backlog.totals();
    Outcome {
        late,
        waiting,
        ..driver.outcome(meter)
    }
}

#[cfg(test)]
mod tests;

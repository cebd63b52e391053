//! A scenario made ready: demand on the loop's grid, bounds of the pool, and the rows of its scorecard.
//!
//! A [`Case`] is what one scorecard is about. Every row goes over the same demand and the same pool, so rows may be
//! made in any order and on any thread: a sweep is nothing but many calls of [`Case::policy_row`].
//!
//! It knows no files and no threads, and renders nothing.

use super::closed_loop::{self, Outcome, Setup, Watch};
use super::fluid::PoolSpec;
use super::optimum;
use super::peers::{self, Autoscaler, Static};
use super::pods;
use super::scenario::{Pool, ScenarioError, World};
use super::scorecard::{self, Baseline, Kind, Row};
use crate::api::Query;
use crate::policy::Config;
use crate::policy::config::{Micro, Millis, ONE, SignalSource, Workload};
use crate::recording::Demand;

/// Utilization at which the pool opens, where nothing else is stated.
const OPENING_PERCENT: u32 = 70;

/// The row that all others are measured by.
pub const ZERO_MISS: &str = "zero-miss optimum";

/// A policy under judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Its name in reports.
    pub name: String,
    /// The compiled policy.
    pub config: Config,
    /// What its signals are read from, in their order.
    pub queries: Vec<Query>,
}

/// One demand on one pool, with all that its scorecard needs.
#[derive(Debug, Clone)]
pub struct Case {
    /// Demand on the grid of the loop's interval.
    pub demand: Demand,
    /// Shape and bounds of the pool; its boot time is the mean one.
    pub spec: PoolSpec,
    /// Nodes that serve from the start.
    pub initial_nodes: u32,
    /// The rest of the scenario.
    pub pool: Pool,
    /// The optima of `demand`.
    pub baseline: Baseline,
}

/// A policy's row and the fingerprint of its decisions.
#[derive(Debug, Clone)]
pub struct PolicyRow {
    /// The row.
    pub row: Row,
    /// Checksum over every decision.
    pub checksum: u64,
    /// Decisions made.
    pub ticks: u64,
}

/// The time between two evaluations: the pool's, else the one that all policies share.
///
/// # Errors
///
/// [`ScenarioError::Field`] if the policies differ and the pool says nothing.
pub fn interval_ms(pool: &Pool, judged: &[Judged]) -> Result<Millis, ScenarioError> {
    if let Some(ms) = pool.interval_ms {
        return Ok(ms);
    }
    let mut intervals = judged.iter().map(|policy| policy.config.evaluation_interval_ms);
    let first = intervals.next().unwrap_or(15_000);
    if intervals.all(|other| other == first) {
        return Ok(first);
    }
    Err(ScenarioError::Field {
        field: "interval",
        line: None,
        problem: "the policies have different `evaluationInterval`s; state the interval to compare them at"
            .into(),
    })
}

impl Case {
    /// Makes a scenario ready, for these policies.
    ///
    /// The pool's bounds are the widest of the policies' own, schedules included, so that no policy can do better
    /// than the optimum it is judged by.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Field`] for a fault after the end of the demand, or an interval on which the demand cannot
    /// be put.
    pub fn new(pool: Pool, demand: &Demand, judged: &[Judged]) -> Result<Self, ScenarioError> {
        let field = |field, problem: String| ScenarioError::Field {
            field,
            line: None,
            problem,
        };
        pool.check()?;
        let demand = demand
            .resampled(interval_ms(&pool, judged)?)
            .map_err(|error| field("interval", error.to_string()))?;
        if let Some(late) = pool
            .faults
            .iter()
            .find(|fault| fault.at_ms >= demand.duration_ms())
        {
            let problem = format!(
                "one begins {} minutes after the start of a recording of {} minutes; it would never happen",
                late.at_ms / 60_000,
                demand.duration_ms() / 60_000
            );
            return Err(field("faults", problem));
        }
        let spec = bounds(&demand, &pool, judged);
        let first = demand.values().first().copied().unwrap_or(0);
        let opening = spec.nodes_for(first, OPENING_PERCENT).max(1);
        Ok(Self {
            initial_nodes: pool.initial_nodes.unwrap_or_else(|| spec.bounded(opening)),
            baseline: Baseline::new(&demand, &spec),
            spec,
            pool,
            demand,
        })
    }

    /// Runs a policy and shows each of its decisions to `watch`.
    pub fn policy_row(&self, judged: &Judged, seed: u64, watch: &mut impl Watch) -> PolicyRow {
        let mut config = judged.config.clone();
        config.evaluation_interval_ms = self.demand.step_ms();
        let setup = Setup {
            config: &config,
            demand: &self.demand,
            spec: self.spec,
            initial_nodes: self.initial_nodes,
            node_price: self.pool.node_price,
            boot: self.pool.boot,
            driver_delay_ms: self.pool.driver_delay_ms,
            drain_ms: self.pool.drain_ms,
            faults: &self.pool.faults,
            unserved: self.pool.unserved,
            seed,
        };
        let outcome = self.run(&setup, watch);
        let row = outcome.meter.row(
            Kind::Policy,
            &judged.name,
            &self.baseline,
            self.usd_per_node_hour(),
        );
        PolicyRow {
            row,
            checksum: outcome.checksum,
            ticks: outcome.ticks,
        }
    }

    fn run(&self, setup: &Setup<'_>, watch: &mut impl Watch) -> Outcome {
        match self.pool.world {
            World::Fluid => closed_loop::fluid(setup, watch),
            World::Pods => pods::run(setup, watch),
        }
    }

    /// The clairvoyant schedules: zero-miss, soft at p = 10, and zero-miss at each of the headrooms (in percent).
    #[must_use]
    pub fn optima(&self, headrooms: &[u32]) -> Vec<Row> {
        let row = |name: String, optimum: &optimum::Optimum| {
            scorecard::optimum_row(
                name,
                optimum,
                &self.demand,
                &self.spec,
                &self.baseline,
                self.usd_per_node_hour(),
            )
        };
        let [soft, ..] = &self.baseline.soft;
        let mut rows = vec![
            row(ZERO_MISS.to_owned(), &self.baseline.hard),
            row(format!("soft optimum p={}", scorecard::PENALTIES[0]), soft),
        ];
        for &percent in headrooms {
            let optimum = optimum::zero_miss_at(&self.demand, &self.spec, percent);
            rows.push(row(format!("optimum at {percent} %"), &optimum));
        }
        rows
    }

    /// The reference autoscalers, in the fluid world: what they do to pods that cannot move would only be worse.
    ///
    /// None of them works at zero nodes, where nothing reports, so they keep at least one.
    #[must_use]
    pub fn peers(&self) -> Vec<Row> {
        let spec = PoolSpec {
            min_nodes: self.spec.min_nodes.max(1),
            ..self.spec
        };
        let constant = Static::new(0).name();
        peers::reference_peers(&self.demand, &spec)
            .into_iter()
            .map(|(mut peer, start)| {
                let start = match self.pool.initial_nodes {
                    Some(stated) if peer.name() != constant => stated,
                    _ => start,
                };
                let meter = peers::run(&self.demand, &spec, start, peer.as_mut());
                meter.row(Kind::Peer, peer.name(), &self.baseline, self.usd_per_node_hour())
            })
            .collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a price is at most 1e10 micro-USD")]
    fn usd_per_node_hour(&self) -> f64 {
        self.pool.node_price.unwrap_or(0) as f64 / ONE as f64
    }
}

/// The targets of the policies' device signals in whole percent, rising, each once. Exclusive policies have none: they
/// do not steer by utilization.
#[must_use]
pub fn headrooms(judged: &[Judged]) -> Vec<u32> {
    let percent = |target: Micro| u32::try_from(target / (ONE / 100)).unwrap_or(100);
    let mut found: Vec<u32> = judged
        .iter()
        .filter(|policy| policy.config.workload == Workload::Shared)
        .flat_map(|policy| &policy.config.signals)
        .filter(|signal| matches!(signal.source, SignalSource::Device(_)))
        .filter_map(|signal| signal.target.map(percent))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn bounds(demand: &Demand, pool: &Pool, judged: &[Judged]) -> PoolSpec {
    let mut spec = peers::reference_pool(demand, pool.gpus_per_node, pool.mean_boot_ms());
    let least = judged.iter().flat_map(|policy| {
        let scheduled = policy
            .config
            .schedules
            .iter()
            .filter_map(|schedule| schedule.min_nodes);
        scheduled.chain([policy.config.min_nodes])
    });
    let most = judged.iter().flat_map(|policy| {
        let scheduled = policy
            .config
            .schedules
            .iter()
            .filter_map(|schedule| schedule.max_nodes);
        scheduled.chain([policy.config.max_nodes])
    });
    if let (Some(min), Some(max)) = (least.min(), most.max()) {
        (spec.min_nodes, spec.max_nodes) = (min, max.max(min));
    }
    spec
}

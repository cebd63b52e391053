//! The scorecard: what an autoscaler cost and what it missed, one row each, all by the same code.
//!
//! Whatever drives a pool (a policy, a reference autoscaler, the optimum's schedule, in the fluid or the pods
//! world) feeds a [`Meter`] interval by interval and gets a [`Row`]. Nothing is measured anywhere else, so
//! two rows differ only by what the autoscalers did. Node-hours and miss percentage stand together always:
//! either alone can be made as good as one likes.
//!
//! The one figure that joins them is *regret*: (node-hours + p · missed node-hours) ÷ an optimum, for three
//! penalties `p`, since rankings change with `p`. `regret_hard` divides by the zero-miss optimum's
//! node-hours, `regret_soft` by the soft optimum's cost at the same `p`. The form follows Islam et al. (ICPE
//! 2012): one sum of money for both kinds of error; saturated time and time to react follow the SPEC RG cloud
//! metrics (`τ_U`).
//!
//! Sums are integers (`i128`), so that a row does not depend on the order of additions; `f64` only at the
//! end.

use serde::Serialize;
use statrs::statistics::{Data, OrderStatistics};

use super::{fluid::PoolSpec, optimum, optimum::Optimum};
use crate::recording::{Demand, MICRO};

/// The penalties at which regret is given: what an unserved GPU-hour costs, in GPU-hours of capacity.
pub const PENALTIES: [u32; 3] = [10, 50, 100];

/// A resize against the direction of the one before, at most this long after it, is a flap.
pub const FLAP_MS: i64 = 30 * 60 * 1000;

/// What produced a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A gpuscale policy.
    Policy,
    /// A clairvoyant schedule.
    Optimum,
    /// A reference autoscaler.
    Peer,
}

/// One figure for each of [`PENALTIES`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PerPenalty {
    /// At p = 10.
    pub p10: f64,
    /// At p = 50.
    pub p50: f64,
    /// At p = 100.
    pub p100: f64,
}

impl PerPenalty {
    fn from_fn(mut figure: impl FnMut(u32) -> f64) -> Self {
        let [p10, p50, p100] = PENALTIES.map(&mut figure);
        Self { p10, p50, p100 }
    }

    fn over(self, divisor: Self) -> Self {
        Self {
            p10: self.p10 / divisor.p10,
            p50: self.p50 / divisor.p50,
            p100: self.p100 / divisor.p100,
        }
    }
}

/// One autoscaler on one recording. The field names are the keys of the JSON report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What produced the row.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Node-hours billed: from the request of a node to its release, boots included.
    pub node_hours: f64,
    /// The same in GPU-hours.
    pub gpu_hours: f64,
    /// The same at the price of a node-hour, in US dollars.
    pub cost_usd: f64,
    /// Unserved demand as a percentage of all demand; 0 if there was none.
    pub miss_percent: f64,
    /// Unserved demand in hours of a whole node.
    pub missed_node_hours: f64,
    /// Percentage of the time in which demand exceeded what was ready (SPEC RG: `τ_U`).
    pub saturated_percent: f64,
    /// Percentage of the billed GPU-hours that served nothing, boots included.
    pub idle_percent: f64,
    /// Changes of the number of nodes asked for.
    pub resizes: u64,
    /// Resizes against the direction of the one before within 30 minutes of it, per day.
    pub flaps_per_day: f64,
    /// Median length of the spells in which demand exceeded what was ready, in seconds; `null` if there was
    /// none.
    pub time_to_react_p50_seconds: Option<f64>,
    /// The 95th percentile of the same.
    pub time_to_react_p95_seconds: Option<f64>,
    /// Nodes taken while work ran on them that could not move. Must be 0.
    pub busy_nodes_taken: u64,
    /// (node-hours + p · missed node-hours) ÷ node-hours of the zero-miss optimum. Not finite, and `null` in
    /// JSON, if the optimum costs nothing.
    pub regret_hard: PerPenalty,
    /// (node-hours + p · missed node-hours) ÷ cost of the soft optimum at the same p.
    pub regret_soft: PerPenalty,
}

/// The optima of one demand on one pool: what all its rows are divided by.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// The zero-miss optimum.
    pub hard: Optimum,
    /// The soft optimum at each of [`PENALTIES`].
    pub soft: [Optimum; 3],
    hard_node_hours: f64,
    soft_cost: PerPenalty,
}

impl Baseline {
    /// Solves both optima.
    #[must_use]
    pub fn new(demand: &Demand, spec: &PoolSpec) -> Self {
        let hard = optimum::zero_miss(demand, spec);
        let soft = PENALTIES.map(|p| optimum::soft(demand, spec, p));
        let mut costs = soft.iter();
        let soft_cost = PerPenalty::from_fn(|p| {
            costs
                .next()
                .map_or(f64::NAN, |optimum| optimum.cost_node_hours(spec, p))
        });
        Self {
            hard_node_hours: hard.node_hours(),
            hard,
            soft,
            soft_cost,
        }
    }
}

/// One interval of a pool's life, under constant demand and supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// How long it lasted, in milliseconds.
    pub length_ms: i64,
    /// Nodes billed, ready or not.
    pub billed_nodes: u32,
    /// Demand, in 1e-6 GPU.
    pub demand: i64,
    /// The part of it that was served, in 1e-6 GPU.
    pub served: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Collects a pool's life, interval by interval.
#[derive(Debug, Clone)]
pub struct Meter {
    gpus_per_node: u32,
    elapsed_ms: i64,
    billed_node_ms: i128,
    demanded: i128,
    served: i128,
    saturated_ms: i64,
    resizes: u64,
    flaps: u64,
    last_resize: Option<(i64, Direction)>,
    /// Length so far of the short spell that is not over; 0 outside one.
    spell_ms: i64,
    /// Lengths of the short spells, in milliseconds.
    spells: Vec<i64>,
    busy_nodes_taken: u64,
}

impl Meter {
    /// An empty meter for nodes of `gpus_per_node` GPUs.
    #[must_use]
    pub fn new(gpus_per_node: u32) -> Self {
        Self {
            gpus_per_node: gpus_per_node.max(1),
            elapsed_ms: 0,
            billed_node_ms: 0,
            demanded: 0,
            served: 0,
            saturated_ms: 0,
            resizes: 0,
            flaps: 0,
            last_resize: None,
            spell_ms: 0,
            spells: Vec::new(),
            busy_nodes_taken: 0,
        }
    }

    /// Adds the next interval.
    #[inline]
    pub fn interval(&mut self, interval: &Interval) {
        let Interval {
            length_ms,
            billed_nodes,
            demand,
            served,
        } = *interval;
        self.elapsed_ms += length_ms;
        self.billed_node_ms += i128::from(i64::from(billed_nodes) * length_ms);
        self.demanded += i128::from(demand) * i128::from(length_ms);
        self.served += i128::from(served) * i128::from(length_ms);
        if served < demand {
            self.saturated_ms += length_ms;
            self.spell_ms += length_ms;
        } else if self.spell_ms > 0 {
            self.spells.push(self.spell_ms);
            self.spell_ms = 0;
        }
    }

    /// Notes that the number of nodes asked for changed from `from` to `to`, at a time in milliseconds. No
    /// change is no resize.
    pub fn resized(&mut self, at_ms: i64, from: u32, to: u32) {
        let direction = match to.cmp(&from) {
            std::cmp::Ordering::Greater => Direction::Up,
            std::cmp::Ordering::Less => Direction::Down,
            std::cmp::Ordering::Equal => return,
        };
        self.resizes += 1;
        if let Some((before_ms, before)) = self.last_resize
            && before != direction
            && at_ms - before_ms <= FLAP_MS
        {
            self.flaps += 1;
        }
        self.last_resize = Some((at_ms, direction));
    }

    /// Notes nodes that were taken while work ran on them that could not move.
    pub fn busy_nodes_taken(&mut self, nodes: u32) {
        self.busy_nodes_taken += u64::from(nodes);
    }

    /// Bills node-time that no interval carries: the boots of a clairvoyant schedule, which lists ready nodes
    /// only.
    pub fn bill(&mut self, node_ms: i128) {
        self.billed_node_ms += node_ms;
    }

    /// The row of what was collected, judged against `baseline`.
    #[must_use]
    pub fn row(
        &self,
        kind: Kind,
        name: impl Into<String>,
        baseline: &Baseline,
        usd_per_node_hour: f64,
    ) -> Row {
        let node_ms_per_hour = 3_600_000.0;
        let gpus = f64::from(self.gpus_per_node);
        let node_hours = float(self.billed_node_ms) / node_ms_per_hour;
        let gpu_hours_of = |micro_gpu_ms: i128| float(micro_gpu_ms) / float(MICRO.into()) / node_ms_per_hour;
        let gpu_hours = node_hours * gpus;
        let missed_node_hours = gpu_hours_of(self.demanded - self.served) / gpus;
        let cost = PerPenalty::from_fn(|p| node_hours + f64::from(p) * missed_node_hours);
        let hard = baseline.hard_node_hours;
        let days = float(self.elapsed_ms.into()) / 86_400_000.0;
        let spells = self.spell_lengths();
        Row {
            kind,
            name: name.into(),
            node_hours,
            gpu_hours,
            cost_usd: node_hours * usd_per_node_hour,
            miss_percent: percent(float(self.demanded - self.served), float(self.demanded)),
            missed_node_hours,
            saturated_percent: percent(float(self.saturated_ms.into()), float(self.elapsed_ms.into())),
            idle_percent: percent(gpu_hours - gpu_hours_of(self.served), gpu_hours),
            resizes: self.resizes,
            flaps_per_day: if days > 0.0 {
                float(self.flaps.into()) / days
            } else {
                0.0
            },
            time_to_react_p50_seconds: percentile(&spells, 50),
            time_to_react_p95_seconds: percentile(&spells, 95),
            busy_nodes_taken: self.busy_nodes_taken,
            regret_hard: cost.over(PerPenalty {
                p10: hard,
                p50: hard,
                p100: hard,
            }),
            regret_soft: cost.over(baseline.soft_cost),
        }
    }

    /// The short spells in seconds, one that is not over included: it lasted at least that long.
    fn spell_lengths(&self) -> Vec<f64> {
        let open = (self.spell_ms > 0).then_some(self.spell_ms);
        self.spells
            .iter()
            .copied()
            .chain(open)
            .map(|ms| float(ms.into()) / 1000.0)
            .collect()
    }
}

/// The row of a clairvoyant schedule, through the same meter as everybody's.
#[must_use]
pub fn optimum_row(
    name: impl Into<String>,
    optimum: &Optimum,
    demand: &Demand,
    spec: &PoolSpec,
    baseline: &Baseline,
    usd_per_node_hour: f64,
) -> Row {
    let mut meter = Meter::new(spec.gpus_per_node);
    let (mut at_ms, mut previous) = (demand.start_ms(), optimum.nodes.first().copied().unwrap_or(0));
    for (&nodes, &wanted) in optimum.nodes.iter().zip(demand.values()) {
        meter.resized(at_ms, previous, nodes);
        let served = wanted.min(i64::from(nodes).saturating_mul(spec.node_capacity()));
        meter.interval(&Interval {
            length_ms: demand.step_ms(),
            billed_nodes: nodes,
            demand: wanted,
            served,
        });
        (at_ms, previous) = (at_ms + demand.step_ms(), nodes);
    }
    meter.bill(optimum.boot_node_ms);
    meter.row(Kind::Optimum, name, baseline, usd_per_node_hour)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a figure for people; the sums it is made of are exact"
)]
fn float(value: i128) -> f64 {
    value as f64
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    (!values.is_empty()).then(|| Data::new(values.to_vec()).percentile(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const POOL: PoolSpec = PoolSpec {
        gpus_per_node: 4,
        min_nodes: 0,
        max_nodes: 9,
        boot_ms: 480_000,
    };

    fn demand(gpus: &[i64]) -> Demand {
        Demand::new("d", 0, HOUR, gpus.iter().map(|g| g * MICRO).collect()).unwrap()
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-9,
            "found {found}, expected {expected}"
        );
    }

    /// Two hours of one node, demand 4 then 8 GPUs: one node-hour of three is missed.
    #[test]
    fn a_row_by_hand() {
        let demand = demand(&[4, 8]);
        let baseline = Baseline::new(&demand, &POOL);
        let mut meter = Meter::new(4);
        for &wanted in demand.values() {
            let served = wanted.min(4 * MICRO);
            meter.interval(&Interval {
                length_ms: HOUR,
                billed_nodes: 1,
                demand: wanted,
                served,
            });
        }
        let row = meter.row(Kind::Policy, "one", &baseline, 14.69);
        near(row.node_hours, 2.0);
        near(row.gpu_hours, 8.0);
        near(row.cost_usd, 29.38);
        near(row.miss_percent, 100.0 / 3.0);
        near(row.missed_node_hours, 1.0);
        near(row.saturated_percent, 50.0);
        near(row.idle_percent, 0.0);
        assert_eq!(row.time_to_react_p50_seconds, Some(3600.0));
        // The zero-miss optimum holds 1, then 2, and boots one node for 8 minutes.
        let optimum = 3.0 + 8.0 / 60.0;
        near(row.regret_hard.p10, 12.0 / optimum);
        near(row.regret_hard.p100, 102.0 / optimum);
        near(row.regret_soft.p50, 52.0 / optimum);
    }

    #[test]
    fn the_optimum_has_regret_one_against_itself() {
        let demand = demand(&[4, 8, 0, 30, 1]);
        let baseline = Baseline::new(&demand, &POOL);
        let row = optimum_row("zero miss", &baseline.hard, &demand, &POOL, &baseline, 1.0);
        near(row.regret_hard.p10, 1.0);
        near(row.regret_hard.p100, 1.0);
        near(row.node_hours, baseline.hard.node_hours());
        assert_eq!(
            (row.resizes, row.time_to_react_p50_seconds),
            (baseline.hard.resizes, None)
        );
        for (i, p) in PENALTIES.into_iter().enumerate() {
            let row = optimum_row("soft", &baseline.soft[i], &demand, &POOL, &baseline, 1.0);
            near(
                [row.regret_soft.p10, row.regret_soft.p50, row.regret_soft.p100][i],
                1.0,
            );
            near(row.node_hours + f64::from(p) * row.missed_node_hours, {
                baseline.soft[i].cost_node_hours(&POOL, p)
            });
        }
    }

    #[test]
    fn a_flap_is_a_reversal_within_half_an_hour() {
        let check = |resizes: &[(i64, u32, u32)], expected: (u64, u64)| {
            let mut meter = Meter::new(1);
            for &(minute, from, to) in resizes {
                meter.resized(minute * 60_000, from, to);
            }
            assert_eq!((meter.resizes, meter.flaps), expected, "{resizes:?}");
        };
        check(&[(0, 1, 1)], (0, 0));
        check(&[(0, 1, 2), (10, 2, 3)], (2, 0));
        check(&[(0, 1, 2), (30, 2, 1)], (2, 1));
        check(&[(0, 1, 2), (31, 2, 1)], (2, 0));
        check(&[(0, 1, 2), (10, 2, 1), (20, 1, 2)], (3, 2));
        check(&[(0, 1, 2), (20, 2, 2), (40, 2, 1)], (2, 0));
    }

    #[test]
    fn spells_are_told_apart_and_an_open_one_counts() {
        let mut meter = Meter::new(1);
        for short in [true, true, false, true, false, false, true] {
            let served = i64::from(!short);
            meter.interval(&Interval {
                length_ms: 15_000,
                billed_nodes: 1,
                demand: 1,
                served,
            });
        }
        assert_eq!(meter.spell_lengths(), [30.0, 15.0, 15.0]);
        assert_eq!(percentile(&meter.spell_lengths(), 50), Some(15.0));
    }

    #[test]
    fn no_demand_is_no_miss() {
        let demand = demand(&[0, 0]);
        let baseline = Baseline::new(&demand, &PoolSpec { min_nodes: 1, ..POOL });
        let row = optimum_row("idle", &baseline.hard, &demand, &POOL, &baseline, 1.0);
        near(row.miss_percent, 0.0);
        near(row.idle_percent, 100.0);
        near(row.regret_soft.p10, 1.0);
    }

    #[test]
    fn the_keys_are_stable() {
        let demand = demand(&[1]);
        let baseline = Baseline::new(&demand, &POOL);
        let row = optimum_row("x", &baseline.hard, &demand, &POOL, &baseline, 1.0);
        let json = serde_json::to_value(&row).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "busy_nodes_taken",
                "cost_usd",
                "flaps_per_day",
                "gpu_hours",
                "idle_percent",
                "kind",
                "miss_percent",
                "missed_node_hours",
                "name",
                "node_hours",
                "regret_hard",
                "regret_soft",
                "resizes",
                "saturated_percent",
                "time_to_react_p50_seconds",
                "time_to_react_p95_seconds",
            ]
        );
        assert_eq!(json["kind"], "optimum");
        assert!(json["regret_hard"]["p10"].is_f64());
    }
}

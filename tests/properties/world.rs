//! A closed loop: the rig, and a load that stands on it.

use gpuscale::policy::config::{Config, ONE, SelectPolicy, SeriesUnit, SignalSource, Strategy, Suspend};
use gpuscale::policy::evaluation::Evaluation;

use crate::rig::{Rig, TICK_MS, View};

/// Ticks in a minute.
const MINUTES: i64 = gpuscale::policy::config::MINUTE_MS / TICK_MS;

/// How load lies on nodes.
#[derive(Debug, Clone)]
pub enum Load {
    /// So many busy GPUs, spread evenly over whatever nodes there are: serving.
    Spread(f64),
    /// What each of the first nodes shows, in percent; it stays where it is, and new nodes stay idle: training.
    Pinned(Vec<f64>),
}

/// The rig with a constant load on it.
pub struct World {
    pub rig: Rig,
    pub load: Load,
    /// Things that wait, for signals that count.
    pub queue: f64,
}

impl World {
    pub fn new(config: Config, nodes: u32, gpus: u32, load: Load, queue: f64) -> Self {
        let mut rig = Rig::new(config, nodes, gpus);
        rig.view = match load {
            Load::Spread(_) => View::Interchangeable,
            Load::Pinned(_) => View::Named,
        };
        rig.waiting = Some(vec![]);
        rig.node_price = Some(20 * ONE);
        if let Load::Pinned(percents) = &load {
            for (index, percent) in percents.iter().enumerate().take(nodes as usize) {
                rig.load(index, *percent);
            }
        }
        Self { rig, load, queue }
    }

    /// One tick; the decision is carried out.
    pub fn tick(&mut self) -> Evaluation {
        self.show();
        let evaluation = self.rig.tick();
        self.rig.carry_out(&evaluation);
        evaluation
    }

    /// One tick that nobody acts on.
    pub fn watch(&mut self) -> Evaluation {
        self.show();
        self.rig.tick()
    }

    /// Lets `minutes` pass; the size after each tick.
    pub fn run(&mut self, minutes: i64) -> Vec<u32> {
        (0..minutes * MINUTES).map(|_| self.tick().decision.to).collect()
    }

    /// Puts the load on the nodes that there are now.
    pub fn show(&mut self) {
        if let Load::Spread(busy) = self.load {
            let gpus = self.rig.nodes.len() as f64 * f64::from(self.rig.gpus_per_node);
            self.rig.load_all(if gpus > 0.0 {
                (100.0 * busy / gpus).min(100.0)
            } else {
                0.0
            });
        }
        self.rig.series = self.series();
    }

    /// What pool-wide signals show of the same load.
    fn series(&self) -> Vec<(u16, Option<f64>)> {
        let all = self.rig.nodes.iter().flat_map(|node| &node.gpus);
        let (count, percent) = all.fold((0.0, 0.0), |(n, sum), gpu| (n + 1.0, sum + gpu.unwrap_or(0.0)));
        let busy = percent / 100.0;
        let mut series = Vec::new();
        for (index, signal) in self.rig.config.signals.iter().enumerate() {
            let SignalSource::Series(unit) = signal.source else {
                continue;
            };
            let value = match unit {
                SeriesUnit::Count => self.queue,
                SeriesUnit::Gpus => busy,
                SeriesUnit::Percent | SeriesUnit::Ratio if count > 0.0 => busy / count,
                SeriesUnit::Percent | SeriesUnit::Ratio => 0.0,
            };
            series.push((u16::try_from(index).unwrap(), Some(value)));
        }
        series
    }
}

/// The policy under constant limits: no schedule, not suspended.
pub fn constant(config: &Config) -> Config {
    Config {
        schedules: vec![],
        suspend: Suspend::Active,
        ..config.clone()
    }
}

/// Whether the policy can shrink by itself at all: a step needs a down rule for it.
pub fn can_shrink(config: &Config) -> bool {
    let stepping = matches!(config.strategy, Strategy::Step { .. });
    let steps_down = |signal: &gpuscale::policy::config::Signal| {
        !stepping
            || signal.per_node.is_some()
            || signal.down.is_some()
            || signal.source == SignalSource::GpuRequests
    };
    config.down.select != SelectPolicy::Disabled && config.signals.iter().all(steps_down)
}

//! The flags that describe a pool; each replaces what a scenario says.

use clap::{Args, ValueEnum};
use gpuscale::api::duration::HumanDuration;
use gpuscale::simulator::boot::BootDelay;
use gpuscale::simulator::scenario::{Pool, World, node_price};

use crate::error::Error;

#[derive(Debug, Args)]
pub(in crate::cli) struct PoolFlags {
    /// GPUs of one node (default 8)
    #[arg(long, value_name = "N", help_heading = "The pool")]
    gpus_per_node: Option<u32>,

    /// Time from the request of a node to its first work (default 8m)
    #[arg(long, value_name = "DURATION", help_heading = "The pool")]
    boot_delay: Option<HumanDuration>,

    /// Time between two evaluations (default: the policy's `evaluationInterval`)
    #[arg(long, value_name = "DURATION", help_heading = "The pool")]
    interval: Option<HumanDuration>,

    /// How load meets nodes (default fluid)
    #[arg(long, value_enum, help_heading = "The pool")]
    world: Option<WorldFlag>,

    /// Seed of everything that is drawn (default 0)
    #[arg(long, value_name = "N", help_heading = "The pool")]
    seed: Option<u64>,

    /// Price of a node-hour in USD
    #[arg(
        long,
        value_name = "USD",
        help_heading = "The pool",
        allow_negative_numbers = true
    )]
    price: Option<f64>,

    /// Nodes that serve from the start (default: what the first demand needs at 70 %)
    #[arg(long, value_name = "N", help_heading = "The pool")]
    initial_nodes: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorldFlag {
    /// Load spreads evenly over the nodes that serve
    Fluid,
    /// Load is whole-GPU pods that stay where they are
    Pods,
}

impl PoolFlags {
    /// Whether the GPUs of a node were given.
    pub(super) fn states_gpus(&self) -> bool {
        self.gpus_per_node.is_some()
    }

    /// The pool with the flags in place of what it said.
    pub(super) fn applied_to(&self, mut pool: Pool) -> Result<Pool, Error> {
        if let Some(gpus) = self.gpus_per_node {
            (pool.gpus_per_node, pool.vm_size) = (gpus, None);
        }
        if let Some(delay) = self.boot_delay {
            pool.boot = BootDelay::Constant(delay.as_millis());
        }
        if let Some(interval) = self.interval {
            pool.interval_ms = Some(interval.as_millis());
        }
        if let Some(world) = self.world {
            pool.world = match world {
                WorldFlag::Fluid => World::Fluid,
                WorldFlag::Pods => World::Pods,
            };
        }
        if let Some(seed) = self.seed {
            pool.seed = seed;
        }
        if let Some(usd) = self.price {
            pool.node_price = Some(node_price(usd)?);
        }
        if self.initial_nodes.is_some() {
            pool.initial_nodes = self.initial_nodes;
        }
        pool.check()?;
        Ok(pool)
    }
}

//! No fault holds for ever.
//!
//! After the faults end, with clean constant data, the pool reaches the size that a pool reaches which starts with
//! the same nodes and to which nothing ever happened. (Not the one that the pool would have without the faults: a
//! size that somebody else set above `maxNodes` is kept while it is busy, and a down rule that is not Met keeps what
//! is there.) The bound is the sum of what the engine may rightly wait for: a quota back-off (23 h after `Sku`) and the
//! hour of peace after foreign writes, which run at the same time; then the breaker's hour; then the longest window,
//! stabilization, cooldown, provision timeout and boot; then a rate-limited step for every node.

use gpuscale::policy::config::{Config, MINUTE_MS, Millis};
use gpuscale::policy::observation::{Condition, Failure, Freeze, Operation, Overrides, Protection};
use proptest::prelude::*;

use crate::configs::{any_config, cases, fixtures};
use crate::hostile::{Event, Turn, life, live};
use crate::world::{Load, World, can_shrink, constant};

fn patience_ms(config: &Config, size: u32, faults: &[Turn]) -> Millis {
    let signals = config
        .signals
        .iter()
        .flat_map(|s| [&s.up, &s.down].into_iter().flatten());
    let windows = signals.map(|rule| rule.window_ms).max().unwrap_or(0);
    let periods = config
        .up
        .policies
        .iter()
        .chain(&config.down.policies)
        .map(|p| p.period_ms)
        .max();
    let refused = faults.iter().filter_map(|turn| match turn.event {
        Event::Fails(failure) => Some(Failure::backoff_ms(failure)),
        _ => None,
    });
    let step = periods
        .unwrap_or(0)
        .max(config.down.cooldown_ms)
        .max(5 * MINUTE_MS);
    refused.max().unwrap_or(0).max(60 * MINUTE_MS)
        + 60 * MINUTE_MS
        + windows.max(config.data_quality.idle_window_ms)
        + config.down.stabilization_ms
        + config.up.stabilization_ms
        + config.down.cooldown_ms
        + 2 * config.provision_timeout_ms
        + 8 * MINUTE_MS
        + step * i64::from(size + 1)
}

/// Faults end: reads are whole, nobody interferes, every node is well. What people asked for is taken back too.
fn end_faults(world: &mut World) {
    let rig = &mut world.rig;
    (rig.operation, rig.failure, rig.freeze) = (Operation::None, None, Freeze::Off);
    (rig.overrides, rig.reads) = (Overrides::default(), vec![]);
    rig.boot_ms = 8 * MINUTE_MS;
    rig.waiting = Some(vec![]);
    rig.node_price = Some(20_000_000);
    for node in &mut rig.nodes {
        (node.condition, node.protection) = (Condition::Healthy, Protection::None);
    }
}

/// Faults that leave the nodes as many as were asked for: what was evicted does not come back by itself, and is a
/// story of its own.
fn passing(turns: &[Turn]) -> Vec<Turn> {
    turns
        .iter()
        .filter(|turn| !matches!(turn.event, Event::Evict(_)))
        .cloned()
        .collect()
}

fn minutes(ms: Millis) -> i64 {
    ms / MINUTE_MS + 1
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn after_faults_the_size_is_the_undisturbed_one(
        config in any_config(), nodes in 1_u32..8, busy in 0.0_f64..10.0, queue in 0.0_f64..40.0, turns in life(25),
    ) {
        let config = constant(&config);
        let turns = passing(&turns);
        prop_assume!(can_shrink(&config));
        let patience = minutes(patience_ms(&config, config.max_nodes.max(12), &turns));
        let new = |nodes| World::new(config.clone(), nodes, 2, Load::Spread(busy), queue);
        let mut world = new(nodes);
        live(&mut world, &turns, |_, _| Ok(()))?;
        end_faults(&mut world);
        let mut undisturbed = new(world.rig.asked);
        undisturbed.run(patience);
        let sizes = world.run(patience);
        let (wanted, reached) = (undisturbed.rig.asked, world.rig.asked);
        let within = reached.abs_diff(wanted) <= slack(&config, wanted);
        prop_assert!(within, "{reached} instead of {wanted} after {patience} min: {:?}", deduped(sizes));
    }

    /// Without work, and with nodes seen by name, the pool ends at its least size and its spare nodes.
    #[test]
    fn idle_data_reaches_the_least_size(config in any_config(), nodes in 0_u32..9, turns in life(25)) {
        let config = constant(&config);
        let turns = passing(&turns);
        prop_assume!(can_shrink(&config));
        let patience = minutes(patience_ms(&config, config.max_nodes.max(12), &turns));
        let mut world = World::new(config.clone(), nodes, 2, Load::Pinned(vec![]), 0.0);
        live(&mut world, &turns, |_, _| Ok(()))?;
        end_faults(&mut world);
        world.rig.load_all(0.0);
        let sizes = world.run(patience);
        let least = config.min_nodes.max(config.spare_nodes).min(config.max_nodes);
        let last = world.watch();
        prop_assert!(world.rig.asked <= least, "{:?} {:#?}", deduped(sizes), last.steps());
        prop_assert!(world.rig.asked >= config.min_nodes.min(most_by_budget(&config)), "{:?}", deduped(sizes));
    }
}

/// Tolerance is a band: coming from above and from below, a load may rest at different sizes in it.
fn slack(config: &Config, wanted: u32) -> u32 {
    let band = i64::from(wanted + 1) * (config.up.tolerance + config.down.tolerance) / 1_000_000;
    band as u32 + 1
}

fn most_by_budget(config: &Config) -> u32 {
    config
        .budget_micro_usd_per_hour
        .map_or(u32::MAX, |budget| u32::try_from(budget / 20_000_000).unwrap())
}

fn deduped(mut sizes: Vec<u32>) -> Vec<u32> {
    sizes.dedup();
    sizes
}

#[test]
fn every_shipped_policy_lets_an_idle_pool_go() {
    for (name, config) in fixtures() {
        let config = constant(&config);
        if !can_shrink(&config) {
            continue;
        }
        let nodes = config.max_nodes.min(6);
        let mut world = World::new(config.clone(), nodes, 2, Load::Pinned(vec![]), 0.0);
        let sizes = world.run(minutes(patience_ms(&config, nodes, &[])));
        let least = config.min_nodes.max(config.spare_nodes);
        assert_eq!(world.rig.asked, least, "{name}: {:?}", deduped(sizes));
    }
}

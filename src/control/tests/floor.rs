//! `actuation: AutoscalerFloor`: the pool's own autoscaler owns the count, and its least is what the loop moves.

use super::super::ports::PoolAutoscaler;
use super::super::{Policy, PolicyError};
use super::*;

const FLOOR: &str = "  actuation: AutoscalerFloor\n";

/// A pool of two nodes whose autoscaler keeps one at least and `most` at most.
fn autoscaled(most: u32) -> Rc<World> {
    let world = World::new(2);
    if let Some(pool) = world.pools.borrow_mut().get_mut("a100") {
        pool.autoscaler = PoolAutoscaler::On { least: 1, most };
    }
    world
}

#[test]
fn the_least_grows_once_and_the_count_is_left_to_the_autoscaler() {
    let world = autoscaled(10);
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![policy("p", "a100", 0, FLOOR)]);
    let mut running = Box::pin(controller.run());
    assert_eq!(world.run(running.as_mut(), 2 * MINUTE), Poll::Pending);
    let asked = world.done("least");
    assert_eq!(asked.len(), 1, "{:?}", world.log.borrow());
    assert_eq!((world.done("resize").len(), world.count("a100")), (0, 2));
    let told = world.done("action default/p a100 FloorStands");
    assert_eq!(told.len(), 1, "it is told once: {:?}", world.log.borrow());

    // What the autoscaler then does is what was decided, and no foreign write.
    let least: u32 = asked[0].rsplit(' ').next().unwrap().parse().unwrap();
    world.autoscale("a100", least);
    world.utilization.set(60.0);
    assert_eq!(world.run(running.as_mut(), 4 * MINUTE), Poll::Pending);
    let memory = world.store.borrow()["default/p"].memory.clone();
    assert!(memory.resized_at_ms.is_some(), "{memory:?}");
    assert_eq!(memory.foreign_writes, [0; 0]);
}

#[test]
fn what_the_autoscaler_does_by_itself_is_no_fight() {
    let world = autoscaled(10);
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![policy("p", "a100", 0, FLOOR)]);
    world.utilization.set(60.0);
    let mut running = Box::pin(controller.run());
    for (minute, count) in [(2, 3), (4, 5), (6, 4), (8, 6), (10, 3)] {
        assert_eq!(world.run(running.as_mut(), minute * MINUTE), Poll::Pending);
        world.autoscale("a100", count);
    }
    assert_eq!(world.run(running.as_mut(), 12 * MINUTE), Poll::Pending);
    let memory = world.store.borrow()["default/p"].memory.clone();
    assert_eq!((memory.asked, memory.is_conflicting()), (Some(3), false));
    assert_eq!(memory.foreign_writes, [0; 0]);
}

#[test]
fn the_least_comes_down_without_a_view_of_pods_because_the_autoscaler_has_one() {
    let world = autoscaled(10);
    let more = "  minNodes: 1\n  actuation: AutoscalerFloor\n  behavior: { scaleDown: { stabilization: 1m, cooldown: 1m } }\n";
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![policy("p", "a100", 0, more)]);
    let mut running = Box::pin(controller.run());
    assert_eq!(world.run(running.as_mut(), 2 * MINUTE), Poll::Pending);
    world.autoscale("a100", 5);
    if let Some(pool) = world.pools.borrow_mut().get_mut("a100") {
        pool.autoscaler = PoolAutoscaler::On { least: 5, most: 10 };
    }
    // Nodes are busy, though less than they could be: no choice of the platform would be safe.
    world.utilization.set(20.0);
    assert_eq!(world.run(running.as_mut(), 60 * MINUTE), Poll::Pending);
    let least = |line: &String| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    let asked: Vec<u32> = world.done("least").iter().map(least).collect();
    assert!(asked.last().is_some_and(|&last| last < 5), "{asked:?}");
    assert_eq!(world.done("resize"), [""; 0]);
}

#[test]
fn a_shrink_never_raises_the_least() {
    let world = autoscaled(10);
    let more = "  minNodes: 1\n  actuation: AutoscalerFloor\n  behavior: { scaleDown: { stabilization: 1m, cooldown: 1m } }\n";
    world.autoscale("a100", 6);
    world.utilization.set(20.0);
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![policy("p", "a100", 0, more)]);
    assert_eq!(world.run(controller.run(), 60 * MINUTE), Poll::Pending);
    assert_eq!(
        world.done("least"),
        [""; 0],
        "it keeps one, and has six by itself"
    );
    assert!(!world.done("action default/p a100 FloorStands").is_empty());
}

#[test]
fn the_autoscalers_most_is_a_bound() {
    let world = autoscaled(2);
    ten_minutes(&world, vec![policy("p", "a100", 0, FLOOR)]);
    assert_eq!(world.done("least"), [""; 0]);
    assert_eq!(world.done("action"), ["action default/p a100 AutoscalerLimit"]);
}

#[test]
fn each_lever_wants_its_own_kind_of_pool() {
    let world = World::new(2);
    ten_minutes(&world, vec![policy("p", "a100", 0, FLOOR)]);
    assert_eq!(world.done("action"), ["action default/p a100 NoAutoscaler"]);
    let world = autoscaled(10);
    ten_minutes(&world, vec![policy("p", "a100", 0, "")]);
    assert_eq!(
        world.done("action"),
        ["action default/p a100 ConflictingAutoscaler"]
    );
}

#[test]
fn a_lost_answer_is_settled_by_where_the_least_stands() {
    let world = autoscaled(10);
    world.set("resize", Mood::LosesReply);
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![policy("p", "a100", 0, FLOOR)]);
    let mut running = Box::pin(controller.run());
    assert_eq!(world.run(running.as_mut(), 5 * MINUTE), Poll::Pending);
    let actions = world.done("action");
    assert!(
        actions.contains(&"action default/p a100 succeeded".to_owned()),
        "{actions:?}"
    );
    assert_eq!(world.done("least").len(), 1, "{:?}", world.log.borrow());
}

#[test]
fn between_pools_the_autoscaler_chooses() {
    let document = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: AksNodePool, name: a }
  maxNodes: 8
  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]
  actuation: AutoscalerFloor
  fallbackNodePools: [ { name: b } ]
";
    let error = Policy::new(document, 0, "prod").unwrap_err();
    assert!(matches!(error, PolicyError::Invalid(_)), "{error}");
    assert!(error.to_string().contains("remove fallbackNodePools"), "{error}");
}

//! Fallback pools: when they are asked, and what keeps the group within its bounds.

use std::rc::Rc;
use std::task::Poll;

use super::super::ports::{PoolAutoscaler, PoolState};
use super::super::{Policy, Settings};
use super::MINUTE;
use super::rig::{Mood, World, controller, policy};

const FALLBACKS: &str = "  fallbackNodePools: [ { name: b }, { name: c } ]
";

fn grouped() -> Policy {
    policy("p", "a100", 0, FALLBACKS)
}

/// Two nodes of the target that are full, and two fallback pools without nodes.
fn world() -> Rc<World> {
    let world = World::new(2);
    world.add_pool("b", 0);
    world.add_pool("c", 0);
    world
}

fn counts(world: &World) -> [u32; 3] {
    ["a100", "b", "c"].map(|pool| world.count(pool))
}

/// Runs the group, minute by minute, and shows the counts of each.
fn minutes(world: &Rc<World>, minutes: i64) -> Vec<[u32; 3]> {
    let controller = controller(world, Settings::default());
    controller.set_policies(vec![grouped()]);
    let mut running = Box::pin(controller.run());
    let history = (1..=minutes).map(|minute| {
        assert_eq!(world.run(running.as_mut(), minute * MINUTE), Poll::Pending);
        let counts = counts(world);
        assert!(counts.iter().sum::<u32>() <= 8, "minute {minute}: {counts:?}");
        counts
    });
    history.collect()
}

#[test]
fn nodes_that_the_platform_accepted_and_has_no_machines_for_are_placed_on_a_fallback() {
    let world = world();
    world.set("poll:a100", Mood::NoCapacity);
    world.most_working.borrow_mut().insert("a100".to_owned(), 2);
    let history = minutes(&world, 12);
    assert_eq!(history[0], [3, 1, 0], "one did not come, and one takes its place");
    assert_eq!(history.last().map(|counts| counts[1]), Some(5), "{history:?}");
}

#[test]
fn a_fallback_that_takes_no_resize_does_not_keep_the_next_one_from_it() {
    type Change = fn(&mut super::super::ports::Pool);
    let changes: [(&str, Change); 3] = [
        ("stopped", |pool| pool.state = PoolState::Stopped),
        ("busy", |pool| pool.state = PoolState::Busy),
        ("autoscaled", |pool| {
            pool.autoscaler = PoolAutoscaler::On { least: 0, most: 9 };
        }),
    ];
    for (what, change) in changes {
        let world = world();
        world.set("resize:a100", Mood::NoCapacity);
        change(world.pools.borrow_mut().get_mut("b").unwrap());
        let [target, first, second] = *minutes(&world, 3).last().unwrap();
        assert_eq!((target, first), (2, 0), "{what}");
        assert!(second > 0, "{what}");
    }
}

#[test]
fn a_fallback_that_has_no_capacity_either_sends_growth_on() {
    let world = world();
    world.set("resize:a100", Mood::NoCapacity);
    world.set("resize:b", Mood::NoCapacity);
    let [target, first, second] = *minutes(&world, 3).last().unwrap();
    assert_eq!((target, first), (2, 0));
    assert!(second > 0);
}

#[test]
fn growth_that_a_fallback_takes_keeps_the_rules_of_all_growth() {
    let world = world();
    world.set("resize:a100", Mood::NoCapacity);
    let history = minutes(&world, 30);
    let steps: Vec<u32> = history.iter().map(|counts| counts.iter().sum()).collect();
    // A guess of +50 % settles for three minutes before the next one, wherever it went.
    let growths: Vec<usize> = (1..steps.len()).filter(|&at| steps[at] > steps[at - 1]).collect();
    assert!(growths.windows(2).all(|pair| pair[1] - pair[0] >= 3), "{steps:?}");
    assert_eq!(steps.last(), Some(&8));
}

#[test]
fn one_word_of_a_fallback_that_is_gone_makes_no_room() {
    let world = world();
    world.pools.borrow_mut().get_mut("b").unwrap().count = 6;
    let controller = controller(&world, Settings::default());
    controller.set_policies(vec![grouped()]);
    let mut running = Box::pin(controller.run());
    assert_eq!(world.run(running.as_mut(), 10 * MINUTE), Poll::Pending);
    world.set("read:b", Mood::Gone);
    assert_eq!(world.run(running.as_mut(), 10 * MINUTE + 30_000), Poll::Pending);
    world.set("read:b", Mood::Works);
    assert_eq!(world.run(running.as_mut(), 20 * MINUTE), Poll::Pending);
    assert_eq!(counts(&world), [2, 6, 0]);
    // But one that stays away is gone: its nodes are not those that do the work.
    world.set("read:b", Mood::Gone);
    world.most_working.borrow_mut().insert("b".to_owned(), 0);
    assert_eq!(world.run(running.as_mut(), 60 * MINUTE), Poll::Pending);
    assert!(counts(&world)[0] > 2, "{:?}", counts(&world));
}

#[test]
fn what_was_saved_of_another_target_is_not_taken_up() {
    let world = world();
    let first = controller(&world, Settings::default());
    first.set_policies(vec![policy("p", "a100", 0, "")]);
    assert_eq!(world.run(first.run(), 10 * MINUTE), Poll::Pending);
    drop(first);
    assert!(world.store.borrow()["default/p"].memory.resized_at_ms.is_some());
    for (pool, known) in [("a100", true), ("b", false)] {
        let again = controller(&world, Settings::default());
        again.set_policies(vec![policy("p", pool, 0, "").recommending()]);
        let until_ms = world.now_ms.get() + MINUTE;
        assert_eq!(world.run(again.run(), until_ms), Poll::Pending);
        let saved = world.store.borrow()["default/p"].clone();
        assert_eq!(saved.memory.resized_at_ms.is_some(), known, "{pool}");
        assert_eq!((saved.pools[0].name.as_str(), saved.pools.len()), (pool, 1));
    }
}

//! Nodes that come and go, and the account of their work.

use super::*;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

/// Nodes boot for 8 minutes, and their driver takes one more.
fn fleet(gpus_per_node: u32, gpus: Micro, count: u32) -> Fleet {
    let shape = Shape {
        gpus_per_node,
        boot_ms: 8 * MINUTE,
        driver_ms: MINUTE,
    };
    Fleet::new("a100", shape, Load::Constant(gpus * MICRO), count, 0)
}

#[test]
fn names_are_those_of_scale_sets() {
    let cases = [
        (0, "000000"),
        (10, "00000a"),
        (35, "00000z"),
        (36, "000010"),
        (46_655, "000zzz"),
    ];
    for (id, expected) in cases {
        assert_eq!(base_36(id), expected);
    }
    let fleet = fleet(1, 0, 11);
    assert_eq!(fleet.nodes()[10].name, "aks-a100-12345678-vmss00000a");
}

#[test]
fn a_node_boots_then_gets_its_driver() {
    let mut fleet = fleet(4, 1, 0);
    fleet.ask(MINUTE, 1);
    let check = |minutes: Millis, phase: Phase, gpus: u64| {
        assert_eq!(fleet.nodes()[0].phase(minutes * MINUTE), phase, "{minutes}");
        assert_eq!(fleet.schedulable_gpus(minutes * MINUTE), gpus, "{minutes}");
    };
    check(1, Phase::Booting, 0);
    check(8, Phase::Booting, 0);
    check(9, Phase::Ready, 0);
    check(10, Phase::Schedulable, 4);
}

#[test]
fn work_spreads_evenly_and_stops_at_full() {
    let check = |gpus_per_node, gpus, count, expected| {
        assert_eq!(fleet(gpus_per_node, gpus, count).utilization(0), expected);
    };
    check(1, 1, 0, 0);
    check(1, 1, 1, MICRO);
    check(1, 1, 2, MICRO / 2);
    check(4, 3, 1, 750_000);
    check(1, 5, 2, MICRO);
}

#[test]
fn the_account_is_exact() {
    // Two GPUs serve 2 of 5; from minute 9 on five are there; an hour in all.
    let mut fleet = fleet(1, 5, 2);
    fleet.ask(0, 3);
    // However often somebody looks.
    for minute in [1, 1, 7, 9, 10, 60] {
        fleet.advance(minute * MINUTE);
    }
    fleet.advance(3 * MINUTE);
    let account = fleet.account();
    assert_eq!(account.demanded_micro_gpu_hours(), 5_000_000);
    assert_eq!(account.unserved_micro_gpu_hours(), 3_000_000 * 9 / 60);
    assert_eq!(account.served_micro_gpu_hours(), 5_000_000 - 450_000);
    assert_eq!(account.schedulable_micro_gpu_hours(), 5_000_000 - 450_000);
    assert_eq!(account.micro_node_hours(), 5_000_000);
}

#[test]
fn a_recording_begins_with_the_fleet_and_repeats() {
    let demand = Demand::new("m", 1_700_000_000_000, 30 * MINUTE, vec![MICRO, 0, 3 * MICRO]).unwrap();
    let load = Load::Recorded(Arc::new(demand), HOUR);
    let at = |minutes: Millis| load.at(minutes * MINUTE);
    assert_eq!(
        (at(60), at(89), at(90), at(120), at(150)),
        (MICRO, MICRO, 0, 3 * MICRO, MICRO)
    );
    let mut fleet = fleet(1, 0, 2);
    fleet.set_load(0, load);
    fleet.advance(HOUR);
    let before = fleet.account();
    fleet.advance(HOUR + 180 * MINUTE);
    let hours = fleet.account().demanded_micro_gpu_hours() - before.demanded_micro_gpu_hours();
    assert_eq!(hours, 4_000_000);
    assert_eq!(fleet.account().unserved_micro_gpu_hours(), 1_000_000 / 2 * 3);
}

#[test]
fn the_platform_takes_what_it_likes() {
    let check = |victims: Victims, expected: [u64; 2], busy: u32| {
        let mut fleet = fleet(1, 1, 2);
        fleet.ask(0, 2);
        assert_eq!(fleet.take(MINUTE, 2, victims), 2);
        let left: Vec<u64> = fleet.nodes().iter().map(|node| node.id).collect();
        assert_eq!(
            (left.as_slice(), fleet.busy_taken()),
            (expected.as_slice(), busy),
            "{victims:?}"
        );
    };
    check(Victims::NewestFirst, [0, 1], 0);
    check(Victims::BusiestFirst, [2, 3], 2);
}

#[test]
fn nodes_go_by_name_and_their_names_do_not_come_back() {
    let mut fleet = fleet(1, 0, 3);
    let name = fleet.nodes()[1].name.clone();
    let names = BTreeSet::from([name.clone(), "aks-nobody".to_owned()]);
    assert_eq!(fleet.remove(0, &names), 1);
    assert!(fleet.node(&name).is_none());
    fleet.ask(0, 1);
    assert_eq!(fleet.nodes()[2].id, 3);
    assert_eq!(fleet.take(0, 9, Victims::NewestFirst), 3);
    assert_eq!(fleet.busy_taken(), 0);
}

//! Whatever clients ask for and however the platform behaves, some things hold.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::operation::Kind;
use super::super::*;
use crate::emulator::behavior::{OmittedProperty, Victims};
use crate::emulator::fault::Reason;

const VERSIONS: [&str; 3] = ["2026-08-01", "2026-08-02-preview", "x"];

/// Switches by the bits of a number.
fn behavior(bits: u32) -> Behavior {
    let mut behavior = Behavior::default();
    let on = |bit: u32| bits >> bit & 1 == 1;
    if on(0) {
        behavior.omitted_property = OmittedProperty::Reset;
    }
    if on(1) {
        behavior.delete_machines_count = DeleteMachinesCount::AtEnd;
    }
    if on(2) {
        behavior.delete_machines_count = DeleteMachinesCount::Never;
    }
    if on(3) {
        behavior.second_writer = SecondWriter::CancelsFirst;
    }
    if on(4) {
        behavior.count_after_failure = CountAfterFailure::Actual;
    }
    if on(5) {
        behavior.patch_during_upgrade = PatchDuringUpgrade::Refused;
    }
    if on(6) {
        behavior.victims = Victims::BusiestFirst;
    }
    if on(7) {
        behavior.etag_at_end = EtagAtEnd::Stays;
    }
    if on(8) {
        behavior.checked_first = CheckedFirst::Operation;
    }
    behavior
}

/// A request by numbers: what, to which pool, how many.
fn request(arm: &Arm, what: u8, pool: &str, count: u32, version: &str) -> Call {
    let (method, part) = match what {
        0 => (Method::Get, ""),
        1 | 2 => (Method::Put, ""),
        3 => (Method::Patch, ""),
        4 => (Method::Delete, ""),
        5 => (Method::Post, "/abort"),
        6 => (Method::Post, "/deleteMachines"),
        7 => (Method::Get, "/machines"),
        _ => (Method::Other, "/nothing"),
    };
    let machine = arm.fleet(pool).and_then(|fleet| fleet.nodes().last());
    let body = match what {
        1 | 3 => json!({ "properties": { "count": count } }),
        2 => json!({ "properties": { "count": count, "vmSize": "Standard_NC24ads_A100_v4" } }),
        6 => json!({ "machineNames": [machine.map(|node| &node.name)] }),
        _ => Value::Null,
    };
    let address = format!(
        "{}/agentPools/{pool}{part}?api-version={version}",
        arm.cluster_id()
    );
    Call {
        body: body.to_string(),
        ..Call::new(method, &address)
    }
}

/// What must hold at any time.
fn holds(arm: &Arm) -> Result<(), TestCaseError> {
    for pool in arm.sites.keys() {
        let running: Vec<&Operation> = arm.running(pool).collect();
        let alone = |operation: &&&Operation| !matches!(operation.kind, Kind::Upgrade | Kind::Update);
        prop_assert!(running.iter().filter(alone).count() <= 1, "{running:?}");
        let fleet = &arm.sites[pool].fleet;
        let account = fleet.account();
        prop_assert!(account.unserved_micro_gpu_hours() >= 0);
        prop_assert!(account.served_micro_gpu_hours() <= account.schedulable_micro_gpu_hours() + 1);
        let most = arm.sites[pool].capacity.available_nodes;
        prop_assert!(most.is_none_or(|most| fleet.present() <= most.max(3)));
    }
    for operation in &arm.operations {
        prop_assert_eq!(operation.runs(), operation.ended_ms.is_none());
        prop_assert_eq!(
            operation.status == Status::Succeeded,
            operation.ended_ms.is_some() && operation.error.is_none()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_resource_provider_stays_whole(
        bits: u32,
        available in proptest::option::of(0..8_u32),
        steps in proptest::collection::vec((0..9_u8, 0..3_usize, 0..9_u32, 0..3_usize, 0..120_i64, 0..8_u8), 1..60),
    ) {
        let yaml = "{ pools: { a: { count: 3, demand: { gpus: 2 } }, b: {} }, driverDelay: 10s, bootDelay: 90s }";
        let mut arm = Arm::new(&Scenario::from_yaml(yaml).unwrap(), 0);
        arm.set_behavior(behavior(bits), 0);
        arm.set_available("a", available);
        let mut now_ms = 0;
        let mut ended: BTreeMap<String, Status> = BTreeMap::new();
        for (what, pool, count, version, seconds, fault) in steps {
            now_ms += seconds * 1000;
            let pool = ["a", "b", "new"][pool];
            if fault == 7 {
                arm.advance(now_ms);
                arm.start_background(now_ms, pool, BackgroundKind::Upgrading, 60_000);
            }
            let call = request(&arm, what, pool, count, VERSIONS[version]);
            let plan = Plan {
                fails: (fault == 5).then(|| Reason::new("AllocationFailed", "")),
                takes_ms: (fault == 6).then_some(Millis::MAX),
            };
            let reply = arm.handle(now_ms, &call, plan);
            prop_assert!([200, 201, 202, 204, 400, 404, 405, 409, 412, 429].contains(&reply.status), "{reply:?}");
            prop_assert!(reply.status < 400 || reply.body()["error"]["code"].is_string());
            holds(&arm)?;
            // What has ended stays as it ended.
            for operation in arm.operations.iter().filter(|operation| !operation.runs()) {
                let before = ended.entry(operation.id.clone()).or_insert(operation.status);
                prop_assert_eq!(*before, operation.status);
            }
        }
    }
}

//! The ARM client against the emulator: right under every reading of what the platform's reference leaves open.

#![cfg(all(feature = "aks", feature = "emulator"))]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

#[path = "emulator/stage.rs"]
mod stage;

use std::time::Duration;

use gpuscale::actuator::aks::Aks;
use gpuscale::config::Config;
use gpuscale::control::ports::{
    NodePools as _, Pool, PoolAutoscaler, PoolError, PoolErrorKind, PoolKey, PoolState, Progress,
};
use gpuscale::emulator::fault::{Answer, Effect, Fault, Target};
use gpuscale::emulator::message::Method;
use gpuscale::emulator::scenario::BackgroundKind;
use gpuscale::policy::observation::Failure;
use gpuscale::source::connect::NoIdentity;

use stage::{MINUTE, SECOND, Stage, runtime};

/// How the client writes a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Put,
    Patch,
}

/// The client, and the emulator that it speaks to.
struct Pair {
    stage: Stage,
    aks: Aks,
}

impl Pair {
    /// A pool `gpu` of three nodes with a property that nobody knows.
    fn new(by: By, more: &str) -> Self {
        let pool = "{ count: 3, properties: { inventedLater: [ 1, two ], nodeLabels: { team: ml } } }";
        Self::of(by, &format!("pools: {{ gpu: {pool} }}\n{more}"))
    }

    fn of(by: By, yaml: &str) -> Self {
        let stage = Stage::new(yaml);
        let write = match by {
            By::Put => "",
            By::Patch => "resizeWith: Patch, apiVersion: 2026-08-02-preview",
        };
        let cluster =
            "subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: gpuscale, name: emulated";
        let config = format!(
            "aksClusters: {{ prod: {{ {cluster}, endpoint: '{}', {write} }} }}",
            stage.arm
        );
        let config = Config::parse(&config).unwrap();
        let aks = Aks::connect(&config, &NoIdentity, Duration::from_secs(5)).unwrap();
        Self { stage, aks }
    }

    fn read(&self) -> Pool {
        runtime().block_on(self.aks.read(&key())).unwrap()
    }

    /// Reads the pool and asks for so many nodes. Gives the operation.
    fn resize(&self, count: u32) -> Result<String, PoolError> {
        let seen = self.read();
        let accepted = runtime().block_on(self.aks.resize(&key(), &seen, count));
        accepted.map(|accepted| accepted.operation.unwrap())
    }

    fn refused(&self, count: u32) -> PoolErrorKind {
        self.resize(count).unwrap_err().kind
    }

    fn poll(&self, operation: &str) -> Result<Progress, PoolError> {
        runtime().block_on(self.aks.poll(&key(), operation))
    }

    /// Follows an operation to its end.
    fn follow(&self, operation: &str) -> Result<Progress, PoolErrorKind> {
        for _ in 0..100 {
            match self.poll(operation) {
                Ok(Progress::Running(_)) => self.stage.wait(10 * SECOND),
                other => return other.map_err(|error| error.kind),
            }
        }
        panic!("{operation} does not end");
    }

    fn fault(&self, target: Target, effect: Effect) {
        self.stage.handle.inject(Fault::once(target, effect));
    }
}

fn key() -> PoolKey {
    PoolKey::new("prod", "gpu")
}

#[test]
fn a_resize_changes_the_count_and_nothing_else_under_every_switch() {
    let switches = [
        "omittedProperty: reset",
        "retryAfter: omitted",
        "monitorPath: operationStatus",
        "monitorPath: operationresults",
        "monitorAfterEnd: gone",
        "putStatus: ok",
        "etagAtEnd: stays",
        "checkedFirst: operation",
        "secondWriter: cancelsFirst",
        "victims: busiestFirst",
    ];
    for switch in switches {
        for by in [By::Put, By::Patch] {
            let pair = Pair::new(by, &format!("behavior: {{ {switch} }}"));
            for count in [5, 2] {
                let operation = pair.resize(count).unwrap();
                assert_eq!(pair.read().state, PoolState::Busy, "{switch}");
                let end = pair.follow(&operation);
                // An operation that nobody remembers leaves the pool to tell.
                let expected = if switch == "monitorAfterEnd: gone" {
                    Err(PoolErrorKind::Gone)
                } else {
                    Ok(Progress::Succeeded)
                };
                assert_eq!(end, expected, "{switch} {by:?}");
                let pool = pair.stage.handle.pool("gpu").unwrap();
                assert_eq!(
                    (pool.count, pool.nodes.len()),
                    (count, count as usize),
                    "{switch} {by:?}"
                );
                assert_eq!((pair.read().count, pair.read().state), (count, PoolState::Steady));
            }
            let log = pair.stage.handle.log();
            let writes = log
                .iter()
                .filter(|logged| matches!(logged.call.method, Method::Put | Method::Patch));
            for write in writes {
                assert!(write.call.if_match.is_some());
                assert_eq!(write.call.body.contains("inventedLater"), by == By::Put);
            }
            assert_eq!(pair.stage.handle.violations(), [], "{switch}");
        }
    }
}

#[test]
fn a_partial_fill_is_want_of_capacity_wherever_it_is_said() {
    for detail in ["details", "provisioningErrorOnly", "messageOnly"] {
        for pool in ["failed", "succeeded"] {
            let pair = Pair::new(
                By::Put,
                &format!("behavior: {{ errorDetail: {detail}, failedPool: {pool} }}"),
            );
            pair.stage.handle.set_available("gpu", Some(4));
            let operation = pair.resize(6).unwrap();
            let Ok(Progress::Failed(error)) = pair.follow(&operation) else {
                panic!("{detail}: it fails");
            };
            assert_eq!(
                error.kind,
                PoolErrorKind::Capacity(Failure::Allocation),
                "{detail} {pool}"
            );
            assert_eq!(pair.stage.handle.pool("gpu").unwrap().nodes.len(), 4);
        }
    }
}

#[test]
fn refusals_are_told_apart() {
    let pair = Pair::new(By::Put, "");
    for (answer, expected) in [
        (Answer::forbidden(), PoolErrorKind::Auth),
        (Answer::sku_not_available(), PoolErrorKind::Capacity(Failure::Sku)),
        (Answer::unavailable(), PoolErrorKind::Unavailable),
    ] {
        pair.fault(Target::PutPool, Effect::Answer(answer));
        assert_eq!(pair.refused(4), expected);
    }
    // One code, two meanings.
    pair.stage
        .handle
        .start_background("gpu", BackgroundKind::Updating, MINUTE);
    assert_eq!(pair.refused(4), PoolErrorKind::Busy);
    for code in [
        "OperationNotAllowed",
        "ErrCode_InsufficientVCPUQuota",
        "QuotaExceeded",
    ] {
        let capacity = format!("capacity: {{ quotaNodes: 3, quotaCode: {code} }}");
        let pair = Pair::of(By::Put, &format!("pools: {{ gpu: {{ count: 3, {capacity} }} }}"));
        let refused = pair.refused(4);
        assert!(
            matches!(
                refused,
                PoolErrorKind::Capacity(Failure::QuotaLow | Failure::QuotaZero)
            ),
            "{code}: {refused:?}"
        );
    }
    let pair = Pair::of(By::Put, "pools: { other: {} }");
    let gone = runtime().block_on(pair.aks.read(&key())).unwrap_err();
    assert_eq!(gone.kind, PoolErrorKind::Gone);
}

#[test]
fn a_throttle_says_how_long() {
    let pair = Pair::new(By::Put, "operationTime: 0s");
    let sent: Vec<_> = (0..21).map(|number| pair.resize(3 + number % 2)).collect();
    assert!(sent[..20].iter().all(Result::is_ok));
    let refused = sent[20].as_ref().unwrap_err().kind;
    assert_eq!(refused, PoolErrorKind::Throttled(60_000));
}

#[test]
fn what_is_lost_leaves_open_whether_it_happened() {
    for (effect, count) in [(Effect::LostRequest, 3), (Effect::LostReply, 5)] {
        let pair = Pair::new(By::Put, "");
        pair.fault(Target::PutPool, effect.clone());
        let error = pair.resize(5).unwrap_err();
        assert!(error.kind.leaves_unknown(), "{effect:?}: {error}");
        // The pool tells.
        assert_eq!(pair.read().count, count);
    }
}

#[test]
fn another_writer_is_noticed_before_and_after() {
    let pair = Pair::new(By::Put, "");
    let seen = pair.read();
    pair.resize(4).unwrap();
    let stale = runtime().block_on(pair.aks.resize(&key(), &seen, 5)).unwrap_err();
    assert_eq!(stale.kind, PoolErrorKind::Stale);
    for word in ["canceled", "failed"] {
        let pair = Pair::new(
            By::Put,
            &format!("behavior: {{ secondWriter: cancelsFirst, superseded: {word} }}"),
        );
        let first = pair.resize(4).unwrap();
        let second = pair.resize(6).unwrap();
        assert_eq!(pair.poll(&first).unwrap(), Progress::Cancelled, "{word}");
        assert_eq!(pair.follow(&second), Ok(Progress::Succeeded));
    }
}

#[test]
fn machines_are_listed_and_deleted_whenever_the_count_follows() {
    for (switch, count) in [("atomically", 1), ("atEnd", 1), ("never", 3)] {
        let pair = Pair::new(
            By::Put,
            &format!("behavior: {{ deleteMachinesCount: {switch}, pageSize: 2 }}"),
        );
        let machines = runtime().block_on(pair.aks.machines(&key())).unwrap();
        let names: Vec<String> = machines.into_iter().map(|machine| machine.name).collect();
        assert_eq!(names.len(), 3);
        let accepted = runtime()
            .block_on(pair.aks.delete_machines(&key(), &names[..2]))
            .unwrap();
        assert_eq!(pair.follow(&accepted.operation.unwrap()), Ok(Progress::Succeeded));
        let left = pair.stage.handle.pool("gpu").unwrap();
        assert_eq!((left.count, left.nodes.len()), (count, 1), "{switch}");
        assert_eq!(left.nodes[0].name, names[2]);
    }
}

#[test]
fn an_operation_is_aborted() {
    let pair = Pair::new(By::Put, "");
    let idle = runtime().block_on(pair.aks.abort(&key())).unwrap_err();
    assert_eq!(idle.kind, PoolErrorKind::Busy);
    let operation = pair.resize(9).unwrap();
    let abort = runtime().block_on(pair.aks.abort(&key())).unwrap();
    assert_eq!(pair.poll(&operation).unwrap(), Progress::Cancelled);
    assert_eq!(pair.follow(&abort.operation.unwrap()), Ok(Progress::Succeeded));
}

#[test]
fn a_patch_goes_beside_an_upgrade() {
    let pair = Pair::new(By::Patch, "");
    pair.stage
        .handle
        .start_background("gpu", BackgroundKind::Upgrading, 60 * MINUTE);
    let operation = pair.resize(5).unwrap();
    assert_eq!(pair.follow(&operation), Ok(Progress::Succeeded));
    assert_eq!(pair.read().count, 5);
}

#[test]
fn pools_of_the_cluster_autoscaler_are_known() {
    let pair = Pair::of(
        By::Put,
        "pools: { gpu: { enableAutoScaling: true, minCount: 0, maxCount: 4 }, b: {} }\nbehavior: { pageSize: 1 }",
    );
    assert_eq!(pair.read().autoscaler, PoolAutoscaler::On { least: 0, most: 4 });
    assert_eq!(pair.refused(3), PoolErrorKind::BadRequest);
    let accepted = runtime()
        .block_on(pair.aks.set_least(&key(), &pair.read(), 3))
        .unwrap();
    assert_eq!(pair.follow(&accepted.operation.unwrap()), Ok(Progress::Succeeded));
    let after = pair.read();
    assert_eq!(
        (after.autoscaler, after.count),
        (PoolAutoscaler::On { least: 3, most: 4 }, 3)
    );
    let too_many = runtime().block_on(pair.aks.set_least(&key(), &after, 5));
    assert_eq!(too_many.unwrap_err().kind, PoolErrorKind::BadRequest);
    let pools = runtime().block_on(pair.aks.all(&"prod".into())).unwrap();
    assert_eq!(pools[1].1, Ok(pair.read()), "as it is when it is read by itself");
    let names: Vec<&str> = pools.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["b", "gpu"]);
}

//! What becomes of a resize: accepted, refused, ended well or badly, never heard of again.

use gpuscale::control::ports::{PoolErrorKind, PoolState, Progress};
use gpuscale::policy::observation::Failure;

use crate::event::{Event, Left};
use crate::world::arm::{ArmFault, ArmFaultKind, CountAfter, First, LateView, Missing, Platform, Said};

use super::{CALM, MINUTE_MS, Stage};

pub(super) fn growth_is_shown_at_once_and_boots(seed: u64) {
    let mut stage = Stage::calm(seed);
    let before = stage.read();
    assert_eq!((before.count, before.state), (4, PoolState::Steady));
    let operation = stage.operation(7);
    let during = stage.read();
    assert_eq!(
        (during.count, during.state, stage.present()),
        (7, PoolState::Busy, 7)
    );
    assert_ne!(before.etag, during.etag);
    assert!(matches!(stage.poll(&operation), Ok(Progress::Running(_))));
    stage.pass(3 * MINUTE_MS);
    let after = stage.read();
    assert_eq!((after.count, after.state), (7, PoolState::Steady));
    assert_ne!(after.etag, during.etag);
    assert_eq!(stage.poll(&operation), Ok(Progress::Succeeded));
    assert_eq!(
        stage.poll("operations/0/99").unwrap_err().kind,
        PoolErrorKind::Gone
    );
    assert_eq!(stage.poll("nonsense").unwrap_err().kind, PoolErrorKind::Gone);
}

pub(super) fn shrinking_takes_the_nodes(seed: u64) {
    let mut stage = Stage::calm(seed);
    stage.operation(1);
    stage.pass(3 * MINUTE_MS);
    assert_eq!((stage.read().count, stage.present()), (1, 1));
    assert!(stage.taken(Left::Ours) >= 3);
    assert_eq!(stage.taken(Left::Foreign), 0);
}

pub(super) fn one_operation_at_a_time(seed: u64) {
    let mut stage = Stage::calm(seed);
    let old = stage.read().etag;
    stage.operation(6);
    let (refused, arrived) = stage.put(&old, 8);
    assert_eq!(refused.unwrap_err().kind, PoolErrorKind::Stale);
    assert!(arrived.ours_running && !arrived.etag_current && !arrived.foreign_running);
    assert_eq!((arrived.from, arrived.to), (6, 8));
    assert_eq!(stage.refused(8), PoolErrorKind::Busy);
    stage.pass(3 * MINUTE_MS);
    assert_eq!(stage.refused(1001), PoolErrorKind::BadRequest);
    assert!(stage.resize(8).is_ok());
    let first = First::Busy;
    let mut stage = Stage::new(Platform { first, ..CALM }, seed);
    let old = stage.read().etag;
    stage.operation(6);
    let refused = stage.put(&old, 8).0;
    assert_eq!(refused.unwrap_err().kind, PoolErrorKind::Busy);
}

pub(super) fn capacity_is_refused(seed: u64) {
    for (fault, why) in [
        (ArmFault::QuotaLow { room: 1 }, Failure::QuotaLow),
        (ArmFault::QuotaZero, Failure::QuotaZero),
        (ArmFault::SkuGone, Failure::Sku),
    ] {
        let mut stage = Stage::with(seed, fault);
        assert_eq!(stage.refused(6), PoolErrorKind::Capacity(why));
        assert!(stage.tells(|event| matches!(event, Event::Fault { name: "F16", .. })));
        assert_eq!(stage.arm.struck(fault.kind()), 1);
        assert_eq!(stage.resize(5).is_ok(), why == Failure::QuotaLow);
        stage.pass(3 * MINUTE_MS);
        assert!(stage.resize(3).is_ok());
        stage.clear(fault.kind());
        stage.pass(3 * MINUTE_MS);
        assert!(stage.resize(6).is_ok());
    }
}

pub(super) fn capacity_fails_late(seed: u64) {
    for count in [CountAfter::Stays, CountAfter::Reverts] {
        let why = Failure::Allocation;
        let mut stage = Stage::with(seed, ArmFault::FailsLate { why, count });
        let operation = stage.operation(8);
        stage.pass(3 * MINUTE_MS);
        let Ok(Progress::Failed(error)) = stage.poll(&operation) else {
            panic!("the operation failed");
        };
        assert_eq!(error.kind, PoolErrorKind::Capacity(why));
        let pool = stage.read();
        assert_eq!(pool.state, PoolState::Failed);
        assert!((4..8).contains(&stage.present()));
        let expected = if count == CountAfter::Stays {
            8
        } else {
            stage.present()
        };
        assert_eq!(pool.count, expected);
        stage.clear(ArmFaultKind::FailsLate);
        assert!(stage.resize(9).is_ok());
        stage.pass(3 * MINUTE_MS);
        assert_eq!(stage.read().state, PoolState::Steady);
    }
}

pub(super) fn part_is_filled(seed: u64) {
    for said in [Said::Succeeded, Said::Failed] {
        let mut stage = Stage::with(seed, ArmFault::PartialFill { said });
        let operation = stage.operation(8);
        stage.pass(3 * MINUTE_MS);
        assert!((4..8).contains(&stage.present()));
        assert_eq!(stage.read().count, 8);
        let succeeded = stage.poll(&operation) == Ok(Progress::Succeeded);
        assert_eq!(succeeded, said == Said::Succeeded);
    }
}

pub(super) fn operations_get_stuck_lost_and_overtaken(seed: u64) {
    let ms = 70 * MINUTE_MS;
    let mut stage = Stage::with(seed, ArmFault::Stuck { ms });
    stage.operation(6);
    stage.pass(ms - 1);
    assert_eq!(stage.read().state, PoolState::Busy);
    stage.pass(1);
    assert_eq!(stage.read().state, PoolState::Failed);
    stage.operation(9);
    stage.clear(ArmFaultKind::Stuck);
    assert_eq!(stage.read().state, PoolState::Failed);

    let mut stage = Stage::with(seed, ArmFault::Lost);
    let operation = stage.operation(6);
    assert_eq!(stage.poll(&operation).unwrap_err().kind, PoolErrorKind::Gone);
    stage.pass(3 * MINUTE_MS);
    assert_eq!((stage.read().state, stage.present()), (PoolState::Steady, 6));
    assert_eq!(stage.poll(&operation).unwrap_err().kind, PoolErrorKind::Gone);

    let mut stage = Stage::with(seed, ArmFault::Overtaken { by: -5 });
    let operation = stage.operation(6);
    stage.pass(3 * MINUTE_MS);
    assert_eq!(stage.poll(&operation), Ok(Progress::Cancelled));
    assert_eq!(stage.read().count, 1);
    stage.pass(3 * MINUTE_MS);
    assert_eq!((stage.read().state, stage.present()), (PoolState::Steady, 1));
    assert_eq!(stage.taken(Left::Foreign), 5);
}

pub(super) fn the_count_is_shown_late(seed: u64) {
    for view in [LateView::Count, LateView::Pool] {
        let ms = 20_000;
        let mut stage = Stage::with(seed, ArmFault::CountLate { ms, view });
        stage.operation(6);
        let (old, now) = (stage.before.clone().expect("it was read"), stage.read());
        assert_eq!((now.count, stage.arm.count(0)), (4, 6));
        assert_eq!(now == old, view == LateView::Pool);
        assert_eq!(now.etag == old.etag, view == LateView::Pool);
        stage.pass(ms);
        assert_eq!((stage.read().count, stage.read().state), (6, PoolState::Busy));
        assert_ne!(stage.read().etag, now.etag);
    }
}

pub(super) fn missing_nodes_stay_away_or_come(seed: u64) {
    for (missing, boots) in [(Missing::StayAway, 1), (Missing::ReplacedByResize, 3)] {
        let mut stage = Stage::new(Platform { missing, ..CALM }, seed);
        stage.racks[0].up = 2;
        assert!(stage.resize(5).is_ok());
        assert_eq!((stage.read().count, stage.present()), (5, 2 + boots));
        stage.pass(3 * MINUTE_MS);
        stage.racks[0].up = 0;
        let again = stage.resize(5).unwrap();
        if missing == Missing::StayAway {
            assert_eq!(again.operation, None);
        } else {
            assert_eq!(stage.present(), 5);
        }
        stage.pass(3 * MINUTE_MS);
        // Growth lets nothing go, not even what should not be there.
        stage.racks[0].up = 9;
        assert!(stage.resize(6).is_ok());
        stage.pass(3 * MINUTE_MS);
        assert_eq!(stage.taken(Left::Ours), 0);
    }
}

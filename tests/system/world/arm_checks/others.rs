//! What others do to a pool, who is sent away at the door, and everything at once.

use gpuscale::control::ports::{PoolAutoscaler, PoolErrorKind, PoolState, Progress};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use crate::event::{Event, Left};
use crate::world::arm::{ArmFault, ArmFaultKind, CountAfter, LateView, Platform, Said};

use super::{MINUTE_MS, Stage};

pub(super) fn others_write(seed: u64) {
    let mut stage = Stage::calm(seed);
    let before = stage.read();
    stage.set(ArmFault::ForeignWrite { by: 3 });
    assert_eq!(stage.arm.count(0), 7);
    assert_ne!(stage.read().etag, before.etag);
    let (refused, arrived) = stage.put(&before.etag, 5);
    assert_eq!(refused.unwrap_err().kind, PoolErrorKind::Stale);
    assert_eq!((arrived.etag_current, arrived.from), (false, 7));
    stage.pass(3 * MINUTE_MS);
    assert_eq!((stage.present(), stage.read().state), (7, PoolState::Steady));

    // Somebody who finds the pool busy waits, and gives up with his fault.
    for gives_up in [false, true] {
        let mut stage = Stage::calm(seed);
        stage.operation(6);
        stage.set(ArmFault::ForeignWrite { by: -2 });
        assert_eq!(stage.arm.count(0), 6);
        if gives_up {
            stage.clear(ArmFaultKind::ForeignWrite);
        }
        stage.pass(7 * MINUTE_MS);
        assert_eq!(stage.present(), if gives_up { 6 } else { 4 });
        assert_eq!(stage.taken(Left::Foreign), if gives_up { 0 } else { 2 });
    }
}

pub(super) fn writes_come_in_between(seed: u64) {
    let mut stage = Stage::with(seed, ArmFault::WriteAfterRead { by: 1 });
    let shown = stage.read();
    assert_eq!((shown.count, stage.arm.count(0)), (4, 5));
    assert_eq!(
        stage.put(&shown.etag, 6).0.unwrap_err().kind,
        PoolErrorKind::Stale
    );
    stage.pass(3 * MINUTE_MS);
    assert!(stage.resize(6).is_ok());

    let mut stage = Stage::with(seed, ArmFault::WriteBeforeResize { by: 1 });
    assert_eq!(stage.refused(6), PoolErrorKind::Stale);
    assert!(stage.tells(|event| matches!(event, Event::Fault { name: "F14", .. })));
    assert!(stage.tells(|event| matches!(event, Event::ForeignWrite { from: 4, to: 5, .. })));
    stage.pass(3 * MINUTE_MS);
    assert!(stage.resize(6).is_ok());
}

pub(super) fn the_autoscaler_owns_the_count(seed: u64) {
    let mut stage = Stage::calm(seed);
    let before = stage.read();
    stage.set(ArmFault::AutoscalerOn { by: 2 });
    let during = stage.read();
    assert_ne!(during.autoscaler, PoolAutoscaler::Off);
    assert_ne!(during.etag, before.etag);
    let (refused, arrived) = stage.put(&during.etag, 8);
    assert_eq!(refused.unwrap_err().kind, PoolErrorKind::BadRequest);
    assert!(arrived.autoscaler);
    stage.pass(5 * MINUTE_MS);
    assert_eq!(stage.arm.count(0), 6);
    stage.clear(ArmFaultKind::AutoscalerOn);
    assert_eq!(stage.read().autoscaler, PoolAutoscaler::Off);
    stage.pass(3 * MINUTE_MS);
    assert!(stage.resize(8).is_ok());
}

pub(super) fn others_upgrade_and_stop(seed: u64) {
    let mut stage = Stage::with(seed, ArmFault::Upgrade { ms: 20 * MINUTE_MS });
    assert_eq!((stage.read().count, stage.present()), (4, 5));
    assert_eq!(stage.refused(6), PoolErrorKind::Busy);
    stage.pass(20 * MINUTE_MS);
    assert_eq!((stage.read().state, stage.present()), (PoolState::Steady, 4));
    assert_eq!(stage.taken(Left::Foreign), 1);

    let mut stage = Stage::calm(seed);
    let operation = stage.operation(6);
    stage.set(ArmFault::Stopped);
    assert_eq!((stage.read().state, stage.present()), (PoolState::Stopped, 0));
    assert_eq!(stage.poll(&operation), Ok(Progress::Cancelled));
    assert_eq!(stage.refused(8), PoolErrorKind::BadRequest);
    stage.clear(ArmFaultKind::Stopped);
    assert_eq!((stage.read().state, stage.present()), (PoolState::Busy, 6));
    stage.pass(3 * MINUTE_MS);
    assert_eq!(stage.read().state, PoolState::Steady);
}

pub(super) fn callers_are_sent_away() {
    let throttled = ArmFault::Throttled {
        percent: 100,
        retry_after_ms: 30_000,
    };
    for (fault, kind) in [
        (throttled, PoolErrorKind::Throttled(30_000)),
        (ArmFault::AuthExpired, PoolErrorKind::Auth),
        (ArmFault::Unavailable { percent: 100 }, PoolErrorKind::Unavailable),
        (ArmFault::PollsDropped { percent: 100 }, PoolErrorKind::NoAnswer),
    ] {
        let mut stage = Stage::calm(3);
        let etag = stage.read().etag;
        let operation = stage.operation(6);
        stage.set(fault);
        assert_eq!(stage.poll(&operation).unwrap_err().kind, kind);
        let reads = stage.arm.read(stage.now_ms, 0);
        if fault.kind() != ArmFaultKind::PollsDropped {
            assert_eq!(reads.unwrap_err().kind, kind);
            assert_eq!(stage.put(&etag, 8).0.unwrap_err().kind, kind);
        }
        assert_eq!(stage.arm.impatient(), 0);
        assert!(stage.poll(&operation).is_err());
        let early = u32::from(fault == throttled);
        assert_eq!((stage.arm.impatient(), stage.arm.self_inflicted()), (early, 0));
        stage.pass(30_000);
        stage.clear(fault.kind());
        assert!(stage.poll(&operation).is_ok());
        assert_eq!(stage.arm.impatient(), early);
    }
}

pub(super) fn too_many_calls_are_found_out() {
    let mut stage = Stage::calm(1);
    for _ in 0..60 {
        stage.read();
    }
    let error = stage.arm.read(stage.now_ms, 0).unwrap_err();
    assert_eq!(error.kind, PoolErrorKind::Throttled(1000));
    stage.pass(1000);
    stage.read();
    for _ in 0..20 {
        assert_eq!(stage.put("?", 5).0.unwrap_err().kind, PoolErrorKind::Stale);
    }
    let refused = stage.put("?", 5).0.unwrap_err();
    assert_eq!(refused.kind, PoolErrorKind::Throttled(60_000));
    stage.pass(59_999);
    let refused = stage.put("?", 5).0.unwrap_err();
    assert_eq!(refused.kind, PoolErrorKind::Throttled(1000));
    assert_eq!((stage.arm.self_inflicted(), stage.arm.impatient()), (3, 1));
    stage.pass(1);
    assert_eq!(stage.put("?", 5).0.unwrap_err().kind, PoolErrorKind::Stale);
}

/// Draws for the play below: a small stream.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }

    fn fault(&mut self) -> ArmFault {
        let by = [-3, -1, 1, 2][usize::try_from(self.below(4)).unwrap()];
        let ms = 60_000 * Millis::try_from(1 + self.below(30)).unwrap();
        let odd = self.below(2) == 1;
        let percent = 40;
        match self.below(16) {
            0 => ArmFault::AutoscalerOn { by },
            1 => ArmFault::ForeignWrite { by },
            2 => ArmFault::WriteAfterRead { by },
            3 => ArmFault::WriteBeforeResize { by },
            4 => ArmFault::Overtaken { by },
            5 => ArmFault::Upgrade { ms },
            6 => ArmFault::Stopped,
            7 => ArmFault::QuotaLow { room: 1 },
            8 if odd => ArmFault::QuotaZero,
            8 => ArmFault::SkuGone,
            9 => ArmFault::FailsLate {
                why: Failure::Allocation,
                count: if odd {
                    CountAfter::Stays
                } else {
                    CountAfter::Reverts
                },
            },
            10 => ArmFault::PartialFill {
                said: if odd { Said::Succeeded } else { Said::Failed },
            },
            11 => ArmFault::Stuck { ms },
            12 => ArmFault::Lost,
            13 => ArmFault::CountLate {
                ms,
                view: if odd { LateView::Count } else { LateView::Pool },
            },
            14 if odd => ArmFault::Unavailable { percent },
            14 => ArmFault::AuthExpired,
            15 if odd => ArmFault::PollsDropped { percent },
            _ => ArmFault::Throttled {
                percent,
                retry_after_ms: 20_000,
            },
        }
    }
}

/// Two hours of faults and resizes of whoever asks without thinking; then all of it ends.
fn play(seed: u64) -> Stage {
    let mut stage = Stage::new(Platform::drawn(seed), seed);
    let mut dice = Dice(seed);
    let mut operation = None;
    for _ in 0..480 {
        stage.pass(15_000);
        match dice.below(12) {
            0 => stage.set(dice.fault()),
            1 => stage.clear(dice.fault().kind()),
            2..6 => {
                let to = u32::try_from(dice.below(12)).unwrap();
                let shown = stage.arm.read(stage.now_ms, 0);
                if let Ok(pool) = shown {
                    let (answer, arrived) = stage.put(&pool.etag, to);
                    if answer.is_ok() {
                        assert!(arrived.etag_current && !arrived.autoscaler);
                        assert!(!arrived.ours_running && !arrived.foreign_running);
                        assert_eq!(stage.arm.count(0), to);
                    }
                    operation = answer.ok().and_then(|accepted| accepted.operation).or(operation);
                }
            }
            6 => {
                let salt = dice.below(3);
                stage.racks[0].up -= u32::from(salt == 0 && stage.racks[0].up > 0);
            }
            _ => {
                let _ = stage.arm.poll(stage.now_ms, operation.as_deref().unwrap_or("?"));
            }
        }
        stage.racks[0].mature(stage.now_ms);
    }
    for kind in ArmFaultKind::ALL {
        stage.clear(kind);
    }
    stage.pass(40 * MINUTE_MS);
    stage
}

pub(super) fn anything_goes_and_ends(seed: u64) {
    let mut stage = play(seed);
    assert_eq!(stage.log.events, play(seed).log.events, "seed {seed}");
    assert_eq!(stage.arm.next_event_ms(), None, "seed {seed}");
    let pool = stage.read();
    assert!(matches!(pool.state, PoolState::Steady | PoolState::Failed));
    assert_eq!(
        (pool.count, pool.autoscaler),
        (stage.arm.count(0), PoolAutoscaler::Off)
    );
    assert!(
        stage.log.events.is_sorted_by_key(|(at_ms, _)| *at_ms),
        "seed {seed}"
    );
    assert!(stage.resize(pool.count + 1).is_ok());
    stage.pass(3 * MINUTE_MS);
    assert_eq!(stage.read().state, PoolState::Steady);
}

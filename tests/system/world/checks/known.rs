//! Checks of what the invariants are told: the truth at every scrape, and how much of it the server has.

use gpuscale::policy::config::{MINUTE_MS, Micro, Millis, ONE};

use super::super::demand::STEP_MS;
use super::super::prometheus::faults::{Blank, Fault, History, Hit};
use super::metrics::{HALF, Stage};

/// Checks what the invariants are told.
pub(super) fn run() {
    the_truth_knows_what_was_not_stored();
    a_sample_is_known_until_it_is_too_old();
    what_is_known_is_on_the_clock_of_the_time();
}

fn the_truth_knows_what_was_not_stored() {
    let mut stage = Stage::new(4 * ONE);
    let start_ms = stage.now_ms;
    stage.scrape(4);
    let dead = Fault::ExportersDead { nodes: HALF };
    stage.server.set(stage.now_ms, dead);
    stage.scrape(4);
    stage.server.clear(stage.now_ms, dead);
    let blank = Blank::NotANumber;
    stage.server.set(
        stage.now_ms,
        Fault::Blank {
            devices: Hit::ALL,
            blank,
        },
    );
    stage.fleets[0].set_load(0);
    stage.scrape(4);
    let at = |scrapes: i64| start_ms + scrapes * STEP_MS;
    let server = &stage.server;
    assert_eq!(server.known_share(0, at(0), at(4)), Some(ONE));
    assert_eq!(server.known_share(0, at(4), at(8)), Some(ONE / 2));
    assert_eq!(server.known_share(0, at(8), at(12)), Some(0));
    assert_eq!(server.known_share(0, at(0), at(12)), Some(ONE / 2));
    assert_eq!(server.known_share(0, at(12), at(20)), None);
    assert_eq!(server.max_true_load(0, at(0), at(12)), ONE / 2);
    assert_eq!(server.max_true_load(0, at(8), at(12)), 0);
    stage.server.clear(
        stage.now_ms,
        Fault::Blank {
            devices: Hit::ALL,
            blank,
        },
    );
    stage.server.set(stage.now_ms, Fault::Lying { devices: Hit::ALL });
    stage.scrape(4);
    let told = stage.server.known_share(0, at(12), at(16));
    assert_eq!(told, Some(ONE), "who does nothing and says so does not lie");
}

/// The share that is known of so many scrapes up to now.
fn known(stage: &Stage, scrapes: i64) -> Micro {
    let within = (stage.now_ms - scrapes * STEP_MS, stage.now_ms);
    stage
        .server
        .known_time(0, &stage.fleets[0], within, 4 * STEP_MS, 0)
}

fn a_sample_is_known_until_it_is_too_old() {
    let near = |known: Micro, wanted: Micro| {
        // Stamps are up to 300 ms before their scrapes.
        assert!((known - wanted).abs() <= ONE / 100, "{known}, not {wanted}");
    };
    let mut stage = Stage::new(4 * ONE);
    stage.scrape(10);
    near(known(&stage, 10), ONE * 9 / 10);
    near(known(&stage, 8), ONE);
    let dead = Fault::ExportersDead { nodes: HALF };
    stage.server.set(stage.now_ms, dead);
    stage.scrape(4);
    near(known(&stage, 8), ONE);
    stage.scrape(4);
    near(known(&stage, 8), ONE * 3 / 4);
    near(known(&stage, 4), ONE / 2);
    stage.server.clear(stage.now_ms, dead);
    let all = Hit::ALL;
    stage.server.set(stage.now_ms, Fault::Lying { devices: all });
    stage.scrape(4);
    near(known(&stage, 3), 0);
    let newest_ms = |stage: &Stage| stage.server.newest_sample_ms(0, &stage.fleets[0]);
    let age_ms = stage.now_ms - newest_ms(&stage).unwrap_or(0);
    assert!(
        (4 * STEP_MS..4 * STEP_MS + 300).contains(&age_ms),
        "of the nodes that were not silent: {age_ms}"
    );
    // Nodes that left are not asked for, and those that are not warm yet are not either.
    stage.server.clear(stage.now_ms, Fault::Lying { devices: all });
    stage.scrape(8);
    near(known(&stage, 7), ONE);
    stage.fleets[0].boot(stage.now_ms, 0, MINUTE_MS);
    stage.fleets[0].advance(stage.now_ms);
    stage.scrape(4);
    near(known(&stage, 4), ONE * 4 / 5);
    let within = (stage.now_ms - 4 * STEP_MS, stage.now_ms);
    let warm = stage
        .server
        .known_time(0, &stage.fleets[0], within, MINUTE_MS, MINUTE_MS);
    near(warm, ONE);
    stage.fleets[0].set_unhealthy(4, true);
    near(known(&stage, 4), ONE);
    stage.fleets[0].remove_busiest(stage.now_ms, 9);
    assert_eq!((known(&stage, 4), newest_ms(&stage)), (ONE, None));
}

fn what_is_known_is_on_the_clock_of_the_time() {
    for by_ms in [-20 * STEP_MS, 20 * STEP_MS] {
        for history in [History::Kept, History::Shifted] {
            let mut stage = Stage::new(4 * ONE);
            stage.scrape(40);
            let then_ms = stage.now_ms;
            let at = |stage: &Stage, to_ms: Millis| {
                let within = (to_ms - 8 * STEP_MS, to_ms);
                stage.server.known_time(0, &stage.fleets[0], within, MINUTE_MS, 0)
            };
            assert!(at(&stage, then_ms) > ONE * 99 / 100);
            let fault = Fault::Skew { by_ms, history };
            stage.server.set(then_ms + 1, fault);
            assert!(at(&stage, then_ms) > ONE * 99 / 100, "{fault:?} changes what was");
            stage.scrape(1);
            let gap = history == History::Kept && by_ms > 0;
            assert_eq!(known(&stage, 8) < ONE / 8, gap, "{fault:?}: {}", known(&stage, 8));
        }
    }
    let lag = Fault::Lag {
        nodes: Hit::ALL,
        by_ms: 8 * STEP_MS,
    };
    let mut stage = Stage::new(ONE);
    stage.scrape(20);
    stage.server.set(stage.now_ms, lag);
    stage.scrape(8);
    let known = known(&stage, 8);
    assert!(
        (ONE * 48 / 100..=ONE / 2).contains(&known),
        "late samples are not known yet: {known}"
    );
}

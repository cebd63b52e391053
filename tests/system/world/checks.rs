//! Checks of the world itself, run before any seed: a world that is not what it says proves nothing.

use std::sync::Arc;

use gpuscale::control::ports::{Answer, AnswerSeries, Completeness, Selector, SourceError, SourceErrorKind};
use gpuscale::policy::config::{MINUTE_MS, Micro, Millis, ONE};
use gpuscale::recording::Labels;

use crate::clock::EPOCH_MS;

use super::demand::{Demand, PLATEAU_FROM_MS, RUN_MS, SILENCE_FROM_MS, STEP_MS, Shape};
use super::fleet::{Fleet, FleetSpec, LEAST_LOAD, Removed, Spread, put};
use super::prometheus::faults::{Blank, Fault, History, Hit};
use super::prometheus::{PoolLabels, Prometheus};

/// Checks the worlds.
///
/// # Panics
///
/// If one is not what it says.
pub fn run() {
    demand_has_all_that_a_controller_must_meet();
    demand_ends_alike_in_every_run();
    waves_stay_in_their_bounds();
    nodes_boot_in_two_steps();
    the_platform_takes_the_busiest();
    work_is_neither_lost_nor_made();
    a_scrape_is_read_as_it_was();
    a_change_of_pod_is_a_new_series();
    selectors_choose_by_labels();
    a_query_is_sampled_at_its_steps();
    each_fault_does_what_it_says();
    nodes_that_left_haunt_for_five_minutes();
    the_source_clock_steps();
    late_samples_come_late();
    the_truth_knows_what_was_not_stored();
}

// --- demand ---

/// How long the longest stretch is for which something holds.
fn longest(demand: &Demand, holds: impl Fn(Micro) -> bool) -> Millis {
    let (mut longest, mut now) = (0, 0);
    for step in 0..PLATEAU_FROM_MS / STEP_MS {
        now = if holds(demand.at(step * STEP_MS)) {
            now + STEP_MS
        } else {
            0
        };
        longest = longest.max(now);
    }
    longest
}

fn demand_has_all_that_a_controller_must_meet() {
    let most = 8 * ONE;
    let demands: Vec<Demand> = (0..40).map(|seed| Demand::new(seed, 1, 8)).collect();
    let count = |what: &dyn Fn(&Demand) -> bool| demands.iter().filter(|demand| what(demand)).count();
    assert!(count(&|demand| longest(demand, |load| load == 0) >= 30 * MINUTE_MS) > 20);
    assert!(count(&|demand| longest(demand, |load| load > most) >= 5 * MINUTE_MS) > 10);
    assert!(count(&|demand| longest(demand, |load| load > 0) >= 30 * MINUTE_MS) > 30);
    let short = |demand: &Demand| {
        let turns = (1..PLATEAU_FROM_MS / STEP_MS).filter(|step| {
            let (before, now) = (demand.at((step - 1) * STEP_MS), demand.at(step * STEP_MS));
            (before < most / 2) != (now < most / 2)
        });
        turns.count() > 10
    };
    assert!(count(&short) > 10, "few demands go up and down");
    for demand in &demands {
        let steps = (0..RUN_MS / STEP_MS).map(|step| demand.at(step * STEP_MS));
        let wrong = steps
            .clone()
            .find(|&load| load != 0 && !(most / 20..=2 * most).contains(&load));
        assert_eq!(
            wrong, None,
            "a load that an engine may take for idle, or beyond all measure"
        );
    }
    assert_ne!(demands[0], demands[1]);
    assert_ne!(demands[3], Demand::new(3, 2, 8));
    assert_eq!(demands[3], Demand::new(3, 1, 8));
}

fn demand_ends_alike_in_every_run() {
    for seed in 0..30 {
        let demand = Demand::new(seed, 0, 16);
        let plateau = demand.plateau();
        assert!(
            (16 * ONE * 3 / 10..=16 * ONE * 8 / 10).contains(&plateau),
            "{plateau}"
        );
        assert_eq!(demand.at(PLATEAU_FROM_MS), plateau);
        assert_eq!(demand.at(SILENCE_FROM_MS - 1), plateau);
        assert_eq!(demand.most(SILENCE_FROM_MS, RUN_MS * 2), 0);
        assert_eq!(demand.next_change_ms(PLATEAU_FROM_MS), Some(SILENCE_FROM_MS));
        assert_eq!(demand.next_change_ms(SILENCE_FROM_MS), None);
        assert_eq!(demand.at(-1), 0);
    }
}

fn waves_stay_in_their_bounds() {
    for shape in [Shape::Sine, Shape::Square, Shape::Sawtooth] {
        let heights: Vec<i64> = (0..20)
            .map(|step| shape.at(step * STEP_MS, 20 * STEP_MS))
            .collect();
        assert!(
            heights.iter().all(|height| (-1_000..=1_000).contains(height)),
            "{shape:?}"
        );
        assert!(
            heights.iter().any(|&height| height > 850),
            "{shape:?}: {heights:?}"
        );
        assert!(
            heights.iter().any(|&height| height < -850),
            "{shape:?}: {heights:?}"
        );
        assert!(
            heights.iter().sum::<i64>().abs() <= 1_000,
            "{shape:?}: {heights:?}"
        );
    }
}

// --- fleet ---

fn fleet(gpus_per_node: u32, nodes: u32) -> Fleet {
    Fleet::new(FleetSpec { gpus_per_node }, nodes).named("a100")
}

fn nodes_boot_in_two_steps() {
    let mut pool = fleet(4, 2);
    assert_eq!((pool.present(), pool.booting(), pool.schedulable()), (2, 0, 2));
    assert_eq!(pool.next_event_ms(), None);
    pool.boot(1_000, 60_000, 30_000);
    assert_eq!((pool.present(), pool.booting(), pool.schedulable()), (3, 1, 2));
    assert_eq!(pool.next_event_ms(), Some(61_000));
    let shown = |pool: &Fleet, now_ms| {
        let mut nodes = Vec::new();
        pool.show(now_ms, &mut nodes);
        nodes
    };
    assert_eq!(shown(&pool, 40_999).len(), 2);
    assert_eq!(shown(&pool, 41_000)[2].ready_since_ms, None);
    assert_eq!(pool.advance(61_000), 0);
    assert_eq!((pool.booting(), pool.schedulable()), (0, 2));
    let node = &shown(&pool, 61_000)[2];
    assert_eq!(
        (node.ready_since_ms, node.schedulable_gpus),
        (Some(EPOCH_MS + 61_000), 0)
    );
    assert_eq!(pool.capacity(), 8 * ONE);
    assert_eq!(pool.next_event_ms(), Some(91_000));
    assert_eq!(pool.advance(91_000), 1);
    assert_eq!((pool.schedulable(), pool.capacity()), (3, 12 * ONE));
    let node = &pool.nodes()[2];
    assert_eq!(&*node.name, "aks-a100-000002");
    assert_eq!(
        node.gpus.iter().map(|gpu| gpu.device).collect::<Vec<_>>(),
        [8, 9, 10, 11]
    );
    assert_eq!(&*node.uuids[3], "GPU-a100-00000011");
    pool.set_unhealthy(2, true);
    assert_eq!((pool.schedulable(), pool.capacity()), (3, 8 * ONE));
    let node = &shown(&pool, 91_000)[2];
    assert!(node.unhealthy && node.free_gpus == 0 && node.schedulable_gpus == 4);
}

fn the_platform_takes_the_busiest() {
    let mut pool = fleet(1, 3).spread(Spread::Packed);
    pool.boot(0, MINUTE_MS, 0);
    pool.set_load(2 * ONE);
    assert_eq!(pool.remove_booting(0, 5), 1);
    pool.boot(0, MINUTE_MS, 0);
    assert_eq!(pool.remove_busiest(0, 1), Removed { nodes: 1, busy: 1 });
    assert_eq!(
        pool.nodes().iter().map(|node| node.number).collect::<Vec<_>>(),
        [1, 2, 4]
    );
    assert_eq!(pool.remove_busiest(0, 2), Removed { nodes: 2, busy: 1 });
    assert_eq!((pool.present(), pool.booting()), (1, 1));
    assert_eq!(pool.evict(0, 1, 7), Removed { nodes: 0, busy: 0 });
    assert_eq!(pool.remove_busiest(0, 9), Removed { nodes: 1, busy: 0 });

    let left = |salt| {
        let mut pool = fleet(1, 8);
        pool.set_load(ONE);
        assert_eq!(pool.evict(0, 3, salt), Removed { nodes: 3, busy: 3 });
        pool.nodes().iter().map(|node| node.number).collect::<Vec<_>>()
    };
    assert_eq!(left(1), left(1));
    assert!((2..9).any(|salt| left(salt) != left(1)));
}

fn work_is_neither_lost_nor_made() {
    let load = |pool: &Fleet| {
        pool.nodes()
            .iter()
            .map(super::fleet::FleetNode::load)
            .sum::<Micro>()
    };
    for spread in [Spread::Even, Spread::Packed, Spread::PackedNewest] {
        let mut pool = fleet(2, 3).spread(spread);
        pool.set_load(3 * ONE);
        assert_eq!(load(&pool), 3 * ONE, "{spread:?}");
        pool.set_load(7 * ONE);
        assert_eq!((load(&pool), pool.busiest()), (6 * ONE, ONE), "{spread:?}");
        pool.set_load(0);
        assert_eq!(load(&pool), 0, "{spread:?}");
        pool.set_load(1);
        let least = pool
            .nodes()
            .iter()
            .flat_map(|node| &node.gpus)
            .map(|gpu| gpu.load);
        assert!(
            least.clone().all(|load| load == 0 || load >= LEAST_LOAD),
            "{spread:?}"
        );
    }
    let mut packed = fleet(1, 3).spread(Spread::Packed);
    packed.set_load(ONE + ONE / 2);
    let loads = |pool: &Fleet| {
        pool.nodes()
            .iter()
            .map(super::fleet::FleetNode::load)
            .collect::<Vec<_>>()
    };
    assert_eq!(loads(&packed), [ONE, ONE / 2, 0]);
    packed.set_unhealthy(0, true);
    packed.set_load(ONE + ONE / 2);
    assert_eq!(loads(&packed), [0, ONE, ONE / 2]);

    let mut fleets = [fleet(4, 1), fleet(1, 9), fleet(2, 2)];
    assert_eq!(put(6 * ONE, &mut fleets, &[0, 2]), 0);
    assert_eq!(
        (load(&fleets[0]), load(&fleets[1]), load(&fleets[2])),
        (3 * ONE, 0, 3 * ONE)
    );
    assert_eq!(put(10 * ONE, &mut fleets, &[0, 2]), 2 * ONE);
    assert_eq!(put(ONE, &mut fleets, &[]), ONE);
}

// --- metrics ---

const UTILIZATION: &str = "DCGM_FI_DEV_GPU_UTIL";
const POWER: &str = "DCGM_FI_DEV_POWER_USAGE";

/// A pool under load and the server that has scraped it for a while.
struct Stage {
    server: Prometheus,
    fleets: Vec<Fleet>,
    now_ms: Millis,
}

impl Stage {
    fn new(load: Micro) -> Self {
        let labels = |pool: &str| PoolLabels(vec![("agentpool".to_owned(), pool.to_owned())]);
        let mut server = Prometheus::new(7, vec![labels("a100"), labels("b")]);
        server.register("sum(queue)");
        let mut fleets = vec![
            fleet(2, 4),
            Fleet::new(FleetSpec { gpus_per_node: 1 }, 1).named("b"),
        ];
        fleets[0].set_load(load);
        let now_ms = server.next_scrape_ms(0) - STEP_MS;
        Self {
            server,
            fleets,
            now_ms,
        }
    }

    fn scrape(&mut self, times: usize) {
        for _ in 0..times {
            self.now_ms += STEP_MS;
            assert_eq!(self.now_ms, self.server.next_scrape_ms(self.now_ms));
            self.server.scrape(self.now_ms, &self.fleets, &[ONE / 4]);
        }
    }

    /// What the last minute has of a metric of the first pool.
    fn read(&mut self, name: &'static str) -> Answer {
        self.try_read(name).expect("the server answers")
    }

    fn try_read(&mut self, name: &'static str) -> Result<Answer, SourceError> {
        self.server.read(self.now_ms, &of_pool(name, "a100"), MINUTE_MS)
    }
}

fn of_pool(name: &'static str, pool: &str) -> Selector {
    let match_labels = vec![("agentpool".to_owned(), pool.to_owned())];
    Selector::Metric { name, match_labels }
}

fn samples(answer: &Answer) -> usize {
    answer.series.iter().map(|series| series.samples.len()).sum()
}

fn values(answer: &Answer) -> impl Iterator<Item = f64> {
    answer
        .series
        .iter()
        .flat_map(|series| &series.samples)
        .map(|sample| sample.1)
}

fn a_scrape_is_read_as_it_was() {
    let mut stage = Stage::new(4 * ONE);
    assert_eq!(samples(&stage.read(UTILIZATION)), 0);
    stage.scrape(10);
    let answer = stage.read(UTILIZATION);
    assert_eq!(answer.completeness, Completeness::Whole);
    assert_eq!((answer.series.len(), samples(&answer)), (8, 8 * 4));
    assert!(values(&answer).all(|value| (49.0..=51.0).contains(&value) && value.fract() == 0.0));
    let newest = |answer: &Answer| {
        answer
            .series
            .iter()
            .map(|one| one.samples[one.samples.len() - 1].0)
            .max()
    };
    assert!((answer.now_ms - 300..=answer.now_ms).contains(&newest(&answer).unwrap_or(0)));
    assert!(values(&stage.read(POWER)).all(|watts| (270.0..=280.0).contains(&watts)));
    let again = stage.read(UTILIZATION);
    for (first, second) in answer.series.iter().zip(&again.series) {
        assert!(
            Arc::ptr_eq(&first.labels, &second.labels),
            "the same series has the same labels"
        );
    }
    let labels = &answer.series[3].labels;
    let node = labels.get("Hostname").or(labels.get("hostname"));
    assert_eq!((node, labels.get("gpu")), (Some("aks-a100-000001"), Some("1")));
    assert!(labels.get("pod").is_some());
    stage.fleets[0].set_load(0);
    stage.scrape(5);
    assert!(values(&stage.read(UTILIZATION)).all(|value| value.to_bits() == 0));
    assert!(values(&stage.read(POWER)).all(|watts| (55.0..60.0).contains(&watts)));
    stage.scrape(400);
    let long = stage
        .server
        .read(stage.now_ms, &of_pool(UTILIZATION, "a100"), 600 * MINUTE_MS);
    assert_eq!(long.map(|answer| samples(&answer)), Ok(8 * 200));
}

fn a_change_of_pod_is_a_new_series() {
    let mut stage = Stage::new(0);
    stage.scrape(10);
    stage.fleets[0].set_load(8 * ONE);
    stage.scrape(2);
    let answer = stage.read(UTILIZATION);
    assert_eq!((answer.series.len(), samples(&answer)), (16, 8 * 4));
    let of_device = |pod: bool| {
        let gpu = |one: &&AnswerSeries| one.labels.get("pod").is_some() == pod;
        answer.series.iter().filter(gpu).count()
    };
    assert_eq!((of_device(true), of_device(false)), (8, 8));
    stage.scrape(4);
    assert_eq!(stage.read(UTILIZATION).series.len(), 8);
    stage.fleets[0].set_load(0);
    stage.scrape(1);
    stage.fleets[0].set_load(8 * ONE);
    stage.scrape(1);
    let answer = stage.read(UTILIZATION);
    assert_eq!(
        (answer.series.len(), samples(&answer)),
        (16, 8 * 4),
        "each series once"
    );
    for series in &answer.series {
        assert!(series.samples.is_sorted_by_key(|sample| sample.0));
    }
}

fn selectors_choose_by_labels() {
    let mut stage = Stage::new(ONE);
    stage.scrape(4);
    let mut count = |name: &'static str, labels: &[(&str, &str)]| {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let match_labels = labels.iter().map(own).collect();
        let selector = Selector::Metric { name, match_labels };
        let answer = stage.server.read(stage.now_ms, &selector, MINUTE_MS);
        answer.map(|answer| answer.series.len())
    };
    assert_eq!(count(UTILIZATION, &[]), Ok(9));
    assert_eq!(count(UTILIZATION, &[("agentpool", "b")]), Ok(1));
    assert_eq!(count(UTILIZATION, &[("agentpool", "c")]), Ok(0));
    assert_eq!(count(UTILIZATION, &[("gpu", "1")]), Ok(4));
    assert_eq!(count(UTILIZATION, &[("agentpool", "a100"), ("gpu", "0")]), Ok(4));
    assert_eq!(count("up", &[]), Ok(0));
}

fn a_query_is_sampled_at_its_steps() {
    let mut stage = Stage::new(ONE);
    stage.scrape(20);
    let ask = |promql: &str| Selector::Expression {
        promql: promql.to_owned(),
        step_ms: 30_000,
    };
    let answer = stage.server.read(stage.now_ms, &ask("sum(queue)"), 3 * MINUTE_MS);
    let answer = answer.expect("the server answers");
    assert_eq!(answer.series.len(), 1);
    let bare = Labels::new("", [("", ""); 0]).expect("no labels");
    assert_eq!(*answer.series[0].labels, bare);
    let samples = &answer.series[0].samples;
    assert_eq!(samples.len(), 6);
    assert!(
        samples
            .iter()
            .all(|&(at_ms, value)| at_ms % 30_000 == 0 && value.to_bits() == 3.0_f64.to_bits())
    );
    let range = answer.now_ms - 3 * MINUTE_MS + 1..=answer.now_ms;
    assert!(samples.iter().all(|sample| range.contains(&sample.0)));
    let other = stage.server.read(stage.now_ms, &ask("sum(other)"), MINUTE_MS);
    assert_eq!(other.map(|answer| answer.series.len()), Ok(0));
}

// --- faults ---

/// What a fault leaves of the answer while it is on; afterwards everything must be as before.
fn under(fault: Fault, check: impl Fn(&mut Stage)) {
    let mut stage = Stage::new(4 * ONE);
    stage.scrape(10);
    stage.server.set(stage.now_ms, fault);
    stage.scrape(8);
    check(&mut stage);
    stage.server.clear(fault);
    stage.scrape(8);
    let answer = stage.read(UTILIZATION);
    assert_eq!(answer.completeness, Completeness::Whole, "{fault:?}");
    assert_eq!(
        (answer.series.len(), samples(&answer)),
        (8, 32),
        "{fault:?} goes on"
    );
    assert!(
        values(&answer).all(|value| (49.0..=51.0).contains(&value)),
        "{fault:?} goes on"
    );
}

const HALF: Hit = Hit {
    hit: 1,
    of: 2,
    salt: 1,
};

fn each_fault_does_what_it_says() {
    under(Fault::Empty, |stage| {
        assert_eq!(stage.read(UTILIZATION).series.len(), 0)
    });
    for kind in Fault::ERRORS {
        under(Fault::Error(kind), |stage| {
            assert_eq!(
                stage.try_read(UTILIZATION).err().map(|error| error.kind),
                Some(kind)
            );
        });
    }
    under(Fault::ServerDown, |stage| {
        let error = stage.try_read(UTILIZATION).err().map(|error| error.kind);
        assert_eq!(error, Some(SourceErrorKind::Unreachable));
        stage.server.clear(Fault::ServerDown);
        assert_eq!(samples(&stage.read(UTILIZATION)), 0, "the gap stays");
    });
    under(Fault::Partial { devices: HALF }, |stage| {
        let answer = stage.read(UTILIZATION);
        assert!(matches!(answer.completeness, Completeness::Partial(_)));
        assert_eq!(answer.series.len(), 4);
    });
    for blank in Blank::ALL {
        under(Fault::Blank { devices: HALF, blank }, |stage| {
            let answer = stage.read(UTILIZATION);
            let hit = values(&answer).filter(|value| value.to_bits() == blank.value().to_bits());
            assert_eq!(hit.count(), 16, "{blank:?}");
        });
    }
    under(Fault::ExportersDead { nodes: HALF }, |stage| {
        assert_eq!(stage.read(UTILIZATION).series.len(), 4);
    });
    under(Fault::ExporterRestarts { one_in: 3 }, |stage| {
        stage.scrape(100);
        let window_ms = 100 * STEP_MS;
        let answer = stage
            .server
            .read(stage.now_ms, &of_pool(UTILIZATION, "a100"), window_ms);
        let stored = answer.map(|answer| samples(&answer)).unwrap_or(0);
        assert!((400..700).contains(&stored), "{stored} of 800");
    });
    under(Fault::Replica { shift_ms: 120 }, |stage| {
        let answer = stage.read(UTILIZATION);
        let second = |one: &&AnswerSeries| one.labels.get("prometheus_replica").is_some();
        assert_eq!(
            (answer.series.len(), answer.series.iter().filter(second).count()),
            (16, 8)
        );
        assert!(
            answer
                .series
                .iter()
                .all(|one| one.samples.iter().all(|sample| sample.0 <= answer.now_ms))
        );
    });
    under(Fault::Foreign { series: 1_000 }, |stage| {
        let answer = stage.read(UTILIZATION);
        assert_eq!(answer.series.len(), 1_008);
        let foreign = |one: &&AnswerSeries| {
            one.labels
                .get("UUID")
                .is_some_and(|uuid| uuid.starts_with("GPU-others"))
        };
        assert_eq!(answer.series.iter().filter(foreign).count(), 1_000);
    });
    under(Fault::Lying { devices: HALF }, |stage| {
        let answer = stage.read(UTILIZATION);
        assert_eq!(values(&answer).filter(|value| value.to_bits() == 0).count(), 16);
        assert!(values(&stage.read(POWER)).all(|watts| watts > 140.0));
    });
}

fn nodes_that_left_haunt_for_five_minutes() {
    for ghosts in [false, true] {
        let mut stage = Stage::new(4 * ONE);
        stage.scrape(10);
        if ghosts {
            stage.server.set(stage.now_ms, Fault::Ghosts);
        }
        stage
            .server
            .set(stage.now_ms, Fault::ExportersDead { nodes: HALF });
        stage.fleets[0].remove_busiest(stage.now_ms, 2);
        stage.scrape(19);
        // Of the four nodes the first two left, and of the others one is silent.
        assert_eq!(stage.read(UTILIZATION).series.len(), if ghosts { 6 } else { 2 });
        stage.scrape(6);
        assert_eq!(stage.read(UTILIZATION).series.len(), 2);
    }
}

fn the_source_clock_steps() {
    for by_ms in [10 * MINUTE_MS, -10 * MINUTE_MS] {
        for history in [History::Kept, History::Shifted] {
            let fault = Fault::Skew { by_ms, history };
            let mut stage = Stage::new(4 * ONE);
            stage.scrape(60);
            let before_ms = stage.server.now_ms(stage.now_ms);
            stage.server.set(stage.now_ms, fault);
            assert_eq!(stage.server.now_ms(stage.now_ms) - before_ms, by_ms);
            stage.scrape(1);
            let answer = stage.read(UTILIZATION);
            let wanted = match (history, by_ms > 0) {
                (History::Shifted, _) => 32,
                (History::Kept, true) => 8,
                (History::Kept, false) => 32,
            };
            assert_eq!(samples(&answer), wanted, "{fault:?}");
            let known = stage.server.known_share(0, stage.now_ms - STEP_MS, stage.now_ms);
            let stored = !(history == History::Kept && by_ms < 0);
            assert_eq!(known, Some(if stored { ONE } else { 0 }), "{fault:?}");
            stage.server.clear(fault);
            assert_eq!(stage.server.now_ms(stage.now_ms), before_ms + STEP_MS);
        }
    }
}

fn late_samples_come_late() {
    let fault = Fault::Lag {
        nodes: HALF,
        by_ms: 3 * MINUTE_MS,
    };
    let mut stage = Stage::new(4 * ONE);
    stage.scrape(10);
    stage.server.set(stage.now_ms, fault);
    assert_eq!(
        samples(&stage.read(UTILIZATION)),
        32,
        "what could be read once stays readable"
    );
    stage.scrape(4);
    assert_eq!(samples(&stage.read(UTILIZATION)), 16);
    stage.scrape(16);
    let ten_ms = 10 * MINUTE_MS;
    let answer = stage
        .server
        .read(stage.now_ms, &of_pool(UTILIZATION, "a100"), ten_ms);
    assert_eq!(answer.map(|answer| samples(&answer)), Ok(4 * 30 + 4 * 18));
    stage.server.clear(fault);
    assert_eq!(samples(&stage.read(UTILIZATION)), 32);
}

fn the_truth_knows_what_was_not_stored() {
    let mut stage = Stage::new(4 * ONE);
    let start_ms = stage.now_ms;
    stage.scrape(4);
    let dead = Fault::ExportersDead { nodes: HALF };
    stage.server.set(stage.now_ms, dead);
    stage.scrape(4);
    stage.server.clear(dead);
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
}

//! Checks of the metrics server: what it stores, how it answers, and that each fault does what it says and
//! ends.

use std::sync::Arc;

use gpuscale::control::ports::{Answer, Completeness, Selector, Series, SourceError, SourceErrorKind};
use gpuscale::policy::config::{MINUTE_MS, Micro, Millis, ONE};
use gpuscale::recording::Labels;

use super::super::demand::STEP_MS;
use super::super::fleet::{Fleet, FleetSpec};
use super::super::prometheus::faults::{Blank, Fault, History, Hit};
use super::super::prometheus::{PoolLabels, Prometheus};
use super::fleet;

/// Checks the server.
pub(super) fn run() {
    a_scrape_is_read_as_it_was();
    a_change_of_pod_is_a_new_series();
    selectors_choose_by_labels();
    a_query_is_sampled_at_its_steps();
    each_fault_does_what_it_says();
    nodes_that_left_haunt_for_five_minutes();
    the_source_clock_steps();
    late_samples_come_late();
}

const UTILIZATION: &str = "DCGM_FI_DEV_GPU_UTIL";
const POWER: &str = "DCGM_FI_DEV_POWER_USAGE";

/// A pool under load and the server that has scraped it for a while.
pub(super) struct Stage {
    pub(super) server: Prometheus,
    pub(super) fleets: Vec<Fleet>,
    pub(super) now_ms: Millis,
}

impl Stage {
    pub(super) fn new(load: Micro) -> Self {
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

    pub(super) fn scrape(&mut self, times: usize) {
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
    answer.series.samples()
}

fn values(answer: &Answer) -> impl Iterator<Item = f64> {
    answer
        .series
        .iter()
        .flat_map(|series| series.samples)
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
    for (first, second) in answer.series.iter().zip(again.series.iter()) {
        assert!(
            Arc::ptr_eq(first.labels, second.labels),
            "the same series has the same labels"
        );
    }
    let labels = &answer.series.labels()[3];
    let node = labels.get("Hostname").or(labels.get("hostname"));
    assert_eq!((node, labels.get("gpu")), (Some("aks-a100-000001"), Some("1")));
    assert!(labels.get("pod").is_some());
    stage.fleets[0].set_load(0);
    stage.scrape(5);
    assert!(values(&stage.read(UTILIZATION)).all(|value| value.to_bits() == 0));
    assert!(values(&stage.read(POWER)).all(|watts| (55.0..60.0).contains(&watts)));
    stage.scrape(200);
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
        let gpu = |one: &Series<'_>| one.labels.get("pod").is_some() == pod;
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
    for series in answer.series.iter() {
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
    assert_eq!(*answer.series.labels()[0], bare);
    let samples = answer
        .series
        .get(0)
        .map(|series| series.samples)
        .unwrap_or_default();
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
    stage.server.clear(stage.now_ms, fault);
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

/// Every other one.
pub(super) const HALF: Hit = Hit {
    count: 1,
    of: 2,
    salt: 1,
};

fn each_fault_does_what_it_says() {
    under(Fault::Empty, |stage| {
        assert_eq!(stage.read(UTILIZATION).series.len(), 0);
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
        stage.server.clear(stage.now_ms, Fault::ServerDown);
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
        let stored = answer.map_or(0, |answer| samples(&answer));
        assert!((400..700).contains(&stored), "{stored} of 800");
    });
    under(Fault::Replica { shift_ms: 120 }, |stage| {
        let answer = stage.read(UTILIZATION);
        let second = |one: &Series<'_>| one.labels.get("prometheus_replica").is_some();
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
    under(Fault::Foreign { series: 100 }, |stage| {
        let answer = stage.read(UTILIZATION);
        assert_eq!(answer.series.len(), 108);
        let foreign = |one: &Series<'_>| {
            one.labels
                .get("UUID")
                .is_some_and(|uuid| uuid.starts_with("GPU-others"))
        };
        assert_eq!(answer.series.iter().filter(foreign).count(), 100);
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
                (History::Kept, true) => 8,
                _ => 32,
            };
            assert_eq!(samples(&answer), wanted, "{fault:?}");
            let known = stage.server.known_share(0, stage.now_ms - STEP_MS, stage.now_ms);
            let stored = !(history == History::Kept && by_ms < 0);
            assert_eq!(known, Some(if stored { ONE } else { 0 }), "{fault:?}");
            stage.server.clear(stage.now_ms, fault);
            assert_eq!(stage.server.now_ms(stage.now_ms), before_ms + STEP_MS);
            if history == History::Shifted {
                assert_eq!(
                    samples(&stage.read(UTILIZATION)),
                    32,
                    "what stepped there stepped back"
                );
            }
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
    stage.server.clear(stage.now_ms, fault);
    assert_eq!(samples(&stage.read(UTILIZATION)), 32);

    let fault = Fault::Lag {
        nodes: Hit::ALL,
        by_ms: 10 * MINUTE_MS,
    };
    let queue = Selector::Expression {
        promql: "sum(queue)".to_owned(),
        step_ms: STEP_MS,
    };
    let waiting = |stage: &mut Stage| {
        let answer = stage.server.read(stage.now_ms, &queue, MINUTE_MS);
        answer.map(|answer| samples(&answer))
    };
    stage.server.set(stage.now_ms, fault);
    stage.scrape(10);
    assert_eq!(
        waiting(&mut stage),
        Ok(4),
        "an expression looks back for five minutes"
    );
    stage.scrape(15);
    assert_eq!(waiting(&mut stage), Ok(0));
}

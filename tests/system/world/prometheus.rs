//! The metrics server: it scrapes the exporters of all pools, keeps what they said for a while, and answers
//! selectors as Prometheus does, on its own clock.
//!
//! It must be cheap, since it is asked twice per tick of each policy for the length of a million runs: values
//! are kept in rows by device number, labels are made once, and a selector is looked up once. Faults of the
//! metrics are states of it ([`Fault`]); requests that are lost on their way to it are the port's matter.
//!
//! It also keeps what was true at every scrape, for the invariants alone.

mod exporter;
pub mod faults;
mod pool;
mod series;
mod truth;

use std::sync::Arc;

use gpuscale::control::ports::{
    Answer, Completeness, Selector, SeriesBuilder, SeriesTable, SourceError, SourceErrorKind,
};
use gpuscale::policy::config::{Micro, Millis, ONE};
use gpuscale::recording::Labels;

use crate::chance::draw;
use crate::clock::EPOCH_MS;

use super::demand::STEP_MS;
use super::fleet::Fleet;
use exporter::{Exporter, float};
use faults::{Active, Fault, History};
use pool::{Pool, Within};
pub use series::METRICS;
use series::Query;

/// Scrapes between two rounds of forgetting devices that are gone.
const FORGET_EVERY: u64 = 40;
/// Waiting requests for each GPU that is wanted and not there.
const WAITING_PER_GPU: Micro = 10;
/// What the draws of the server and the exporters are for.
const SCRAPE: u64 = 0x5c4a;

/// What the server adds to all series of a pool, such as `agentpool`.
#[derive(Debug, Clone, Default)]
pub struct PoolLabels(pub Vec<(String, String)>);

/// The server.
#[derive(Debug)]
pub struct Prometheus {
    /// How far its clock is off without any fault.
    skew_ms: Millis,
    phase_ms: Millis,
    round: u64,
    /// True time of the last scrape.
    scraped_ms: Millis,
    faults: Active,
    pools: Vec<Pool>,
    queries: Vec<Query>,
    selectors: Vec<Compiled>,
    /// The selector that was asked for last.
    asked: usize,
    /// When its clock was stepped under the samples that it has, and by how much.
    steps: Vec<(Millis, Millis)>,
    /// When the clock was set, and by how much, whatever became of the history.
    set: Vec<(Millis, Millis)>,
}

/// A selector and what it comes to.
#[derive(Debug)]
struct Compiled {
    selector: Selector,
    finds: Finds,
    foreign: Vec<Arc<Labels>>,
    /// The series of the last answer.
    last: Arc<[Arc<Labels>]>,
}

/// What a selector finds.
#[derive(Debug, Clone)]
enum Finds {
    /// One of [`METRICS`] in these pools; the labels left to be compared series by series.
    Metric {
        metric: usize,
        pools: Vec<usize>,
        left: Vec<(String, String)>,
    },
    /// A query by its number, and its step.
    Query(usize, Millis),
    /// Nothing.
    Nothing,
}

impl Prometheus {
    /// A server without samples that scrapes pools with these labels.
    pub fn new(seed: u64, pools: Vec<PoolLabels>) -> Self {
        let chance = |what: u64, of: u64| draw(seed, &[SCRAPE, what]) % of;
        let off = i64::try_from(chance(1, 4_001)).unwrap_or(0) - 2_000;
        let exporter = Exporter {
            node_label: if chance(3, 4) == 0 { "hostname" } else { "Hostname" },
            uuid: chance(4, 8) > 0,
            memory: chance(5, 3) == 0,
        };
        let pool = |(index, PoolLabels(labels))| Pool::new(seed, index, labels, exporter);
        Self {
            skew_ms: if chance(0, 2) == 0 { 0 } else { off },
            // Not at the very start of a step, so that stamps a little before the scrape are still of the
            // step.
            phase_ms: 500 + i64::try_from(chance(2, 14_000)).unwrap_or(0),
            round: 0,
            scraped_ms: 0,
            faults: Active::default(),
            pools: pools.into_iter().enumerate().map(pool).collect(),
            queries: Vec::new(),
            selectors: Vec::new(),
            asked: 0,
            steps: Vec::new(),
            set: Vec::new(),
        }
    }

    /// Makes an expression known; its number, which is its place in what [`Prometheus::scrape`] is told of
    /// demand that found no GPU.
    pub fn register(&mut self, promql: &str) -> usize {
        self.queries.push(Query::new(promql));
        self.selectors.clear();
        self.queries.len() - 1
    }

    /// The first scrape at or after `true_ms`.
    pub fn next_scrape_ms(&self, true_ms: Millis) -> Millis {
        let steps = (true_ms - self.phase_ms + STEP_MS - 1).div_euclid(STEP_MS);
        self.phase_ms + steps * STEP_MS
    }

    /// The server's clock.
    pub fn now_ms(&self, true_ms: Millis) -> Millis {
        EPOCH_MS + true_ms + self.skew_ms + self.faults.skew()
    }

    /// Turns a fault on.
    pub fn set(&mut self, true_ms: Millis, fault: Fault) {
        self.faults.set(true_ms, fault);
        if let Fault::Skew { by_ms, history } = fault {
            self.step(true_ms, by_ms, history);
        }
    }

    /// Turns a fault off that was turned on.
    pub fn clear(&mut self, true_ms: Millis, fault: Fault) {
        if self.faults.clear(fault)
            && let Fault::Skew { by_ms, history } = fault
        {
            self.step(true_ms, -by_ms, history);
        }
    }

    fn step(&mut self, true_ms: Millis, by_ms: Millis, history: History) {
        self.set.push((true_ms, by_ms.abs()));
        if history == History::Kept {
            self.steps.push((true_ms, by_ms));
            return;
        }
        self.pools.iter_mut().for_each(|pool| pool.shift(by_ms));
        self.queries.iter_mut().for_each(|query| query.shift(by_ms));
    }

    /// The share of device-time of a pool in `(from_ms, to_ms]`, true time, of which the utilization was
    /// stored as it was, in parts of a million; `None` if there was no device, or if it is too long ago.
    pub fn known_share(&self, pool: usize, from_ms: Millis, to_ms: Millis) -> Option<Micro> {
        self.pools[pool].truth.known_share(from_ms, to_ms)
    }

    /// The largest load that any device of a pool had at a scrape in `(from_ms, to_ms]`, true time.
    pub fn max_true_load(&self, pool: usize, from_ms: Millis, to_ms: Millis) -> Micro {
        self.pools[pool].truth.busiest(from_ms, to_ms)
    }

    /// The share, in parts of a million, of the device-time of a pool's present nodes in `(from_ms, to_ms]`,
    /// true time, for which the server has faithful samples that it would give: from a sample until the next,
    /// at most for `hold_ms`. A device counts once its node was Ready for `warm_up_ms`, and while it is
    /// healthy; without any device-time it is all. On the server's clock as it was at `to_ms`.
    pub fn known_time(
        &self,
        pool: usize,
        fleet: &Fleet,
        (from_ms, to_ms): (Millis, Millis),
        hold_ms: Millis,
        warm_up_ms: Millis,
    ) -> Micro {
        let within = Within {
            looked_ms: self.scraped_ms.max(to_ms),
            ..self.within(to_ms, to_ms - from_ms)
        };
        let known = self.pools[pool].known_time(fleet, &within, hold_ms, warm_up_ms);
        known.unwrap_or(ONE)
    }

    /// How far the clock was set, either way, within a range of true time.
    pub fn stepped_ms(&self, from_ms: Millis, to_ms: Millis) -> Millis {
        let steps = self.set.iter();
        let within = steps.filter(|(at_ms, _)| (from_ms..=to_ms).contains(at_ms));
        within.map(|(_, by_ms)| by_ms).sum()
    }

    /// When the newest faithful sample that the server would give of a pool's present nodes was scraped: in
    /// true time, if the server's clock was always as far off as at the last scrape.
    pub fn newest_sample_ms(&self, pool: usize, fleet: &Fleet) -> Option<Millis> {
        let within = self.within(self.scraped_ms, 0);
        let newest_ms = self.pools[pool].newest_ms(fleet, &within);
        newest_ms.map(|at_ms| at_ms - within.now_ms + within.true_ms)
    }

    /// A look back from `true_ms`, which may be some time ago.
    fn within(&self, true_ms: Millis, window_ms: Millis) -> Within<'_> {
        let later = self.steps.iter().filter(|(at_ms, _)| *at_ms > true_ms);
        let now_ms = self.now_ms(true_ms) - later.map(|(_, by_ms)| by_ms).sum::<Millis>();
        Within {
            faults: &self.faults,
            true_ms,
            looked_ms: true_ms,
            now_ms,
            from_ms: now_ms - window_ms,
        }
    }

    // --- scraping ---

    /// Scrapes all exporters once. `over` is the demand that found no GPU, in micro-GPUs, for each registered
    /// expression.
    pub fn scrape(&mut self, true_ms: Millis, fleets: &[Fleet], over: &[Micro]) {
        self.round += 1;
        self.scraped_ms = true_ms;
        let now_ms = self.now_ms(true_ms);
        for (index, fleet) in fleets.iter().enumerate() {
            let pool = &mut self.pools[index];
            pool.scrape(true_ms, now_ms, fleet, &self.faults);
            if self.round.is_multiple_of(FORGET_EVERY) {
                pool.forget(true_ms);
            }
        }
        if self.faults.down() {
            return;
        }
        for (query, &over) in self.queries.iter_mut().zip(over) {
            let waiting = (over * WAITING_PER_GPU + ONE - 1).div_euclid(ONE);
            query.push(now_ms, float(waiting));
        }
    }

    // --- answering ---

    /// Answers a selector with the raw samples of the last `window_ms` of the server's own time.
    pub fn read(
        &mut self,
        true_ms: Millis,
        selector: &Selector,
        window_ms: Millis,
    ) -> Result<Answer, SourceError> {
        if let Some(kind) = self.faults.error() {
            return Err(failure(kind));
        }
        let now_ms = self.now_ms(true_ms);
        let mut answer = Answer {
            now_ms,
            completeness: Completeness::Whole,
            series: SeriesTable::default(),
        };
        if self.faults.empty() {
            return Ok(answer);
        }
        if self.faults.partial() {
            let words = "PromQL warning: a store was not reached: results may be incomplete";
            answer.completeness = Completeness::Partial(words.to_owned());
        }
        let number = self.compiled(selector);
        let within = Within {
            faults: &self.faults,
            true_ms,
            looked_ms: true_ms,
            now_ms,
            from_ms: now_ms - window_ms,
        };
        answer.series = self.selectors[number].read(&within, &mut self.pools, &self.queries);
        Ok(answer)
    }

    fn compiled(&mut self, selector: &Selector) -> usize {
        // Readers ask for the same selectors in turn.
        let count = self.selectors.len();
        let turns = (self.asked + 1..count).chain(0..count.min(self.asked + 1));
        for known in turns {
            if self.selectors[known].selector == *selector {
                self.asked = known;
                return known;
            }
        }
        let finds = self.compile(selector);
        self.selectors.push(Compiled {
            selector: selector.clone(),
            finds,
            foreign: Vec::new(),
            last: Arc::default(),
        });
        self.asked = self.selectors.len() - 1;
        self.asked
    }

    fn compile(&self, selector: &Selector) -> Finds {
        match selector {
            Selector::Expression { promql, step_ms } => {
                let query = self.queries.iter().position(|query| query.promql == *promql);
                query.map_or(Finds::Nothing, |query| Finds::Query(query, *step_ms))
            }
            Selector::Metric { name, match_labels } => {
                let Some(metric) = METRICS.iter().position(|metric| metric == name) else {
                    return Finds::Nothing;
                };
                let of_pools = |name: &String| {
                    let mut labels = self.pools.iter().flat_map(|pool| &pool.labels);
                    labels.any(|(label, _)| label == name)
                };
                let (by_pool, left): (Vec<_>, Vec<_>) =
                    match_labels.iter().cloned().partition(|(name, _)| of_pools(name));
                let fits = |pool: &Pool| by_pool.iter().all(|pair| pool.labels.contains(pair));
                let pools = (0..self.pools.len())
                    .filter(|&pool| fits(&self.pools[pool]))
                    .collect();
                Finds::Metric { metric, pools, left }
            }
        }
    }
}

impl Compiled {
    /// The series that it finds.
    fn read(&mut self, within: &Within<'_>, pools: &mut [Pool], queries: &[Query]) -> SeriesTable {
        let mut series = SeriesBuilder::after(&self.last);
        match &self.finds {
            Finds::Nothing => {}
            Finds::Query(query, step_ms) => {
                let range = (within.from_ms, within.readable_until(None));
                queries[*query].answer(*step_ms, range, within.now_ms, &mut series);
            }
            Finds::Metric {
                metric,
                pools: of,
                left,
            } => {
                for &pool in of {
                    pools[pool].answer(*metric, within, &mut series);
                }
                if !left.is_empty() {
                    let says = |labels: &Labels, name: &str| labels.get(name).unwrap_or_default().to_owned();
                    let fits =
                        |labels: &Labels| left.iter().all(|(name, value)| says(labels, name) == *value);
                    let all = std::mem::replace(&mut series, SeriesBuilder::after(&self.last)).finish();
                    for one in all.iter().filter(|one| fits(one.labels)) {
                        for &(at_ms, value) in one.samples {
                            series.push(at_ms, value);
                        }
                        series.end(one.labels);
                    }
                }
                let foreign = within.faults.foreign();
                if foreign > 0 {
                    self.crowd(foreign, within.now_ms, &mut series);
                }
            }
        }
        let series = series.finish();
        self.last = Arc::clone(series.labels());
        series
    }

    /// Adds the series of other people's nodes, which match as well and are idle.
    fn crowd(&mut self, foreign: u32, now_ms: Millis, series: &mut SeriesBuilder) {
        let Selector::Metric { name, match_labels } = &self.selector else {
            return;
        };
        for number in self.foreign.len()..foreign as usize {
            let mut pairs = match_labels.clone();
            let mut tell = |name: &str, value: String| {
                if pairs.iter().all(|(known, _)| known != name) {
                    pairs.push((name.to_owned(), value));
                }
            };
            tell("gpu", (number % 8).to_string());
            tell("Hostname", format!("aks-others-{:06}", number / 8));
            tell("UUID", format!("GPU-others-{number:08}"));
            tell("modelName", "NVIDIA A100-SXM4-80GB".to_owned());
            self.foreign
                .push(Arc::new(Labels::new(name, pairs).expect("labels are told once")));
        }
        let value = if *name == METRICS[0] { 0.0 } else { 55.0 };
        for labels in self.foreign.iter().take(foreign as usize) {
            series.push(now_ms - STEP_MS, value);
            series.push(now_ms, value);
            series.end(labels);
        }
    }
}

fn failure(kind: SourceErrorKind) -> SourceError {
    SourceError {
        kind,
        message: "read samples of the simulated server".to_owned(),
    }
}

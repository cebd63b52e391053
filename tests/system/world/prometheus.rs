//! The metrics server: it scrapes the exporters of all pools, keeps what they said for a while, and answers selectors
//! as Prometheus does, on its own clock.
//!
//! It must be cheap, since it is asked twice per tick of each policy for the length of a million runs: values are kept in
//! rows by device number, labels are made once, and a selector is looked up once. Faults of the metrics are states of
//! it ([`Fault`]); requests that are lost on their way to it are the port's matter.
//!
//! It also keeps what was true at every scrape, for the invariants alone.

pub mod faults;
mod series;
mod truth;

use std::sync::Arc;

use gpuscale::control::ports::{Answer, AnswerSeries, Completeness, Selector, SourceError, SourceErrorKind};
use gpuscale::policy::config::{Micro, Millis, ONE};
use gpuscale::recording::Labels;

use crate::chance::draw;
use crate::clock::EPOCH_MS;

use super::demand::STEP_MS;
use super::fleet::{Fleet, FleetNode, Gpu, Stage};
use faults::{Active, Fault, GHOST_MS, History};
use series::{ABSENT, Device, METRICS, Own, PODS, Query, Row, Server};
use truth::{Moment, Truth};

/// Scrapes between two rounds of forgetting devices that are gone.
const FORGET_EVERY: u64 = 40;
/// How long a device keeps its pod while it has work.
const POD_MS: Millis = 25 * 60_000;
/// Waiting requests for each GPU that is wanted and not there.
const WAITING_PER_GPU: Micro = 10;
/// What the draws of this file are for.
const SCRAPE: u64 = 0x5c4a;

/// What the server adds to all series of a pool, such as `agentpool`.
#[derive(Debug, Clone, Default)]
pub struct PoolLabels(pub Vec<(String, String)>);

/// The server.
#[derive(Debug)]
pub struct Prometheus {
    seed: u64,
    /// How far its clock is off without any fault.
    skew_ms: Millis,
    phase_ms: Millis,
    round: u64,
    exporter: Exporter,
    faults: Active,
    pools: Vec<Pool>,
    queries: Vec<Query>,
    selectors: Vec<Compiled>,
}

/// What all exporters of a run have in common.
#[derive(Debug, Clone, Copy)]
struct Exporter {
    /// The label with the node's name, which changed its case in 2026.
    node_label: &'static str,
    /// Whether series carry a UUID.
    uuid: bool,
    /// Whether memory is told.
    memory: bool,
}

/// What is stored of a pool.
#[derive(Debug, Default)]
struct Pool {
    labels: Vec<(String, String)>,
    /// By device number.
    devices: Vec<Device>,
    /// Numbers of the devices with rows.
    listed: Vec<u32>,
    truth: Truth,
}

/// A selector and what it comes to.
#[derive(Debug)]
struct Compiled {
    selector: Selector,
    finds: Finds,
    foreign: Vec<Arc<Labels>>,
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
        let pool = |PoolLabels(labels)| Pool {
            labels,
            ..Pool::default()
        };
        Self {
            seed,
            skew_ms: if chance(0, 2) == 0 { 0 } else { off },
            // Not at the very start of a step, so that stamps a little before the scrape are still of the step.
            phase_ms: 500 + i64::try_from(chance(2, 14_000)).unwrap_or(0),
            round: 0,
            exporter: Exporter {
                node_label: if chance(3, 4) == 0 { "hostname" } else { "Hostname" },
                uuid: chance(4, 8) > 0,
                memory: chance(5, 3) == 0,
            },
            faults: Active::default(),
            pools: pools.into_iter().map(pool).collect(),
            queries: Vec::new(),
            selectors: Vec::new(),
        }
    }

    /// Makes an expression known; its number, which is its place in what [`Prometheus::scrape`] is told of demand
    /// that found no GPU.
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
            self.step(by_ms, history);
        }
    }

    /// Turns a fault off that was turned on.
    pub fn clear(&mut self, fault: Fault) {
        if self.faults.clear(fault)
            && let Fault::Skew { by_ms, history } = fault
        {
            self.step(-by_ms, history);
        }
    }

    fn step(&mut self, by_ms: Millis, history: History) {
        if history == History::Kept {
            return;
        }
        let devices = self.pools.iter_mut().flat_map(|pool| &mut pool.devices);
        for row in devices.flat_map(|device| &mut device.rows) {
            row.at_ms += by_ms;
        }
        self.queries.iter_mut().for_each(|query| query.shift(by_ms));
    }

    /// The share of device-time of a pool in `(from_ms, to_ms]`, true time, of which the utilization was stored as
    /// it was, in parts of a million; `None` if there was no device, or if it is too long ago.
    pub fn known_share(&self, pool: usize, from_ms: Millis, to_ms: Millis) -> Option<Micro> {
        self.pools[pool].truth.known_share(from_ms, to_ms)
    }

    /// When a device of a pool was last scraped and stored as it was, in true time.
    pub fn newest_known_ms(&self, pool: usize) -> Option<Millis> {
        self.pools[pool].truth.newest_known_ms()
    }

    /// The largest load that any device of a pool had at a scrape in `(from_ms, to_ms]`, true time.
    pub fn max_true_load(&self, pool: usize, from_ms: Millis, to_ms: Millis) -> Micro {
        self.pools[pool].truth.busiest(from_ms, to_ms)
    }

    // --- scraping ---

    /// Scrapes all exporters once. `over` is the demand that found no GPU, in micro-GPUs, for each registered
    /// expression.
    pub fn scrape(&mut self, true_ms: Millis, fleets: &[Fleet], over: &[Micro]) {
        self.round += 1;
        let now_ms = self.now_ms(true_ms);
        for (index, fleet) in fleets.iter().enumerate() {
            self.scrape_pool(true_ms, now_ms, index, fleet);
        }
        if self.faults.down() {
            return;
        }
        for (query, &over) in self.queries.iter_mut().zip(over) {
            let waiting = (over * WAITING_PER_GPU + ONE - 1).div_euclid(ONE);
            query.push(now_ms, float(waiting));
        }
    }

    fn scrape_pool(&mut self, true_ms: Millis, now_ms: Millis, index: usize, fleet: &Fleet) {
        let (seed, down) = (self.seed, self.faults.down());
        let pool = &mut self.pools[index];
        let mut moment = Moment {
            at_ms: true_ms,
            devices: 0,
            known: 0,
            busiest: fleet.busiest(),
        };
        for node in fleet
            .nodes()
            .iter()
            .filter(|node| node.stage == Stage::Schedulable)
        {
            let silent = down || self.faults.silent(node.number, true_ms);
            let at_ms = now_ms - early(seed, node.number);
            for (place, gpu) in node.gpus.iter().enumerate() {
                let healthy = u32::from(!node.unhealthy);
                moment.devices += healthy;
                if silent {
                    continue;
                }
                let (row, faithful) = report(seed, index, gpu, (true_ms, at_ms), self.exporter, &self.faults);
                let device = pool.device(node, place, gpu, self.exporter);
                device.scraped_ms = true_ms;
                if device.push(row) && faithful {
                    moment.known += healthy;
                }
            }
        }
        pool.truth.push(moment);
        if self.faults.ghosts() && !down {
            pool.haunt(true_ms, now_ms, fleet);
        }
        if self.round.is_multiple_of(FORGET_EVERY) {
            pool.forget(true_ms);
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
            series: Vec::new(),
        };
        if self.faults.empty() {
            return Ok(answer);
        }
        if self.faults.partial() {
            let words = "PromQL warning: a store was not reached: results may be incomplete";
            answer.completeness = Completeness::Partial(words.to_owned());
        }
        let number = self.compiled(selector);
        let offset = now_ms - true_ms;
        match &self.selectors[number].finds {
            Finds::Nothing => {}
            Finds::Query(query, step_ms) => {
                let until_ms = self.faults.readable_until(None, true_ms) + offset;
                let range = (now_ms - window_ms, until_ms);
                answer
                    .series
                    .extend(self.queries[*query].answer(*step_ms, range, now_ms));
            }
            Finds::Metric { metric, pools, left } => {
                let within = Within {
                    faults: &self.faults,
                    true_ms,
                    now_ms,
                    from_ms: now_ms - window_ms,
                };
                for &pool in pools {
                    self.pools[pool].answer(*metric, &within, &mut answer.series);
                }
                if !left.is_empty() {
                    let fits = |(name, value): &(String, String), labels: &Labels| {
                        labels.get(name).unwrap_or_default() == value
                    };
                    let series = &mut answer.series;
                    series.retain(|one| left.iter().all(|pair| fits(pair, &one.labels)));
                }
                let foreign = self.faults.foreign();
                if foreign > 0 {
                    self.selectors[number].crowd(foreign, now_ms, &mut answer.series);
                }
            }
        }
        Ok(answer)
    }

    fn compiled(&mut self, selector: &Selector) -> usize {
        if let Some(known) = self
            .selectors
            .iter()
            .position(|known| known.selector == *selector)
        {
            return known;
        }
        let finds = self.compile(selector);
        self.selectors.push(Compiled {
            selector: selector.clone(),
            finds,
            foreign: Vec::new(),
        });
        self.selectors.len() - 1
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

/// What is read.
struct Within<'a> {
    faults: &'a Active,
    true_ms: Millis,
    now_ms: Millis,
    from_ms: Millis,
}

impl Pool {
    /// A device, with its labels made when it is new.
    fn device(&mut self, node: &FleetNode, place: usize, gpu: &Gpu, exporter: Exporter) -> &mut Device {
        let number = gpu.device as usize;
        if self.devices.len() <= number {
            self.devices.resize_with(number + 1, Device::default);
        }
        let device = &mut self.devices[number];
        if !device.is_named() {
            let mut pairs = self.labels.clone();
            let mut tell = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
            tell("gpu", &place.to_string());
            tell(exporter.node_label, &node.name);
            tell("modelName", "NVIDIA A100-SXM4-80GB");
            if exporter.uuid {
                tell("UUID", &node.uuids[place]);
            }
            let pod = format!("worker-{}-{place}", node.name);
            device.name(node.number, Own { pairs, pod });
        }
        if !device.listed {
            device.listed = true;
            self.listed.push(gpu.device);
        }
        device
    }

    /// Stores the last values once more for devices whose nodes left. One whose exporter is dead stays silent: a
    /// value that is repeated for a node that is there could not be told from a true one.
    fn haunt(&mut self, true_ms: Millis, now_ms: Millis, fleet: &Fleet) {
        for &number in &self.listed {
            let device = &mut self.devices[number as usize];
            let node = fleet
                .nodes()
                .binary_search_by_key(&device.node, |node| node.number);
            let silent_ms = true_ms - device.scraped_ms;
            if let Some(&last) = device.rows.back()
                && node.is_err()
                && silent_ms <= GHOST_MS
            {
                device.push(Row {
                    at_ms: now_ms,
                    ..last
                });
            }
        }
    }

    /// Forgets devices that were not scraped for longer than anything is kept.
    fn forget(&mut self, true_ms: Millis) {
        let kept_ms = STEP_MS * i64::try_from(series::KEEP_ROWS).unwrap_or(i64::MAX / STEP_MS);
        let devices = &mut self.devices;
        self.listed.retain(|&number| {
            let device = &mut devices[number as usize];
            let keep = device.scraped_ms > true_ms - kept_ms;
            if !keep {
                *device = Device::default();
            }
            keep
        });
    }

    fn answer(&mut self, metric: usize, within: &Within<'_>, series: &mut Vec<AnswerSeries>) {
        series.reserve(self.listed.len());
        for &number in &self.listed {
            if within.faults.lacks(number) {
                continue;
            }
            let device = &mut self.devices[number as usize];
            let until_ms = within.faults.readable_until(Some(device.node), within.true_ms);
            let range = (within.from_ms, until_ms - within.true_ms + within.now_ms);
            device.answer(metric, (Server::First, 0), range, series);
            if let Some(shift_ms) = within.faults.replica() {
                device.answer(metric, (Server::Second, shift_ms), range, series);
            }
        }
    }
}

impl Compiled {
    /// Adds the series of other people's nodes, which match as well and are idle.
    fn crowd(&mut self, foreign: u32, now_ms: Millis, series: &mut Vec<AnswerSeries>) {
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
            series.push(AnswerSeries {
                labels: Arc::clone(labels),
                samples: vec![(now_ms - STEP_MS, value), (now_ms, value)],
            });
        }
    }
}

/// What an exporter says of a device, and whether its utilization is what it is.
fn report(
    seed: u64,
    pool: usize,
    gpu: &Gpu,
    (true_ms, at_ms): (Millis, Millis),
    exporter: Exporter,
    faults: &Active,
) -> (Row, bool) {
    let who = ((pool as u64) << 32) | u64::from(gpu.device);
    let step = true_ms.div_euclid(STEP_MS).unsigned_abs();
    let noise = draw(seed, &[SCRAPE, who, step]);
    let busy = gpu.load > 0;
    let shown = shown(gpu.load, noise);
    let used = if busy { 60_000 } else { 600 };
    let memory = |value: i64| if exporter.memory { float(value) } else { ABSENT };
    let mut values = [
        float((shown + 5_000) / 10_000),
        float(if busy {
            150 + shown * 250 / ONE
        } else {
            55 + (noise >> 8 & 3).cast_signed()
        }),
        memory(used),
        memory(81_000 - used),
    ];
    let mut faithful = true;
    if busy && faults.lies(gpu.device) {
        values[0] = 0.0;
        faithful = false;
    }
    if let Some(blank) = faults.blank(gpu.device) {
        values[0] = blank;
        faithful = false;
    }
    let turn = true_ms.div_euclid(POD_MS).unsigned_abs();
    let pod = 1 + draw(seed, &[SCRAPE, who, turn]) % (PODS as u64 - 1);
    let pod = if busy { u8::try_from(pod).unwrap_or(1) } else { 0 };
    (Row { at_ms, values, pod }, faithful)
}

/// A load as it is measured: two percent off at most, never more than all, and nothing only if it is nothing.
pub fn shown(load: Micro, noise: u64) -> Micro {
    let off = (noise % 41).cast_signed() - 20;
    (load + load * off / 1_000).min(ONE)
}

/// By how much a node's samples are stamped before the others'.
fn early(seed: u64, node: u32) -> Millis {
    (draw(seed, &[SCRAPE, u64::from(node)]) % 300).cast_signed()
}

fn float(value: i64) -> f64 {
    i32::try_from(value).map_or(f64::from(i32::MAX), f64::from)
}

fn failure(kind: SourceErrorKind) -> SourceError {
    SourceError {
        kind,
        message: "read samples of the simulated server".to_owned(),
    }
}

//! A fleet with a steady, restless load, and ports on it that answer from memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use gpuscale::control::ports::{
    Accepted, Answer, Clock, ClusterError, ClusterView, Completeness, MetricsSource, NodePools, PolicyKey,
    Pool, PoolAutoscaler, PoolError, PoolKey, PoolState, Ports, Progress, Randomness, ReadRequest, Selector,
    SeriesBuilder, SourceError, StateStore, StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::recording::Labels;

use super::clock::VirtualClock;

pub(crate) const SCRAPE_MS: i64 = 15_000;

/// What is read for a signal on utilization: the signal, and what tells whether it can be believed and whether a node
/// may go.
pub(crate) const METRICS: [&str; 5] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_XID_ERRORS",
    "DCGM_FI_DEV_FB_FREE",
];

/// Those of them that are read at every tick. Free memory is read once: it tells how much memory a device has.
pub(crate) const AT_EVERY_TICK: &[&str] = METRICS.split_at(METRICS.len() - 1).0;

pub(crate) const GPUS: i64 = 64;
const GPUS_PER_NODE: i64 = 8;
const NODES: u32 = 8;

/// GPUs by the number of their policy, and what their exporters said.
pub(crate) struct Fleet {
    clock: VirtualClock,
    /// The series of each policy and metric, as a source that keeps what it knows would have them.
    known: RefCell<Vec<[Option<Series>; METRICS.len()]>>,
    pub(crate) reads: Cell<u64>,
    pub(crate) samples: Cell<u64>,
}

type Series = Arc<[Arc<Labels>]>;

impl Fleet {
    pub(crate) fn new(clock: VirtualClock, policies: usize) -> Self {
        Self {
            clock,
            known: RefCell::new(vec![Default::default(); policies]),
            reads: Cell::new(0),
            samples: Cell::new(0),
        }
    }

    pub(crate) fn series(&self, policy: usize, metric: &'static str) -> Series {
        let place = METRICS.iter().position(|name| *name == metric).unwrap();
        let known = &mut self.known.borrow_mut()[policy][place];
        let series = known.get_or_insert_with(|| {
            // Those of one answer lie next to each other, as with a source that keeps its series in tables.
            let all: Vec<Labels> = (0..GPUS).map(|gpu| labels(policy, metric, gpu)).collect();
            all.into_iter().map(Arc::new).collect()
        });
        Arc::clone(series)
    }

    pub(crate) fn answer(&self, policy: usize, metric: &'static str, window_ms: i64) -> Answer {
        let now_ms = self.clock.now().wall_ms;
        let series = self.series(policy, metric);
        let mut answer = SeriesBuilder::after(&series);
        let mut scrapes = Scrapes::default();
        let (base, slope) = load(metric);
        for (gpu, labels) in (0..).zip(series.iter()) {
            if gpu % GPUS_PER_NODE == 0 {
                scrapes = Scrapes::of(policy, gpu / GPUS_PER_NODE, (now_ms - window_ms, now_ms));
            }
            for number in scrapes.first..=scrapes.last {
                let restless = RESTLESS[usize::from((number * 7 + gpu * 11).to_le_bytes()[0] & 63)];
                answer.push(
                    number * SCRAPE_MS + scrapes.offset_ms,
                    base + slope * f64::from(restless),
                );
            }
            answer.end(labels);
        }
        let series = answer.finish();
        self.reads.set(self.reads.get() + 1);
        self.samples.set(self.samples.get() + series.samples() as u64);
        Answer {
            now_ms,
            completeness: Completeness::Whole,
            series,
        }
    }
}

/// The labels of dcgm-exporter, and the pool's name as a scrape configuration adds it.
fn labels(policy: usize, metric: &str, gpu: i64) -> Labels {
    let node = gpu / GPUS_PER_NODE;
    let index = gpu % GPUS_PER_NODE;
    let pairs = [
        ("gpu", index.to_string()),
        ("UUID", format!("GPU-{policy:08x}-7d3c-4a2b-9e10-{gpu:012x}")),
        ("device", format!("nvidia{index}")),
        ("modelName", "NVIDIA A100-SXM4-80GB".to_owned()),
        ("Hostname", format!("aks-gpu-{policy:08}-vmss{node:06x}")),
        ("DCGM_FI_DRIVER_VERSION", "580.95.05".to_owned()),
        ("container", "server".to_owned()),
        ("namespace", "inference".to_owned()),
        ("pod", format!("server-{policy}-{gpu}")),
        ("pool", policy.to_string()),
    ];
    Labels::new(metric, pairs).unwrap()
}

/// When a node was scraped.
#[derive(Default)]
struct Scrapes {
    first: i64,
    last: i64,
    offset_ms: i64,
}

impl Scrapes {
    /// After `from_ms` and until `to_ms`.
    fn of(policy: usize, node: i64, (from_ms, to_ms): (i64, i64)) -> Self {
        let [.., highest] = mix(policy as u64, node).to_le_bytes();
        let offset_ms = i64::from(highest) * 50;
        Self {
            first: (from_ms - offset_ms).div_euclid(SCRAPE_MS) + 1,
            last: (to_ms - offset_ms).div_euclid(SCRAPE_MS),
            offset_ms,
        }
    }
}

/// What a GPU reports: a restless load of 60 % in the mean.
fn load(metric: &str) -> (f64, f64) {
    match metric {
        "DCGM_FI_DEV_GPU_UTIL" => (45.0, 1.0),
        "DCGM_FI_DEV_POWER_USAGE" => (230.0, 3.0),
        "DCGM_FI_DEV_FB_USED" => (71_304.0, 0.0),
        "DCGM_FI_DEV_FB_FREE" => (10_616.0, 0.0),
        "DCGM_FI_DEV_XID_ERRORS" => (0.0, 0.0),
        _ => panic!("the loop reads {metric}, which nobody exports here"),
    }
}

/// From 0 to 31, at random. From a table: what the ports do is measured too, and is not what the bench is about.
const RESTLESS: [u8; 64] = restless();

const fn restless() -> [u8; 64] {
    let mut table = [0; 64];
    let (mut place, mut index) = (0, 0);
    while place < table.len() {
        let [.., highest] = mix(11, index).to_le_bytes();
        table[place] = highest >> 3;
        (place, index) = (place + 1, index + 1);
    }
    table
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
const fn mix(what: u64, index: i64) -> u64 {
    let mut bits = index
        .cast_unsigned()
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ what;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl MetricsSource for Fleet {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        self.clock.call().await;
        let Selector::Metric { name, match_labels } = request.selector else {
            panic!("the policies of this bench have no expression");
        };
        let pool = match_labels.iter().find(|(label, _)| label == "pool");
        let policy = pool.unwrap().1.parse().unwrap();
        Ok(self.answer(policy, name, request.window_ms))
    }
}

/// Pools that nobody changes.
pub(crate) struct Standing(VirtualClock);

impl NodePools for Standing {
    async fn read(&self, _: &PoolKey) -> Result<Pool, PoolError> {
        self.0.call().await;
        Ok(Pool {
            count: NODES,
            etag: "7d3c4a2b".to_owned(),
            state: PoolState::Steady,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: u32::try_from(GPUS_PER_NODE).ok(),
            node_price: None,
            error: None,
        })
    }

    async fn resize(&self, pool: &PoolKey, _: &Pool, count: u32) -> Result<Accepted, PoolError> {
        panic!("a steady load resizes {pool} to {count}");
    }

    async fn poll(&self, _: &PoolKey, _: &str) -> Result<Progress, PoolError> {
        panic!("there is no operation to ask about");
    }
}

pub(crate) struct Unseen;

impl ClusterView for Unseen {
    async fn look(&self, _: &PoolKey) -> Result<View, ClusterError> {
        Err(ClusterError::None)
    }
}

/// The last state of each policy.
pub(crate) struct States(VirtualClock, RefCell<BTreeMap<PolicyKey, Saved>>);

impl StateStore for States {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        self.0.call().await;
        Ok(self.1.borrow().get(policy).cloned())
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        self.0.call().await;
        self.1.borrow_mut().insert(policy.clone(), state.clone());
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Dice(Cell<i64>);

impl Randomness for Dice {
    fn next(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        mix(7, self.0.get())
    }
}

pub(crate) struct World {
    clock: VirtualClock,
    randomness: Dice,
    metrics: Rc<Fleet>,
    pools: Standing,
    cluster: Unseen,
    store: States,
}

impl World {
    pub(crate) fn new(clock: &VirtualClock, metrics: Rc<Fleet>) -> Self {
        Self {
            clock: clock.clone(),
            randomness: Dice::default(),
            metrics,
            pools: Standing(clock.clone()),
            cluster: Unseen,
            store: States(clock.clone(), RefCell::default()),
        }
    }
}

impl Ports for World {
    type Clock = VirtualClock;
    type Randomness = Dice;
    type Metrics = Fleet;
    type Pools = Standing;
    type Cluster = Unseen;
    type Store = States;

    fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn randomness(&self) -> &Dice {
        &self.randomness
    }

    fn metrics(&self) -> &Fleet {
        &self.metrics
    }

    fn pools(&self) -> &Standing {
        &self.pools
    }

    fn cluster(&self) -> &Unseen {
        &self.cluster
    }

    fn store(&self) -> &States {
        &self.store
    }
}

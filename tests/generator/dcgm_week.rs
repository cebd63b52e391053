//! A week of a serving pool, Wednesday to Tuesday: day and night, a burst that the pool is too small for, batch work,
//! and an exporter that is silent over the weekend while its GPUs are busy.
//!
//! The number of nodes is what somebody set by hand: four at night and over the weekend, six on working days, eight
//! after the burst of Thursday was noticed.

use super::export::Export;
use super::fleet::{Device, Metric, Node, Plan, Pod, PoolRecord, Reading, SCRAPE_MS, Silence, tell};
use super::load::{Curve, DAY, HOUR, MINUTE, Noise, SECOND, busy_percent};
use super::serving::{Demand, LOADING, Replica};

pub(crate) const SEED: u64 = 20_260_204;
/// Wednesday, 2026-02-04T00:00:00Z.
const START_MS: i64 = 1_770_163_200_000;
const LENGTH: i64 = 7 * DAY;
/// Used plus free memory of an A100 80GB as the exporter shows it, MiB.
const MEMORY: i64 = 81_228;

/// Demand in thousandths of a GPU, by minute of the recording.
const DEMAND: Curve = Curve(&[
    // Wednesday
    (0, 4_000),
    (330, 3_000),
    (420, 6_000),
    (540, 13_000),
    (690, 15_500),
    (765, 13_000),
    (840, 15_500),
    (1_020, 14_500),
    (1_140, 9_000),
    (1_320, 5_500),
    // Thursday: at 12:10 a launch brings two and a half times the usual load
    (1_440, 4_000),
    (1_770, 3_000),
    (1_860, 6_000),
    (1_980, 13_000),
    (2_130, 15_500),
    (2_170, 15_500),
    (2_180, 40_000),
    (2_370, 40_000),
    (2_490, 22_000),
    (2_580, 15_000),
    (2_760, 6_000),
    // Friday
    (2_880, 4_000),
    (3_210, 3_000),
    (3_300, 6_000),
    (3_420, 13_500),
    (3_570, 15_500),
    (3_645, 13_000),
    (3_720, 15_000),
    (3_900, 12_000),
    (4_020, 7_000),
    (4_200, 4_500),
    // Saturday and Sunday
    (4_320, 3_500),
    (4_650, 2_500),
    (5_040, 4_500),
    (5_640, 4_000),
    (6_090, 2_500),
    (6_480, 5_000),
    (7_080, 4_500),
    // Monday
    (7_200, 4_000),
    (7_530, 3_000),
    (7_620, 6_000),
    (7_740, 13_500),
    (7_830, 17_000),
    (7_890, 25_000),
    (8_040, 25_000),
    (8_160, 17_000),
    (8_340, 9_000),
    (8_520, 5_500),
    // Tuesday: half an hour above the six nodes
    (8_640, 4_000),
    (8_970, 3_000),
    (9_060, 6_000),
    (9_180, 13_500),
    (9_240, 15_500),
    (9_246, 27_000),
    (9_276, 27_000),
    (9_284, 15_500),
    (9_405, 13_000),
    (9_660, 14_500),
    (9_780, 9_000),
    (9_960, 5_500),
    (10_080, 4_000),
]);

/// Nodes beyond the four that stay, as (ready, gone).
const BY_DAY: [(i64, i64); 14] = [
    (at(0, 6, 38), at(0, 20, 2)),
    (at(0, 6, 41), at(0, 21, 4)),
    (at(1, 6, 37), at(1, 23, 1)),
    (at(1, 6, 40), at(1, 23, 3)),
    (at(1, 13, 57), at(1, 22, 2)),
    (at(1, 13, 59), at(1, 22, 2)),
    (at(2, 6, 39), at(2, 19, 1)),
    (at(2, 6, 38), at(2, 19, 3)),
    (at(5, 6, 38), at(5, 20, 2)),
    (at(5, 6, 42), at(5, 21, 3)),
    (at(5, 10, 2), at(5, 19, 0)),
    (at(5, 10, 5), at(5, 19, 0)),
    (at(6, 6, 37), at(6, 20, 1)),
    (at(6, 6, 40), at(6, 21, 2)),
];

/// Batch work that takes all GPUs of a node: node, beginning, end, name.
const BATCH: [(usize, i64, i64, &str); 4] = [
    (2, at(1, 1, 0), at(1, 4, 30), "nightly-eval-29504220"),
    (2, at(2, 1, 0), at(2, 4, 30), "nightly-eval-29505660"),
    (3, at(2, 16, 0), at(5, 9, 30), "finetune-8b"),
    (2, at(6, 1, 0), at(6, 4, 30), "nightly-eval-29511420"),
];

/// Rollouts: when, and the hash of the version.
const VERSIONS: [(i64, &str); 3] = [
    (0, "6d4cf56db6"),
    (at(1, 9, 15), "7c9d8f6b54"),
    (at(5, 15, 0), "5b7f9c8d68"),
];

const fn at(day: i64, hour: i64, minute: i64) -> i64 {
    day * DAY + hour * HOUR + minute * MINUTE
}

fn nodes() -> Vec<Node> {
    let all_week = [(0, LENGTH + HOUR); 4];
    let mut nodes: Vec<Node> = all_week
        .into_iter()
        .chain(BY_DAY)
        .zip(0..)
        .map(|(span, number)| Node::new(SEED, number, "a100", span, &[]))
        .collect();
    for node in &mut nodes {
        // The server itself is restarted: three minutes of nothing, and no markers.
        node.silences.push(Silence::Unscraped {
            from: at(0, 15, 20),
            to: at(0, 15, 23),
        });
    }
    nodes[1].silences.push(Silence::Down {
        from: at(1, 3, 0),
        to: at(1, 5, 10),
    });
    // From Friday evening to Monday morning, under full load.
    nodes[3].silences.push(Silence::Down {
        from: at(2, 18, 10),
        to: at(5, 7, 40),
    });
    nodes[0].restart_exporter(SEED, at(6, 11, 0), at(6, 11, 0) + 100 * SECOND);
    nodes
}

struct Week {
    nodes: Vec<Node>,
    demand: Demand,
    /// The device that is told at the moment.
    device: u64,
    noise: Noise,
    replica: Replica,
}

impl Week {
    fn batch_on(node: usize, at: i64) -> Option<&'static str> {
        BATCH
            .iter()
            .find(|&&(on, from, to, _)| on == node && (from..to).contains(&at))
            .map(|&(_, _, _, name)| name)
    }

    /// GPUs that serving may have: before `node`, and in all.
    fn free(&self, node: usize, at: i64) -> (i64, i64) {
        let mut free = (0, 0);
        for (index, other) in self.nodes.iter().enumerate() {
            if (other.from..other.to).contains(&at) && Self::batch_on(index, at).is_none() {
                free.0 += if index < node { 4 } else { 0 };
                free.1 += 4;
            }
        }
        free
    }

    /// What serving does on a device: the replica, its utilization in percent, and how much memory it holds.
    fn serve(&mut self, node: usize, device: &Device, at: i64) -> Option<(Pod, i64, i64)> {
        let (before, free) = self.free(node, at);
        let replicas = self.demand.replicas(at, free);
        if before + i64::try_from(device.gpu).unwrap() >= replicas {
            self.replica.stop();
            return None;
        }
        let (pod, since) = self.replica.at(at, device, &VERSIONS, &mut self.noise);
        if at - since < LOADING && at > LOADING {
            return Some((pod, 0, 14_000 + 250 * ((at - since) / SECOND)));
        }
        let percent = self.demand.percent(at, replicas, &mut self.noise);
        Some((pod, percent, 73_402))
    }
}

impl Plan for Week {
    fn reading(&mut self, node: usize, device: &Device, at: i64) -> Reading {
        if self.device != device.number {
            self.device = device.number;
            self.noise = Noise::new(SEED, device.number);
            self.replica = Replica::default();
        }
        let (pod, percent, used) = if let Some(name) = Self::batch_on(node, at) {
            self.replica.stop();
            let pod = Pod {
                namespace: "batch",
                container: "trainer",
                name: format!("{name}-{}-{}", device.gpu, &device.uuid[4..9]),
            };
            (Some(pod), busy_percent(&mut self.noise), 68_914)
        } else {
            match self.serve(node, device, at) {
                Some((pod, percent, used)) => (Some(pod), percent, used),
                None => (None, 0, 2),
            }
        };
        let floor = if pod.is_some() { 640 } else { 480 };
        let power = floor + 23 * percent + self.noise.around_zero(15);
        Reading {
            pod,
            values: vec![
                (Metric::GpuUtil, percent),
                (Metric::Power, power),
                (Metric::MemoryUsed, used),
                (Metric::MemoryFree, MEMORY - used),
            ],
        }
    }
}

pub(super) fn text() -> String {
    let nodes = nodes();
    let minutes = usize::try_from(LENGTH / MINUTE).unwrap();
    let mut week = Week {
        nodes: nodes.clone(),
        demand: Demand::new(DEMAND, minutes, Noise::new(SEED, 3_000_000)),
        device: u64::MAX,
        noise: Noise::new(SEED, 0),
        replica: Replica::default(),
    };
    let mut export = Export::default();
    let record = PoolRecord {
        pool: "a100",
        nodes: &nodes,
        boot: 8 * MINUTE - SCRAPE_MS,
        price: 14_692_000,
    };
    record.tell(&mut export, START_MS, LENGTH);
    tell(&mut export, &nodes, START_MS, LENGTH, &mut week);
    export.text()
}

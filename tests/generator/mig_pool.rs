//! Two days of a pool whose GPUs are cut into instances, and one node of whole GPUs.
//!
//! Three exporters show the three forms in which `DCGM_FI_DEV_GPU_UTIL` has been seen under MIG: no such row, a row
//! that reads 0, and, on whole GPUs, the truth. For each instance they repeat the power of its whole board.

use super::export::Export;
use super::fleet::{
    Device, Instance, Metric, Node, Plan, Pod, PoolRecord, Reading, SCRAPE_MS, Silence, tell,
};
use super::load::{Curve, DAY, HOUR, MINUTE, Noise, busy_percent};

pub(crate) const SEED: u64 = 20_260_310;
/// Tuesday, 2026-03-10T00:00:00Z.
const START_MS: i64 = 1_773_100_800_000;
const LENGTH: i64 = 2 * DAY;

const SEVEN: [Instance; 7] = [
    small(7),
    small(8),
    small(9),
    small(10),
    small(11),
    small(12),
    small(13),
];
const THREE_AND_ONE: [Instance; 4] = [medium(3), medium(5), medium(6), small(13)];
const TWO: [Instance; 2] = [large(1), large(2)];

const fn small(id: u32) -> Instance {
    Instance {
        profile: "1g.10gb",
        id,
    }
}

const fn medium(id: u32) -> Instance {
    Instance {
        profile: "2g.20gb",
        id,
    }
}

const fn large(id: u32) -> Instance {
    Instance {
        profile: "3g.40gb",
        id,
    }
}

/// The node whose exporter writes a zero for the utilization of instances.
const WRITES_ZERO: usize = 1;
/// The node of whole GPUs.
const WHOLE: usize = 3;
/// The node that came for a workshop.
const WORKSHOP: usize = 4;

/// How busy an inference replica is over the day, per mille.
const INFERENCE: Curve = Curve(&[
    (0, 160),
    (330, 120),
    (540, 620),
    (720, 780),
    (780, 690),
    (930, 820),
    (1_140, 480),
    (1_380, 200),
    (1_440, 160),
]);

/// How many of a hundred notebooks are open, by minute of the day; most stay open over the night.
const OPEN: Curve = Curve(&[
    (0, 60),
    (420, 55),
    (570, 90),
    (1_050, 90),
    (1_200, 65),
    (1_440, 60),
]);

/// How many of a hundred open notebooks compute.
const COMPUTE: Curve = Curve(&[
    (0, 4),
    (420, 4),
    (570, 45),
    (720, 35),
    (840, 55),
    (1_050, 40),
    (1_200, 12),
    (1_440, 4),
]);

fn nodes() -> Vec<Node> {
    let always = (0, LENGTH + HOUR);
    let workshop = (DAY + 8 * HOUR + 31 * MINUTE, DAY + 18 * HOUR + 33 * MINUTE);
    let mut nodes = vec![
        Node::new(SEED, 0, "mig", always, &SEVEN),
        Node::new(SEED, 1, "mig", always, &THREE_AND_ONE),
        Node::new(SEED, 2, "mig", always, &TWO),
        Node::new(SEED, 3, "mig", always, &[]),
        Node::new(SEED, 4, "mig", workshop, &SEVEN),
    ];
    // The large instances vanish for forty minutes in the afternoon.
    nodes[2].silences.push(Silence::Down {
        from: 14 * HOUR,
        to: 14 * HOUR + 40 * MINUTE,
    });
    nodes
}

fn gpu(device: &Device) -> u64 {
    u64::try_from(device.gpu).unwrap()
}

struct Pool {
    device: u64,
    noise: Noise,
    /// The same numbers for all instances of a GPU, since they show one board.
    board: Noise,
    /// The notebook or replica on the device.
    pod: Option<Pod>,
    /// Until when what a notebook does stays as it is, and how busy it is meanwhile, per mille.
    spell: (i64, i64),
}

impl Pool {
    /// A notebook: opened and closed by people, computing in spells of minutes.
    fn notebook(&mut self, at: i64) -> i64 {
        if at >= self.spell.0 {
            let minute_of_day = at % DAY;
            // Every device has its own place among the hundred, so that the same ones stay open.
            let place = i64::try_from(self.device * 37 % 100).unwrap();
            let open = place < OPEN.at(minute_of_day);
            if !open {
                self.pod = None;
            } else if self.pod.is_none() {
                self.pod = Some(Pod {
                    namespace: "notebooks",
                    container: "notebook",
                    name: format!("jupyter-{}-0", self.noise.suffix(6)),
                });
            }
            let computes = open && self.noise.chance(COMPUTE.at(minute_of_day));
            let level = if computes { self.noise.within(300, 950) } else { 0 };
            self.spell = (at + self.noise.within(3, 18) * MINUTE, level);
        }
        match self.spell.1 {
            0 => 0,
            level => (level + self.noise.around_zero(60)).clamp(0, 1000),
        }
    }

    fn inference(&mut self, at: i64, name: &str, day: i64) -> i64 {
        if self.pod.is_none() || at / DAY != day {
            self.pod = Some(Pod {
                namespace: "inference",
                container: "triton",
                name: format!(
                    "{name}-{}-{}",
                    if at < DAY { "66b96bdbc5" } else { "79f4d58c7b" },
                    self.noise.suffix(5)
                ),
            });
        }
        let mean = INFERENCE.at(at % DAY);
        (mean + self.noise.around_zero(120.min(mean))).clamp(0, 1000)
    }

    /// Whole GPUs train from nine in the morning until eleven at night.
    fn training(&mut self, at: i64) -> i64 {
        if !(9 * HOUR..23 * HOUR).contains(&(at % DAY)) {
            self.pod = None;
            return 0;
        }
        if self.pod.is_none() {
            self.pod = Some(Pod {
                namespace: "research",
                container: "train",
                name: format!("vit-large-{}", self.noise.suffix(5)),
            });
        }
        10 * busy_percent(&mut self.noise)
    }
}

impl Plan for Pool {
    fn reading(&mut self, node: usize, device: &Device, at: i64) -> Reading {
        if self.device != device.number {
            *self = Self {
                device: device.number,
                noise: Noise::new(SEED, device.number),
                board: Noise::new(SEED, 4_000_000 + device.number / 100 * 10 + gpu(device)),
                pod: None,
                spell: (0, 0),
            };
        }
        let day = at.saturating_sub(SCRAPE_MS) / DAY;
        let per_mille = match device.instance.map(|instance| instance.profile) {
            None => self.training(at),
            Some("2g.20gb") => self.inference(at, "embeddings", day),
            Some("3g.40gb") => self.inference(at, "reranker", day),
            Some(_) if node == WORKSHOP => {
                // Everybody of the workshop computes.
                let level = self.notebook(at);
                level.max(200 + self.noise.within(0, 500))
            }
            Some(_) => self.notebook(at),
        };
        let watts = match device.instance {
            None => 620 + 23 * per_mille / 10,
            Some(_) => 900 + 16 * INFERENCE.at(at % DAY) / 10,
        };
        let mut values = vec![
            (Metric::GraphicsEngine, per_mille),
            (Metric::Power, watts + self.board.around_zero(15)),
        ];
        match node {
            WHOLE => values.push((Metric::GpuUtil, per_mille / 10)),
            WRITES_ZERO => values.push((Metric::GpuUtil, 0)),
            _ => {}
        }
        Reading {
            pod: self.pod.clone(),
            values,
        }
    }
}

pub(super) fn text() -> String {
    let nodes = nodes();
    let mut pool = Pool {
        device: u64::MAX,
        noise: Noise::new(SEED, 0),
        board: Noise::new(SEED, 0),
        pod: None,
        spell: (0, 0),
    };
    let mut export = Export::default();
    let record = PoolRecord {
        pool: "mig",
        nodes: &nodes,
        boot: 8 * MINUTE - SCRAPE_MS,
        price: 14_692_000,
    };
    record.tell(&mut export, START_MS, LENGTH);
    tell(&mut export, &nodes, START_MS, LENGTH, &mut pool);
    export.text()
}

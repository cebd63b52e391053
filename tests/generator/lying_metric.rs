//! Three days of four busy nodes on which `DCGM_FI_PROF_GR_ENGINE_ACTIVE` reads 0 for two of them.
//!
//! The form is that of dcgm-exporter's issue 662: after weeks of uptime the metric reads 0 on all GPUs, without an
//! error, under 99 to 100 % `GPU_UTIL`; a restart of the exporter heals it. The board's power draw tells the truth all
//! the time. Early on, two nodes really have nothing to do: zero at 48 W.

use super::export::Export;
use super::fleet::{Device, Metric, Node, Plan, Pod, PoolRecord, Reading, SCRAPE_MS, tell};
use super::load::{DAY, HOUR, MINUTE, Noise};

pub(crate) const SEED: u64 = 20_260_512;
/// Tuesday, 2026-05-12T00:00:00Z.
const START_MS: i64 = 1_778_544_000_000;
const LENGTH: i64 = 3 * DAY;

/// Nodes 2 and 3 have nothing to do.
const IDLE: (i64, i64) = (2 * HOUR, 8 * HOUR);
/// The metric reads 0 from here…
const LIES_FROM: i64 = DAY + 10 * HOUR;
/// …until the exporter of the node is restarted.
const RESTARTS: [i64; 4] = [
    2 * DAY + 14 * HOUR,
    2 * DAY + 14 * HOUR + 3 * MINUTE,
    2 * DAY + 14 * HOUR + 6 * MINUTE,
    2 * DAY + 14 * HOUR + 9 * MINUTE,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PowerSeries {
    Recorded,
    Missing,
}

struct Days {
    power: PowerSeries,
    device: u64,
    noise: Noise,
}

impl Plan for Days {
    fn reading(&mut self, node: usize, device: &Device, at: i64) -> Reading {
        if self.device != device.number {
            self.device = device.number;
            self.noise = Noise::new(SEED, device.number);
        }
        let idle = node >= 2 && (IDLE.0..IDLE.1).contains(&at);
        let lies = (LIES_FROM..RESTARTS[node]).contains(&at);
        // What is drawn does not depend on who looks: both recordings tell of the same days.
        let (busy, watts) = (
            800 + self.noise.around_zero(50),
            2950 + self.noise.around_zero(50),
        );
        let util = if self.noise.chance(30) { 99 } else { 100 };
        let pod = Pod {
            namespace: "batch",
            container: "inference",
            name: format!(
                "summarize-{}-{}",
                if at < IDLE.1 { "0" } else { "1" },
                &device.uuid[4..9]
            ),
        };
        let mut values = vec![
            (Metric::GraphicsEngine, if idle || lies { 0 } else { busy }),
            (Metric::GpuUtil, if idle { 0 } else { util }),
        ];
        if self.power == PowerSeries::Recorded {
            values.push((Metric::Power, if idle { 480 + watts % 10 } else { watts }));
        }
        Reading {
            pod: (!idle).then_some(pod),
            values,
        }
    }
}

fn text(power: PowerSeries) -> String {
    let mut nodes: Vec<Node> = (0..4)
        .map(|number| Node::new(SEED, number, "a100", (0, LENGTH + HOUR), &[]))
        .collect();
    for (node, restart) in nodes.iter_mut().zip(RESTARTS) {
        node.restart_exporter(SEED, restart, restart + MINUTE);
    }
    let mut export = Export::default();
    let record = PoolRecord {
        pool: "a100",
        nodes: &nodes,
        boot: 8 * MINUTE - SCRAPE_MS,
        price: 14_692_000,
    };
    record.tell(&mut export, START_MS, LENGTH);
    let mut days = Days {
        power,
        device: u64::MAX,
        noise: Noise::new(SEED, 0),
    };
    tell(&mut export, &nodes, START_MS, LENGTH, &mut days);
    export.text()
}

pub(super) fn with_power() -> String {
    text(PowerSeries::Recorded)
}

pub(super) fn without_power() -> String {
    text(PowerSeries::Missing)
}

//! What a node's exporter says of its GPUs: what is true, rounded as the real one rounds it, or what a fault
//! makes of it.

use gpuscale::policy::config::{Micro, Millis, ONE};

use crate::chance::draw;

use super::super::demand::STEP_MS;
use super::super::fleet::Gpu;
use super::SCRAPE;
use super::faults::Active;
use super::series::{ABSENT, PODS, Row, Worth};

/// How long a device keeps its pod while it has work.
const POD_MS: Millis = 25 * 60_000;

/// What all exporters of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exporter {
    /// The label with the node's name, which changed its case in 2026.
    pub(super) node_label: &'static str,
    /// Whether series carry a UUID.
    pub(super) uuid: bool,
    /// Whether memory is told.
    pub(super) memory: bool,
}

/// What an exporter says of a device.
pub(super) fn report(
    seed: u64,
    pool: usize,
    gpu: &Gpu,
    (true_ms, at_ms): (Millis, Millis),
    exporter: Exporter,
    faults: &Active,
) -> Row {
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
    let mut worth = Worth::Faithful;
    if busy && faults.lies(gpu.device) {
        values[0] = 0.0;
        worth = Worth::Nothing;
    }
    if let Some(blank) = faults.blank(gpu.device) {
        values[0] = blank;
        worth = Worth::Nothing;
    }
    let turn = true_ms.div_euclid(POD_MS).unsigned_abs();
    let pod = 1 + draw(seed, &[SCRAPE, who, turn]) % (PODS as u64 - 1);
    let pod = if busy { u8::try_from(pod).unwrap_or(1) } else { 0 };
    Row {
        at_ms,
        values,
        pod,
        worth,
    }
}

/// A load as it is measured: two percent off at most, never more than all, and nothing only if it is nothing.
pub fn shown(load: Micro, noise: u64) -> Micro {
    let off = (noise % 41).cast_signed() - 20;
    (load + load * off / 1_000).min(ONE)
}

/// By how much a node's samples are stamped before the others'.
pub(super) fn early(seed: u64, node: u32) -> Millis {
    (draw(seed, &[SCRAPE, u64::from(node)]) % 300).cast_signed()
}

pub(super) fn float(value: i64) -> f64 {
    i32::try_from(value).map_or(f64::from(i32::MAX), f64::from)
}

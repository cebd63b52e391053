//! A service whose replicas each hold one GPU: how many there are, where they run, and what they are called.

use super::fleet::{Device, Pod};
use super::load::{Curve, MINUTE, Noise};

/// Replicas that stay in the quietest night.
const FEWEST: i64 = 4;
/// A replica is meant to be this busy, per mille.
const TARGET: i64 = 600;
/// Replicas are given up when they were not needed for so many minutes.
const PATIENCE: usize = 30;
/// Time that a replica needs to load its model.
pub(super) const LOADING: i64 = 150 * 1000;

/// Demand for the service, minute by minute.
pub(super) struct Demand {
    /// Thousandths of a GPU.
    milli_gpus: Vec<i64>,
    /// Replicas that the service would like to have.
    wanted: Vec<i64>,
}

impl Demand {
    /// The curve is in thousandths of a GPU; the demand wavers around it by up to 8 %, from one ten minutes to the
    /// next.
    pub(super) fn new(curve: Curve, minutes: usize, mut noise: Noise) -> Self {
        let anchors: Vec<i64> = (0..=minutes / 10 + 1).map(|_| noise.around_zero(80)).collect();
        let milli_gpus: Vec<i64> = (0..minutes)
            .map(|minute| {
                let (anchor, step) = (minute / 10, i64::try_from(minute % 10).unwrap());
                let waver = (anchors[anchor] * (10 - step) + anchors[anchor + 1] * step) / 10;
                curve.at(i64::try_from(minute).unwrap() * MINUTE) * (1000 + waver) / 1000
            })
            .collect();
        let needed: Vec<i64> = milli_gpus
            .iter()
            .map(|&demand| ((demand + TARGET - 1) / TARGET).max(FEWEST))
            .collect();
        let wanted = (0..minutes)
            .map(|minute| {
                needed[minute.saturating_sub(PATIENCE)..=minute]
                    .iter()
                    .copied()
                    .max()
                    .unwrap_or(FEWEST)
            })
            .collect();
        Self { milli_gpus, wanted }
    }

    fn minute(&self, at: i64) -> usize {
        usize::try_from(at / MINUTE).unwrap().min(self.wanted.len() - 1)
    }

    /// Replicas that find one of `free` GPUs.
    pub(super) fn replicas(&self, at: i64, free: i64) -> i64 {
        self.wanted[self.minute(at)].min(free)
    }

    /// Utilization of each of `replicas` replicas, percent; stops at 100, whatever is asked for.
    pub(super) fn percent(&self, at: i64, replicas: i64, noise: &mut Noise) -> i64 {
        let demand = self.milli_gpus[self.minute(at)];
        let mean = demand / (10 * replicas.max(1));
        if mean >= 98 {
            return if noise.chance(4) { 99 } else { 100 };
        }
        // A replica strays from the mean by up to ten points, less where there is little to stray in.
        let spread = 10.min(mean).min(100 - mean);
        (mean + noise.around_zero(spread)).clamp(0, 100)
    }
}

/// The replica on one device, followed through time.
#[derive(Debug, Clone, Default)]
pub(super) struct Replica {
    running: Option<(Pod, i64, usize)>,
}

impl Replica {
    /// The replica at a time, and since when it runs; `versions` are the moments of a rollout with the hash of the
    /// new version, which reaches a device within twenty minutes.
    pub(super) fn at(
        &mut self,
        at: i64,
        device: &Device,
        versions: &[(i64, &'static str)],
        noise: &mut Noise,
    ) -> (Pod, i64) {
        let delay = i64::try_from(device.number % 20).unwrap() * MINUTE;
        let version = versions.partition_point(|&(since, _)| since + delay <= at).max(1) - 1;
        match &self.running {
            Some((pod, since, old)) if *old == version => (pod.clone(), *since),
            _ => {
                let pod = Pod {
                    namespace: "serving",
                    container: "vllm",
                    name: format!("vllm-llama-{}-{}", versions[version].1, noise.suffix(5)),
                };
                self.running = Some((pod.clone(), at, version));
                (pod, at)
            }
        }
    }

    /// The replica is gone.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }
}

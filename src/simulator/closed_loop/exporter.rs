//! What a policy's signals read in the fluid world.
//!
//! | signal | reading |
//! |---|---|
//! | device | utilization of the ready GPUs, which saturates |
//! | series in percent or as a ratio | the same, as one series |
//! | series in GPUs | the demand, which does not saturate |
//! | series that counts | the GPUs' worth of work that waits |
//! | GPU requests | the same, rounded up, as one-GPU pods; no series, so no exporter fault touches it |
//!
//! Load spreads evenly, so all devices are equal and report as one group with the weight of all. A fault that
//! silences a share of the devices splits that group, from the start of the run, since a device that falls
//! silent has reported before. A pool without ready nodes has no device, and its utilization no sample.

use crate::policy::config::{Config, Micro, Millis, ONE, SeriesUnit, SignalSource};
use crate::policy::sample::{DeviceId, NodeId, Sample};
use crate::policy::windows::Device;
use crate::simulator::fault::{Active, Fault, Scrape};

/// The state of the world that exporters see, all in micros.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulator) struct Shown {
    /// What the ready nodes can serve, in GPUs.
    pub(in crate::simulator) capacity: Micro,
    /// Mean utilization of the ready GPUs, as a fraction.
    pub(in crate::simulator) utilization: Micro,
    /// GPUs wanted by new work.
    pub(in crate::simulator) demand: Micro,
    /// GPUs' worth of work that waits.
    pub(in crate::simulator) waiting: Micro,
}

/// All exporters of the pool.
#[derive(Debug)]
pub(super) struct Exporter {
    signals: Vec<(u16, SignalSource)>,
    /// Percentage of the devices in the groups up to each one; rising, the last is 100.
    up_to_percent: Vec<u32>,
    inventory: Vec<Device>,
    capacity: Micro,
    samples: Vec<Sample>,
}

impl Exporter {
    pub(super) fn new(config: &Config, faults: &[Fault], start_ms: Millis) -> Self {
        let mut up_to_percent: Vec<u32> = faults
            .iter()
            .map(|fault| fault.kind.silent_percent())
            .filter(|&percent| percent > 0)
            .chain([100])
            .collect();
        up_to_percent.sort_unstable();
        up_to_percent.dedup();
        let inventory = (0..).zip(&up_to_percent).map(|(id, _)| Device {
            weight: 0,
            ..Device::new(DeviceId(id), NodeId(0), start_ms)
        });
        let sources = config.signals.iter().map(|signal| signal.source);
        Self {
            signals: (0..)
                .zip(sources)
                .filter(|&(_, source)| source != SignalSource::GpuRequests)
                .collect(),
            inventory: inventory.collect(),
            up_to_percent,
            capacity: 0,
            samples: Vec::new(),
        }
    }

    /// The devices there are now, if their weight is another than at the last call.
    #[inline]
    pub(super) fn resized(&mut self, capacity: Micro) -> bool {
        if capacity == self.capacity {
            return false;
        }
        self.capacity = capacity;
        let mut below = 0;
        for (device, &percent) in self.inventory.iter_mut().zip(&self.up_to_percent) {
            let up_to = share(capacity, percent);
            device.weight = up_to - below;
            below = up_to;
        }
        true
    }

    /// The devices.
    pub(super) fn inventory(&self) -> &[Device] {
        &self.inventory
    }

    /// What the exporters deliver at `now_ms`.
    #[inline]
    pub(super) fn scrape(&mut self, now_ms: Millis, shown: Shown, active: &Active) -> &[Sample] {
        if active.scrape == Scrape::Fresh {
            self.read(now_ms, shown, active);
        }
        &self.samples
    }

    #[inline]
    fn read(&mut self, now_ms: Millis, shown: Shown, active: &Active) {
        self.samples.clear();
        for &(signal, source) in &self.signals {
            if let SignalSource::Series(unit) = source {
                let value = series(unit, shown, active);
                self.samples
                    .extend(value.map(|value| Sample::of_pool(signal, now_ms, value)));
                continue;
            }
            let value = active.shown.unwrap_or(shown.utilization);
            for (device, &percent) in self.inventory.iter().zip(&self.up_to_percent) {
                if percent > active.silent_percent && device.weight > 0 {
                    self.samples.push(Sample {
                        weight: device.weight,
                        ..Sample::of_device(signal, device.id, now_ms, value)
                    });
                }
            }
        }
    }
}

/// What a pool-wide series of `unit` reads; `None` when it has nothing to speak of.
#[inline]
pub(in crate::simulator) fn series(unit: SeriesUnit, shown: Shown, active: &Active) -> Option<Micro> {
    match unit {
        SeriesUnit::Percent | SeriesUnit::Ratio => {
            (shown.capacity > 0).then_some(active.shown.unwrap_or(shown.utilization))
        }
        SeriesUnit::Gpus => Some(match active.shown {
            Some(lie) => share(shown.capacity, u32::try_from(lie * 100 / ONE).unwrap_or(100)),
            None => shown.demand,
        }),
        SeriesUnit::Count => Some(shown.waiting),
    }
}

/// `percent` of `capacity`; exact, since what a pool can serve is far below 2⁵⁶.
fn share(capacity: Micro, percent: u32) -> Micro {
    capacity.saturating_mul(Micro::from(percent)) / 100
}

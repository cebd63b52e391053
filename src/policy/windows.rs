//! The sliding windows of all signals, and what is fed to them.
//!
//! [`Windows`] are never persisted: after a start they are fetched again from the source and are bit-identical to
//! those that slid there (the header of `signal_window.rs` says why). Feeding them costs O(new samples), whatever
//! the window length.

use super::config::{Config, Micro, Millis, ONE, SignalSource};
use super::sample::{Channel, DeviceId, NodeId, POOL, Sample};
use super::signal_window::SignalWindow;

/// One device of the pool, from the node inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Who it is.
    pub id: DeviceId,
    /// The node it is in.
    pub node: NodeId,
    /// How many GPUs it stands for, in micro-GPUs.
    pub weight: Micro,
    /// Since when its node is Ready, on the source's clock.
    pub ready_since_ms: Millis,
    /// Whether its readings count.
    pub health: Health,
}

impl Device {
    /// A healthy, whole GPU.
    #[must_use]
    pub fn new(id: DeviceId, node: NodeId, ready_since_ms: Millis) -> Self {
        Self {
            id,
            node,
            weight: ONE,
            ready_since_ms,
            health: Health::Healthy,
        }
    }
}

/// Whether a device's readings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// They do.
    #[default]
    Healthy,
    /// Its node carries a GPU condition, or it reported a new hardware XID: neither load nor capacity.
    Unhealthy,
}

/// XIDs that are the application's fault and say nothing about the hardware (NVIDIA's XID catalogue): 13 graphics
/// engine exception, 31 memory page fault, 43 channel stopped by the application, 45 preemptive cleanup.
pub const APPLICATION_XIDS: [u32; 4] = [13, 31, 43, 45];

/// XIDs that are taken for a hardware fault: 48 double-bit ECC, 63 and 64 row remapping, 74 `NVLink`, 79 fallen off
/// the bus, 92 high single-bit rate, 94 and 95 contained and uncontained ECC.
pub const HARDWARE_XIDS: [u32; 8] = [48, 63, 64, 74, 79, 92, 94, 95];

/// The health that a newly seen XID gives a device. The gauge keeps the last code for ever, so only a change
/// counts: `before` is the code of the previous reading.
#[must_use]
pub fn health_after_xid(before: Option<u32>, now: u32) -> Health {
    if before != Some(now) && HARDWARE_XIDS.contains(&now) {
        Health::Unhealthy
    } else {
        Health::Healthy
    }
}

/// How the last read of a signal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadStatus {
    /// A whole answer, which may hold no series.
    #[default]
    Answered,
    /// An answer with warnings, or one that says it is partial.
    Partial,
    /// No answer. What was known ages.
    Failed,
}

/// New data since the last call.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// Source time of the read: nothing later is known yet.
    pub now_ms: Millis,
    /// Samples in any order; overlap with earlier deltas is fine.
    pub samples: &'a [Sample],
    /// The devices of the pool, sorted by id, when they may have changed.
    pub inventory: Option<&'a [Device]>,
    /// How each signal's read ended, in the order of the policy's signals; missing entries were answered.
    pub reads: &'a [ReadStatus],
}

/// What became of the samples of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// New readings.
    pub taken: u32,
    /// Readings already known.
    pub duplicate: u32,
    /// Times the merge was rewound for a late reading.
    pub late: u32,
    /// Readings from after the read: the source's clock or ours is wrong.
    pub future: u32,
    /// Readings older than any window.
    pub old: u32,
    /// Readings that their metric cannot have; each ends the one before it.
    pub impossible: u32,
    /// Readings of a signal that the policy does not have.
    pub unknown: u32,
}

/// The sliding windows of a policy.
#[derive(Debug, Clone)]
pub struct Windows {
    pub(super) signals: Vec<Option<SignalWindow>>,
    pub(super) reads: Vec<ReadStatus>,
    absent_is_zero: Vec<bool>,
    now_ms: Millis,
}

impl Windows {
    /// Empty windows for the signals of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let window = |signal: &super::config::Signal| match signal.source {
            SignalSource::GpuRequests => None,
            _ => Some(SignalWindow::new(config, signal)),
        };
        Self {
            signals: config.signals.iter().map(window).collect(),
            reads: vec![ReadStatus::Answered; config.signals.len()],
            absent_is_zero: config
                .signals
                .iter()
                .map(|s| s.absent == super::config::Absent::Zero)
                .collect(),
            now_ms: Millis::MIN,
        }
    }

    /// Source time of the last read.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        self.now_ms
    }

    /// How long a reading can matter. Windows that were fed for longer are what they would be if they had been fed
    /// for ever, but for what [`Windows::recall`] takes over.
    #[must_use]
    pub fn horizon_ms(&self) -> Millis {
        let horizons = self.signals.iter().flatten().map(SignalWindow::horizon_ms);
        horizons.max().unwrap_or(0)
    }

    /// Takes over what windows that were not kept knew of signal number `signal` at `now_ms`: when a value was last
    /// read, and the last reading of a pool-wide series. `absent: Zero` makes readings of its own, and when the next
    /// one is due follows from the last.
    pub fn recall(&mut self, signal: u16, newest_ms: Millis, reading: Option<(Millis, Option<Micro>)>) {
        let index = usize::from(signal);
        let absent_is_zero = self.absent_is_zero.get(index) == Some(&true);
        let Some(Some(window)) = self.signals.get_mut(index) else {
            return;
        };
        let mut counts = Ingested::default();
        if !window.has_devices() {
            if let Some((at_ms, value)) = reading {
                let sample = Sample {
                    value,
                    ..Sample::of_pool(signal, at_ms, 0)
                };
                window.take(&sample, at_ms, &mut counts);
            }
            if absent_is_zero && reading.is_none_or(|(at_ms, _)| at_ms < newest_ms) {
                window.take(&Sample::of_pool(signal, newest_ms, 0), newest_ms, &mut counts);
            }
        }
        window.recall(newest_ms);
    }

    /// Slides the windows to `delta.now_ms` and takes the new samples in, in O(new samples).
    pub fn ingest(&mut self, delta: &Delta<'_>) -> Ingested {
        let mut counts = Ingested::default();
        if delta.now_ms < self.now_ms {
            for signal in self.signals.iter_mut().flatten() {
                signal.set_back(self.now_ms, delta.now_ms);
            }
        }
        self.now_ms = delta.now_ms;
        for (index, read) in self.reads.iter_mut().enumerate() {
            *read = delta.reads.get(index).copied().unwrap_or_default();
        }
        if let Some(devices) = delta.inventory {
            for signal in self.signals.iter_mut().flatten() {
                signal.set_inventory(devices);
            }
        }
        for sample in delta.samples {
            self.take(sample, &mut counts);
        }
        self.fill_absent(&mut counts);
        for signal in self.signals.iter_mut().flatten() {
            signal.settle(self.now_ms, &mut counts);
        }
        counts
    }

    /// Whether the last read told what the source's clock reads.
    pub(super) fn told_the_time(&self) -> bool {
        let mut read = self.signals.iter().zip(&self.reads);
        read.any(|(signal, read)| signal.is_some() && *read != ReadStatus::Failed)
    }

    fn take(&mut self, sample: &Sample, counts: &mut Ingested) {
        let now_ms = self.now_ms;
        if sample.channel != Channel::Load {
            let of_devices = |signal: &&mut SignalWindow| signal.has_devices() && sample.device != POOL;
            for signal in self.signals.iter_mut().flatten().filter(of_devices) {
                signal.take(sample, now_ms, counts);
            }
            return;
        }
        match self.signals.get_mut(usize::from(sample.signal)) {
            Some(Some(signal)) => signal.take(sample, now_ms, counts),
            _ => counts.unknown += 1,
        }
    }

    /// `absent: Zero`: while the source answers, a series that is not there is a zero.
    fn fill_absent(&mut self, counts: &mut Ingested) {
        for (index, signal) in self.signals.iter_mut().enumerate() {
            let Some(signal) = signal else { continue };
            let answered = self.reads[index] == ReadStatus::Answered;
            if self.absent_is_zero[index] && answered && signal.is_silent(self.now_ms) {
                let zero = Sample::of_pool(u16::try_from(index).unwrap_or(u16::MAX), self.now_ms, 0);
                signal.take(&zero, self.now_ms, counts);
            }
        }
    }

    /// Whether every device of `node` was known and idle, by every device signal, since `since_ms`. A policy that
    /// watches no devices has nothing to object: what it knows of a node is its pods.
    #[must_use]
    pub fn node_idle_since(&self, node: NodeId, since_ms: Millis) -> bool {
        let mut signals = self.device_signals();
        signals.all(|signal| signal.node_idle_since(node, since_ms))
    }

    /// Whether every device was known and idle, by every device signal, since `since_ms`; no without devices.
    #[must_use]
    pub fn all_idle_since(&self, since_ms: Millis) -> bool {
        let mut signals = self.device_signals().peekable();
        signals.peek().is_some() && signals.all(|signal| signal.all_idle_since(since_ms))
    }

    fn device_signals(&self) -> impl Iterator<Item = &SignalWindow> {
        self.signals
            .iter()
            .flatten()
            .filter(|signal| signal.has_devices())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_of_a_device_is_no_reading_of_a_series() {
        let policy = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
                      targetRef: { kind: AksNodePool, name: p }\n  maxNodes: 9\n  signals:\n  \
                      - { name: gpu, dcgm: { metric: GpuUtilization } }\n  \
                      - { name: queue, promql: 'q', unit: count, perNode: 8, absent: Zero }\n";
        let config = crate::api::compile(&crate::api::validate(policy).unwrap()).unwrap();
        let mut windows = Windows::new(&config);
        for tick in 1..20 {
            let now_ms = tick * 15_000;
            let power = Sample {
                channel: Channel::Power,
                ..Sample::of_device(0, DeviceId(0), now_ms, 400_000)
            };
            windows.ingest(&Delta {
                now_ms,
                samples: &[power],
                inventory: None,
                reads: &[],
            });
            let queue = windows.signals[1].as_ref().unwrap();
            let newest_ms = queue.newest_ms().unwrap();
            assert!(
                now_ms - newest_ms < 90_000,
                "an absent queue is a zero, whatever GPUs draw"
            );
        }
    }
}

//! What a policy's signals read in the pods world: GPU by GPU, every scrape interval.

use crate::policy::config::{Config, Millis, ONE, SignalSource};
use crate::policy::sample::Sample;
use crate::simulator::closed_loop::{Shown, series};
use crate::simulator::fault::{Active, Scrape};

use super::cluster::Cluster;

/// All exporters of the cluster.
#[derive(Debug)]
pub(super) struct Exporter {
    signals: Vec<(u16, SignalSource)>,
    interval_ms: Millis,
    next_ms: Millis,
    samples: Vec<Sample>,
}

impl Exporter {
    pub(super) fn new(config: &Config, start_ms: Millis) -> Self {
        let sources = config.signals.iter().map(|signal| signal.source);
        Self {
            signals: (0..).zip(sources).collect(),
            interval_ms: config.data_quality.scrape_interval_ms.max(1),
            next_ms: start_ms,
            samples: Vec::new(),
        }
    }

    /// What was read at `now_ms`; nothing between two scrapes.
    pub(super) fn scrape(&mut self, now_ms: Millis, cluster: &Cluster, active: &Active) -> &[Sample] {
        if now_ms < self.next_ms {
            return &[];
        }
        self.next_ms = now_ms.saturating_add(self.interval_ms);
        if active.scrape == Scrape::Fresh {
            self.samples.clear();
            for index in 0..self.signals.len() {
                match self.signals[index] {
                    (signal, SignalSource::Device(_)) => self.devices(signal, now_ms, cluster, active),
                    (signal, SignalSource::Series(unit)) => {
                        let value = series(unit, shown(cluster), active);
                        let sample = value.map(|value| Sample::of_pool(signal, now_ms, value));
                        self.samples.extend(sample);
                    }
                    (_, SignalSource::GpuRequests) => {}
                }
            }
        }
        &self.samples
    }

    /// The devices that are silent are spread evenly over all.
    fn devices(&mut self, signal: u16, now_ms: Millis, cluster: &Cluster, active: &Active) {
        let percent = u64::from(active.silent_percent);
        let readings = (0_u64..).zip(cluster.readings());
        let speaking = readings.filter(|(index, _)| (index + 1) * percent / 100 == index * percent / 100);
        self.samples.extend(speaking.map(|(_, (device, level))| {
            Sample::of_device(signal, device, now_ms, active.shown.unwrap_or(level))
        }));
    }
}

/// The cluster as one number each.
fn shown(cluster: &Cluster) -> Shown {
    let (mut busy, mut capacity) = (0, 0);
    for (_, level) in cluster.readings() {
        busy += level;
        capacity += 1;
    }
    let (demand, served) = cluster.work();
    Shown {
        capacity: capacity * ONE,
        utilization: if capacity == 0 { 0 } else { busy / capacity },
        demand,
        waiting: (demand - served).max(0),
    }
}

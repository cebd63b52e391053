//! From the answers of a metrics source to the engine's samples.
//!
//! The rules are those of [`devices`](crate::devices), as for a recording: who reports, in which node, how much of a
//! GPU it is, and what a value means. What is added here is what a live source does: it repeats samples, since reads
//! overlap; it fails for one metric and answers for another; its clock is wrong; it shows devices of other pools.
//!
//! - A sample comes out once. What is not taken (it is from the future, or of a node that is not of the pool) is not
//!   noted either, and is taken when it comes again.
//! - Devices and nodes get numbers at first sight, in an order that does not depend on the order of an answer.
//! - While a GPU is split, its instances speak for it, and for a while after they fell silent nobody does.
//! - What cannot be known is a sample without a value or none at all, never a zero.
//!
//! Pure and synchronous: it calls no port, and does not know how often it is called or what is decided.

mod census;
mod reader;
mod recent;
mod take;
mod wants;

use crate::api::Query;
use crate::devices::LabelMapping;
use crate::policy::Windows;
use crate::policy::config::{Config, Micro, Millis, ONE};
use crate::policy::sample::{DeviceId, NodeId, Sample};
use crate::policy::windows::{Health, ReadStatus};

use super::ports::{Answer, SourceError};

pub use census::{Belonging, FIRST_SILENT};
use census::{Census, Heard};
use reader::Reader;
use wants::Use;
pub use wants::{Role, Want, selectors};

/// Most series in one answer.
pub const MOST_SERIES: usize = 20_000;

/// Most samples in one answer.
pub const MOST_SAMPLES: usize = 2_000_000;

/// Samples that were not taken, and why, of one round of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Not a number, or infinite; stale markers among them. Each ends the reading before it.
    pub not_finite: u32,
    /// Outside the range of its unit. Each ends the reading before it.
    pub out_of_range: u32,
    /// Later than the source's own time.
    pub future: u32,
    /// Older than any window.
    pub old: u32,
    /// Zeros that power contradicted when it was last known, while it cannot be read. Each is unknown.
    pub unverified: u32,
    /// Series whose labels do not say who reports.
    pub unidentified_series: u32,
    /// Series of devices of other pools.
    pub foreign_series: u32,
}

/// An answer that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Number of the want.
    pub want: usize,
    /// Why, in words.
    pub message: String,
}

/// A device that reports, or did not long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardDevice {
    /// Its number.
    pub id: DeviceId,
    /// Its node.
    pub node: NodeId,
    /// Number of its physical GPU among the GPUs; not stable.
    pub gpu: usize,
    /// Whether it is a MIG instance.
    pub instance: bool,
    /// How many GPUs it stands for, in micro-GPUs.
    pub weight: Micro,
    /// Its first sample and its last.
    pub first_ms: Millis,
    /// Its last sample that was a number.
    pub last_ms: Millis,
    /// What its XIDs say.
    pub health: Health,
}

/// Turns answers into samples.
#[derive(Debug)]
pub struct Intake {
    wants: Vec<Want>,
    readers: Vec<Reader>,
    mapping: LabelMapping,
    census: Census,
    times: Times,
    /// Source time of the last answer.
    now_ms: Option<Millis>,
    swept_ms: Millis,
    out: Output,
    reads: Vec<ReadStatus>,
    refused: Vec<Refused>,
    /// The source's time, if an answer of this round could be used.
    told_ms: Option<Millis>,
    /// For each want, its place among the results.
    results: Vec<Option<usize>>,
}

/// Lengths of time that the policy sets.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "units stand last in names")]
struct Times {
    /// How far back a reading counts.
    horizon_ms: Millis,
    /// How long a sample speaks for its device.
    hold_ms: Millis,
    /// How long a device may be silent before others may speak for its GPU.
    quiet_ms: Millis,
    scrape_ms: Millis,
    /// The first sample of all.
    opening_ms: Option<Millis>,
}

/// What comes out of one round of reads.
#[derive(Debug, Default)]
struct Output {
    samples: Vec<Sample>,
    counters: Counters,
    /// Devices and the codes that they reported.
    xids: Vec<(usize, Millis, u32)>,
}

impl Intake {
    /// An intake that has seen nothing yet.
    #[must_use]
    pub fn new(config: &Config, queries: &[Query], mapping: LabelMapping) -> Self {
        let (wants, uses) = wants::wants(config, queries);
        let quality = &config.data_quality;
        let hold_ms = quality.hold_limit_ms();
        Self {
            results: vec![None; wants.len()],
            wants,
            readers: uses.into_iter().map(Reader::new).collect(),
            mapping,
            census: Census::default(),
            times: Times {
                horizon_ms: Windows::new(config).horizon_ms(),
                hold_ms,
                quiet_ms: hold_ms.max(quality.max_age_ms),
                scrape_ms: quality.scrape_interval_ms.max(1),
                opening_ms: None,
            },
            now_ms: None,
            swept_ms: Millis::MIN,
            out: Output::default(),
            reads: vec![ReadStatus::Answered; config.signals.len()],
            refused: Vec::new(),
            told_ms: None,
        }
    }

    /// What has to be read at every tick, the signals first.
    #[must_use]
    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    /// Whether selector number `want` has to be read in the next round. Free memory is read until the memory of every
    /// device that is heard is known.
    #[must_use]
    pub fn is_due(&self, want: usize) -> bool {
        let lacks_memory = |device: &Heard| device.id.is_some() && device.memory_mib.is_none();
        let devices = &self.census.devices;
        let scales = |reader: &Reader| reader.uses == [Use::MemoryFree];
        !self.readers.get(want).is_some_and(scales) || devices.is_empty() || devices.iter().any(lacks_memory)
    }

    /// How far back a selector has to be read whose last success is that long ago; `None` if there was none.
    ///
    /// To be asked before every round. The first read fills the windows, later ones overlap by two scrapes. After an
    /// answer that was partial, and when the source's clock was put back, everything is read again.
    #[must_use]
    pub fn window_ms(&self, since_last_success_ms: Option<Millis>) -> Millis {
        let whole_ms = self.times.horizon_ms.saturating_add(self.times.scrape_ms);
        let again = self.readers.iter().any(|reader| reader.again);
        match since_last_success_ms {
            Some(since_ms) if !again => {
                let overlap_ms = 2 * self.times.scrape_ms;
                since_ms.max(0).saturating_add(overlap_ms).min(whole_ms)
            }
            _ => whole_ms,
        }
    }

    /// Takes the results of one round of reads, each with the number of its want. A want without a result was not
    /// answered.
    pub fn take(&mut self, results: &[(usize, Result<Answer, SourceError>)]) {
        take::take(self, results);
    }

    /// The new samples of the last round.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.out.samples
    }

    /// How the read of each signal ended in the last round.
    #[must_use]
    pub fn reads(&self) -> &[ReadStatus] {
        &self.reads
    }

    /// Source time of the last round that had an answer; the earliest, where the answers of signals differ. `None`
    /// before there was any.
    #[must_use]
    pub fn now_ms(&self) -> Option<Millis> {
        self.now_ms
    }

    /// The same if the last round told it: `None` where nothing was answered, or nothing that can be used.
    #[must_use]
    pub fn told_ms(&self) -> Option<Millis> {
        self.told_ms
    }

    /// What was not taken in the last round.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.out.counters
    }

    /// Whether the last round's answer to selector number `want` could not be taken.
    #[must_use]
    pub fn is_refused(&self, want: usize) -> bool {
        self.refused.iter().any(|refused| refused.want == want)
    }

    /// Answers of the last round that could not be taken.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// How long a device may be silent before it counts as silent.
    #[must_use]
    pub fn quiet_ms(&self) -> Millis {
        self.times.quiet_ms
    }

    /// By how much the last sample of a device may be older than that of another one which is scraped as well.
    #[must_use]
    pub fn late_ms(&self) -> Millis {
        2 * self.times.scrape_ms
    }

    /// The first sample of all; `None` before there was any.
    #[must_use]
    pub fn opening_ms(&self) -> Option<Millis> {
        self.times.opening_ms
    }

    /// The devices that speak for their GPUs, in no particular order.
    pub fn devices(&self) -> impl Iterator<Item = HeardDevice> + '_ {
        let census = &self.census;
        let devices = census.devices.iter();
        devices.filter_map(|device| {
            let node = census.nodes.get(device.node?)?;
            let heard = HeardDevice {
                id: device.id?,
                node: node.id,
                gpu: device.gpu,
                instance: device.instance,
                weight: device.weight.clamp(0, ONE),
                first_ms: device.first_ms,
                last_ms: device.last_ms,
                health: device.xids.health(),
            };
            (!census.is_superseded(device)).then_some(heard)
        })
    }

    /// The number of the node of that name, which it keeps as long as it is heard or expected.
    pub fn node(&mut self, name: &str) -> NodeId {
        let place = self.census.node(name);
        self.census
            .nodes
            .get(place)
            .map_or(NodeId(FIRST_SILENT), |node| node.id)
    }

    /// The number of the node of that name, if it has one.
    #[must_use]
    pub fn known_node(&self, name: &str) -> Option<NodeId> {
        self.census.known_node(name)
    }

    /// The name of a node.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> Option<&str> {
        let place = self.census.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        self.census.nodes.get(place).map(|node| &*node.name)
    }

    /// Says of every node whether it belongs to the pool.
    pub fn assign(&mut self, belonging: impl Fn(NodeId) -> Belonging) {
        for node in &mut self.census.nodes {
            node.belonging = belonging(node.id);
        }
    }
}

#[cfg(test)]
mod tests;

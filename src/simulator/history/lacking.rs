//! Nodes that are Ready and of which no device is heard.

use crate::policy::config::Millis;
use crate::policy::sample::{DeviceId, NodeId};
use crate::policy::windows::Device;

use super::fleet::Frame;

/// Nodes that are Ready and show no device: the first time that each was noticed, oldest first.
///
/// Their GPUs are expected like any other, so they are unknown until their devices report.
#[derive(Debug, Clone, Default)]
pub(super) struct Lacking {
    since_ms: Vec<Millis>,
    /// Nodes Ready, where that was declared.
    pub(super) declared: Option<u32>,
    /// Nodes Ready at the last look.
    ready: u32,
}

/// Ids of devices of which nothing is known, beyond those of all others.
const FIRST_LACKING: u32 = u32::MAX / 2;

impl Lacking {
    /// Notes how many there are at a time, of how many that are Ready; says whether that is news.
    ///
    /// A node that has just become Ready has its warm-up. One that was there and whose devices are gone has none: it is
    /// unknown at once.
    pub(super) fn note(&mut self, nodes: u32, ready: u32, now_ms: Millis, frame: Frame) -> bool {
        let nodes = usize::try_from(nodes).unwrap_or(usize::MAX).min(MOST_LACKING);
        let before = self.since_ms.len();
        let new = usize::try_from(ready.saturating_sub(self.ready)).unwrap_or(usize::MAX);
        self.ready = ready;
        self.since_ms.truncate(nodes);
        let known = nodes.saturating_sub(before).saturating_sub(new);
        let long_ago = frame.ready_since(frame.start_ms);
        self.since_ms.splice(..0, std::iter::repeat_n(long_ago, known));
        self.since_ms.resize(nodes, frame.ready_since(now_ms));
        before != nodes
    }

    /// Their devices.
    pub(super) fn devices(&self, gpus_per_node: u32) -> impl Iterator<Item = Device> {
        let nodes = (0_u32..).zip(&self.since_ms);
        nodes.flat_map(move |(node, &since_ms)| {
            (0..gpus_per_node).map(move |gpu| {
                let place = node.saturating_mul(gpus_per_node).saturating_add(gpu);
                let id = DeviceId(FIRST_LACKING.saturating_add(place));
                Device::new(id, NodeId(FIRST_LACKING.saturating_add(node)), since_ms)
            })
        })
    }
}

/// More nodes than a pool has.
const MOST_LACKING: usize = 10_000;

//! The devices that are expected to report.
//!
//! Devices that were heard, on nodes that are expected, and for every GPU of such a node that was not heard a device
//! of which nothing is known. Where a node shows more GPUs than it has, some were replaced: those that have been
//! silent the longest go first, and none goes that is still heard.

use crate::control::intake::{FIRST_SILENT, HeardDevice, Intake};
use crate::policy::config::{Millis, ONE};
use crate::policy::sample::{DeviceId, NodeId};
use crate::policy::windows::{Device, Health};

use super::Input;
use super::members::{Member, Members};

/// Most GPUs in one node.
pub(super) const MOST_GPUS: u32 = 64;

/// Nodes of which not even the name is known have ids from here on.
const FIRST_PRESUMED: u32 = FIRST_SILENT + FIRST_SILENT / 2;

/// Before anything that is remembered.
const LONG_AGO_MS: Millis = 0;

/// More nodes than a pool has.
const MOST_PRESUMED: u32 = 10_000;

/// The devices expected.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    devices: Vec<Device>,
    before: Vec<Device>,
    heard: Vec<HeardDevice>,
    drawn: bool,
    changed: bool,
    unhealthy: Vec<NodeId>,
}

impl Inventory {
    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }

    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    pub(super) fn unhealthy_nodes(&self) -> u32 {
        u32::try_from(self.unhealthy.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn health_of(&self, node: NodeId) -> Health {
        if self.unhealthy.contains(&node) {
            Health::Unhealthy
        } else {
            Health::Healthy
        }
    }

    /// Draws up the devices anew.
    pub(super) fn draw(&mut self, intake: &Intake, members: &Members, input: &Input<'_>) {
        std::mem::swap(&mut self.devices, &mut self.before);
        self.devices.clear();
        self.unhealthy.clear();
        self.heard.clear();
        self.heard.extend(intake.devices());
        let silent_ms = input.now_ms.saturating_sub(intake.quiet_ms());
        // Of each node the GPUs that were heard last come first, and the instances of a GPU together.
        self.heard.sort_unstable_by_key(|device| {
            (
                device.node,
                device.last_ms < silent_ms,
                device.gpu,
                device.last_ms.saturating_neg(),
                device.id,
            )
        });
        let mut from = 0;
        for member in members.list.iter().filter(|member| member.expected) {
            let rest = self.heard.get(from..).unwrap_or_default();
            let first = from + rest.partition_point(|device| device.node < member.id);
            let rest = self.heard.get(first..).unwrap_or_default();
            from = first + rest.partition_point(|device| device.node <= member.id);
            self.of_node(member, first, from, silent_ms);
        }
        for node in 0..members.presumed.min(MOST_PRESUMED) {
            let id = NodeId(FIRST_PRESUMED.saturating_add(node));
            for gpu in 0..input.gpus_per_node {
                self.devices
                    .push(Device::new(unheard(FIRST_PRESUMED, node, gpu), id, LONG_AGO_MS));
            }
        }
        self.devices.sort_unstable_by_key(|device| device.id);
        self.changed = !self.drawn || self.devices != self.before;
        self.drawn = true;
    }

    fn of_node(&mut self, member: &Member, first: usize, end: usize, silent_ms: Millis) {
        let heard = self.heard.get(first..end).unwrap_or_default();
        let sick = member.condition || heard.iter().any(|device| device.health == Health::Unhealthy);
        if sick {
            self.unhealthy.push(member.id);
        }
        let ready_since_ms = member.ready_since_ms.unwrap_or(member.first_ms);
        let mut gpus = 0;
        let mut rest = heard;
        while let Some(device) = rest.first() {
            let same = rest.iter().take_while(|other| other.gpu == device.gpu);
            let (parts, others) = rest.split_at(same.count());
            rest = others;
            let silent = device.last_ms < silent_ms;
            // The silent part of a GPU of which a part is heard stands behind all that is heard.
            let again = silent
                && heard
                    .iter()
                    .any(|other| other.gpu == device.gpu && other.last_ms >= silent_ms);
            if silent && !again && gpus >= member.gpus && member.gpus > 0 {
                continue;
            }
            gpus += u32::from(!again);
            let mut room = ONE;
            if again {
                let own = heard.iter().filter(|other| other.gpu == device.gpu);
                room -= own
                    .filter(|other| other.last_ms >= silent_ms)
                    .map(|other| other.weight)
                    .sum::<i64>();
            }
            for part in parts {
                // More than a whole: the instances were cut anew.
                if silent && part.weight > room {
                    continue;
                }
                room -= part.weight;
                self.devices.push(Device {
                    id: part.id,
                    node: part.node,
                    weight: part.weight,
                    ready_since_ms,
                    health: if member.condition {
                        Health::Unhealthy
                    } else {
                        part.health
                    },
                });
            }
        }
        for gpu in gpus..member.gpus.min(MOST_GPUS) {
            self.devices.push(Device {
                health: if member.condition {
                    Health::Unhealthy
                } else {
                    Health::Healthy
                },
                ..Device::new(unheard(FIRST_SILENT, member.id.0, gpu), member.id, ready_since_ms)
            });
        }
    }
}

/// The id of a GPU that is not heard.
fn unheard(base: u32, node: u32, gpu: u32) -> DeviceId {
    let place = node.saturating_mul(MOST_GPUS).saturating_add(gpu);
    DeviceId(base.saturating_add(place).min(u32::MAX - 1))
}

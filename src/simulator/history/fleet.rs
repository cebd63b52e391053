//! Which devices were there, when, and whether they were fit for work.
//!
//! Where the recording has an inventory ([`schema::NODE_GPUS`](crate::recording::schema::NODE_GPUS)), a device is
//! expected for as long as its node is there, and GPUs of a node that never reported count as unknown devices. Where it has
//! none, a device is *assumed* to be there from its first sample to its last: a gap in between is a gap, but nobody
//! can tell an exporter that died for good from a node that left, unless the pool is declared to have all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::{Identity, OPENING_MS, Xids};
use crate::policy::config::{Micro, Millis, ONE};
use crate::policy::sample::{DeviceId, NodeId};
use crate::policy::windows::{Device, Health};

use super::steps::{Steps, count};

/// How long before the recording a node that is there at its beginning counts as Ready.
const LONG_BEFORE_MS: Millis = 24 * 3_600_000;

/// A device as its series show it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The node it is in; empty if no label says.
    pub(super) node: String,
    pub(super) weight: Micro,
    /// Its first and its last sample.
    pub(super) first_ms: Millis,
    pub(super) last_ms: Millis,
}

/// A stretch of time in which a device is expected to report.
#[derive(Debug, Clone, Copy)]
struct Presence {
    device: DeviceId,
    node: NodeId,
    weight: Micro,
    from_ms: Millis,
    /// Exclusive.
    to_ms: Millis,
    ready_since_ms: Millis,
}

/// The devices over time.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    presences: Vec<Presence>,
    /// Changes of a device's health, in order of time.
    health: Vec<(Millis, DeviceId, Health)>,
    /// Times at which anything changes, rising.
    changes: Vec<Millis>,
    /// Nodes by name; a node's id is its place.
    nodes: Vec<String>,
    current: Vec<Device>,
    next_change: usize,
    /// Presences that have begun, and those of them that have not ended.
    begun: usize,
    active: Vec<Presence>,
    /// Changes of health that were taken in, and what they came to.
    told: usize,
    unhealthy: BTreeMap<DeviceId, Health>,
}

/// When the recording begins and ends, and for how long a sample speaks for its device.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "units stand last in names")]
pub(super) struct Frame {
    pub(super) start_ms: Millis,
    pub(super) end_ms: Millis,
    pub(super) hold_ms: Millis,
}

impl Frame {
    pub(super) fn ready_since(&self, from_ms: Millis) -> Millis {
        if from_ms - self.start_ms <= OPENING_MS {
            self.start_ms - LONG_BEFORE_MS
        } else {
            from_ms
        }
    }
}

impl Fleet {
    /// The fleet of these devices, ordered by identity, whose place is their id.
    ///
    /// `inventory` has the GPUs of each node over time; empty if the recording has none.
    pub(super) fn new(
        devices: &BTreeMap<Identity, Seen>,
        inventory: &BTreeMap<String, Steps>,
        health: Vec<(Millis, DeviceId, Health)>,
        frame: Frame,
    ) -> Self {
        let names: BTreeSet<&String> = devices
            .values()
            .map(|seen| &seen.node)
            .chain(inventory.keys())
            .collect();
        let nodes: Vec<String> = names.into_iter().cloned().collect();
        let node_id = |name: &String| {
            let place = nodes.binary_search(name).unwrap_or_default();
            NodeId(u32::try_from(place).unwrap_or(u32::MAX))
        };
        let listed = listed(devices);
        let presences = if inventory.is_empty() {
            let whole = |(device, _, seen): &(DeviceId, &Identity, &Seen)| Presence {
                device: *device,
                node: node_id(&seen.node),
                weight: seen.weight,
                from_ms: seen.first_ms,
                to_ms: seen.last_ms.saturating_add(frame.hold_ms),
                ready_since_ms: frame.ready_since(seen.first_ms),
            };
            listed.iter().map(whole).collect()
        } else {
            let mut next_id = u32::try_from(listed.len()).unwrap_or(u32::MAX);
            let mut presences = Vec::new();
            for (name, gpus) in inventory {
                let own: Vec<_> = listed.iter().filter(|(_, _, seen)| seen.node == *name).collect();
                for stay in stays(gpus, frame) {
                    presences.extend(of_stay(&stay, node_id(name), &own, &mut next_id, frame));
                }
            }
            presences
        };
        Self::of(presences, health, nodes)
    }

    fn of(presences: Vec<Presence>, health: Vec<(Millis, DeviceId, Health)>, nodes: Vec<String>) -> Self {
        let ends = presences
            .iter()
            .flat_map(|presence| [presence.from_ms, presence.to_ms]);
        let changes: BTreeSet<Millis> = ends.chain(health.iter().map(|&(at_ms, ..)| at_ms)).collect();
        Self {
            presences,
            health,
            changes: changes.into_iter().collect(),
            nodes,
            current: Vec::new(),
            next_change: 0,
            begun: 0,
            active: Vec::new(),
            told: 0,
            unhealthy: BTreeMap::new(),
        }
    }

    /// Devices that have come stay expected, silent or not. To be said before the first move.
    pub(super) fn nobody_leaves(&mut self) {
        let mut presences = std::mem::take(&mut self.presences);
        for presence in &mut presences {
            presence.to_ms = Millis::MAX;
        }
        let (health, nodes) = (std::mem::take(&mut self.health), std::mem::take(&mut self.nodes));
        *self = Self::of(presences, health, nodes);
    }

    /// The names of the nodes; the place of one is its id.
    pub(super) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Moves to `now_ms` and says whether the devices expected changed since the last call. Times have to rise.
    pub(super) fn changed(&mut self, now_ms: Millis) -> bool {
        let until = self.changes.partition_point(|&at_ms| at_ms <= now_ms);
        if until == self.next_change {
            return false;
        }
        self.next_change = until;
        self.active.retain(|presence| now_ms < presence.to_ms);
        let begun = self.presences[self.begun..].partition_point(|presence| presence.from_ms <= now_ms);
        let new = self.presences[self.begun..self.begun + begun].iter();
        self.active
            .extend(new.filter(|presence| now_ms < presence.to_ms).copied());
        self.begun += begun;
        let news = self.health[self.told..].partition_point(|&(at_ms, ..)| at_ms <= now_ms);
        let told = self.health[self.told..self.told + news].iter();
        self.unhealthy
            .extend(told.map(|&(_, device, health)| (device, health)));
        self.told += news;
        let mut current: BTreeMap<DeviceId, Device> = BTreeMap::new();
        for presence in &self.active {
            current.entry(presence.device).or_insert(Device {
                weight: presence.weight,
                health: self.unhealthy.get(&presence.device).copied().unwrap_or_default(),
                ..Device::new(presence.device, presence.node, presence.ready_since_ms)
            });
        }
        self.current = current.into_values().collect();
        true
    }

    /// The devices of the last call of [`Fleet::changed`].
    pub(super) fn current(&self) -> &[Device] {
        &self.current
    }

    /// Nodes that have a device at the last call of [`Fleet::changed`].
    pub(super) fn nodes_present(&self) -> u32 {
        let nodes: BTreeSet<NodeId> = self.current.iter().map(|device| device.node).collect();
        u32::try_from(nodes.len()).unwrap_or(u32::MAX)
    }

    /// Most physical GPUs that one node ever showed.
    pub(super) fn most_gpus_in_a_node(devices: &BTreeMap<Identity, Seen>) -> u32 {
        let mut gpus: BTreeMap<&String, BTreeSet<Identity>> = BTreeMap::new();
        for (identity, seen) in devices {
            gpus.entry(&seen.node).or_default().insert(identity.gpu());
        }
        let most = gpus.values().map(BTreeSet::len).max().unwrap_or(0);
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

fn listed(devices: &BTreeMap<Identity, Seen>) -> Vec<(DeviceId, &Identity, &Seen)> {
    let ids = (0..).map(DeviceId);
    ids.zip(devices)
        .map(|(id, (identity, seen))| (id, identity, seen))
        .collect()
}

/// A node's stay in the pool, with the most GPUs that it had.
struct Stay {
    from_ms: Millis,
    to_ms: Millis,
    gpus: usize,
}

fn stays(gpus: &Steps, frame: Frame) -> Vec<Stay> {
    let mut stays = Vec::new();
    let mut open: Option<Stay> = None;
    // A stale marker says that nobody told any more, not that the node went.
    for &(at_ms, value) in gpus.changes().iter().filter(|(_, value)| value.is_finite()) {
        let count = count(value).min(64) as usize;
        match (&mut open, count) {
            (Some(_), 0) => stays.extend(open.take().map(|stay| Stay { to_ms: at_ms, ..stay })),
            (None, 0) => {}
            (Some(stay), _) => stay.gpus = stay.gpus.max(count),
            (None, _) => {
                open = Some(Stay {
                    from_ms: at_ms,
                    to_ms: frame.end_ms.saturating_add(1),
                    gpus: count,
                });
            }
        }
    }
    stays.extend(open);
    stays
}

/// The devices of a node during one stay: those that reported, and the GPUs that never did.
fn of_stay(
    stay: &Stay,
    node: NodeId,
    own: &[&(DeviceId, &Identity, &Seen)],
    next_id: &mut u32,
    frame: Frame,
) -> Vec<Presence> {
    let ready_since_ms = frame.ready_since(stay.from_ms);
    let reported: Vec<_> = own
        .iter()
        .filter(|(_, _, seen)| seen.first_ms < stay.to_ms && seen.last_ms >= stay.from_ms)
        .collect();
    let gpus: BTreeSet<Identity> = reported.iter().map(|(_, identity, _)| identity.gpu()).collect();
    // More GPUs than the node has: one was replaced, and each counts until its successor reports.
    // A GPU that was split into instances, or put together again, is followed by them likewise.
    let split = reported.iter().any(|(_, identity, _)| {
        identity.is_instance() && reported.iter().any(|(_, other, _)| **other == identity.gpu())
    });
    let replaced = split || gpus.len() > stay.gpus;
    let others = |seen: &Seen| {
        let (first_ms, last_ms) = (seen.first_ms, seen.last_ms);
        let followed = reported
            .iter()
            .map(|(.., other)| other.first_ms)
            .filter(|&at_ms| at_ms > last_ms);
        let follows = reported.iter().any(|(.., other)| other.last_ms < first_ms);
        (follows, followed.min())
    };
    let presence = |(device, _, seen): &&&(DeviceId, &Identity, &Seen)| {
        let (follows, followed) = if replaced { others(seen) } else { (false, None) };
        Presence {
            device: *device,
            node,
            weight: seen.weight,
            from_ms: if follows { seen.first_ms } else { stay.from_ms },
            to_ms: followed.unwrap_or(stay.to_ms),
            ready_since_ms,
        }
    };
    let mut presences: Vec<Presence> = reported.iter().map(presence).collect();
    for _ in gpus.len()..stay.gpus {
        presences.push(Presence {
            device: DeviceId(*next_id),
            node,
            weight: ONE,
            from_ms: stay.from_ms,
            to_ms: stay.to_ms,
            ready_since_ms,
        });
        *next_id = next_id.saturating_add(1);
    }
    presences
}

/// The health of one device over time, from its XID codes in order of time.
pub(super) fn health_changes(
    device: DeviceId,
    codes: impl Iterator<Item = (Millis, u32)>,
    start_ms: Millis,
) -> Vec<(Millis, DeviceId, Health)> {
    let mut xids = Xids::default();
    codes
        .filter_map(|(at_ms, code)| {
            let changed = xids.note(at_ms, code, start_ms);
            changed.then(|| (at_ms, device, xids.health()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Millis = 1_700_000_000_000;
    const HOUR: Millis = 3_600_000;
    const FRAME: Frame = Frame {
        start_ms: T0,
        end_ms: T0 + 24 * HOUR,
        hold_ms: 90_000,
    };

    fn seen(node: &str, first_hour: i64, last_hour: i64) -> Seen {
        Seen {
            node: node.to_owned(),
            weight: ONE,
            first_ms: T0 + first_hour * HOUR,
            last_ms: T0 + last_hour * HOUR,
        }
    }

    fn gpu(uuid: &str) -> Identity {
        Identity::Uuid {
            uuid: uuid.to_owned(),
            instance: None,
        }
    }

    fn inventory(node: &str, changes: &[(i64, f64)]) -> BTreeMap<String, Steps> {
        use crate::recording::{Labels, MetricsBuilder};
        let mut builder = MetricsBuilder::new();
        let id = builder
            .series(Labels::new("n", [("node", node)]).unwrap())
            .unwrap();
        for &(hour, value) in changes {
            builder.push(id, T0 + hour * HOUR, value, 1).unwrap();
        }
        let metrics = builder.finish().unwrap();
        BTreeMap::from([(node.to_owned(), Steps::of(&metrics.series()[0]))])
    }

    /// Expected devices at each hour.
    fn expected(fleet: &mut Fleet, hours: &[i64]) -> Vec<usize> {
        let at = |&hour: &i64| {
            let _ = fleet.changed(T0 + hour * HOUR);
            fleet.current().len()
        };
        hours.iter().map(at).collect()
    }

    #[test]
    fn without_an_inventory_a_device_is_there_from_its_first_sample_to_its_last() {
        let devices = BTreeMap::from([(gpu("a"), seen("n1", 0, 24)), (gpu("b"), seen("n2", 5, 10))]);
        let mut fleet = Fleet::new(&devices, &BTreeMap::new(), Vec::new(), FRAME);
        assert_eq!(expected(&mut fleet, &[0, 4, 5, 10, 11, 24]), [1, 1, 2, 2, 1, 1]);
        let first = fleet.current()[0];
        assert!(first.ready_since_ms < T0, "was there before the recording");
    }

    #[test]
    fn an_inventory_expects_a_device_whose_exporter_died_for_good() {
        let devices = BTreeMap::from([(gpu("a"), seen("n1", 0, 3)), (gpu("b"), seen("n1", 0, 24))]);
        let inventory = inventory("n1", &[(0, 2.0), (20, 0.0)]);
        let mut fleet = Fleet::new(&devices, &inventory, Vec::new(), FRAME);
        assert_eq!(expected(&mut fleet, &[0, 3, 19, 20]), [2, 2, 2, 0]);
    }

    #[test]
    fn gpus_that_never_reported_are_unknown_devices() {
        let devices = BTreeMap::from([(gpu("a"), seen("n1", 0, 24))]);
        let inventory = inventory("n1", &[(0, 4.0)]);
        let mut fleet = Fleet::new(&devices, &inventory, Vec::new(), FRAME);
        assert_eq!(expected(&mut fleet, &[0, 24]), [4, 4]);
        assert_eq!(fleet.nodes_present(), 1);
    }

    #[test]
    fn a_replaced_gpu_does_not_count_twice() {
        let devices = BTreeMap::from([(gpu("a"), seen("n1", 0, 9)), (gpu("b"), seen("n1", 12, 24))]);
        let inventory = inventory("n1", &[(0, 1.0)]);
        let mut fleet = Fleet::new(&devices, &inventory, Vec::new(), FRAME);
        assert_eq!(expected(&mut fleet, &[0, 9, 11, 12, 23]), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn only_a_new_hardware_code_makes_a_device_unhealthy_and_zero_clears_it() {
        use Health::{Healthy, Unhealthy};
        let check = |codes: &[(i64, u32)], wanted: &[(i64, Health)]| {
            let codes = codes.iter().map(|&(hour, code)| (T0 + hour * HOUR, code));
            let found = health_changes(DeviceId(0), codes, T0);
            let found: Vec<_> = found
                .iter()
                .map(|&(at, _, health)| ((at - T0) / HOUR, health))
                .collect();
            assert_eq!(found, wanted);
        };
        check(&[(0, 79), (1, 79), (2, 79)], &[]);
        check(
            &[(0, 0), (1, 31), (2, 79), (3, 79), (4, 0)],
            &[(2, Unhealthy), (4, Healthy)],
        );
        check(&[(5, 79), (6, 31)], &[(5, Unhealthy)]);
        check(&[(0, 79), (1, 48)], &[(1, Unhealthy)]);
    }
}

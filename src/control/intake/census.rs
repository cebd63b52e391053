//! The devices and nodes that report: who they are, by which number the engine knows them, and what is known of each.
//!
//! Numbers are given out once and never again, so that a device in the journal is the same throughout. Devices that
//! have not reported for longer than any window are forgotten, unless the pool still expects them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::devices::{Identity, Xids};
use crate::policy::config::{Micro, Millis};
use crate::policy::sample::{DeviceId, NodeId};

/// Devices beyond these ids are not heard but expected; see the roster.
pub const FIRST_SILENT: u32 = u32::MAX / 2;

/// Devices from which on even those that are expected are forgotten when they fall silent.
const MOST_DEVICES: usize = 20_000;

/// A device that reports, or did.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// Its number; `None` until it reports for a signal.
    pub(super) id: Option<DeviceId>,
    pub(super) identity: Identity,
    /// Place of its node among the nodes.
    pub(super) node: Option<usize>,
    /// Place of its GPU among the GPUs.
    pub(super) gpu: usize,
    pub(super) instance: bool,
    pub(super) weight: Micro,
    pub(super) first_ms: Millis,
    pub(super) last_ms: Millis,
    /// Used + free memory in MiB, once both were read at one time.
    pub(super) memory_mib: Option<f64>,
    /// The last power reading.
    pub(super) power: Option<(Millis, Micro)>,
    /// The last reading of memory in use.
    pub(super) memory: Option<(Millis, Micro)>,
    pub(super) xids: Xids,
    pub(super) xid_at: (Millis, u32),
}

/// A physical GPU.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gpu {
    /// First and last sample of any instance of it.
    pub(super) split_ms: Option<(Millis, Millis)>,
    /// Last sample that was taken of it as a whole.
    pub(super) whole_ms: Option<Millis>,
}

/// Whether a node belongs to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Belonging {
    /// Nobody has said.
    #[default]
    Unknown,
    /// It is expected: what is known of its devices is kept while they are silent.
    Expected,
    /// It is in no pool of the policy: its devices say nothing.
    Foreign,
}

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: NodeId,
    pub(super) name: Arc<str>,
    pub(super) belonging: Belonging,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    pub(super) devices: Vec<Heard>,
    by_identity: BTreeMap<Identity, usize>,
    pub(super) gpus: Vec<Gpu>,
    by_gpu: BTreeMap<Identity, usize>,
    /// In order of their ids.
    pub(super) nodes: Vec<Place>,
    by_name: BTreeMap<Arc<str>, usize>,
    next_device: u32,
    next_node: u32,
    /// Devices that report for a signal and have no number yet.
    nameless: Vec<usize>,
}

impl Census {
    /// The place of a device, new or known.
    pub(super) fn device(&mut self, identity: Identity, weight: Micro) -> usize {
        if let Some(&place) = self.by_identity.get(&identity) {
            return place;
        }
        let whole = identity.gpu();
        let gpus = &mut self.gpus;
        let gpu = *self.by_gpu.entry(whole).or_insert_with(|| {
            gpus.push(Gpu::default());
            gpus.len() - 1
        });
        let place = self.devices.len();
        self.by_identity.insert(identity.clone(), place);
        self.devices.push(Heard {
            id: None,
            instance: identity.is_instance(),
            identity,
            node: None,
            gpu,
            weight,
            first_ms: Millis::MAX,
            last_ms: Millis::MIN,
            memory_mib: None,
            power: None,
            memory: None,
            xids: Xids::default(),
            xid_at: (Millis::MIN, 0),
        });
        place
    }

    /// The device reports for a signal: it is to have a number.
    pub(super) fn reports(&mut self, place: usize) {
        if self
            .devices
            .get(place)
            .is_some_and(|device| device.id.is_none() && device.weight > 0)
        {
            self.nameless.push(place);
        }
    }

    /// Gives out numbers, in the order of identities and not of the answers; says whether there were any to give.
    pub(super) fn number(&mut self) -> bool {
        if self.nameless.is_empty() {
            return false;
        }
        let mut nameless = std::mem::take(&mut self.nameless);
        nameless.sort_unstable_by(|&one, &other| self.identity(one).cmp(&self.identity(other)));
        nameless.dedup();
        for place in nameless.drain(..) {
            if let Some(device) = self
                .devices
                .get_mut(place)
                .filter(|_| self.next_device < FIRST_SILENT)
            {
                device.id = Some(DeviceId(self.next_device));
                self.next_device += 1;
            }
        }
        self.nameless = nameless;
        true
    }

    fn identity(&self, place: usize) -> Option<&Identity> {
        self.devices.get(place).map(|device| &device.identity)
    }

    /// The place of a node, new or known.
    pub(super) fn node(&mut self, name: &str) -> usize {
        if let Some(&place) = self.by_name.get(name) {
            return place;
        }
        let name: Arc<str> = name.into();
        let place = self.nodes.len();
        self.by_name.insert(Arc::clone(&name), place);
        self.nodes.push(Place {
            id: NodeId(self.next_node),
            name,
            belonging: Belonging::Unknown,
        });
        self.next_node = self.next_node.saturating_add(1).min(FIRST_SILENT);
        place
    }

    pub(super) fn known_node(&self, name: &str) -> Option<NodeId> {
        let place = self.by_name.get(name)?;
        self.nodes.get(*place).map(|node| node.id)
    }

    pub(super) fn is_foreign(&self, node: Option<usize>) -> bool {
        node.and_then(|place| self.nodes.get(place))
            .is_some_and(|node| node.belonging == Belonging::Foreign)
    }

    /// Whether another speaks for its GPU: its instances for a whole one that is split, the whole one for instances
    /// that are no more.
    pub(super) fn is_superseded(&self, device: &Heard) -> bool {
        let Some(gpu) = self.gpus.get(device.gpu) else {
            return false;
        };
        let whole_since_split = match (gpu.split_ms, gpu.whole_ms) {
            (Some((_, last_ms)), Some(whole_ms)) => whole_ms > last_ms,
            (split, _) => split.is_none(),
        };
        device.instance == whole_since_split
    }

    /// What was said of a time after `now_ms` was never so.
    pub(super) fn forget_after(&mut self, now_ms: Millis) {
        for device in &mut self.devices {
            if device.id.is_some() {
                device.first_ms = device.first_ms.min(now_ms);
            }
            device.last_ms = device.last_ms.min(now_ms);
            for last in [&mut device.power, &mut device.memory] {
                *last = last.filter(|&(at_ms, _)| at_ms <= now_ms);
            }
            device.xid_at.0 = device.xid_at.0.min(now_ms);
        }
        for gpu in &mut self.gpus {
            if let Some((first_ms, last_ms)) = &mut gpu.split_ms {
                (*first_ms, *last_ms) = ((*first_ms).min(now_ms), (*last_ms).min(now_ms));
            }
            gpu.whole_ms = gpu.whole_ms.map(|at_ms| at_ms.min(now_ms));
        }
    }

    /// Forgets devices that have not reported since `oldest_ms`, and nodes that have none left. `in_use` says of each
    /// device whether a series is of it. Comes back with the new place of every device and node.
    pub(super) fn sweep(&mut self, oldest_ms: Millis, in_use: &[bool]) -> Moved {
        let many = self.devices.len() > MOST_DEVICES;
        let expected = |device: &Heard| {
            let node = device.node.and_then(|place| self.nodes.get(place));
            node.is_some_and(|node| node.belonging == Belonging::Expected)
        };
        let stays = |(place, device): (usize, &Heard)| {
            in_use.get(place).copied().unwrap_or(false)
                || device.last_ms >= oldest_ms
                || (!many && device.instance && expected(device) && !self.is_superseded(device))
        };
        let devices: Vec<bool> = self.devices.iter().enumerate().map(stays).collect();
        let mut moved = Moved {
            devices: places(&devices),
            nodes: Vec::new(),
        };
        retain(&mut self.devices, &devices);
        let expected = |node: &Place| node.belonging == Belonging::Expected;
        let mut nodes: Vec<bool> = self.nodes.iter().map(expected).collect();
        for place in self.devices.iter().filter_map(|device| device.node) {
            if let Some(lived_in) = nodes.get_mut(place) {
                *lived_in = true;
            }
        }
        moved.nodes = places(&nodes);
        retain(&mut self.nodes, &nodes);
        self.index(&moved);
        moved
    }

    fn index(&mut self, moved: &Moved) {
        let old = std::mem::take(&mut self.gpus);
        self.by_identity.clear();
        self.by_gpu.clear();
        for (place, device) in self.devices.iter_mut().enumerate() {
            device.node = device.node.and_then(|node| moved.node(node));
            self.by_identity.insert(device.identity.clone(), place);
            let gpus = &mut self.gpus;
            let was = old.get(device.gpu).copied().unwrap_or_default();
            device.gpu = *self.by_gpu.entry(device.identity.gpu()).or_insert_with(|| {
                gpus.push(was);
                gpus.len() - 1
            });
        }
        let names = self.nodes.iter().enumerate();
        self.by_name = names
            .map(|(place, node)| (Arc::clone(&node.name), place))
            .collect();
    }
}

/// Where things are after a sweep.
pub(super) struct Moved {
    devices: Vec<Option<usize>>,
    nodes: Vec<Option<usize>>,
}

impl Moved {
    pub(super) fn device(&self, place: usize) -> Option<usize> {
        self.devices.get(place).copied().flatten()
    }

    pub(super) fn node(&self, place: usize) -> Option<usize> {
        self.nodes.get(place).copied().flatten()
    }
}

fn places(stays: &[bool]) -> Vec<Option<usize>> {
    let mut next = 0;
    let place = |&stays: &bool| {
        stays.then(|| {
            next += 1;
            next - 1
        })
    };
    stays.iter().map(place).collect()
}

pub(super) fn retain<T>(list: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    list.retain(|_| stays.next().copied().unwrap_or(false));
}

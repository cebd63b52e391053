//! From labelled series to the devices of a pool: who reports, in which node, and how much of a GPU it is.
//!
//! The same rules hold for a recording and for a live source, so that both come to the same decision:
//!
//! - A device is (UUID, MIG instance), else (node, GPU index). Pod, container and namespace are never identity: they
//!   change when a pod starts or stops while the device stays, and a series then goes on under another name.
//! - Which label names the node is a matter of the exporter's version and of the scrape configuration, so it is
//!   looked up in a list ([`LabelMapping`]).
//! - A MIG instance counts by its slice of the GPU.
//!
//! Pure: labels in, identities out. It does not know where series come from or what a policy does with them.

mod model;
mod reading;

use crate::policy::config::{Micro, ONE};
use crate::policy::dcgm::mig_weight;
use crate::recording::Labels;

pub use model::{memory_mib, power_limit_watts};
pub use reading::{MEBIBYTES, MEMORY_FREE, OPENING_MS, POWER_LIMIT, Unit, WATTS, XID_ERRORS, Xids, xid_code};

/// Which labels say who reports. The first one that a series carries counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMapping {
    /// The node's name.
    pub node: Vec<String>,
    /// The GPU's UUID.
    pub uuid: Vec<String>,
    /// The GPU's index in its node.
    pub gpu: Vec<String>,
    /// The MIG instance.
    pub mig_instance: Vec<String>,
    /// The MIG profile, such as `1g.10gb`.
    pub mig_profile: Vec<String>,
    /// The pod that has the device; empty or absent when none has.
    pub pod: Vec<String>,
}

/// The labels of dcgm-exporter in all the versions that are in the field, scrape-side labels before its own: where a
/// `ServiceMonitor` says `honorLabels: false`, `pod` is the exporter's own pod and the workload's is
/// `exported_pod`. `Hostname` became `hostname` in 2026, and either may be the exporter pod's name where `NODE_NAME` is not
/// passed in; a label `node` from `__meta_kubernetes_pod_node_name` is the surest.
impl Default for LabelMapping {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            node: list(&["node", "Hostname", "hostname", "instance"]),
            uuid: list(&["UUID", "uuid", "gpu_uuid"]),
            gpu: list(&["gpu"]),
            mig_instance: list(&["GPU_I_ID"]),
            mig_profile: list(&["GPU_I_PROFILE"]),
            pod: list(&["exported_pod", "pod", "pod_name"]),
        }
    }
}

/// Who a device is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// By the GPU's own number.
    Uuid {
        /// The GPU.
        uuid: String,
        /// The MIG instance in it, if it is one.
        instance: Option<String>,
    },
    /// By its place, for exporters that tell no UUID.
    Place {
        /// The node.
        node: String,
        /// The GPU's index in it.
        gpu: String,
        /// The MIG instance in it, if it is one.
        instance: Option<String>,
    },
}

impl Identity {
    /// The physical GPU behind it: itself, or the GPU that the instance is a part of.
    #[must_use]
    pub fn gpu(&self) -> Self {
        match self {
            Self::Uuid { uuid, .. } => Self::Uuid {
                uuid: uuid.clone(),
                instance: None,
            },
            Self::Place { node, gpu, .. } => Self::Place {
                node: node.clone(),
                gpu: gpu.clone(),
                instance: None,
            },
        }
    }

    /// Whether it is a part of a GPU.
    #[must_use]
    pub fn is_instance(&self) -> bool {
        let (Self::Uuid { instance, .. } | Self::Place { instance, .. }) = self;
        instance.is_some()
    }
}

impl LabelMapping {
    /// Who reports a series; `None` if its labels do not say.
    #[must_use]
    pub fn identity(&self, labels: &Labels) -> Option<Identity> {
        let instance = first(labels, &self.mig_instance).map(str::to_owned);
        if let Some(uuid) = first(labels, &self.uuid) {
            return Some(Identity::Uuid {
                uuid: uuid.to_owned(),
                instance,
            });
        }
        Some(Identity::Place {
            node: self.node(labels)?.to_owned(),
            gpu: first(labels, &self.gpu)?.to_owned(),
            instance,
        })
    }

    /// The node of a series; `instance` without its port.
    #[must_use]
    pub fn node<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        let (label, value) = self
            .node
            .iter()
            .find_map(|label| labels.get(label).map(|value| (label, value)))?;
        if label != "instance" {
            return Some(value);
        }
        let port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
        Some(
            value
                .rsplit_once(':')
                .filter(port)
                .map_or(value, |(host, _)| host),
        )
    }

    /// The pod that has the device; `None` when none has.
    #[must_use]
    pub fn pod<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        first(labels, &self.pod)
    }

    /// The MIG profile of a series, if it is of an instance that says so.
    #[must_use]
    pub fn profile<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        first(labels, &self.mig_profile).filter(|profile| mig_weight(profile).is_some())
    }

    /// How many GPUs a series stands for, in micro-GPUs: its MIG slice, else a whole one.
    #[must_use]
    pub fn weight(&self, labels: &Labels) -> Micro {
        first(labels, &self.mig_profile)
            .and_then(mig_weight)
            .unwrap_or(ONE)
    }
}

fn first<'a>(labels: &'a Labels, names: &[String]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new("DCGM_FI_DEV_GPU_UTIL", pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_pod_that_comes_or_goes_does_not_make_another_device() {
        let mapping = LabelMapping::default();
        let idle = labels(&[("gpu", "0"), ("UUID", "GPU-1"), ("Hostname", "n1"), ("pod", "")]);
        let busy = labels(&[
            ("gpu", "0"),
            ("UUID", "GPU-1"),
            ("Hostname", "n1"),
            ("pod", "vllm-0"),
        ]);
        assert_eq!(mapping.identity(&idle), mapping.identity(&busy));
        assert_eq!((mapping.pod(&idle), mapping.pod(&busy)), (None, Some("vllm-0")));
    }

    #[test]
    fn the_node_is_found_under_its_many_names() {
        let mapping = LabelMapping::default();
        let check = |pairs: &[(&str, &str)], wanted: Option<&str>| {
            assert_eq!(mapping.node(&labels(pairs)), wanted, "{pairs:?}");
        };
        check(&[("Hostname", "n1")], Some("n1"));
        check(&[("hostname", "n1")], Some("n1"));
        check(&[("node", "n2"), ("Hostname", "dcgm-exporter-wwwjh")], Some("n2"));
        check(&[("instance", "10.0.0.4:9400")], Some("10.0.0.4"));
        check(
            &[("instance", "aks-a100-1-vmss000000")],
            Some("aks-a100-1-vmss000000"),
        );
        check(&[("instance", "[fe80::1]:9400")], Some("[fe80::1]"));
        check(&[("gpu", "0")], None);
    }

    #[test]
    fn mig_instances_are_devices_of_their_own_and_count_by_their_slice() {
        let mapping = LabelMapping::default();
        let slice = labels(&[("UUID", "GPU-1"), ("GPU_I_ID", "3"), ("GPU_I_PROFILE", "2g.20gb")]);
        let whole = labels(&[("UUID", "GPU-1")]);
        let (slice_id, whole_id) = (
            mapping.identity(&slice).unwrap(),
            mapping.identity(&whole).unwrap(),
        );
        assert_ne!(slice_id, whole_id);
        assert_eq!(slice_id.gpu(), whole_id);
        assert!(slice_id.is_instance() && !whole_id.is_instance());
        assert_eq!((mapping.weight(&slice), mapping.weight(&whole)), (285_714, ONE));
    }

    #[test]
    fn without_a_uuid_the_place_is_the_identity() {
        let mapping = LabelMapping::default();
        let place = mapping.identity(&labels(&[("gpu", "3"), ("instance", "n1:9400")]));
        let wanted = Identity::Place {
            node: "n1".to_owned(),
            gpu: "3".to_owned(),
            instance: None,
        };
        assert_eq!(place, Some(wanted));
        assert_eq!(mapping.identity(&labels(&[("gpu", "3")])), None);
    }
}

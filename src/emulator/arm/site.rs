//! One pool as the resource provider keeps it: its properties, count, state and machines.

use serde_json::{Map, Value, json};

use crate::emulator::behavior::OmittedProperty;
use crate::emulator::fleet::Fleet;
use crate::emulator::message::Refusal;
use crate::emulator::scenario::{Capacity, MOST_NODES, PoolSpec};

use super::operation::opaque;
use super::route::Place;

/// What nodes run.
pub(super) const KUBERNETES_VERSION: &str = "1.34.1";

/// The image that nodes boot.
pub(super) const NODE_IMAGE: &str = "AKSAzureLinux-V3gen2-202610.27.0";

/// Properties that only the platform writes; what a request says of them is ignored.
const READ_ONLY: [&str; 6] = [
    "eTag",
    "provisioningState",
    "currentOrchestratorVersion",
    "nodeImageVersion",
    "status",
    "virtualMachineNodesStatus",
];

/// Properties that stay what they were made with.
const IMMUTABLE: [&str; 10] = [
    "vmSize",
    "gpuProfile",
    "gpuInstanceProfile",
    "type",
    "osType",
    "osDiskType",
    "kubeletDiskType",
    "vnetSubnetID",
    "podSubnetID",
    "scaleSetPriority",
];

/// Those of them that cannot be given later either.
const NEVER_LATER: [&str; 2] = ["gpuProfile", "gpuInstanceProfile"];

/// A pool.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) name: String,
    /// What can be written, and what nobody here knows.
    properties: Map<String, Value>,
    pub(super) count: u32,
    /// `Succeeded`, `Failed` or `Canceled`, while nothing runs.
    pub(super) state: &'static str,
    /// `status.provisioningError`.
    pub(super) error: Option<Value>,
    revision: u64,
    pub(super) fleet: Fleet,
    pub(super) capacity: Capacity,
}

/// What a write makes of a pool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Next {
    pub(super) properties: Map<String, Value>,
    pub(super) count: u32,
}

impl Site {
    /// A pool of a scenario.
    pub(super) fn new(name: &str, spec: &PoolSpec, fleet: Fleet) -> Self {
        let mut properties = defaults(&spec.vm_size);
        properties.insert("type".into(), spec.r#type.clone().into());
        properties.insert("mode".into(), spec.mode.clone().into());
        if spec.enable_auto_scaling {
            properties.insert("enableAutoScaling".into(), true.into());
            properties.insert("minCount".into(), spec.min_count.into());
            properties.insert("maxCount".into(), spec.max_count.into());
        }
        properties.extend(spec.properties.clone());
        Self::with(name, properties, spec.count, fleet, spec.capacity.clone())
    }

    /// A pool with these properties.
    pub(super) fn with(
        name: &str,
        properties: Map<String, Value>,
        count: u32,
        fleet: Fleet,
        capacity: Capacity,
    ) -> Self {
        Self {
            name: name.to_owned(),
            properties,
            count,
            state: "Succeeded",
            error: None,
            revision: 1,
            fleet,
            capacity,
        }
    }

    /// Its etag, without quotes.
    pub(super) fn etag(&self) -> String {
        let salt = self
            .name
            .bytes()
            .fold(17, |salt: u64, byte| salt.wrapping_mul(31) ^ u64::from(byte));
        opaque(salt, self.revision)
    }

    /// Gives it another etag.
    pub(super) fn touch(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    /// A property that is a text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.properties
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The cluster autoscaler's least, where it owns the count.
    pub(super) fn autoscaler_min(&self) -> Option<u32> {
        autoscaled(&self.properties).then(|| number(&self.properties, "minCount").unwrap_or(0))
    }

    /// What its operations have made of it.
    pub(super) fn write(&mut self, next: Next) {
        self.properties = next.properties;
        self.count = next.count;
        self.error = None;
        self.touch();
    }

    /// As it is shown, with the state of what runs.
    pub(super) fn shown(&self, place: &Place, state: &str) -> Value {
        let mut properties = self.properties.clone();
        properties.insert("count".into(), self.count.into());
        properties.insert("eTag".into(), self.etag().into());
        properties.insert("provisioningState".into(), state.into());
        properties.insert("currentOrchestratorVersion".into(), KUBERNETES_VERSION.into());
        properties.insert("nodeImageVersion".into(), NODE_IMAGE.into());
        if let Some(error) = &self.error {
            properties.insert("status".into(), json!({ "provisioningError": error }));
        }
        json!({
            "id": place.pool_id(&self.name),
            "name": self.name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "properties": properties,
        })
    }

    /// What a PUT of these properties makes of it.
    pub(super) fn put(&self, given: &Map<String, Value>, omitted: OmittedProperty) -> Result<Next, Refusal> {
        self.keeps_immutable(given)?;
        let (mut properties, count) = match omitted {
            OmittedProperty::Keep => (self.properties.clone(), self.count),
            OmittedProperty::Reset => (self.reset(), 1),
        };
        properties.extend(written(given));
        let asked = asked_count(given)?;
        let mut next = Next {
            count: asked.unwrap_or(count),
            properties,
        };
        if autoscaled(&next.properties) {
            if asked.is_some_and(|asked| asked != self.count) {
                let message =
                    "Cannot scale cluster autoscaler enabled node pool; the count has to stay as it is.";
                return Err(Refusal::new(400, "InvalidParameter", message).about("count"));
            }
            // The autoscaler repairs a count below its least.
            next.count = self.count.max(number(&next.properties, "minCount").unwrap_or(0));
        }
        in_range(&next)?;
        Ok(next)
    }

    /// What a PATCH makes of it: it may scale, and nothing else.
    pub(super) fn patch(&self, given: &Map<String, Value>) -> Result<Next, Refusal> {
        const WRITABLE: [&str; 2] = ["count", "virtualMachinesProfile"];
        if let Some(other) = given.keys().find(|key| !WRITABLE.contains(&key.as_str())) {
            let message = format!("Property '{other}' cannot be updated by PATCH.");
            return Err(Refusal::new(400, "InvalidParameter", message).about(other));
        }
        if asked_count(given)?.is_none() {
            return Err(Refusal::new(400, "InvalidParameter", "There is nothing to update.").about("count"));
        }
        self.put(given, OmittedProperty::Keep)
    }

    fn keeps_immutable(&self, given: &Map<String, Value>) -> Result<(), Refusal> {
        let changed = |name: &&&str| match (given.get(**name), self.properties.get(**name)) {
            (None | Some(Value::Null), _) => false,
            (Some(given), Some(own)) => given != own,
            (Some(_), None) => NEVER_LATER.contains(*name),
        };
        match IMMUTABLE.iter().find(changed) {
            Some(name) => {
                let message = format!("Changing property 'properties.{name}' is not allowed.");
                let target = format!("properties.{name}");
                Err(Refusal::new(400, "PropertyChangeNotAllowed", message).about(&target))
            }
            None => Ok(()),
        }
    }

    /// Everything at its default but what cannot change.
    fn reset(&self) -> Map<String, Value> {
        let mut properties = defaults(self.text("vmSize"));
        let fixed = IMMUTABLE.iter().filter_map(|name| {
            let value = self.properties.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        properties.extend(fixed);
        properties
    }
}

/// What a PUT of these properties makes where there is no pool: its size is needed, the rest has defaults.
pub(super) fn created(given: &Map<String, Value>) -> Result<Next, Refusal> {
    let size = given.get("vmSize").and_then(Value::as_str).unwrap_or_default();
    if size.is_empty() {
        let message = "Required parameter agentPoolProfile.vmSize is missing (null).";
        return Err(Refusal::new(400, "InvalidParameter", message).about("agentPoolProfile.vmSize"));
    }
    let mut properties = defaults(size);
    properties.extend(written(given));
    let next = Next {
        count: asked_count(given)?.unwrap_or(1),
        properties,
    };
    in_range(&next)?;
    Ok(next)
}

/// Properties as they are where nobody has said otherwise.
fn defaults(size: &str) -> Map<String, Value> {
    let defaults = json!({
        "vmSize": size,
        "type": "VirtualMachineScaleSets",
        "mode": "User",
        "osType": "Linux",
        "osSKU": "AzureLinux",
        "osDiskSizeGB": 128,
        "osDiskType": "Managed",
        "maxPods": 110,
        "orchestratorVersion": KUBERNETES_VERSION,
        "scaleDownMode": "Delete",
        "powerState": { "code": "Running" },
        "upgradeSettings": { "maxSurge": "10%" },
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

/// What a request really writes: nothing read-only, nothing that is null or an empty version.
fn written(given: &Map<String, Value>) -> impl Iterator<Item = (String, Value)> + '_ {
    let says = |(name, value): &(&String, &Value)| {
        let empty = value.is_null() || (*name == "orchestratorVersion" && value.as_str() == Some(""));
        !empty && *name != "count" && !READ_ONLY.contains(&name.as_str())
    };
    given
        .iter()
        .filter(says)
        .map(|(name, value)| (name.clone(), value.clone()))
}

/// The count that a request asks for: its own, or that of the sizes of a pool of virtual machines.
fn asked_count(given: &Map<String, Value>) -> Result<Option<u32>, Refusal> {
    let wrong = || Refusal::new(400, "InvalidParameter", "The count is no number of nodes.").about("count");
    let number = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    let manual = given
        .get("virtualMachinesProfile")
        .and_then(|profile| profile.pointer("/scale/manual"))
        .and_then(Value::as_array);
    if let Some(sizes) = manual {
        let mut counts = sizes.iter().map(|size| size.get("count").and_then(number));
        let sum = counts.try_fold(0_u32, |sum, count| sum.checked_add(count?));
        return sum.map(Some).ok_or_else(wrong);
    }
    match given.get("count") {
        None | Some(Value::Null) => Ok(None),
        Some(count) => number(count).map(Some).ok_or_else(wrong),
    }
}

fn in_range(next: &Next) -> Result<(), Refusal> {
    let bound = |name| number(&next.properties, name);
    if let Some((least, most)) = bound("minCount")
        .zip(bound("maxCount"))
        .filter(|(least, most)| least > most)
    {
        let message = format!("The value of parameter minCount is {least}, which is above maxCount, {most}.");
        return Err(Refusal::new(400, "InvalidParameter", message).about("minCount"));
    }
    let system = next.properties.get("mode").and_then(Value::as_str) == Some("System");
    let least = u32::from(system);
    if (least..=MOST_NODES).contains(&next.count) {
        return Ok(());
    }
    let message = format!(
        "The value of parameter count is {}; it has to be from {least} to {MOST_NODES}.",
        next.count
    );
    Err(Refusal::new(400, "InvalidParameter", message).about("count"))
}

fn autoscaled(properties: &Map<String, Value>) -> bool {
    properties.get("enableAutoScaling").and_then(Value::as_bool) == Some(true)
}

fn number(properties: &Map<String, Value>, name: &str) -> Option<u32> {
    let value = properties.get(name)?.as_u64()?;
    u32::try_from(value).ok()
}

//! An agent pool as Azure Resource Manager shows it, and the same pool as it is to be.
//!
//! Nothing seen says what the API does with a property that a PUT leaves out, so nothing is left out: the document that came
//! is sent back, member by member in the bytes that came, unknown ones too. What is changed is the count. What is taken out
//! is what the service writes itself, and `nodeImageVersion`: sent back, it rolls the nodes back to that image.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::control::ports::{PoolAutoscaler, PoolState};

/// Members of the resource that the service writes (`readOnly` in the schema of 2026-08-01).
const READ_ONLY: [&str; 4] = ["id", "name", "type", "systemData"];

/// Properties that the service writes: those that the schema calls read-only, two that it writes without saying so, and the
/// one that must not be sent back.
const NOT_SENT: [&str; 6] = [
    "eTag",
    "provisioningState",
    "currentOrchestratorVersion",
    "status",
    "virtualMachineNodesStatus",
    "nodeImageVersion",
];

/// An agent pool as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPool {
    document: Box<str>,
    /// Nodes asked for.
    pub count: u32,
    /// Changes with every change of the pool; every API version of use gives one.
    pub etag: Option<String>,
    /// Whether something is being done to it.
    pub state: PoolState,
    /// Whether the cluster autoscaler owns the count.
    pub autoscaler: PoolAutoscaler,
    /// Size of its machines, such as `Standard_NC24ads_A100_v4`.
    pub vm_size: Option<String>,
    /// What its machines are: `VirtualMachineScaleSets`, `AvailabilitySet`, `VirtualMachines`.
    pub kind: Option<String>,
    /// How its machines are bought.
    pub purchase: Purchase,
    /// Why the last operation failed, as the service wrote it.
    pub error: Option<Value>,
}

/// How the machines of a pool are bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purchase {
    /// They stay until they are given back.
    #[default]
    OnDemand,
    /// The platform may take them at any time, and offers them where it has some left.
    Spot,
}

/// Why a document is no agent pool that can be resized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent pool's document cannot be used: {0}")]
pub struct DocumentError(String);

#[derive(Deserialize)]
struct Resource {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    count: Option<u32>,
    e_tag: Option<String>,
    provisioning_state: Option<String>,
    power_state: Option<PowerState>,
    enable_auto_scaling: Option<bool>,
    min_count: Option<u32>,
    max_count: Option<u32>,
    vm_size: Option<String>,
    r#type: Option<String>,
    scale_set_priority: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct PowerState {
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    provisioning_error: Option<Value>,
}

impl AgentPool {
    /// Reads the answer to a GET.
    ///
    /// # Errors
    /// [`DocumentError`] if it is no agent pool, or one without a count.
    pub fn parse(document: &str) -> Result<Self, DocumentError> {
        let refuse = |error: serde_json::Error| DocumentError(error.to_string());
        let Resource { properties } = serde_json::from_str(document).map_err(refuse)?;
        let Some(count) = properties.count else {
            return Err(DocumentError("it has no `properties.count`".to_owned()));
        };
        let stopped = properties.power_state.and_then(|power| power.code);
        let is_stopped = stopped.is_some_and(|code| code.eq_ignore_ascii_case("Stopped"));
        let spot = properties.scale_set_priority;
        let is_spot = spot.is_some_and(|priority| priority.eq_ignore_ascii_case("Spot"));
        let state = match properties.provisioning_state {
            _ if is_stopped => PoolState::Stopped,
            Some(word) => state(&word),
            // An older API version may not say; nothing is known to be going on.
            None => PoolState::Steady,
        };
        Ok(Self {
            document: document.into(),
            count,
            etag: properties.e_tag.filter(|etag| !etag.is_empty()),
            state,
            autoscaler: match properties.enable_auto_scaling {
                // Without its bounds nothing may be set: a most of zero lets nothing through.
                Some(true) => PoolAutoscaler::On {
                    least: properties.min_count.unwrap_or(0),
                    most: properties.max_count.unwrap_or(0),
                },
                Some(false) | None => PoolAutoscaler::Off,
            },
            vm_size: properties.vm_size,
            kind: properties.r#type,
            purchase: if is_spot {
                Purchase::Spot
            } else {
                Purchase::OnDemand
            },
            error: properties.status.and_then(|status| status.provisioning_error),
        })
    }

    /// The body of a PUT that asks for `count` nodes and for nothing else.
    ///
    /// # Errors
    /// [`DocumentError`] if the document has a member twice: which of the two is meant nobody can say.
    pub fn resized(&self, count: u32) -> Result<String, DocumentError> {
        self.with("count", count)
    }

    /// The body of a PUT that asks the pool's autoscaler for `least` nodes at least, and for nothing else.
    ///
    /// # Errors
    /// As [`Self::resized`].
    pub fn with_least(&self, least: u32) -> Result<String, DocumentError> {
        self.with("minCount", least)
    }

    fn with(&self, property: &str, number: u32) -> Result<String, DocumentError> {
        let mut body = Object::default();
        for (name, value) in members(&self.document)? {
            match name.as_ref() {
                "properties" => body.push(&name, &properties_with(value, property, number)?),
                name if READ_ONLY.contains(&name) => {}
                name => body.push(name, value),
            }
        }
        Ok(body.close())
    }

    /// The body of the preview API's PATCH, which knows a count and little else.
    #[must_use]
    pub fn patch(count: u32) -> String {
        format!("{{\"properties\":{{\"count\":{count}}}}}")
    }
}

/// ARM's contract for resources: three words end an operation, and every other one means that it runs.
fn state(provisioning_state: &str) -> PoolState {
    match provisioning_state.to_ascii_lowercase().as_str() {
        "succeeded" => PoolState::Steady,
        "failed" | "canceled" => PoolState::Failed,
        _ => PoolState::Busy,
    }
}

fn properties_with(properties: &str, property: &str, number: u32) -> Result<String, DocumentError> {
    let mut changed = Object::default();
    let mut is_there = false;
    for (name, value) in members(properties)? {
        match name.as_ref() {
            name if name == property => {
                is_there = true;
                changed.push(name, &number.to_string());
            }
            name if NOT_SENT.contains(&name) => {}
            name => changed.push(name, value),
        }
    }
    if !is_there {
        changed.push(property, &number.to_string());
    }
    Ok(changed.close())
}

/// A JSON object that is written member by member.
#[derive(Default)]
struct Object(String);

impl Object {
    /// Adds a member; `value` is JSON.
    fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(value);
    }

    fn close(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// The members of a JSON object in their order, with their values in the bytes that came.
fn members(object: &str) -> Result<Vec<(Cow<'_, str>, &str)>, DocumentError> {
    struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

    struct Collect;

    impl<'de> Visitor<'de> for Collect {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members: Vec<(Cow<'de, str>, &str)> = Vec::new();
            while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                if members.iter().any(|(other, _)| *other == name.0) {
                    let message = format_args!("it has `{}` twice", name.0);
                    return Err(A::Error::custom(message));
                }
                members.push((name.0, value.get()));
            }
            Ok(Members(members))
        }
    }

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Collect)
        }
    }

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    let members: Members<'_> =
        serde_json::from_str(object).map_err(|error| DocumentError(error.to_string()))?;
    Ok(members.0)
}

#[cfg(test)]
mod tests;

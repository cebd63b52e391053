//! What takes away: machines by name, whole pools, and operations that are under way.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::emulator::behavior::{BelowMin, DeleteMachinesCount};
use crate::emulator::message::{Call, Refusal, Reply};
use crate::policy::config::Millis;

use super::operation::{Kind, Status};
use super::site::Site;
use super::{Accepted, Arm, Plan};

/// An abort takes no longer than this.
const ABORT_MS: Millis = 5_000;

impl Arm {
    pub(super) fn delete_machines(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        version: &str,
        plan: Plan,
    ) -> Result<Reply, Refusal> {
        let site = self.site(pool)?;
        let machines = machines(call, site)?;
        let gone = u32::try_from(machines.len()).unwrap_or(u32::MAX);
        let left = site.count.saturating_sub(gone);
        let least = match self.behavior.delete_machines_below_min {
            BelowMin::Refused => site.autoscaler_min().unwrap_or(0),
            BelowMin::Allowed => 0,
        };
        if left < least.max(u32::from(site.text("mode") == "System")) {
            let message = "Deleting these machines would take the agent pool below its least count.";
            return Err(Refusal::new(400, "InvalidParameter", message).about("machineNames"));
        }
        self.allows(pool, call)?;
        self.take_over(now_ms, pool, call);
        if self.behavior.delete_machines_count == DeleteMachinesCount::Atomically
            && let Some(site) = self.sites.get_mut(pool)
        {
            site.count = left;
        }
        if let Some(site) = self.sites.get_mut(pool) {
            site.error = None;
            site.touch();
        }
        let index = self.start(now_ms, pool, Kind::DeleteMachines, plan);
        let Some(operation) = self.operations.get_mut(index) else {
            return Ok(Reply::empty(202));
        };
        operation.machines = machines;
        let accepted = Accepted {
            id: operation.id.clone(),
            version: version.to_owned(),
        };
        Ok(self.accepted_with_location(call, &accepted))
    }

    pub(super) fn delete(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        version: &str,
        plan: Plan,
    ) -> Result<Reply, Refusal> {
        if !self.sites.contains_key(pool) {
            return Ok(Reply::empty(204));
        }
        self.allows(pool, call)?;
        self.take_over(now_ms, pool, call);
        let id = self.begun(now_ms, pool, Kind::DeletePool, plan);
        let accepted = Accepted {
            id,
            version: version.to_owned(),
        };
        Ok(self.accepted_with_location(call, &accepted))
    }

    pub(super) fn abort(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        version: &str,
        mut plan: Plan,
    ) -> Result<Reply, Refusal> {
        self.site(pool)?;
        if self.running(pool).next().is_none() {
            let message = "There is no operation in progress that could be aborted; it has finished.";
            return Err(Refusal::new(409, "OperationNotAllowed", message));
        }
        self.cancel(now_ms, pool, Status::Canceled, "The operation was aborted.");
        plan.takes_ms = plan.takes_ms.or(Some(self.operation_ms.min(ABORT_MS)));
        let id = self.begun(now_ms, pool, Kind::Abort, plan);
        let accepted = Accepted {
            id,
            version: version.to_owned(),
        };
        Ok(self.accepted_with_location(call, &accepted))
    }
}

/// The machines that a request names. All of them have to be there.
fn machines(call: &Call, site: &Site) -> Result<BTreeSet<String>, Refusal> {
    let wrong = |message: String| Refusal::new(400, "InvalidParameter", message).about("machineNames");
    let body: Value = serde_json::from_str(&call.body)
        .map_err(|error| wrong(format!("The request content was invalid JSON: {error}")))?;
    let names = body.get("machineNames").and_then(Value::as_array);
    let names = names
        .into_iter()
        .flatten()
        .map(|name| name.as_str().map(str::to_owned));
    let Some(names) = names
        .collect::<Option<BTreeSet<String>>>()
        .filter(|names| !names.is_empty())
    else {
        return Err(wrong("The request names no machines.".to_owned()));
    };
    match names.iter().find(|name| site.fleet.node(name).is_none()) {
        Some(stray) => Err(wrong(format!("The machine '{stray}' is not in the agent pool."))),
        None => Ok(names),
    }
}

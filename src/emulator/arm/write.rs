//! What creates and resizes pools: PUT, and the PATCH of the preview.

use serde_json::{Map, Value};

use crate::emulator::behavior::PutStatus;
use crate::emulator::fault::Reason;
use crate::emulator::fleet::{Fleet, Load, Shape};
use crate::emulator::message::{Call, Refusal, Reply};
use crate::emulator::scenario::{Capacity, QuotaCode, is_pool_name};
use crate::policy::config::Millis;
use crate::simulator::scenario::gpus_of;

use super::operation::Kind;
use super::site::{Next, Site, created};
use super::{Accepted, Arm, Plan, Violation};

impl Arm {
    pub(super) fn put(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        version: &str,
        plan: Plan,
    ) -> Result<Reply, Refusal> {
        if !is_pool_name(pool) {
            let message = format!("The agent pool name '{pool}' is not valid.");
            return Err(Refusal::new(400, "InvalidParameter", message).about("agentPoolName"));
        }
        let given = properties(call)?;
        if given.contains_key("nodeImageVersion") {
            self.violations.push(Violation {
                at_ms: now_ms,
                pool: pool.to_owned(),
                what: "a PUT with nodeImageVersion asks for a rollback",
            });
        }
        let Some(site) = self.sites.get(pool) else {
            self.matches(pool, call)?;
            return self.create(now_ms, pool, call, &given, version, plan);
        };
        self.allows(pool, call)?;
        let next = site.put(&given, self.behavior.omitted_property)?;
        self.quota(pool, &next)?;
        self.take_over(now_ms, pool, call);
        let id = self.resize(now_ms, pool, next, plan);
        let status = match self.behavior.put_status {
            PutStatus::Created => 201,
            PutStatus::Ok => 200,
        };
        self.written(status, pool, call, version, id)
    }

    pub(super) fn patch(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        version: &str,
        plan: Plan,
    ) -> Result<Reply, Refusal> {
        let given = properties(call)?;
        let site = self.site(pool)?;
        self.allows(pool, call)?;
        let next = site.patch(&given)?;
        self.quota(pool, &next)?;
        self.take_over(now_ms, pool, call);
        let id = self.resize(now_ms, pool, next, plan);
        let accepted = Accepted {
            id,
            version: version.to_owned(),
        };
        Ok(self.accepted_with_location(call, &accepted))
    }

    fn quota(&self, pool: &str, next: &Next) -> Result<(), Refusal> {
        let site = self.site(pool)?;
        match site.capacity.quota_nodes {
            Some(most) if next.count > most && next.count > site.count => {
                Err(over_quota(site, next.count, most, &self.place.location))
            }
            _ => Ok(()),
        }
    }

    /// Writes a pool and starts what makes it so. Gives the operation.
    fn resize(&mut self, now_ms: Millis, pool: &str, next: Next, mut plan: Plan) -> String {
        let Some(site) = self.sites.get_mut(pool) else {
            return String::new();
        };
        let kind = if next.count == site.count {
            Kind::Update
        } else {
            Kind::Scale
        };
        site.write(next);
        boot(now_ms, site, &mut plan);
        self.begun(now_ms, pool, kind, plan)
    }

    fn create(
        &mut self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        given: &Map<String, Value>,
        version: &str,
        mut plan: Plan,
    ) -> Result<Reply, Refusal> {
        let next = created(given)?;
        let vm = given.get("vmSize").and_then(Value::as_str).unwrap_or_default();
        let shape = Shape {
            gpus_per_node: gpus_of(vm).unwrap_or(1),
            ..self.shape
        };
        let fleet = Fleet::new(pool, shape, Load::Constant(0), 0, now_ms);
        let mut site = Site::with(pool, next.properties, next.count, fleet, Capacity::default());
        boot(now_ms, &mut site, &mut plan);
        self.sites.insert(pool.to_owned(), site);
        let id = self.begun(now_ms, pool, Kind::Create, plan);
        self.written(201, pool, call, version, id)
    }

    /// Starts an operation. Gives its id.
    pub(super) fn begun(&mut self, now_ms: Millis, pool: &str, kind: Kind, plan: Plan) -> String {
        let index = self.start(now_ms, pool, kind, plan);
        self.operations
            .get(index)
            .map_or_else(String::new, |operation| operation.id.clone())
    }

    fn written(
        &self,
        status: u16,
        pool: &str,
        call: &Call,
        version: &str,
        id: String,
    ) -> Result<Reply, Refusal> {
        let reply = Reply::json(status, self.shown(self.site(pool)?));
        let accepted = Accepted {
            id,
            version: version.to_owned(),
        };
        Ok(self.accepted(call, reply, &accepted))
    }
}

/// Boots what the count promises and is not there, as far as the platform has it. What is missing makes the operation fail
/// at its end, which is when the platform says so.
fn boot(now_ms: Millis, site: &mut Site, plan: &mut Plan) {
    if plan.fails.is_some() {
        return;
    }
    let present = site.fleet.present();
    let missing = site.count.saturating_sub(present);
    let free = site
        .capacity
        .available_nodes
        .map_or(missing, |available| available.saturating_sub(present));
    site.fleet.ask(now_ms, missing.min(free));
    if free < missing {
        let code = site
            .capacity
            .allocation_code
            .as_deref()
            .unwrap_or("AllocationFailed");
        let message =
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.";
        plan.fails = Some(Reason::new(code, message));
    }
}

/// What a quota says: one of three codes, one of which a busy pool has too.
fn over_quota(site: &Site, asked: u32, most: u32, location: &str) -> Refusal {
    let vm = site.text("vmSize");
    let cores = cores(vm);
    let family = format!("{}Family", vm.replace('_', ""));
    let requested = asked.saturating_sub(site.count).saturating_mul(cores);
    let remaining = most.saturating_sub(site.count).saturating_mul(cores);
    match site.capacity.quota_code {
        QuotaCode::InsufficientVcpuQuota => {
            let message = format!(
                "Insufficient vcpu quota requested {requested}, remaining {remaining} for family {family} for region \
                 {location}."
            );
            Refusal::new(400, "ErrCode_InsufficientVCPUQuota", message)
        }
        QuotaCode::OperationNotAllowed => {
            let message = format!(
                "Operation could not be completed as it results in exceeding approved {family} Cores quota. Additional \
                 details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {}, Current Usage: {}, \
                 Additional Required: {requested}.",
                most.saturating_mul(cores),
                site.count.saturating_mul(cores)
            );
            Refusal::new(409, "OperationNotAllowed", message)
        }
        QuotaCode::QuotaExceeded => {
            let message = format!("Provisioning failed: {family} quota exceeded in {location}.");
            Refusal::new(400, "QuotaExceeded", message)
        }
    }
}

/// Cores of a machine: the first number in the name of its size.
fn cores(size: &str) -> u32 {
    let name = size.strip_prefix("Standard_").unwrap_or(size);
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(1)
}

/// `properties` of a body.
fn properties(call: &Call) -> Result<Map<String, Value>, Refusal> {
    let wrong = |message: String| Refusal::new(400, "InvalidRequestContent", message);
    let body: Value = serde_json::from_str(&call.body)
        .map_err(|error| wrong(format!("The request content was invalid JSON: {error}")))?;
    match body.get("properties") {
        Some(Value::Object(properties)) => Ok(properties.clone()),
        _ => Err(wrong(
            "The request content has no object 'properties'.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_in_the_name_of_a_size() {
        let cases = [
            ("Standard_NC24ads_A100_v4", 24),
            ("Standard_ND96isr_H100_v5", 96),
            ("Odd", 1),
        ];
        for (size, expected) in cases {
            assert_eq!(cores(size), expected, "{size}");
        }
    }
}

//! Azure Resource Manager and the resource provider of AKS, as a state machine: a request and a time in, an answer out.
//!
//! - `route`: what addresses name.
//! - `throttle`: how many requests are let in.
//! - `site`: a pool, and what a write makes of it.
//! - `operation`: what takes its time.
//! - `read`, `write`, `remove`: what requests do.
//!
//! It opens no socket and reads no clock.

mod operation;
mod read;
mod remove;
mod route;
mod site;
mod throttle;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::policy::config::Millis;

use super::behavior::{
    Behavior, CheckedFirst, CountAfterFailure, DeleteMachinesCount, EtagAtEnd, FailedPool, MonitorPath,
    PatchDuringUpgrade, RetryAfter, SecondWriter, Superseded,
};
use super::fault::{Reason, Target};
use super::fleet::{Fleet, Load, Shape};
use super::message::{Call, Method, Refusal, Reply, seconds};
use super::scenario::{BackgroundKind, PoolSpec, Scenario};
use operation::{Kind, Operation, Status};
use route::{Edition, Place, Route};
use site::Site;
use throttle::Throttle;

/// Most operations that are remembered.
const MOST_OPERATIONS: usize = 10_000;

/// Something that a client must never do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// When, in ms since the Unix epoch.
    pub at_ms: Millis,
    /// In which pool.
    pub pool: String,
    /// What it did.
    pub what: &'static str,
}

/// What a fault does to the operation of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// It fails so.
    pub fails: Option<Reason>,
    /// It takes so long.
    pub takes_ms: Option<Millis>,
}

/// The resource provider of one cluster.
#[derive(Debug, Clone)]
pub struct Arm {
    place: Place,
    behavior: Behavior,
    shape: Shape,
    operation_ms: Millis,
    retry_after_ms: Millis,
    sites: BTreeMap<String, Site>,
    operations: Vec<Operation>,
    /// Operations that the platform will start: when, on which pool, for how long, what.
    background: Vec<(Millis, String, Millis, Kind)>,
    numbers: u64,
    throttle: Throttle,
    violations: Vec<Violation>,
}

/// What an accepted write answers.
struct Accepted {
    id: String,
    version: String,
}

impl Arm {
    /// The cluster of a scenario, at `now_ms`.
    #[must_use]
    pub fn new(scenario: &Scenario, now_ms: Millis) -> Self {
        let shape = Shape {
            gpus_per_node: 1,
            boot_ms: scenario.boot_delay.as_millis(),
            driver_ms: scenario.driver_delay.as_millis(),
        };
        let site = |(name, spec): (&String, &PoolSpec)| {
            let load = match &spec.demand.recorded {
                Some(demand) => Load::Recorded(demand.clone(), now_ms),
                None => Load::Constant(spec.demand.constant()),
            };
            let shape = Shape {
                gpus_per_node: spec.gpus(),
                ..shape
            };
            let fleet = Fleet::new(name, shape, load, spec.count, now_ms);
            (name.clone(), Site::new(name, spec, fleet))
        };
        let background = scenario.background.iter().map(|background| {
            let at_ms = now_ms.saturating_add(background.at.as_millis());
            (
                at_ms,
                background.pool.clone(),
                background.takes.as_millis(),
                kind(background.kind),
            )
        });
        Self {
            place: Place {
                subscription: scenario.subscription_id.clone(),
                group: scenario.resource_group.clone(),
                cluster: scenario.cluster_name.clone(),
                location: scenario.location.clone(),
            },
            behavior: scenario.behavior,
            shape,
            operation_ms: scenario.operation_time.as_millis(),
            retry_after_ms: scenario.retry_after.as_millis(),
            sites: scenario.pools.iter().map(site).collect(),
            operations: Vec::new(),
            background: background.collect(),
            numbers: 0,
            throttle: Throttle::new(scenario.behavior.throttles, now_ms),
            violations: Vec::new(),
        }
    }

    /// The resource id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.place.cluster_id()
    }

    /// Name of the cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.place.cluster
    }

    /// The machines of every pool.
    pub fn fleets(&self) -> impl Iterator<Item = (&str, &Fleet)> {
        self.sites.iter().map(|(name, site)| (name.as_str(), &site.fleet))
    }

    /// The machines of a pool.
    #[must_use]
    pub fn fleet(&self, pool: &str) -> Option<&Fleet> {
        self.sites.get(pool).map(|site| &site.fleet)
    }

    /// The same, to change what they are asked for or to lose some.
    pub fn fleet_mut(&mut self, pool: &str) -> Option<&mut Fleet> {
        self.sites.get_mut(pool).map(|site| &mut site.fleet)
    }

    /// The nodes that a pool's count promises.
    #[must_use]
    pub fn count(&self, pool: &str) -> Option<u32> {
        self.sites.get(pool).map(|site| site.count)
    }

    /// The state of a pool, as it is shown.
    #[must_use]
    pub fn state(&self, pool: &str) -> Option<&'static str> {
        self.sites.get(pool).map(|site| self.state_of(site))
    }

    /// What clients did that they must never do.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How it behaves from now on.
    pub fn set_behavior(&mut self, behavior: Behavior, now_ms: Millis) {
        self.behavior = behavior;
        self.throttle = Throttle::new(behavior.throttles, now_ms);
    }

    /// Most nodes that there are for a pool from now on; `None` is no limit.
    pub fn set_available(&mut self, pool: &str, nodes: Option<u32>) {
        if let Some(site) = self.sites.get_mut(pool) {
            site.capacity.available_nodes = nodes;
        }
    }

    /// Most nodes of a pool that the quota allows from now on; `None` is no limit.
    pub fn set_quota(&mut self, pool: &str, nodes: Option<u32>) {
        if let Some(site) = self.sites.get_mut(pool) {
            site.capacity.quota_nodes = nodes;
        }
    }

    /// Starts an operation that no client has asked for. What runs on the pool goes on.
    pub fn start_background(
        &mut self,
        now_ms: Millis,
        pool: &str,
        kind_of: BackgroundKind,
        takes_ms: Millis,
    ) {
        if self.sites.contains_key(pool) {
            self.start(
                now_ms,
                pool,
                kind(kind_of),
                Plan {
                    fails: None,
                    takes_ms: Some(takes_ms),
                },
            );
        }
    }

    /// What faults call a request, and the pool that it is about.
    #[must_use]
    pub fn target(&self, call: &Call) -> (Target, Option<String>) {
        match Route::of(&call.path, &self.place) {
            Ok(route) => (route.target(call.method), route.pool().map(str::to_owned)),
            Err(_) => (Target::Any, None),
        }
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn next_event_ms(&self) -> Millis {
        let ends = self.operations.iter().filter(|operation| operation.runs());
        let ends = ends.map(|operation| operation.ends_ms);
        let begins = self.background.iter().map(|background| background.0);
        ends.chain(begins).min().unwrap_or(Millis::MAX)
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now_ms: Millis) {
        loop {
            let at_ms = self.next_event_ms();
            if at_ms > now_ms {
                break;
            }
            if let Some(index) = self
                .background
                .iter()
                .position(|background| background.0 == at_ms)
            {
                let (_, pool, takes_ms, kind) = self.background.swap_remove(index);
                let plan = Plan {
                    fails: None,
                    takes_ms: Some(takes_ms),
                };
                if self.sites.contains_key(&pool) {
                    self.start(at_ms, &pool, kind, plan);
                }
                continue;
            }
            let due = |operation: &Operation| operation.runs() && operation.ends_ms == at_ms;
            let Some(index) = self.operations.iter().position(due) else {
                break;
            };
            self.end(at_ms, index);
        }
        for site in self.sites.values_mut() {
            site.fleet.advance(now_ms);
        }
    }

    /// Answers a request.
    pub fn handle(&mut self, now_ms: Millis, call: &Call, plan: Plan) -> Reply {
        self.advance(now_ms);
        self.answer(now_ms, call, plan).unwrap_or_else(|mut refusal| {
            if self.behavior.retry_after == RetryAfter::Omitted {
                refusal.wait_ms = None;
            }
            refusal.reply()
        })
    }

    fn answer(&mut self, now_ms: Millis, call: &Call, plan: Plan) -> Result<Reply, Refusal> {
        let route = Route::of(&call.path, &self.place)?;
        let (edition, version) = route::edition(call)?;
        self.throttle.enter(now_ms, &route, call.method)?;
        match (call.method, &route) {
            (Method::Get, Route::Pools) => self.list_pools(call),
            (Method::Get, Route::Pool(pool)) => self.get_pool(pool),
            (Method::Get, Route::Machines(pool)) => self.list_machines(now_ms, pool, call, edition),
            (Method::Get, Route::Machine(pool, machine)) => self.get_machine(now_ms, pool, machine, edition),
            (Method::Get, Route::UpgradeProfile(pool)) => self.upgrade_profile(pool),
            (Method::Get, Route::Monitor(id)) => self.monitor(id, call),
            (Method::Get, Route::OperationResult(id)) => self.result(id, call, &version),
            (Method::Put, Route::Pool(pool)) => self.put(now_ms, pool, call, &version, plan),
            (Method::Patch, Route::Pool(pool)) if edition == Edition::Preview => {
                self.patch(now_ms, pool, call, &version, plan)
            }
            (Method::Delete, Route::Pool(pool)) => self.delete(now_ms, pool, call, &version, plan),
            (Method::Post, Route::DeleteMachines(pool)) => {
                self.delete_machines(now_ms, pool, call, &version, plan)
            }
            (Method::Post, Route::Abort(pool)) => self.abort(now_ms, pool, call, &version, plan),
            _ => {
                let message = format!(
                    "The resource does not support {} in this version.",
                    call.method.as_str()
                );
                Err(Refusal::new(405, "HttpMethodNotSupported", message))
            }
        }
    }

    /// The state of a pool: of the operation that began last of those that run, or its own.
    fn state_of(&self, site: &Site) -> &'static str {
        let running = self.running(&site.name).last();
        running.map_or(site.state, |operation| operation.kind.state())
    }

    fn running<'a>(&'a self, pool: &'a str) -> impl DoubleEndedIterator<Item = &'a Operation> {
        self.operations
            .iter()
            .filter(move |operation| operation.runs() && operation.pool == pool)
    }

    fn site(&self, pool: &str) -> Result<&Site, Refusal> {
        self.sites.get(pool).ok_or_else(|| self.no_pool(pool))
    }

    fn no_pool(&self, pool: &str) -> Refusal {
        let message = format!(
            "The Resource 'Microsoft.ContainerService/managedClusters/{}/agentPools/{pool}' under resource group '{}' was \
             not found.",
            self.place.cluster, self.place.group
        );
        Refusal::new(404, "ResourceNotFound", message)
    }

    /// Holds a write against the etags that it names.
    fn matches(&self, pool: &str, call: &Call) -> Result<(), Refusal> {
        let own = self.sites.get(pool).map(Site::etag);
        let names = |header: &str| {
            let mut named = header
                .split(',')
                .map(|etag| etag.trim().trim_start_matches("W/").trim_matches('"'));
            own.as_deref()
                .is_some_and(|own| named.any(|etag| etag == "*" || etag == own))
        };
        let stale = call.if_match.as_deref().is_some_and(|header| !names(header));
        let there = call.if_none_match.as_deref().is_some_and(names);
        if stale || there {
            let message = "The condition specified using HTTP conditional header(s) is not met.";
            return Err(Refusal::new(412, "PreconditionFailed", message));
        }
        Ok(())
    }

    /// Whether a write may be done: its etag is the pool's, and nothing runs that forbids it. The switch says which is
    /// looked at first.
    fn allows(&self, pool: &str, call: &Call) -> Result<(), Refusal> {
        let (fresh, free) = (self.matches(pool, call), self.free(pool, call));
        match self.behavior.checked_first {
            CheckedFirst::Etag => fresh.and(free),
            CheckedFirst::Operation => free.and(fresh),
        }
    }

    fn free(&self, pool: &str, call: &Call) -> Result<(), Refusal> {
        let Some(operation) = self.running(pool).last() else {
            return Ok(());
        };
        let takes_over =
            self.behavior.second_writer == SecondWriter::CancelsFirst && operation.kind != Kind::DeletePool;
        if takes_over || self.goes_beside(pool, call) {
            return Ok(());
        }
        let message = format!(
            "Operation is not allowed: Another operation ({}) is in progress, please wait for it to finish before \
             starting a new operation.",
            operation.kind.state()
        );
        Err(Refusal {
            wait_ms: Some(self.retry_after_ms),
            ..Refusal::new(409, "OperationNotAllowed", message)
        })
    }

    /// Whether a write runs beside what runs already: a PATCH beside an upgrade, by the switch.
    fn goes_beside(&self, pool: &str, call: &Call) -> bool {
        let mut running = self.running(pool);
        let (only, more) = (running.next(), running.next());
        call.method == Method::Patch
            && self.behavior.patch_during_upgrade == PatchDuringUpgrade::Allowed
            && more.is_none()
            && only.is_none_or(|only| matches!(only.kind, Kind::Upgrade | Kind::Update))
    }

    /// Cancels what a write that is allowed does not go beside.
    fn take_over(&mut self, now_ms: Millis, pool: &str, call: &Call) {
        if self.running(pool).next().is_some() && !self.goes_beside(pool, call) {
            let status = match self.behavior.superseded {
                Superseded::Canceled => Status::Canceled,
                Superseded::Failed => Status::Failed,
            };
            let why = "Operation was overriden and canceled by a later operation.";
            self.cancel(now_ms, pool, status, why);
        }
    }

    /// Cancels what runs on a pool, and calls it so. Machines that boot go on booting.
    fn cancel(&mut self, now_ms: Millis, pool: &str, status: Status, why: &str) {
        for operation in &mut self.operations {
            if operation.runs() && operation.pool == pool {
                let error = serde_json::json!({ "code": "OperationCanceled", "message": why });
                operation.end(now_ms, status, Some(error));
            }
        }
        if let Some(site) = self.sites.get_mut(pool) {
            site.state = "Canceled";
            site.touch();
            if self.behavior.count_after_failure == CountAfterFailure::Actual {
                site.count = site.fleet.present();
            }
        }
    }

    /// Begins an operation. Gives its place.
    fn start(&mut self, now_ms: Millis, pool: &str, kind: Kind, plan: Plan) -> usize {
        self.numbers = self.numbers.saturating_add(1);
        if self.operations.len() >= MOST_OPERATIONS {
            self.operations.retain(Operation::runs);
        }
        let takes_ms = plan.takes_ms.unwrap_or(self.operation_ms);
        self.operations.push(Operation {
            id: operation::opaque(0, self.numbers),
            pool: pool.to_owned(),
            kind,
            started_ms: now_ms,
            ends_ms: now_ms.saturating_add(takes_ms),
            fails: plan.fails,
            machines: BTreeSet::new(),
            status: Status::InProgress,
            ended_ms: None,
            error: None,
        });
        self.operations.len() - 1
    }

    /// An operation has come to its end.
    fn end(&mut self, now_ms: Millis, index: usize) {
        let behavior = self.behavior;
        let Some(operation) = self.operations.get_mut(index) else {
            return;
        };
        let pool = operation.pool.clone();
        let Some(site) = self.sites.get_mut(&pool) else {
            operation.end(now_ms, Status::Succeeded, None);
            return;
        };
        if let Some(reason) = operation.fails.take() {
            let (monitor, pool_error) = operation::failure(&reason, behavior.error_detail);
            operation.end(now_ms, Status::Failed, Some(monitor));
            site.error = pool_error;
            site.state = match behavior.failed_pool {
                FailedPool::Failed => "Failed",
                FailedPool::Succeeded => "Succeeded",
            };
            if behavior.count_after_failure == CountAfterFailure::Actual {
                site.count = site.fleet.present();
            }
        } else {
            operation.end(now_ms, Status::Succeeded, None);
            site.state = "Succeeded";
            match operation.kind {
                Kind::Create | Kind::Scale | Kind::Update => {
                    let surplus = site.fleet.present().saturating_sub(site.count);
                    site.fleet.take(now_ms, surplus, behavior.victims);
                }
                Kind::DeleteMachines => {
                    let gone = site.fleet.remove(now_ms, &operation.machines);
                    if behavior.delete_machines_count == DeleteMachinesCount::AtEnd {
                        site.count = site.count.saturating_sub(gone);
                    }
                }
                Kind::Abort => site.state = "Canceled",
                Kind::DeletePool | Kind::Upgrade => {}
            }
        }
        if behavior.etag_at_end == EtagAtEnd::Changes {
            site.touch();
        }
        let deleted = operation.kind == Kind::DeletePool && operation.status == Status::Succeeded;
        if deleted {
            self.sites.remove(&pool);
        }
    }

    /// The answer to a write that was accepted.
    fn accepted(&self, call: &Call, reply: Reply, accepted: &Accepted) -> Reply {
        let monitor = self.address(call, self.behavior.monitor_path.as_str(), accepted);
        let reply = reply.with("azure-asyncoperation", monitor);
        match self.behavior.retry_after {
            RetryAfter::Sent => reply.with("retry-after", seconds(self.retry_after_ms)),
            RetryAfter::Omitted => reply,
        }
    }

    /// The same with where its result will be.
    fn accepted_with_location(&self, call: &Call, accepted: &Accepted) -> Reply {
        let word = MonitorPath::OperationResults.as_str();
        let reply = Reply::empty(202).with("location", self.address(call, word, accepted));
        self.accepted(call, reply, accepted)
    }

    /// The address of an operation, as the client reaches us.
    fn address(&self, call: &Call, word: &str, accepted: &Accepted) -> String {
        format!(
            "http://{}/subscriptions/{}/providers/Microsoft.ContainerService/locations/{}/{word}/{}?api-version={}",
            call.host, self.place.subscription, self.place.location, accepted.id, accepted.version
        )
    }

    /// A pool as it is shown.
    fn shown(&self, site: &Site) -> Value {
        site.shown(&self.place, self.state_of(site))
    }
}

fn kind(kind: BackgroundKind) -> Kind {
    match kind {
        BackgroundKind::Updating => Kind::Update,
        BackgroundKind::Upgrading => Kind::Upgrade,
    }
}

#[cfg(test)]
mod tests;

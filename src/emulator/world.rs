//! Everything that is emulated, at one time: a request comes in and what becomes of it goes out.
//!
//! Time is an argument and never goes back. What was due between two requests happens at its own time, scrapes and ends of
//! operations in turn, so that it does not matter how often somebody looks.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::json;

use crate::policy::config::Millis;

use super::arm::{Arm, Plan};
use super::fault::{Answer, Effect, Faults, Target};
use super::fleet::Phase;
use super::message::{Authorization, Call, Content, Reply, error_body, seconds};
use super::metrics::{Metrics, page_of};
use super::scenario::Scenario;

/// Most requests that are remembered.
const MOST_LOGGED: usize = 10_000;

/// Longest body that is remembered, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub reply: Reply,
    /// How long it is held back.
    pub delay_ms: Millis,
    /// Whether it arrives.
    pub fate: Fate,
}

/// Whether an answer arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Sent,
    /// The connection closes instead.
    Lost,
}

/// A request as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// When, in ms since the Unix epoch.
    pub at_ms: Millis,
    /// What kind it was.
    pub target: Target,
    /// The request; of its credential it says only whether there was one.
    pub call: Call,
    /// The status of the answer; none if the connection was closed.
    pub status: Option<u16>,
}

/// A pool at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// The nodes that are asked for.
    pub count: u32,
    /// `provisioningState`.
    pub state: &'static str,
    /// Its nodes, oldest first.
    pub nodes: Vec<NodeView>,
    /// GPUs that can be scheduled.
    pub schedulable_gpus: u64,
    /// What is asked for, in 1e-6 GPU.
    pub demand_micro_gpus: i64,
    /// Utilization of each GPU that can be scheduled, in millionths.
    pub utilization_micros: i64,
    /// What was asked for since the start, in 1e-6 GPU-hours.
    pub demanded_micro_gpu_hours: i64,
    /// What ran.
    pub served_micro_gpu_hours: i64,
    /// What found no GPU.
    pub unserved_micro_gpu_hours: i64,
    /// GPUs that could be scheduled.
    pub schedulable_micro_gpu_hours: i64,
    /// Nodes that are billed, in 1e-6 node-hours.
    pub micro_node_hours: i64,
    /// Nodes that were taken while there was work on their GPUs.
    pub busy_nodes_taken: u32,
}

/// A node at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// When it was asked for, in ms since the Unix epoch.
    pub asked_ms: Millis,
}

/// A cluster, its metrics, what goes wrong with them and who asked for what.
#[derive(Debug, Clone)]
pub struct World {
    now_ms: Millis,
    arm: Arm,
    metrics: Metrics,
    faults: Faults,
    log: VecDeque<Logged>,
}

impl World {
    /// The world of a scenario, which begins at `now_ms`.
    #[must_use]
    pub fn new(scenario: &Scenario, now_ms: Millis) -> Self {
        let mut world = Self {
            now_ms,
            arm: Arm::new(scenario, now_ms),
            metrics: Metrics::new(scenario, now_ms),
            faults: Faults::new(now_ms, scenario.faults.clone()),
            log: VecDeque::new(),
        };
        world.advance(now_ms);
        world
    }

    /// The time that it is.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        self.now_ms
    }

    /// The resource provider.
    #[must_use]
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// The same, to meddle with.
    pub fn arm_mut(&mut self) -> &mut Arm {
        &mut self.arm
    }

    /// What goes wrong, to change it.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// The requests that came, oldest first; the oldest are forgotten.
    pub fn log(&self) -> impl Iterator<Item = &Logged> {
        self.log.iter()
    }

    /// Every pool as it is now.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolView> {
        let micro = |value: i128| i64::try_from(value).unwrap_or(i64::MAX);
        let view = |(name, fleet): (&str, &super::fleet::Fleet)| {
            let account = fleet.account();
            let node = |node: &super::fleet::Node| NodeView {
                name: node.name.clone(),
                phase: node.phase(self.now_ms),
                asked_ms: node.asked_ms,
            };
            PoolView {
                name: name.to_owned(),
                count: self.arm.count(name).unwrap_or_default(),
                state: self.arm.state(name).unwrap_or_default(),
                nodes: fleet.nodes().iter().map(node).collect(),
                schedulable_gpus: fleet.schedulable_gpus(self.now_ms),
                demand_micro_gpus: fleet.demand(self.now_ms),
                utilization_micros: fleet.utilization(self.now_ms),
                demanded_micro_gpu_hours: micro(account.demanded_micro_gpu_hours()),
                served_micro_gpu_hours: micro(account.served_micro_gpu_hours()),
                unserved_micro_gpu_hours: micro(account.unserved_micro_gpu_hours()),
                schedulable_micro_gpu_hours: micro(account.schedulable_micro_gpu_hours()),
                micro_node_hours: micro(account.micro_node_hours()),
                busy_nodes_taken: fleet.busy_taken(),
            }
        };
        self.arm.fleets().map(view).collect()
    }

    /// Lets everything happen that is due. A time that has passed changes nothing.
    pub fn advance(&mut self, now_ms: Millis) {
        self.now_ms = self.now_ms.max(now_ms);
        while self.metrics.next_event_ms() <= self.now_ms {
            self.arm.advance(self.metrics.next_event_ms());
            self.metrics.scrape(&self.arm);
        }
        self.arm.advance(self.now_ms);
    }

    /// Takes a request at a time.
    pub fn handle(&mut self, now_ms: Millis, call: Call) -> Outcome {
        self.advance(now_ms);
        let (target, pool) = self.target(&call);
        let struck = self.faults.strike(self.now_ms, target, pool.as_deref());
        let mut outcome = Outcome {
            reply: Reply::empty(500),
            delay_ms: 0,
            fate: Fate::Sent,
        };
        let mut plan = Plan::default();
        let mut canned = None;
        match struck {
            None => {}
            Some(Effect::LostRequest) => {
                outcome.fate = Fate::Lost;
                canned = Some(Reply::empty(500));
            }
            Some(Effect::LostReply) => outcome.fate = Fate::Lost,
            Some(Effect::Delay(delay)) => outcome.delay_ms = delay.as_millis(),
            Some(Effect::Answer(answer)) => canned = Some(canned_reply(&answer)),
            Some(Effect::OperationFails(reason)) => plan.fails = Some(reason),
            Some(Effect::OperationTakes(takes)) => plan.takes_ms = Some(takes.as_millis()),
            Some(Effect::OperationHangs) => plan.takes_ms = Some(Millis::MAX),
        }
        outcome.reply = canned.unwrap_or_else(|| self.answer(target, &call, plan));
        let status = (outcome.fate == Fate::Sent).then_some(outcome.reply.status);
        self.remember(target, call, status);
        outcome
    }

    fn target(&self, call: &Call) -> (Target, Option<String>) {
        if call.path.starts_with("/prometheus/") {
            (Target::Query, None)
        } else if call.path == DISCOVERY {
            (Target::Discovery, None)
        } else if let Some(node) = node_of(&call.path) {
            let of = |(_, fleet): &(&str, &super::fleet::Fleet)| fleet.node(node).is_some();
            let pool = self.arm.fleets().find(of).map(|(pool, _)| pool.to_owned());
            (Target::Page, pool)
        } else {
            self.arm.target(call)
        }
    }

    fn answer(&mut self, target: Target, call: &Call, plan: Plan) -> Reply {
        match target {
            Target::Query => self.metrics.handle(self.now_ms, call),
            Target::Page => self.page(call),
            Target::Discovery => self.discovery(&call.host),
            _ => self.arm.handle(self.now_ms, call, plan),
        }
    }

    fn page(&self, call: &Call) -> Reply {
        let node = node_of(&call.path).unwrap_or_default();
        let page = self
            .arm
            .fleets()
            .find_map(|(_, fleet)| page_of(fleet, node, self.now_ms));
        match page {
            Some(page) => Reply {
                content: Content::Text("text/plain; version=0.0.4; charset=utf-8", page),
                ..Reply::empty(200)
            },
            // A real exporter that is not up has no socket to say so.
            None => Reply::empty(503),
        }
    }

    /// The exporters, as Prometheus discovers them by HTTP: the nodes change, and so do the addresses. Labels are those that
    /// the emulator's own samples have.
    fn discovery(&self, host: &str) -> Reply {
        let groups = self.arm.fleets().flat_map(|(pool, fleet)| {
            fleet.nodes().iter().map(move |node| {
                json!({
                    "targets": [host],
                    "labels": {
                        "__metrics_path__": format!("/nodes/{}/metrics", node.name),
                        "agentpool": pool,
                        "cluster": self.arm.cluster_name(),
                        "instance": node.name,
                    },
                })
            })
        });
        Reply {
            content: Content::Json(groups.collect()),
            ..Reply::empty(200)
        }
    }

    fn remember(&mut self, target: Target, mut call: Call, status: Option<u16>) {
        if call.body.len() > LONGEST_BODY {
            let end = (0..=LONGEST_BODY)
                .rev()
                .find(|end| call.body.is_char_boundary(*end));
            call.body.truncate(end.unwrap_or(0));
        }
        if self.log.len() >= MOST_LOGGED {
            self.log.pop_front();
        }
        self.log.push_back(Logged {
            at_ms: self.now_ms,
            target,
            call,
            status,
        });
    }
}

impl Logged {
    /// Whether there was a credential.
    #[must_use]
    pub fn was_authorized(&self) -> bool {
        self.call.authorization == Authorization::Present
    }
}

/// Where exporters are listed.
pub(super) const DISCOVERY: &str = "/targets";

/// The node of the address of a page.
fn node_of(path: &str) -> Option<&str> {
    path.strip_prefix("/nodes/")?.strip_suffix("/metrics")
}

fn canned_reply(answer: &Answer) -> Reply {
    let mut reply = Reply::empty(answer.status);
    if let Some(body) = &answer.body {
        reply.content = Content::Text("application/json", body.clone());
    } else if let Some(error) = &answer.error {
        reply.content = Content::Json(error_body(&error.code, &error.message, None));
    }
    match answer.retry_after {
        Some(wait) => reply.with("retry-after", seconds(wait.as_millis())),
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::fault::{Fault, Reason};
    use crate::emulator::message::Method;

    const MINUTE: Millis = 60_000;

    fn world(more: &str) -> World {
        let yaml = format!("pools: {{ a: {{ count: 2, demand: {{ gpus: 1 }} }} }}\n{more}");
        World::new(&Scenario::from_yaml(&yaml).unwrap(), 0)
    }

    fn put(world: &World, count: u32) -> Call {
        let address = format!("{}/agentPools/a?api-version=2026-08-01", world.arm().cluster_id());
        Call {
            body: format!("{{\"properties\":{{\"count\":{count}}}}}"),
            ..Call::new(Method::Put, &address)
        }
    }

    #[test]
    fn a_lost_request_does_nothing_and_a_lost_reply_does_it() {
        let check = |effect: &str, count: u32| {
            let mut world = world(&format!("faults: [ {{ on: putPool, effect: {effect} }} ]"));
            let call = put(&world, 5);
            let outcome = world.handle(0, call);
            assert_eq!(
                (outcome.fate, world.arm().count("a")),
                (Fate::Lost, Some(count)),
                "{effect}"
            );
            assert_eq!(world.log().last().unwrap().status, None);
        };
        check("lostRequest", 2);
        check("lostReply", 5);
    }

    #[test]
    fn answers_are_canned_or_late_and_operations_fail() {
        let mut world = world("operationTime: 30s");
        let mut send = |effect: Effect| {
            world.faults_mut().add(Fault::once(Target::PutPool, effect));
            let call = put(&world, 5);
            let outcome = world.handle(0, call);
            (outcome, world.arm().count("a"))
        };
        let (outcome, count) = send(Effect::Answer(Answer {
            retry_after: Some("7s".parse().unwrap()),
            ..Answer::unavailable()
        }));
        assert_eq!(
            (outcome.reply.status, outcome.reply.header("retry-after"), count),
            (503, Some("7"), Some(2))
        );
        for answer in [Answer::forbidden(), Answer::sku_not_available()] {
            let status = answer.status;
            assert_eq!(send(Effect::Answer(answer)).0.reply.status, status);
        }
        let (outcome, count) = send(Effect::Delay("5s".parse().unwrap()));
        assert_eq!(
            (outcome.delay_ms, outcome.reply.status, count),
            (5000, 201, Some(5))
        );
        world.advance(MINUTE);
        world.faults_mut().add(Fault::once(
            Target::PutPool,
            Effect::OperationFails(Reason::new("AllocationFailed", "")),
        ));
        let call = put(&world, 6);
        assert_eq!(world.handle(MINUTE, call).reply.status, 201);
        world.advance(2 * MINUTE);
        assert_eq!(world.arm().state("a"), Some("Failed"));
    }

    #[test]
    fn exporters_are_discovered_as_the_own_samples_call_them() {
        let mut world = world("");
        let mut asked = Call::new(Method::Get, DISCOVERY);
        asked.host = "127.0.0.1:8180".to_owned();
        let outcome = world.handle(0, asked);
        let groups = outcome.reply.body();
        assert_eq!(groups.as_array().map(Vec::len), Some(2), "{groups}");
        let labels = json!({
            "__metrics_path__": "/nodes/aks-a-12345678-vmss000000/metrics", "agentpool": "a", "cluster": "emulated",
            "instance": "aks-a-12345678-vmss000000",
        });
        assert_eq!(
            groups[0],
            json!({ "targets": ["127.0.0.1:8180"], "labels": labels })
        );
    }

    #[test]
    fn it_does_not_matter_how_often_somebody_looks() {
        let run = |step_ms: Millis| {
            let mut world = world("");
            let call = put(&world, 4);
            world.handle(MINUTE, call);
            let mut now_ms = MINUTE;
            while now_ms < 40 * MINUTE {
                now_ms = (now_ms + step_ms).min(40 * MINUTE);
                world.advance(now_ms);
            }
            world.advance(3 * MINUTE);
            let query = Call::new(
                Method::Get,
                "/prometheus/api/v1/query?query=DCGM_FI_DEV_GPU_UTIL%5B1h%5D",
            );
            (world.pools(), world.handle(40 * MINUTE, query).reply)
        };
        assert_eq!(run(40 * MINUTE), run(777));
    }

    #[test]
    fn pages_and_queries_are_found_and_can_be_struck() {
        let mut world = world("");
        let mut get = |address: &str| {
            let outcome = world.handle(0, Call::new(Method::Get, address));
            (outcome.reply.status, outcome.fate)
        };
        assert_eq!(get("/nodes/aks-a-12345678-vmss000000/metrics"), (200, Fate::Sent));
        assert_eq!(get("/nodes/nobody/metrics"), (503, Fate::Sent));
        assert_eq!(get("/prometheus/api/v1/query?query=up"), (200, Fate::Sent));
        assert_eq!(get("/targets"), (200, Fate::Sent));
        assert_eq!(get("/"), (404, Fate::Sent));
        world.faults_mut().add(Fault {
            pool: Some("a".to_owned()),
            ..Fault::always(Target::Page, Effect::LostRequest)
        });
        let mut fate = |address: &str| world.handle(0, Call::new(Method::Get, address)).fate;
        assert_eq!(fate("/nodes/nobody/metrics"), Fate::Sent);
        assert_eq!(fate("/nodes/aks-a-12345678-vmss000000/metrics"), Fate::Lost);
    }

    #[test]
    fn requests_are_remembered_and_bounded() {
        let mut world = world("behavior: { throttles: off }");
        for _ in 0..=MOST_LOGGED {
            world.handle(0, Call::new(Method::Get, "/x"));
        }
        let call = Call {
            authorization: Authorization::Present,
            body: "é".repeat(LONGEST_BODY),
            ..Call::new(Method::Post, "/y")
        };
        world.handle(5, call);
        let last = world.log().last().unwrap();
        assert_eq!(
            (last.at_ms, last.was_authorized(), last.call.body.len()),
            (5, true, LONGEST_BODY)
        );
        assert_eq!(world.log().count(), MOST_LOGGED);
    }
}

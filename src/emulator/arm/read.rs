//! What is read: pools, machines, upgrade profiles, and how operations are getting on.

use serde_json::{Value, json};

use crate::emulator::behavior::{MonitorAfterEnd, MonitorPath, RetryAfter};
use crate::emulator::fleet::Node;
use crate::emulator::message::{Call, Refusal, Reply, seconds};
use crate::policy::config::Millis;

use super::operation::{Operation, time};
use super::route::Edition;
use super::site::{KUBERNETES_VERSION, NODE_IMAGE, Site};
use super::{Accepted, Arm};

impl Arm {
    pub(super) fn list_pools(&self, call: &Call) -> Result<Reply, Refusal> {
        let pools = self.sites.values().map(|site| self.shown(site)).collect();
        self.page(call, pools)
    }

    pub(super) fn get_pool(&self, pool: &str) -> Result<Reply, Refusal> {
        let site = self.site(pool)?;
        Ok(Reply::json(200, self.shown(site)))
    }

    pub(super) fn list_machines(
        &self,
        now_ms: Millis,
        pool: &str,
        call: &Call,
        edition: Edition,
    ) -> Result<Reply, Refusal> {
        let site = self.site(pool)?;
        let nodes = site.fleet.nodes().iter();
        self.page(
            call,
            nodes
                .map(|node| self.machine(now_ms, site, node, edition))
                .collect(),
        )
    }

    pub(super) fn get_machine(
        &self,
        now_ms: Millis,
        pool: &str,
        machine: &str,
        edition: Edition,
    ) -> Result<Reply, Refusal> {
        let site = self.site(pool)?;
        let Some(node) = site.fleet.node(machine) else {
            let message = format!("The machine '{machine}' was not found in agent pool '{pool}'.");
            return Err(Refusal::new(404, "ResourceNotFound", message));
        };
        Ok(Reply::json(200, self.machine(now_ms, site, node, edition)))
    }

    fn machine(&self, now_ms: Millis, site: &Site, node: &Node, edition: Edition) -> Value {
        let address = |net: u32| format!("10.{net}.{}.{}", (node.id >> 8) & 0xff, node.id & 0xff);
        let mut machine = json!({
            "id": format!("{}/machines/{}", self.place.pool_id(&site.name), node.name),
            "name": node.name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools/machines",
            "zones": [(node.id % 3 + 1).to_string()],
            "properties": {
                "network": { "ipAddresses": [{ "family": "IPv4", "ip": address(224) }] },
                "resourceId": format!(
                    "/subscriptions/{}/resourceGroups/MC_{}_{}_{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}/\
                     virtualMachines/{}",
                    self.place.subscription, self.place.group, self.place.cluster, self.place.location,
                    site.fleet.scale_set(), node.id
                ),
            },
        });
        if edition == Edition::Preview {
            let state = if now_ms >= node.ready_ms {
                "Succeeded"
            } else {
                "Creating"
            };
            machine["properties"]["provisioningState"] = state.into();
            machine["properties"]["priority"] = "Regular".into();
            machine["properties"]["status"] =
                json!({ "vmState": "Running", "creationTimestamp": time(node.asked_ms) });
        }
        machine
    }

    pub(super) fn upgrade_profile(&self, pool: &str) -> Result<Reply, Refusal> {
        let site = self.site(pool)?;
        let body = json!({
            "id": format!("{}/upgradeProfiles/default", self.place.pool_id(pool)),
            "name": "default",
            "type": "Microsoft.ContainerService/managedClusters/agentPools/upgradeProfiles",
            "properties": {
                "kubernetesVersion": KUBERNETES_VERSION,
                "osType": site.text("osType"),
                "latestNodeImageVersion": NODE_IMAGE,
                "upgrades": [],
            },
        });
        Ok(Reply::json(200, body))
    }

    /// One page of a list, and where the next one is.
    fn page(&self, call: &Call, all: Vec<Value>) -> Result<Reply, Refusal> {
        let token = call.parameter("$skiptoken").unwrap_or_else(|| "0".to_owned());
        let Ok(skip) = token.parse::<usize>() else {
            let message = format!("The skip token '{token}' is invalid.");
            return Err(Refusal::new(400, "InvalidParameter", message));
        };
        let size = self.behavior.page_size.max(1);
        let rest = all.len().saturating_sub(skip);
        let page: Vec<Value> = all.into_iter().skip(skip).take(size).collect();
        let mut body = json!({ "value": page });
        if rest > size {
            let version = call.parameter("api-version").unwrap_or_default();
            let next = skip.saturating_add(size);
            let link = format!(
                "http://{}{}?api-version={version}&%24skiptoken={next}",
                call.host, call.path
            );
            body["nextLink"] = link.into();
        }
        Ok(Reply::json(200, body))
    }

    /// What the monitor of an operation says: 200 even where it failed.
    pub(super) fn monitor(&self, id: &str, call: &Call) -> Result<Reply, Refusal> {
        let operation = self.operation(id)?;
        let reply = Reply::json(200, operation.body(&call.path));
        let waits = operation.runs() && self.behavior.retry_after == RetryAfter::Sent;
        Ok(if waits {
            reply.with("retry-after", seconds(self.retry_after_ms))
        } else {
            reply
        })
    }

    /// What is at `Location`: nothing, once the operation is over. Where monitors have that word too, it is one.
    pub(super) fn result(&self, id: &str, call: &Call, version: &str) -> Result<Reply, Refusal> {
        if self.behavior.monitor_path == MonitorPath::OperationResults {
            return self.monitor(id, call);
        }
        let operation = self.operation(id)?;
        if !operation.runs() {
            return Ok(Reply::empty(204));
        }
        let accepted = Accepted {
            id: operation.id.clone(),
            version: version.to_owned(),
        };
        Ok(self.accepted_with_location(call, &accepted))
    }

    fn operation(&self, id: &str) -> Result<&Operation, Refusal> {
        let shown = |operation: &&Operation| {
            operation.id == id
                && (operation.runs() || self.behavior.monitor_after_end == MonitorAfterEnd::Kept)
        };
        self.operations.iter().find(shown).ok_or_else(|| {
            let message = format!("The operation '{id}' was not found.");
            Refusal::new(404, "ResourceNotFound", message)
        })
    }
}

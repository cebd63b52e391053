//! Node pools of AKS, through Azure Resource Manager.
//!
//! A thin client of its own, since the official SDK has none for this service in Rust, and since its models in other
//! languages show what a typed client does wrong: it drops what it does not know and sends back what it must not. Here the
//! document of a pool is changed as text ([`agent_pool`]), failures are classed by all that they say ([`failure`]), and
//! operations are followed where their headers say ([`operation`]).
//!
//! It sends each request once: the control loop knows when a second one is harmless. Buckets for the throttles of the
//! platform stand before it ([`crate::control::throttle`]).

pub mod agent_pool;
mod arm;
pub mod failure;
pub mod operation;
pub mod sizes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::{self, AksCluster, Cloud, ResizeWith};
use crate::control::ports::{
    Accepted, NodePools, Pool, PoolError, PoolErrorKind, PoolKey, PoolList, Progress,
};
use crate::policy::config::Micro;
use crate::source::connect::Issuer;
use crate::source::http::{ClientError, Tokens};

use agent_pool::{AgentPool, DocumentError, Purchase};
use arm::{Arm, Reply, Request, here};

/// Most pages of a list that are read.
const MOST_PAGES: usize = 100;

/// Why a cluster of the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("aksClusters.{name}: {cause}")]
pub struct ConnectError {
    /// The cluster.
    pub name: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Cause {
    /// The address.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// No tokens for it.
    #[error("{0}")]
    Tokens(String),
}

/// The address of Azure Resource Manager in a cloud, which is the audience of its tokens too.
#[must_use]
pub fn resource_manager(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Public => "https://management.azure.com",
        Cloud::UsGovernment => "https://management.usgovcloudapi.net",
        Cloud::China => "https://management.chinacloudapi.cn",
    }
}

/// The node pools of the clusters of a configuration.
#[derive(Debug)]
pub struct Aks {
    clusters: BTreeMap<Arc<str>, Cluster>,
    /// In micro-USD per hour, by size in lower case.
    prices: BTreeMap<String, Micro>,
}

#[derive(Debug)]
struct Cluster {
    arm: Arm,
    /// Up to and with the cluster's name.
    path: String,
    subscription: Arc<str>,
    api_version: String,
    resize_with: ResizeWith,
    /// Pools as they were read last, by name.
    seen: RefCell<BTreeMap<Arc<str>, AgentPool>>,
}

/// A machine of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name, which is the node's too.
    pub name: String,
    /// The virtual machine, as a resource.
    pub resource_id: Option<String>,
    /// Availability zones.
    pub zones: Vec<String>,
}

impl Aks {
    /// All clusters of a configuration. None is connected to before it is asked. `timeout` is the longest that one request
    /// may take.
    ///
    /// # Errors
    /// [`ConnectError`] for the first cluster that can never be asked.
    pub fn connect(
        config: &config::Config,
        issuer: &dyn Issuer,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let connect = |(name, cluster): (&crate::api::text::Name, &AksCluster)| {
            let connected = Cluster::connect(cluster, issuer, timeout).map_err(|cause| ConnectError {
                name: name.as_str().to_owned(),
                cause,
            })?;
            Ok((Arc::from(name.as_str()), connected))
        };
        let prices = config.prices.iter();
        Ok(Self {
            clusters: config
                .aks_clusters
                .iter()
                .map(connect)
                .collect::<Result<_, _>>()?,
            prices: prices
                .map(|(size, price)| (size.to_ascii_lowercase(), price.micros()))
                .collect(),
        })
    }

    /// Which clusters share a subscription, and with it the throttles that are not a pool's own.
    #[must_use]
    pub fn subscriptions(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let clusters = self.clusters.iter();
        clusters
            .map(|(name, cluster)| (name.clone(), cluster.subscription.clone()))
            .collect()
    }

    /// The machines of a pool.
    ///
    /// # Errors
    /// [`PoolError`] if a page of the list cannot be read.
    pub async fn machines(&self, pool: &PoolKey) -> Result<Vec<Machine>, PoolError> {
        #[derive(Deserialize)]
        struct Item {
            name: String,
            #[serde(default)]
            zones: Vec<String>,
            #[serde(default)]
            properties: Properties,
        }
        #[derive(Deserialize, Default)]
        struct Properties {
            #[serde(rename = "resourceId")]
            resource_id: Option<String>,
        }
        let cluster = self.cluster(&pool.cluster)?;
        let url = cluster.address(&format!("agentPools/{}/machines", pool.name));
        let read = |item: Value| {
            let item: Item = serde_json::from_value(item).map_err(|error| malformed(&error))?;
            Ok(Machine {
                name: item.name,
                resource_id: item.properties.resource_id,
                zones: item.zones,
            })
        };
        cluster.pages(url).await?.into_iter().map(read).collect()
    }

    /// Deletes these machines of a pool. It does not drain them: whoever asks for it has seen to their pods.
    ///
    /// # Errors
    /// [`PoolError`]; [`PoolErrorKind::leaves_unknown`] says whether it may have happened all the same.
    pub async fn delete_machines(&self, pool: &PoolKey, names: &[String]) -> Result<Accepted, PoolError> {
        let cluster = self.cluster(&pool.cluster)?;
        let url = cluster.address(&format!("agentPools/{}/deleteMachines", pool.name));
        let body = serde_json::json!({ "machineNames": names }).to_string();
        let request = Request {
            method: Method::POST,
            url,
            etag: None,
            body: Some(body),
            purchase: cluster.purchase(pool),
        };
        cluster.arm.send(request).await.map(accepted)
    }

    /// Asks the service to give up the operation that is running in a pool, whosever it is: see to it that it is yours.
    ///
    /// # Errors
    /// [`PoolError`]; [`PoolErrorKind::Busy`] if the operation was over first.
    pub async fn abort(&self, pool: &PoolKey) -> Result<Accepted, PoolError> {
        let cluster = self.cluster(&pool.cluster)?;
        let request = Request {
            method: Method::POST,
            url: cluster.address(&format!("agentPools/{}/abort", pool.name)),
            etag: None,
            body: None,
            purchase: cluster.purchase(pool),
        };
        cluster.arm.send(request).await.map(accepted)
    }

    fn cluster(&self, name: &str) -> Result<&Cluster, PoolError> {
        self.clusters.get(name).ok_or_else(|| {
            let message = format!("`{name}` is not under `aksClusters` in the configuration");
            here(PoolErrorKind::Gone, "NoSuchCluster", &message)
        })
    }

    /// Price of a machine in micro-USD per hour. That of spot machines is never more than that of others, so a budget that is
    /// kept with it is kept.
    fn price(&self, vm_size: &str) -> Option<Micro> {
        let said = self.prices.get(&vm_size.to_ascii_lowercase()).copied();
        said.or_else(|| sizes::of(vm_size)?.price)
    }

    fn shown(&self, pool: &AgentPool) -> Pool {
        let vm_size = pool.vm_size.as_deref();
        Pool {
            count: pool.count,
            etag: pool.etag.clone().unwrap_or_default(),
            state: pool.state,
            autoscaler: pool.autoscaler,
            gpus_per_node: vm_size.and_then(|name| Some(sizes::of(name)?.gpus)),
            node_price: vm_size.and_then(|name| self.price(name)),
            error: pool
                .error
                .as_ref()
                .map(|error| failure::of_operation(error, pool.purchase)),
        }
    }
}

impl NodePools for Aks {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        let read = self.cluster(&pool.cluster)?.read(pool).await?;
        Ok(self.shown(&read))
    }

    async fn all(&self, cluster: &Arc<str>) -> Result<PoolList, PoolError> {
        let cluster = self.cluster(cluster)?;
        let items = cluster.pages(cluster.address("agentPools")).await?;
        let understood = items.into_iter().map(|item| {
            let name: Arc<str> = item
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .into();
            let pool = match AgentPool::parse(&item.to_string()) {
                Ok(pool) => {
                    let shown = self.shown(&pool);
                    cluster.seen.borrow_mut().insert(Arc::clone(&name), pool);
                    Ok(shown)
                }
                Err(error) => Err(malformed(&error)),
            };
            (name, pool)
        });
        Ok(understood.collect())
    }

    async fn resize(&self, pool: &PoolKey, seen: &Pool, count: u32) -> Result<Accepted, PoolError> {
        let cluster = self.cluster(&pool.cluster)?;
        let document = cluster.as_seen(pool, seen).await?;
        let (method, body) = match cluster.resize_with {
            ResizeWith::Put => (Method::PUT, document.resized(count)),
            ResizeWith::Patch => (Method::PATCH, Ok(AgentPool::patch(count))),
        };
        cluster.write(pool, &document, method, body).await
    }

    async fn set_least(&self, pool: &PoolKey, seen: &Pool, least: u32) -> Result<Accepted, PoolError> {
        let cluster = self.cluster(&pool.cluster)?;
        let document = cluster.as_seen(pool, seen).await?;
        // The PATCH of the preview knows no least.
        let body = document.with_least(least);
        cluster.write(pool, &document, Method::PUT, body).await
    }

    async fn poll(&self, pool: &PoolKey, operation: &str) -> Result<Progress, PoolError> {
        let cluster = self.cluster(&pool.cluster)?;
        let Some(url) = cluster.arm.own(operation) else {
            // Of a configuration from before: a token is not sent there.
            let message = "the operation is at another server than the cluster's; the pool will tell";
            return Err(here(PoolErrorKind::Gone, "OperationElsewhere", message));
        };
        let purchase = cluster.purchase(pool);
        let reply = cluster.arm.send(Request::get(url, purchase)).await?;
        let progress = operation::progress(reply.status, &reply.body, reply.retry_after_ms, purchase);
        let Progress::Failed(error) = progress else {
            return Ok(progress);
        };
        if operation::says_little(&error) {
            // Some failures are explained in the pool alone.
            let pool = cluster.read(pool).await;
            let told = pool.ok().and_then(|pool| pool.error);
            let better = told.map(|told| failure::of_operation(&told, purchase));
            return Ok(Progress::Failed(better.unwrap_or(error)));
        }
        Ok(Progress::Failed(error))
    }
}

impl Cluster {
    fn connect(cluster: &AksCluster, issuer: &dyn Issuer, timeout: Duration) -> Result<Self, Cause> {
        let manager = resource_manager(cluster.cloud);
        let address = cluster.endpoint.as_deref().unwrap_or(manager);
        let tokens: Option<Rc<dyn Tokens>> = if address.starts_with("http://") {
            None
        } else {
            let audience = cluster
                .entra
                .audience
                .clone()
                .unwrap_or_else(|| manager.to_owned());
            let entra = config::Entra {
                audience: Some(audience),
                ..cluster.entra.clone()
            };
            Some(issuer.entra(&entra, cluster.cloud).map_err(Cause::Tokens)?)
        };
        Ok(Self {
            arm: Arm::new(address, tokens, timeout)?,
            path: format!(
                "subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
                cluster.subscription_id, cluster.resource_group, cluster.name
            ),
            subscription: cluster.subscription_id.to_ascii_lowercase().into(),
            api_version: cluster.api_version.clone(),
            resize_with: cluster.resize_with,
            seen: RefCell::default(),
        })
    }

    fn address(&self, path: &str) -> Url {
        self.arm
            .address(&format!("{}/{path}", self.path), &self.api_version)
    }

    /// The document of a pool that is still as it was `seen`.
    async fn as_seen(&self, pool: &PoolKey, seen: &Pool) -> Result<AgentPool, PoolError> {
        if seen.etag.is_empty() {
            let message = "the pool has no eTag, so nobody could tell whether another one changed it meanwhile; set \
                           apiVersion to 2026-08-01 or later";
            return Err(here(PoolErrorKind::BadRequest, "NoEtag", message));
        }
        let held = self.seen.borrow().get(&pool.name).cloned();
        let document = match held.filter(|held| held.etag.as_ref() == Some(&seen.etag)) {
            Some(held) => held,
            // Not read by this process, or read again since by another tick.
            None => self.read(pool).await?,
        };
        if document.etag.as_ref() != Some(&seen.etag) {
            let message = "the pool has changed since it was read";
            return Err(here(PoolErrorKind::Stale, "EtagMismatch", message));
        }
        if document.kind.as_deref() == Some("VirtualMachines") {
            let message = "a pool of the type VirtualMachines is sized machine by machine, which is not part of this \
                           version; use one of the type VirtualMachineScaleSets";
            return Err(here(PoolErrorKind::BadRequest, "PoolTypeUnsupported", message));
        }
        Ok(document)
    }

    /// Writes a pool that is still as `document` has it.
    async fn write(
        &self,
        pool: &PoolKey,
        document: &AgentPool,
        method: Method,
        body: Result<String, DocumentError>,
    ) -> Result<Accepted, PoolError> {
        let request = Request {
            method,
            url: self.address(&format!("agentPools/{}", pool.name)),
            etag: document.etag.clone(),
            body: Some(body.map_err(|error| malformed(&error))?),
            purchase: document.purchase,
        };
        self.arm.send(request).await.map(accepted)
    }

    /// How the machines of a pool are bought, as far as it was seen.
    fn purchase(&self, pool: &PoolKey) -> Purchase {
        let seen = self.seen.borrow();
        seen.get(&pool.name)
            .map_or(Purchase::OnDemand, |pool| pool.purchase)
    }

    async fn read(&self, pool: &PoolKey) -> Result<AgentPool, PoolError> {
        let url = self.address(&format!("agentPools/{}", pool.name));
        let reply = self.arm.send(Request::get(url, Purchase::OnDemand)).await;
        if reply
            .as_ref()
            .is_err_and(|error| error.kind == PoolErrorKind::Gone)
        {
            self.seen.borrow_mut().remove(&pool.name);
        }
        let read = AgentPool::parse(&reply?.body).map_err(|error| malformed(&error))?;
        self.seen.borrow_mut().insert(pool.name.clone(), read.clone());
        Ok(read)
    }

    /// The items of a list, which may come in pages.
    async fn pages(&self, first: Url) -> Result<Vec<Value>, PoolError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            value: Vec<Value>,
            #[serde(rename = "nextLink")]
            next: Option<String>,
        }
        let mut items = Vec::new();
        let mut url = Some(first);
        for _ in 0..MOST_PAGES {
            let Some(next) = url else {
                return Ok(items);
            };
            let reply = self.arm.send(Request::get(next, Purchase::OnDemand)).await?;
            let page: Page = serde_json::from_str(&reply.body).map_err(|error| malformed(&error))?;
            items.extend(page.value);
            url = match page.next.filter(|next| !next.is_empty()) {
                None => None,
                Some(next) => Some(self.arm.own(&next).ok_or_else(|| {
                    let message = "the next page of the list is at another server, where no token is sent";
                    here(PoolErrorKind::BadRequest, "PageElsewhere", message)
                })?),
            };
        }
        let message = format!("the list has more than {MOST_PAGES} pages");
        Err(here(PoolErrorKind::BadRequest, "ListTooLong", &message))
    }
}

fn accepted(reply: Reply) -> Accepted {
    Accepted {
        operation: reply.operation,
        retry_after_ms: reply.retry_after_ms,
    }
}

fn malformed(error: &dyn std::fmt::Display) -> PoolError {
    here(PoolErrorKind::Unavailable, "Malformed", &error.to_string())
}

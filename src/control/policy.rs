//! A policy as the loop runs it: the document, compiled, with the names of the world it acts on.

use std::sync::Arc;

use thiserror::Error;

use crate::api::bounds::Actuation;
use crate::api::{self, GpuScalePolicy, Query};
use crate::devices::LabelMapping;
use crate::policy::Config;
use crate::policy::config::Millis;

use super::ports::{Lever, PolicyKey, PoolKey};

/// A policy as the loop runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who it is.
    pub key: PolicyKey,
    /// When it was created: of two policies on one pool the older owns it.
    pub created_ms: Millis,
    /// The document.
    pub document: Arc<str>,
    /// What the engine decides by.
    pub config: Config,
    /// What its signals are read from.
    pub queries: Vec<Query>,
    /// The metrics source, by name.
    pub source: Arc<str>,
    /// Which labels say who reports.
    pub mapping: LabelMapping,
    /// The pool it resizes.
    pub target: PoolKey,
    /// Pools that take over when capacity fails, in order.
    pub fallbacks: Vec<PoolKey>,
    /// What it writes.
    pub lever: Lever,
    /// Whether it acts.
    pub mode: Mode,
}

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It only says what it would do.
    Recommend,
    /// It resizes.
    Enforce,
}

/// Why a policy cannot be run.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is not valid.
    #[error("{0}")]
    Invalid(String),
    /// It is for replicas, which the external scaler answers for.
    #[error(
        "policy `{0}` targets a ScaledObject, which has no node pool to resize; the external scaler answers for it"
    )]
    NoPool(String),
}

impl Policy {
    /// Reads and compiles a document. `cluster` is the one meant where the policy names none.
    ///
    /// # Errors
    /// [`PolicyError`] if it is not valid or has no node pool.
    pub fn new(document: &str, created_ms: Millis, cluster: &str) -> Result<Self, PolicyError> {
        let policy = api::validate(document).map_err(|error| PolicyError::Invalid(error.to_string()))?;
        Self::of(&policy, document, created_ms, cluster)
    }

    /// The same policy, which only says what it would do: `--dry-run`.
    #[must_use]
    pub fn recommending(self) -> Self {
        Self {
            mode: Mode::Recommend,
            ..self
        }
    }

    /// The same policy on a source whose labels are these.
    #[must_use]
    pub fn mapped(self, mapping: LabelMapping) -> Self {
        Self { mapping, ..self }
    }

    fn of(
        policy: &GpuScalePolicy,
        document: &str,
        created_ms: Millis,
        cluster: &str,
    ) -> Result<Self, PolicyError> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let config = api::compile(policy).map_err(|error| PolicyError::Invalid(error.to_string()))?;
        let target = &policy.spec.target_ref;
        if target.kind != api::bounds::TargetKind::AksNodePool {
            return Err(PolicyError::NoPool(name.to_owned()));
        }
        let cluster = target
            .cluster
            .as_ref()
            .map_or(cluster, |cluster| cluster.as_str());
        let fallbacks = policy.spec.fallback_node_pools().iter();
        let lever = match policy.spec.actuation() {
            Actuation::Count => Lever::Count,
            Actuation::AutoscalerFloor => Lever::Least,
        };
        if lever == Lever::Least && fallbacks.len() > 0 {
            let message = "with actuation AutoscalerFloor the cluster autoscaler chooses between pools (its expander); remove \
                           fallbackNodePools or use actuation Count";
            return Err(PolicyError::Invalid(message.to_owned()));
        }
        Ok(Self {
            key: PolicyKey::new(policy.metadata.namespace.as_deref().unwrap_or("default"), name),
            created_ms,
            document: document.into(),
            config,
            queries: api::queries(policy),
            source: policy.spec.metrics_source.as_str().into(),
            mapping: LabelMapping::default(),
            target: PoolKey::new(cluster, target.name.as_str()),
            fallbacks: fallbacks
                .map(|pool| PoolKey::new(cluster, pool.name.as_str()))
                .collect(),
            lever,
            mode: match policy.spec.mode {
                api::policy::Mode::Recommend => Mode::Recommend,
                api::policy::Mode::Enforce => Mode::Enforce,
            },
        })
    }
}

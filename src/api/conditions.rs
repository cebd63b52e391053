//! Names of the conditions and reasons that a policy's status carries.
//!
//! They are an interface: alerts and `kubectl wait` match on them. So each is written once, here, and nothing
//! else spells one. A condition's polarity follows Kubernetes: True is the healthy or active state, except
//! where the name says otherwise (`ScalingLimited`, `Conflicting`).

use std::fmt;

/// The conditions of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The policy was read, its rules hold, and it may act where it is.
    Accepted,
    /// The summary: accepted, measured, and able to act. `kubectl wait --for=condition=Ready` waits for it.
    Ready,
    /// Every signal has an answer that is fresh and covers enough devices.
    MetricsAvailable,
    /// Decisions are carried out; False while suspended, frozen, or in Recommend mode.
    ScalingActive,
    /// The size would be different without a bound, a budget or a rate.
    ScalingLimited,
    /// The platform lets the size be changed; False while capacity, quota or permission is missing.
    AbleToScale,
    /// Another policy or another writer wants the same pool.
    Conflicting,
}

impl ConditionType {
    /// Every condition, in the order that status lists them.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Ready,
        Self::MetricsAvailable,
        Self::ScalingActive,
        Self::ScalingLimited,
        Self::AbleToScale,
        Self::Conflicting,
    ];

    /// The name in `status.conditions[].type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Ready => "Ready",
            Self::MetricsAvailable => "MetricsAvailable",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
            Self::AbleToScale => "AbleToScale",
            Self::Conflicting => "Conflicting",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reasons of conditions that do not come from a decision. A decision brings its own reason.
pub mod reasons {
    /// The policy is valid and in a place where it counts.
    pub const VALID: &str = "Valid";
    /// A field or a rule between fields is wrong; the message says which.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Node-pool policies count only in the controller's namespaces.
    pub const NAMESPACE_NOT_ALLOWED: &str = "NamespaceNotAllowed";
    /// The configuration has no metrics source of this name.
    pub const METRICS_SOURCE_NOT_FOUND: &str = "MetricsSourceNotFound";
    /// The configuration has no cluster of this name.
    pub const CLUSTER_NOT_FOUND: &str = "ClusterNotFound";
    /// The pool or `ScaledObject` does not exist.
    pub const TARGET_NOT_FOUND: &str = "TargetNotFound";
    /// The pool belongs to KAITO or Karpenter, which own its size.
    pub const TARGET_OWNED_ELSEWHERE: &str = "TargetOwnedElsewhere";
    /// The pool's own autoscaler is on, and actuation is Count.
    pub const POOL_AUTOSCALER_ON: &str = "PoolAutoscalerOn";
    /// Everything is in order.
    pub const AS_EXPECTED: &str = "AsExpected";
    /// The first evaluation has not happened yet.
    pub const STARTING: &str = "Starting";
    /// All signals are known.
    pub const METRICS_KNOWN: &str = "MetricsKnown";
    /// At least one signal is unknown; the message names it.
    pub const METRICS_UNKNOWN: &str = "MetricsUnknown";
    /// The metrics source does not answer.
    pub const METRICS_SOURCE_UNREACHABLE: &str = "MetricsSourceUnreachable";
    /// Mode Enforce, nothing suspended.
    pub const ENFORCING: &str = "Enforcing";
    /// Mode Recommend: decisions are shown and not carried out.
    pub const RECOMMEND_ONLY: &str = "RecommendOnly";
    /// `spec.suspend` or a pause annotation.
    pub const SUSPENDED: &str = "Suspended";
    /// The administrator froze all policies.
    pub const FROZEN: &str = "Frozen";
    /// No limit changed the size.
    pub const WITHIN_LIMITS: &str = "WithinLimits";
    /// The largest allowed size holds demand back.
    pub const AT_MAXIMUM: &str = "AtMaximum";
    /// The smallest allowed size keeps idle nodes.
    pub const AT_MINIMUM: &str = "AtMinimum";
    /// The budget holds demand back.
    pub const AT_BUDGET: &str = "AtBudget";
    /// A rate of `behavior` holds the change back.
    pub const RATE_LIMITED: &str = "RateLimited";
    /// Another operation is in flight in the pool.
    pub const POOL_BUSY: &str = "PoolBusy";
    /// The platform has no capacity for the size.
    pub const NO_CAPACITY: &str = "NoCapacity";
    /// The subscription's quota is used up.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// The identity may not resize the pool.
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// Nobody else wants the pool.
    pub const NO_CONFLICT: &str = "NoConflict";
    /// An older policy owns the pool.
    pub const OLDER_POLICY_OWNS_TARGET: &str = "OlderPolicyOwnsTarget";
    /// Someone else keeps changing the size.
    pub const FOREIGN_WRITES: &str = "ForeignWrites";
    /// Every reason of this module, for documentation and tests.
    pub const ALL: &[&str] = &[
        VALID,
        INVALID_SPEC,
        NAMESPACE_NOT_ALLOWED,
        METRICS_SOURCE_NOT_FOUND,
        CLUSTER_NOT_FOUND,
        TARGET_NOT_FOUND,
        TARGET_OWNED_ELSEWHERE,
        POOL_AUTOSCALER_ON,
        AS_EXPECTED,
        STARTING,
        METRICS_KNOWN,
        METRICS_UNKNOWN,
        METRICS_SOURCE_UNREACHABLE,
        ENFORCING,
        RECOMMEND_ONLY,
        SUSPENDED,
        FROZEN,
        WITHIN_LIMITS,
        AT_MAXIMUM,
        AT_MINIMUM,
        AT_BUDGET,
        RATE_LIMITED,
        POOL_BUSY,
        NO_CAPACITY,
        QUOTA_EXCEEDED,
        UNAUTHORIZED,
        NO_CONFLICT,
        OLDER_POLICY_OWNS_TARGET,
        FOREIGN_WRITES,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_camel_case_and_unique() {
        let types = ConditionType::ALL.map(ConditionType::as_str);
        for names in [&types[..], reasons::ALL] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
            for name in names {
                assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
            }
        }
    }
}

//! Faults of requests and of operations, by scenario or at run time.

use serde::Deserialize;

use crate::api::duration::HumanDuration;
use crate::policy::config::Millis;

/// Something that goes wrong, for requests that it matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Which requests.
    #[serde(default)]
    pub on: Target,
    /// Of which pool; of any, and of none, without it.
    #[serde(default)]
    pub pool: Option<String>,
    /// Requests that are spared before the first one that is struck.
    #[serde(default)]
    pub after: u32,
    /// Requests that are struck; all without it.
    #[serde(default)]
    pub times: Option<u32>,
    /// Not earlier than this after the start.
    #[serde(default)]
    pub from: Option<HumanDuration>,
    /// Not later than this after the start.
    #[serde(default)]
    pub until: Option<HumanDuration>,
    /// What happens.
    pub effect: Effect,
}

impl Fault {
    /// Strikes the next request of this kind, once.
    #[must_use]
    pub fn once(on: Target, effect: Effect) -> Self {
        Self {
            times: Some(1),
            ..Self::always(on, effect)
        }
    }

    /// Strikes every request of this kind until it is cleared.
    #[must_use]
    pub fn always(on: Target, effect: Effect) -> Self {
        Self {
            on,
            pool: None,
            after: 0,
            times: None,
            from: None,
            until: None,
            effect,
        }
    }
}

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Every request to ARM.
    #[default]
    Any,
    /// Reads of one pool.
    GetPool,
    /// Lists of pools.
    ListPools,
    /// `PUT`s of a pool.
    PutPool,
    /// `PATCH`es of a pool.
    PatchPool,
    /// `DELETE`s of a pool.
    DeletePool,
    /// `deleteMachines`.
    DeleteMachines,
    /// `abort`.
    Abort,
    /// Reads of machines.
    Machines,
    /// Reads of upgrade profiles.
    UpgradeProfile,
    /// Questions for the progress of an operation.
    Operation,
    /// Queries of metrics.
    Query,
    /// Pages of exporters.
    Page,
    /// The list of exporters.
    Discovery,
}

impl Target {
    /// Whether a fault for this strikes a request of kind `other`.
    fn covers(self, other: Self) -> bool {
        self == other || (self == Self::Any && !matches!(other, Self::Query | Self::Page | Self::Discovery))
    }
}

/// What happens to a request, or to the operation that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The connection closes and nothing was done.
    LostRequest,
    /// It is done, and the connection closes without an answer.
    LostReply,
    /// It is done, and the answer comes late.
    Delay(HumanDuration),
    /// This is the answer and nothing was done.
    Answer(Answer),
    /// It is accepted, and the operation fails at its end.
    OperationFails(Reason),
    /// It is accepted, and the operation takes so long.
    OperationTakes(HumanDuration),
    /// It is accepted, and the operation does not end.
    OperationHangs,
}

/// A canned answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The error's code and message, in the form of ARM.
    #[serde(default)]
    pub error: Option<Reason>,
    /// The body instead, as it is.
    #[serde(default)]
    pub body: Option<String>,
    /// `Retry-After`.
    #[serde(default)]
    pub retry_after: Option<HumanDuration>,
}

impl Answer {
    /// An error of ARM.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            error: Some(Reason::new(code, message)),
            body: None,
            retry_after: None,
        }
    }

    /// 403: the role lacks an action.
    #[must_use]
    pub fn forbidden() -> Self {
        let message = "The client does not have authorization to perform action \
                       'Microsoft.ContainerService/managedClusters/agentPools/write'";
        Self::error(403, "AuthorizationFailed", message)
    }

    /// 503, for a while.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::error(
            503,
            "ServiceUnavailable",
            "The service is temporarily unavailable.",
        )
    }

    /// 400: the size is not sold here.
    #[must_use]
    pub fn sku_not_available() -> Self {
        let message = "The requested VM size is currently not available in this location.";
        Self::error(400, "SkuNotAvailable", message)
    }
}

/// A code and its words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// Such as `AllocationFailed`.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl Reason {
    /// A code and its words.
    #[must_use]
    pub fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// A fault and whom it has met.
#[derive(Debug, Clone)]
struct Armed {
    fault: Fault,
    seen: u32,
    struck: u32,
}

/// The faults of an emulator, in their order.
#[derive(Debug, Clone)]
pub struct Faults {
    started_ms: Millis,
    armed: Vec<Armed>,
}

impl Faults {
    /// Faults whose times count from `started_ms`.
    #[must_use]
    pub fn new(started_ms: Millis, faults: Vec<Fault>) -> Self {
        let mut new = Self {
            started_ms,
            armed: Vec::new(),
        };
        for fault in faults {
            new.add(fault);
        }
        new
    }

    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.armed.push(Armed {
            fault,
            seen: 0,
            struck: 0,
        });
    }

    /// None from here on.
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// How many requests were struck by those that are here.
    #[must_use]
    pub fn struck(&self) -> u32 {
        self.armed.iter().map(|armed| armed.struck).sum()
    }

    /// What happens to a request: the first fault that strikes it does. The others spare it and do not count it.
    pub fn strike(&mut self, now_ms: Millis, target: Target, pool: Option<&str>) -> Option<Effect> {
        let age_ms = now_ms.saturating_sub(self.started_ms);
        self.armed
            .iter_mut()
            .find_map(|armed| armed.meets(age_ms, target, pool))
    }
}

impl Armed {
    fn meets(&mut self, age_ms: Millis, target: Target, pool: Option<&str>) -> Option<Effect> {
        let fault = &self.fault;
        let early = fault.from.is_some_and(|from| age_ms < from.as_millis());
        let late = fault.until.is_some_and(|until| age_ms > until.as_millis());
        let elsewhere = fault.pool.is_some() && fault.pool.as_deref() != pool;
        let spent = fault.times.is_some_and(|times| self.struck >= times);
        if early || late || elsewhere || spent || !fault.on.covers(target) {
            return None;
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen <= fault.after {
            return None;
        }
        self.struck = self.struck.saturating_add(1);
        Some(fault.effect.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of ten requests, a minute apart, are struck.
    fn check(yaml: &str, expected: &[Millis]) {
        let fault: Fault = serde_saphyr::from_str(yaml).unwrap();
        let mut faults = Faults::new(0, vec![fault]);
        let struck: Vec<Millis> = (0..10)
            .filter(|minute| {
                faults
                    .strike(minute * 60_000, Target::PutPool, Some("a"))
                    .is_some()
            })
            .collect();
        assert_eq!(struck, expected, "{yaml}");
    }

    #[test]
    fn faults_strike_whom_they_name_when_they_say() {
        check("{ effect: lostReply, times: 2 }", &[0, 1]);
        check("{ effect: lostReply, times: 1, after: 3 }", &[3]);
        check("{ effect: lostRequest, from: 7m }", &[7, 8, 9]);
        check("{ effect: operationHangs, from: 2m, until: 3m }", &[2, 3]);
        check("{ effect: lostReply, on: getPool }", &[]);
        check("{ effect: lostReply, on: query }", &[]);
        check("{ effect: lostReply, pool: b }", &[]);
        check("{ effect: { delay: 5s }, pool: a, times: 1 }", &[0]);
        check(
            "{ effect: { answer: { status: 503 } }, on: putPool, times: 1 }",
            &[0],
        );
    }

    #[test]
    fn any_is_any_of_arm() {
        let mut faults = Faults::new(0, vec![Fault::always(Target::Any, Effect::LostReply)]);
        assert!(faults.strike(0, Target::Operation, None).is_some());
        assert!(faults.strike(0, Target::Query, None).is_none());
        assert_eq!(faults.struck(), 1);
        faults.clear();
        assert!(faults.strike(0, Target::Operation, None).is_none());
    }
}

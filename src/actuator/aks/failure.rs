//! What an error of Azure Resource Manager means for a resize.
//!
//! The same failure comes in many ways: at once with an HTTP status, minutes later in the status of an operation, or as
//! `status.provisioningError` of the pool; as the code, inside `details` below a code that says nothing, or only in the words
//! of a message. One code, `OperationNotAllowed`, has two meanings that only the message tells apart. So the whole tree is
//! looked at, and the first node that says something definite decides.
//!
//! Codes and phrases are those seen in the field; those that nobody has seen are classed by their HTTP status.

use serde_json::Value;

use crate::control::ports::{PoolError, PoolErrorKind};
use crate::policy::config::Millis;
use crate::policy::observation::Failure;

use super::agent_pool::Purchase;

/// How long to wait after a throttle that does not say how long.
const UNNAMED_WAIT_MS: Millis = 60_000;

/// Most nodes of an error's tree that are looked at.
const MOST_NODES: usize = 64;

/// Deepest node of an error's tree that is looked at.
const DEEPEST: usize = 8;

/// Longest text that is kept of a message, in characters: enough for the figures of a quota.
const LONGEST_MESSAGE: usize = 400;

/// The region has no machines to give.
const ALLOCATION: [&str; 4] = [
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
];

/// The size is not offered here, or not to this subscription.
const SKU: [&str; 4] = [
    "SkuNotAvailable",
    "VMSizeNotSupported",
    "is not supported for subscription",
    "is not available in the current region",
];

const QUOTA: [&str; 3] = ["QuotaExceeded", "InsufficientVCPUQuota", "exceeding approved"];

const BUSY: [&str; 4] = [
    "Another operation",
    "another operation",
    "AnotherOperationInProgress",
    "OperationPreempted",
];

/// Another writer came later and won. The first spelling is the service's own.
const SUPERSEDED: [&str; 3] = [
    "overriden and canceled by a later operation",
    "overridden and canceled by a later operation",
    "OperationPreempted",
];

/// Whether what was asked for changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It reads.
    Reads,
    /// It writes: an answer that is none leaves open whether it happened.
    Writes,
}

/// The class of an answer that is not a success.
#[must_use]
pub fn of_answer(
    status: u16,
    body: &str,
    retry_after_ms: Option<Millis>,
    effect: Effect,
    purchase: Purchase,
) -> PoolError {
    let nodes = serde_json::from_str::<Value>(body).map_or_else(|_| Vec::new(), |body| nodes(&body));
    let throttled = PoolErrorKind::Throttled(retry_after_ms.unwrap_or(UNNAMED_WAIT_MS));
    let by_status = match (status, effect) {
        (412, _) => PoolErrorKind::Stale,
        (429, _) => throttled,
        (503, _) if retry_after_ms.is_some() => throttled,
        (401 | 403, _) => PoolErrorKind::Auth,
        (404 | 410, _) => PoolErrorKind::Gone,
        (409, _) => PoolErrorKind::Busy,
        (503, _) | (408 | 500.., Effect::Reads) => PoolErrorKind::Unavailable,
        (408 | 500.., Effect::Writes) => PoolErrorKind::NoAnswer,
        _ => PoolErrorKind::BadRequest,
    };
    // A status that is about the asking is about nothing else, whatever the words are.
    let definite = match by_status {
        PoolErrorKind::Busy | PoolErrorKind::BadRequest | PoolErrorKind::NoAnswer => {
            definite(&nodes, purchase)
        }
        PoolErrorKind::Auth => {
            definite(&nodes, purchase).filter(|(kind, _)| matches!(kind, PoolErrorKind::Capacity(_)))
        }
        PoolErrorKind::Unavailable => {
            definite(&nodes, purchase).filter(|(kind, _)| *kind != PoolErrorKind::Busy)
        }
        _ => None,
    };
    let (kind, node) = match definite {
        // It says why nothing was done, so it is known that nothing was.
        Some((kind, node)) => (kind, Some(node)),
        None => (by_status, nodes.first()),
    };
    error(kind, node, || {
        (format!("Http{status}"), without_nodes(status, body))
    })
}

/// The class of an error that stands in the status of an operation or of a pool: an operation that failed is over.
#[must_use]
pub fn of_operation(body: &Value, purchase: Purchase) -> PoolError {
    let nodes = nodes(body);
    let (kind, node) = match definite(&nodes, purchase) {
        Some((kind, node)) => (kind, Some(node)),
        None => (PoolErrorKind::Unavailable, nodes.first()),
    };
    error(kind, node, || {
        ("OperationFailed".to_owned(), "it does not say why".to_owned())
    })
}

/// Whether an error says that a later operation took the place of this one.
#[must_use]
pub fn is_superseded(body: &Value) -> bool {
    nodes(body).iter().any(|node| node.has(&SUPERSEDED))
}

/// One node of an error's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    code: String,
    message: String,
}

impl Node {
    /// Whether the code is one of these, or the message has it.
    fn has(&self, words: &[&str]) -> bool {
        words
            .iter()
            .any(|word| self.code.ends_with(word) || self.message.contains(word))
    }
}

/// The nodes of an error's tree, outer ones first. The error may stand alone or as `error` of something.
fn nodes(body: &Value) -> Vec<Node> {
    fn collect(value: &Value, depth: usize, found: &mut Vec<Node>) {
        if depth > DEEPEST || found.len() >= MOST_NODES {
            return;
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let node = Node {
            code: text("code").to_owned(),
            message: text("message").to_owned(),
        };
        if !node.code.is_empty() || !node.message.is_empty() {
            found.push(node);
        }
        for inner in ["error", "innererror"] {
            if let Some(inner) = value.get(inner) {
                collect(inner, depth + 1, found);
            }
        }
        for detail in value
            .get("details")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            collect(detail, depth + 1, found);
        }
    }
    let mut found = Vec::new();
    collect(body, 0, &mut found);
    found
}

/// The first node that says something definite: capacity first, since a refusal for want of it also says that something
/// was not allowed.
fn definite(nodes: &[Node], purchase: Purchase) -> Option<(PoolErrorKind, &Node)> {
    let by = |words: &'static [&'static str]| nodes.iter().find(|node| node.has(words));
    if let Some(node) = by(&QUOTA) {
        let failure = match Quota::parse(&node.message).limit {
            Some(0) => Failure::QuotaZero,
            _ => Failure::QuotaLow,
        };
        return Some((PoolErrorKind::Capacity(failure), node));
    }
    if let Some(node) = by(&ALLOCATION) {
        return Some((PoolErrorKind::Capacity(Failure::Allocation), node));
    }
    if let Some(node) = by(&SKU) {
        // A spot offer that is gone now may be back in an hour.
        let failure = match purchase {
            Purchase::OnDemand => Failure::Sku,
            Purchase::Spot => Failure::Allocation,
        };
        return Some((PoolErrorKind::Capacity(failure), node));
    }
    if let Some(node) = by(&["AuthorizationFailed", "LinkedAuthorizationFailed"]) {
        return Some((PoolErrorKind::Auth, node));
    }
    by(&BUSY).map(|node| (PoolErrorKind::Busy, node))
}

/// The figures of a quota that is too small, as far as the message has them. In cores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// The family of sizes, such as `standardNCADSA100v4Family`.
    pub family: Option<String>,
    /// Cores that there may be.
    pub limit: Option<u64>,
    /// Cores that are left.
    pub remaining: Option<u64>,
    /// Cores that were asked for.
    pub requested: Option<u64>,
}

impl Quota {
    /// Reads the two forms that are known: that of Azure's compute service, "exceeding approved FAMILY Cores quota …
    /// Current Limit: L, Current Usage: U, Additional Required: R", and that of AKS, "requested R, remaining L for family F".
    #[must_use]
    pub fn parse(message: &str) -> Self {
        let limit = number_after(message, "Current Limit:");
        let used = number_after(message, "Current Usage:");
        let family = word_after(message, "exceeding approved ")
            .or_else(|| word_after(message, "for family "))
            .or_else(|| word_after(message, "VM Family "));
        Self {
            family: family.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()),
            limit,
            remaining: number_after(message, "remaining ").or_else(|| Some(limit?.saturating_sub(used?))),
            requested: number_after(message, "Additional Required:")
                .or_else(|| number_after(message, "requested ")),
        }
    }

    /// In words; nothing if the message has no figures.
    fn words(&self) -> Option<String> {
        let (remaining, requested) = (self.remaining?, self.requested?);
        let family = self.family.as_deref().unwrap_or("the size");
        let limit = self.limit.map_or(String::new(), |limit| format!(" of {limit}"));
        Some(format!(
            "{requested} cores of {family} were asked for and {remaining}{limit} are left: "
        ))
    }
}

fn number_after(text: &str, words: &str) -> Option<u64> {
    let rest = &text[text.find(words)? + words.len()..];
    let digits: String = rest
        .trim_start_matches(|c: char| c.is_whitespace() || c == '\'' || c == '"')
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

fn word_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let rest = &text[text.find(words)? + words.len()..];
    rest.split_whitespace().next()
}

fn error(
    kind: PoolErrorKind,
    node: Option<&Node>,
    otherwise: impl FnOnce() -> (String, String),
) -> PoolError {
    let (code, message) = match node {
        Some(node) if node.code.is_empty() => (otherwise().0, node.message.clone()),
        Some(node) => (node.code.clone(), node.message.clone()),
        None => otherwise(),
    };
    let figures = match kind {
        PoolErrorKind::Capacity(Failure::QuotaLow | Failure::QuotaZero) => Quota::parse(&message).words(),
        _ => None,
    };
    let message = format!("{}{message}", figures.unwrap_or_default());
    PoolError {
        kind,
        code: one_line(&code, 80),
        message: one_line(&message, LONGEST_MESSAGE),
    }
}

/// What is said of an answer without an error in it, such as a proxy's page.
fn without_nodes(status: u16, body: &str) -> String {
    match status {
        300..=399 => "redirects are not followed: name the address itself as `endpoint`".to_owned(),
        _ if body.trim().is_empty() => "the answer has no words".to_owned(),
        _ => format!("`{}`", body.trim()),
    }
}

fn one_line(text: &str, longest: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.take(longest).collect();
    if text.chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;

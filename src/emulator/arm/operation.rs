//! Operations that take their time.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::emulator::behavior::ErrorDetail;
use crate::emulator::fault::Reason;
use crate::policy::config::Millis;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Scale,
    Update,
    DeleteMachines,
    DeletePool,
    Abort,
    Upgrade,
}

impl Kind {
    /// The pool's state meanwhile.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Create => "Creating",
            Self::Scale | Self::DeleteMachines => "Scaling",
            Self::Update => "Updating",
            Self::DeletePool => "Deleting",
            Self::Abort => "Canceling",
            Self::Upgrade => "Upgrading",
        }
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Succeeded,
    Failed,
    Canceled,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }
}

/// An operation on a pool.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) pool: String,
    pub(super) kind: Kind,
    pub(super) started_ms: Millis,
    /// When it ends; `Millis::MAX` if it does not.
    pub(super) ends_ms: Millis,
    /// Why it will fail.
    pub(super) fails: Option<Reason>,
    /// The machines that it deletes.
    pub(super) machines: BTreeSet<String>,
    pub(super) status: Status,
    pub(super) ended_ms: Option<Millis>,
    /// What its monitor says went wrong.
    pub(super) error: Option<Value>,
}

impl Operation {
    pub(super) fn runs(&self) -> bool {
        self.status == Status::InProgress
    }

    /// It is over.
    pub(super) fn end(&mut self, now_ms: Millis, status: Status, error: Option<Value>) {
        self.status = status;
        self.ended_ms = Some(now_ms);
        self.error = error;
    }

    /// What its monitor says.
    pub(super) fn body(&self, address: &str) -> Value {
        let mut body = json!({
            "id": address,
            "name": self.id,
            "status": self.status.as_str(),
            "startTime": time(self.started_ms),
        });
        if let Some(ended_ms) = self.ended_ms {
            body["endTime"] = time(ended_ms).into();
        }
        if let Some(error) = &self.error {
            body["error"] = error.clone();
        }
        body
    }
}

/// A time as ARM writes it.
pub(super) fn time(ms: Millis) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// What the monitor says of a failure, and what the pool does.
pub(super) fn failure(reason: &Reason, detail: ErrorDetail) -> (Value, Option<Value>) {
    const GENERIC: &str = "ResourceOperationFailure";
    const WORDS: &str = "The resource operation completed with terminal provisioning state 'Failed'.";
    let cause = json!({ "code": reason.code, "message": reason.message });
    match detail {
        ErrorDetail::Details => (
            json!({ "code": GENERIC, "message": WORDS, "details": [cause] }),
            Some(cause),
        ),
        ErrorDetail::ProvisioningErrorOnly => (json!({ "code": GENERIC, "message": WORDS }), Some(cause)),
        ErrorDetail::MessageOnly => {
            let words = format!("{WORDS} Code=\"{}\" Message=\"{}\"", reason.code, reason.message);
            (json!({ "code": GENERIC, "message": words }), None)
        }
    }
}

/// An opaque name, another one for every number: it looks like a UUID and means nothing.
pub(super) fn opaque(salt: u64, number: u64) -> String {
    let (high, low) = (
        mixed(salt ^ mixed(number)),
        mixed(mixed(salt).wrapping_add(number)),
    );
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The finish of `SplitMix64`.
fn mixed(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_its_code_where_the_switch_puts_it() {
        let reason = Reason::new("AllocationFailed", "no room");
        let check = |detail, in_monitor: &str, in_pool: Option<&str>| {
            let (monitor, pool) = failure(&reason, detail);
            assert_eq!(monitor["code"], "ResourceOperationFailure");
            assert!(monitor.to_string().contains(in_monitor), "{monitor}");
            assert_eq!(pool.as_ref().and_then(|pool| pool["code"].as_str()), in_pool);
        };
        check(
            ErrorDetail::Details,
            r#""details":[{"code":"AllocationFailed""#,
            Some("AllocationFailed"),
        );
        check(
            ErrorDetail::ProvisioningErrorOnly,
            "'Failed'.\"",
            Some("AllocationFailed"),
        );
        check(ErrorDetail::MessageOnly, r#"Code=\"AllocationFailed\""#, None);
    }

    #[test]
    fn opaque_names_differ() {
        let names: BTreeSet<String> = (0..1000).map(|number| opaque(1, number)).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 36));
    }
}

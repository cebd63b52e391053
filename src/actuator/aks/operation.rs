//! Long-running operations: where to ask for their progress, and what the answer says.
//!
//! The addresses come in headers and are never built: the word in their path differs from operation to operation. The status
//! monitor answers 200 whatever became of the operation; `Location` answers 202 while it runs.

use serde_json::Value;

use crate::control::ports::{PoolError, PoolErrorKind, Progress};
use crate::policy::config::Millis;

use super::agent_pool::Purchase;
use super::failure;

/// What an answer with a status of success says about an operation.
#[must_use]
pub fn progress(status: u16, body: &str, retry_after_ms: Option<Millis>, purchase: Purchase) -> Progress {
    let said: Value = match serde_json::from_str(body) {
        Ok(said) => said,
        // A monitor that answers something else than JSON has said nothing.
        Err(_) if !body.trim().is_empty() => return Progress::Running(retry_after_ms),
        Err(_) => Value::Null,
    };
    let word = ["/status", "/properties/provisioningState"]
        .iter()
        .find_map(|place| said.pointer(place)?.as_str());
    match (word.map(str::to_ascii_lowercase).as_deref(), status) {
        (Some("succeeded"), _) => Progress::Succeeded,
        // `Location` says no word when it is over. Other words than these are no reason to believe that it is.
        (None, 200 | 201 | 204) if said.is_null() => Progress::Succeeded,
        (Some("canceled" | "cancelled"), _) => Progress::Cancelled,
        (Some("failed"), _) if failure::is_superseded(&said) => Progress::Cancelled,
        (Some("failed"), _) => Progress::Failed(failure::of_operation(&said, purchase)),
        _ => Progress::Running(retry_after_ms),
    }
}

/// Whether a failure says too little, so that the pool has to be asked for more.
#[must_use]
pub fn says_little(error: &PoolError) -> bool {
    error.kind == PoolErrorKind::Unavailable
}

#[cfg(test)]
mod tests {
    use crate::policy::observation::Failure;

    use super::*;

    #[test]
    fn an_operation_runs_until_it_says_that_it_is_over() {
        let case = |status, body| progress(status, body, Some(7_000), Purchase::OnDemand);
        let running = Progress::Running(Some(7_000));
        for (status, body, wanted) in [
            (200, r#"{"status":"InProgress"}"#, running.clone()),
            (200, r#"{"status":"Accepted"}"#, running.clone()),
            (200, r#"{"name":"x","status":"Succeeded"}"#, Progress::Succeeded),
            (200, r#"{"status":"succeeded"}"#, Progress::Succeeded),
            (200, r#"{"status":"Canceled"}"#, Progress::Cancelled),
            (202, "", running.clone()),
            (204, "", Progress::Succeeded),
            (200, "", Progress::Succeeded),
            (
                200,
                r#"{"properties":{"provisioningState":"Scaling"}}"#,
                running.clone(),
            ),
            (
                200,
                r#"{"properties":{"provisioningState":"Succeeded"}}"#,
                Progress::Succeeded,
            ),
            (200, "<html>", running.clone()),
            (200, r#"{"status":7}"#, running.clone()),
            (200, r#"{"error":"busy"}"#, running),
        ] {
            assert_eq!(case(status, body), wanted, "{status} {body}");
        }
        let superseded = r#"{"status":"Failed","error":{"code":"OperationNotAllowed",
            "message":"The operation was overriden and canceled by a later operation"}}"#;
        assert_eq!(case(200, superseded), Progress::Cancelled);
    }

    #[test]
    fn the_reason_of_a_failure_is_found_below_a_code_that_says_nothing() {
        let body = r#"{"status":"Failed","error":{"code":"ResourceOperationFailure","message":"it ended as 'Failed'.","details":[{"code":"ZonalAllocationFailed","message":"no capacity"}]}}"#;
        let Progress::Failed(error) = progress(200, body, None, Purchase::OnDemand) else {
            panic!("it failed");
        };
        assert_eq!(error.kind, PoolErrorKind::Capacity(Failure::Allocation));
        assert_eq!(error.code, "ZonalAllocationFailed");
        assert!(!says_little(&error));
        let Progress::Failed(error) = progress(200, r#"{"status":"Failed"}"#, None, Purchase::OnDemand)
        else {
            panic!("it failed");
        };
        assert!(says_little(&error));
        assert_eq!(
            error.to_string(),
            "unavailable (OperationFailed): it does not say why"
        );
    }
}

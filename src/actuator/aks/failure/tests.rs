//! Every error that was seen in the field, in every place where it may stand.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const LOW: PoolErrorKind = PoolErrorKind::Capacity(Failure::QuotaLow);
const ZERO: PoolErrorKind = PoolErrorKind::Capacity(Failure::QuotaZero);
const ALLOCATED: PoolErrorKind = PoolErrorKind::Capacity(Failure::Allocation);
const NO_SKU: PoolErrorKind = PoolErrorKind::Capacity(Failure::Sku);

const IN_PROGRESS: &str = "Another operation (Scaling) is in progress, please wait for it to finish before starting a new operation.";
const COMPUTE_QUOTA: &str = "Operation could not be completed as it results in exceeding approved standardNCADSA100v4Family Cores \
    quota. Additional details - Deployment Model: Resource Manager, Location: eastus, Current Limit: 48, Current Usage: 24, \
    Additional Required: 48, (Minimum) New Limit Required: 72.";
const AKS_QUOTA: &str = "Preflight validation check for resource(s) failed. Insufficient vcpu quota requested 24, remaining 10 for \
    family standardNCADSA100v4Family for region eastus.";

fn classed(status: u16, code: &str, message: &str) -> PoolError {
    let body = json!({ "error": { "code": code, "message": message } }).to_string();
    of_answer(status, &body, None, Effect::Writes, Purchase::OnDemand)
}

/// The table of the field: status, code, words, class.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn field() -> Vec<(u16, &'static str, String, PoolErrorKind)> {
    let no_limit = COMPUTE_QUOTA.replace("Limit: 48", "Limit: 0");
    vec![
        (
            409,
            "OperationNotAllowed",
            IN_PROGRESS.to_owned(),
            PoolErrorKind::Busy,
        ),
        (409, "OperationNotAllowed", COMPUTE_QUOTA.to_owned(), LOW),
        (409, "OperationNotAllowed", no_limit, ZERO),
        (
            400,
            "QuotaExceeded",
            "Provisioning of resource(s) for Agent Pool failed".to_owned(),
            LOW,
        ),
        (403, "QuotaExceeded", COMPUTE_QUOTA.to_owned(), LOW),
        (400, "ErrCode_InsufficientVCPUQuota", AKS_QUOTA.to_owned(), LOW),
        (
            409,
            "AllocationFailed",
            "We do not have sufficient capacity".to_owned(),
            ALLOCATED,
        ),
        (409, "ZonalAllocationFailed", String::new(), ALLOCATED),
        (409, "OverconstrainedAllocationRequest", String::new(), ALLOCATED),
        (
            409,
            "OverconstrainedZonalAllocationRequest",
            String::new(),
            ALLOCATED,
        ),
        (
            409,
            "SkuNotAvailable",
            "The requested size is currently not available".to_owned(),
            NO_SKU,
        ),
        (400, "VMSizeNotSupported", String::new(), NO_SKU),
        (
            400,
            "BadRequest",
            "The VM size Standard_X is not supported for subscription Y".to_owned(),
            NO_SKU,
        ),
        (
            403,
            "AuthorizationFailed",
            "The client does not have authorization".to_owned(),
            PoolErrorKind::Auth,
        ),
        (
            403,
            "LinkedAuthorizationFailed",
            String::new(),
            PoolErrorKind::Auth,
        ),
        (
            401,
            "ExpiredAuthenticationToken",
            String::new(),
            PoolErrorKind::Auth,
        ),
        (412, "PreconditionFailed", String::new(), PoolErrorKind::Stale),
        (404, "ResourceNotFound", String::new(), PoolErrorKind::Gone),
        (
            400,
            "InvalidParameter",
            "count must be between 0 and 1000".to_owned(),
            PoolErrorKind::BadRequest,
        ),
        // A zone that the size is not offered in, a pool whose version is no longer supported, an extension whose quota is
        // somebody else's: all of them for a person to mend, and none of them capacity that comes back.
        (
            400,
            "InvalidTemplateDeployment",
            "The zone(s) '3' for resource is not supported".to_owned(),
            PoolErrorKind::BadRequest,
        ),
        (
            400,
            "K8sVersionNotSupported",
            "Managed cluster x is on version 1.27.3".to_owned(),
            PoolErrorKind::BadRequest,
        ),
        (409, "SomethingNew", String::new(), PoolErrorKind::Busy),
        (
            503,
            "ServiceUnavailable",
            String::new(),
            PoolErrorKind::Unavailable,
        ),
        (500, "InternalServerError", String::new(), PoolErrorKind::NoAnswer),
        (502, "", String::new(), PoolErrorKind::NoAnswer),
        (504, "GatewayTimeout", String::new(), PoolErrorKind::NoAnswer),
        (
            500,
            "InternalOperationError",
            "AllocationFailed: no capacity".to_owned(),
            ALLOCATED,
        ),
    ]
}

#[test]
fn every_error_of_the_field_has_its_class_at_once() {
    for (status, code, message, wanted) in field() {
        let error = classed(status, code, &message);
        assert_eq!(error.kind, wanted, "{status} {code} {message}");
        if !code.is_empty() {
            assert_eq!(error.code, code);
        }
    }
}

#[test]
fn an_extension_that_fails_on_one_node_is_no_want_of_capacity() {
    // It fails the operation of the whole pool, and the nodes that came stay.
    let body = json!({ "status": "Failed", "error": { "code": "VMExtensionProvisioningError", "message": "VM has reported a \
        failure when processing extension 'vmssCSE'. Error message: 'Enable failed: failed to execute command'" } });
    let error = of_operation(&body, Purchase::OnDemand);
    assert_eq!(error.kind, PoolErrorKind::Unavailable);
    assert_eq!(error.code, "VMExtensionProvisioningError");
}

#[test]
fn capacity_has_the_same_class_wherever_it_is_said() {
    for (_, code, message, wanted) in field() {
        if !matches!(wanted, PoolErrorKind::Capacity(_)) {
            continue;
        }
        let error = json!({ "code": code, "message": message });
        let outer = json!({ "code": "ResourceOperationFailure", "message": "see details", "details": [
            { "code": "Other", "message": "something" }, error,
        ] });
        let deeper =
            json!({ "code": "A", "message": "b", "details": [{ "code": "C", "innererror": outer }] });
        let only_words =
            json!({ "code": "InternalError", "message": format!("Code=\"{code}\" Message=\"{message}\"") });
        for (place, body) in [
            ("details", &outer),
            ("deeper", &deeper),
            ("words", &only_words),
            ("alone", &error),
        ] {
            let told = of_operation(body, Purchase::OnDemand);
            assert_eq!(told.kind, wanted, "{place}: {body}");
            let wrapped = json!({ "status": "Failed", "error": body });
            assert_eq!(of_operation(&wrapped, Purchase::OnDemand).kind, wanted, "{place}");
        }
    }
}

#[test]
fn a_spot_size_that_is_not_offered_may_be_back_in_an_hour() {
    let body = json!({ "error": { "code": "SkuNotAvailable", "message": "" } });
    let kind = |purchase| of_answer(409, &body.to_string(), None, Effect::Writes, purchase).kind;
    assert_eq!(kind(Purchase::OnDemand), NO_SKU);
    assert_eq!(kind(Purchase::Spot), ALLOCATED);
}

#[test]
fn the_figures_of_a_quota_are_read_and_said() {
    for (message, wanted) in [
        (
            COMPUTE_QUOTA,
            Quota {
                family: Some("standardNCADSA100v4Family".to_owned()),
                limit: Some(48),
                remaining: Some(24),
                requested: Some(48),
            },
        ),
        (
            AKS_QUOTA,
            Quota {
                family: Some("standardNCADSA100v4Family".to_owned()),
                limit: None,
                remaining: Some(10),
                requested: Some(24),
            },
        ),
        ("no figures", Quota::default()),
        (
            "Current Limit: 99999999999999999999, remaining ",
            Quota::default(),
        ),
    ] {
        assert_eq!(Quota::parse(message), wanted, "{message}");
    }
    let error = classed(400, "ErrCode_InsufficientVCPUQuota", AKS_QUOTA);
    let words = "24 cores of standardNCADSA100v4Family were asked for and 10 are left: Preflight";
    assert!(error.message.starts_with(words), "{}", error.message);
}

#[test]
fn a_throttle_is_waited_out_for_as_long_as_it_says() {
    let kind = |status, wait_ms| of_answer(status, "", wait_ms, Effect::Reads, Purchase::OnDemand).kind;
    assert_eq!(kind(429, Some(17_000)), PoolErrorKind::Throttled(17_000));
    assert_eq!(kind(429, None), PoolErrorKind::Throttled(60_000));
    assert_eq!(kind(503, Some(5_000)), PoolErrorKind::Throttled(5_000));
    assert_eq!(kind(503, None), PoolErrorKind::Unavailable);
}

#[test]
fn a_read_that_fails_has_changed_nothing() {
    for status in [408, 500, 502, 503, 504, 599] {
        let kind = |effect| of_answer(status, "<html>", None, effect, Purchase::OnDemand).kind;
        assert_eq!(kind(Effect::Reads), PoolErrorKind::Unavailable, "{status}");
        assert_eq!(kind(Effect::Writes).leaves_unknown(), status != 503, "{status}");
    }
}

#[test]
fn what_stands_in_between_is_shown() {
    let shown =
        |status, body: &str| of_answer(status, body, None, Effect::Reads, Purchase::OnDemand).to_string();
    assert_eq!(shown(502, "<html>\n502"), "unavailable (Http502): `<html> 502`");
    assert_eq!(shown(404, ""), "gone (Http404): the answer has no words");
    assert_eq!(
        shown(302, ""),
        "bad_request (Http302): redirects are not followed: name the address itself as `endpoint`"
    );
    assert_eq!(
        shown(400, r#"{"error":{"message":"no code"}}"#),
        "bad_request (Http400): no code"
    );
    assert_eq!(shown(400, r#"{"message":"bare"}"#), "bad_request (Http400): bare");
}

#[test]
fn a_later_operation_that_won_is_known_in_both_spellings() {
    for spelling in ["overriden", "overridden"] {
        let message = format!("The operation was {spelling} and canceled by a later operation.");
        assert!(is_superseded(
            &json!({ "error": { "code": "X", "details": [{ "message": message }] } })
        ));
    }
    assert!(!is_superseded(
        &json!({ "error": { "code": "AllocationFailed" } })
    ));
}

#[test]
fn a_tree_without_end_is_looked_at_for_so_long() {
    let mut body = json!({ "code": "AllocationFailed" });
    for _ in 0..60 {
        body = json!({ "code": "Outer", "details": [body] });
    }
    assert_eq!(
        of_operation(&body, Purchase::OnDemand).kind,
        PoolErrorKind::Unavailable
    );
    let wide = json!({ "details": vec![json!({ "code": "X" }); 100_000] });
    assert_eq!(nodes(&wide).len(), MOST_NODES);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_or_grow(status in 300_u16..600, body in any::<String>(), words in "\\PC{0,2000}") {
        for body in [body, json!({ "error": { "code": words, "message": words } }).to_string()] {
            let error = of_answer(status, &body, None, Effect::Writes, Purchase::Spot);
            prop_assert!(error.message.chars().count() <= 700, "{}", error.message.len());
            prop_assert!(!error.message.contains('\n'));
        }
    }
}

//! What nobody has established about the real platform, as switches.
//!
//! The reference says how requests look, and little of what they do. A client that is right only under one reading of it
//! is wrong; so each reading can be turned on, and the defaults are what reports from the field describe.

use serde::Deserialize;

/// Every documented ambiguity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behavior {
    /// What becomes of a property that a PUT leaves out.
    pub omitted_property: OmittedProperty,
    /// When `deleteMachines` lowers the count.
    pub delete_machines_count: DeleteMachinesCount,
    /// Whether `deleteMachines` may go below `minCount` where the cluster autoscaler is on.
    pub delete_machines_below_min: BelowMin,
    /// Whether answers say how long to wait.
    pub retry_after: RetryAfter,
    /// The word in the address of status monitors.
    pub monitor_path: MonitorPath,
    /// What a status monitor says once its operation is over.
    pub monitor_after_end: MonitorAfterEnd,
    /// Whether a PATCH may scale a pool that is being upgraded.
    pub patch_during_upgrade: PatchDuringUpgrade,
    /// The status of an accepted PUT to a pool that exists.
    pub put_status: PutStatus,
    /// Where an asynchronous failure says its reason.
    pub error_detail: ErrorDetail,
    /// The state of a pool whose operation failed.
    pub failed_pool: FailedPool,
    /// What a second write does while an operation runs.
    pub second_writer: SecondWriter,
    /// How an operation ends that a second writer took over.
    pub superseded: Superseded,
    /// What is looked at first when both the etag is stale and an operation runs.
    pub checked_first: CheckedFirst,
    /// Whether the end of an operation gives the pool another etag.
    pub etag_at_end: EtagAtEnd,
    /// The count of a pool after nodes did not come, or an operation was canceled.
    pub count_after_failure: CountAfterFailure,
    /// Which nodes the platform takes when a count decreases.
    pub victims: Victims,
    /// Whether there are the throttles of the resource provider.
    pub throttles: Throttles,
    /// Items of a page of a list, at least 1.
    pub page_size: usize,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            omitted_property: OmittedProperty::Keep,
            delete_machines_count: DeleteMachinesCount::Atomically,
            delete_machines_below_min: BelowMin::Refused,
            retry_after: RetryAfter::Sent,
            monitor_path: MonitorPath::Operations,
            monitor_after_end: MonitorAfterEnd::Kept,
            patch_during_upgrade: PatchDuringUpgrade::Allowed,
            put_status: PutStatus::Created,
            error_detail: ErrorDetail::Details,
            failed_pool: FailedPool::Failed,
            second_writer: SecondWriter::Refused,
            superseded: Superseded::Canceled,
            checked_first: CheckedFirst::Etag,
            etag_at_end: EtagAtEnd::Changes,
            count_after_failure: CountAfterFailure::Asked,
            victims: Victims::NewestFirst,
            throttles: Throttles::On,
            page_size: 100,
        }
    }
}

/// What becomes of a property that a PUT leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OmittedProperty {
    /// It stays as it was.
    Keep,
    /// It goes back to its default; a count to 1.
    Reset,
}

/// When `deleteMachines` lowers the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeleteMachinesCount {
    /// With the acceptance.
    Atomically,
    /// When the machines are gone.
    AtEnd,
    /// Not at all: the count promises nodes that are not there.
    Never,
}

/// Whether `deleteMachines` may go below `minCount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BelowMin {
    /// It is refused.
    Refused,
    /// It may.
    Allowed,
}

/// Whether answers say how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryAfter {
    /// With `Retry-After` in seconds.
    Sent,
    /// Without.
    Omitted,
}

/// The word in the address of status monitors; the reference's examples have all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MonitorPath {
    /// `operations`.
    Operations,
    /// `operationStatus`.
    OperationStatus,
    /// `operationresults`.
    #[serde(rename = "operationresults")]
    OperationResults,
}

impl MonitorPath {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::OperationStatus => "operationStatus",
            Self::OperationResults => "operationresults",
        }
    }
}

/// What a status monitor says once its operation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MonitorAfterEnd {
    /// How it ended.
    Kept,
    /// 404: the pool has to tell.
    Gone,
}

/// Whether a PATCH may scale a pool that is being upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PatchDuringUpgrade {
    /// Beside the upgrade.
    Allowed,
    /// 409 as for any other write.
    Refused,
}

/// The status of an accepted PUT to a pool that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PutStatus {
    /// 201, as for a new one.
    Created,
    /// 200.
    Ok,
}

/// Where an asynchronous failure says its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorDetail {
    /// In `details` of a generic error, and in the pool's `status.provisioningError`.
    Details,
    /// In `status.provisioningError` alone; the monitor's error is generic.
    ProvisioningErrorOnly,
    /// In the words of the monitor's message.
    MessageOnly,
}

/// The state of a pool whose operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailedPool {
    /// `Failed`, until the next operation.
    Failed,
    /// `Succeeded`: only the operation has failed.
    Succeeded,
}

/// What a second write does while an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecondWriter {
    /// It is refused with 409.
    Refused,
    /// It takes over, and the first operation is canceled.
    CancelsFirst,
}

/// How an operation ends that a second writer took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Superseded {
    /// `Canceled`.
    Canceled,
    /// `Failed`; only its words say that it was canceled.
    Failed,
}

/// What is looked at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckedFirst {
    /// The etag: 412.
    Etag,
    /// The operation: 409.
    Operation,
}

/// Whether the end of an operation gives the pool another etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EtagAtEnd {
    /// Its state has changed, and so does the etag.
    Changes,
    /// Only writes change it.
    Stays,
}

/// The count of a pool after nodes did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CountAfterFailure {
    /// What was asked for.
    Asked,
    /// The nodes that are there.
    Actual,
}

/// Which nodes the platform takes when a count decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Victims {
    /// Those that came last, the booting ones among them.
    NewestFirst,
    /// Those that work, oldest first.
    BusiestFirst,
}

/// Whether there are the throttles of the resource provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Throttles {
    /// As documented.
    On,
    /// None.
    Off,
}

//! The `GpuScalePolicy` resource: what people write, read into types that cannot hold nonsense.
//!
//! Reading order: [`policy`] (the document and its cross-field rules), [`signal`], [`behavior`] and
//! [`bounds`] (its parts), [`overrides`] (annotations), [`status`] and [`conditions`] (what is written back), [`duration`], [`numbers`]
//! and [`text`] (the values), [`defaults`] (every default with its reason), [`fn@validate`] (the offline
//! check), [`mod@compile`] (the way into the engine), [`fn@crd`] (the generated definition).
//!
//! Bytes in, values out. This module must not know the file system, a Kubernetes client, the clock, or how a
//! decision is made. After validation nothing else reads the raw document.

pub mod behavior;
pub mod bounds;
pub mod compile;
pub mod conditions;
mod crd;
pub mod defaults;
pub mod duration;
pub mod numbers;
pub mod overrides;
pub mod policy;
mod queries;
pub mod signal;
pub mod spans;
pub mod status;
pub mod text;
mod validate;

pub use compile::{CompileError, compile};
pub use crd::{crd, crd_yaml};
pub use policy::{GpuScalePolicy, GpuScalePolicySpec};
pub use queries::{Query, QuerySource, queries};
pub use status::GpuScalePolicyStatus;
pub use validate::{ApiError, Violation, validate, validate_update, validate_value};
#[cfg(feature = "cli")]
pub(crate) use validate::{edits, reworded};

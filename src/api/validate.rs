//! The offline check: text in, a policy or every reason against it out.
//!
//! Three layers, each after the one before. Reading refuses unknown fields and values that a type cannot hold, with
//! the line. The schema's sizes (items of a list, entries of a map) are checked as the API server would. Then the CEL
//! rules of the custom resource run, all of them, so that one round of corrections is enough.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{GpuScalePolicy, GpuScalePolicySpec, GpuScalePolicyStatus, crd};

/// The `apiVersion` of a policy.
const API_VERSION: &str = "gpuscale.dev/v1alpha1";
/// The `kind` of a policy.
const KIND: &str = "GpuScalePolicy";

/// Why a document is not a usable policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The text is no YAML, a field is unknown, or a value is outside its type.
    #[error("line {line}, column {column}: {message}")]
    Read {
        /// Line of the document, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A value of a document that has no lines (an object from a cluster) is outside its type.
    #[error("{0}")]
    Value(String),
    /// Another kind of document.
    #[error("this is {got}; a policy has apiVersion {API_VERSION} and kind {KIND}")]
    WrongKind {
        /// What the document says it is.
        got: String,
    },
    /// Rules that do not hold; never empty.
    #[error("{}", join(.0))]
    Rules(Vec<Violation>),
    /// A defect of this program.
    #[error("cannot check the policy, please report this: {0}")]
    Internal(String),
}

/// One rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field that the rule belongs to, such as `spec.signals[0]`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

fn join(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(Violation::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl ApiError {
    pub(super) fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    fn read(error: &serde_saphyr::Error) -> Self {
        let message = plain_message(error);
        match error.location() {
            Some(at) => Self::Read {
                line: at.line(),
                column: at.column(),
                message,
            },
            None => Self::Value(message),
        }
    }
}

/// The document as written; unlike the generated resource type it refuses unknown fields at the top.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
    spec: GpuScalePolicySpec,
    #[serde(default)]
    status: Option<GpuScalePolicyStatus>,
}

/// Only what tells documents apart, read first: the errors of a foreign document would be about its fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

impl Header {
    fn check(self) -> Result<(), ApiError> {
        match (self.api_version.as_deref(), self.kind.as_deref()) {
            (Some(API_VERSION), Some(KIND)) => Ok(()),
            (version, kind) => {
                let got = format!(
                    "apiVersion {}, kind {}",
                    version.unwrap_or("(none)"),
                    kind.unwrap_or("(none)")
                );
                Err(ApiError::WrongKind { got })
            }
        }
    }
}

impl From<Document> for GpuScalePolicy {
    fn from(document: Document) -> Self {
        // The other two fields were compared with the only values they can have, in `Header`.
        let Document {
            metadata,
            spec,
            status,
            ..
        } = document;
        Self {
            metadata,
            spec,
            status,
        }
    }
}

/// Reads and checks one policy document.
///
/// # Errors
///
/// [`ApiError::Read`] with the first place that cannot be read, or [`ApiError::Rules`] with every rule that does not
/// hold.
pub fn validate(yaml: &str) -> Result<GpuScalePolicy, ApiError> {
    serde_saphyr::from_str::<Header>(yaml)
        .map_err(|e| ApiError::read(&e))?
        .check()?;
    let document: Document = serde_saphyr::from_str(yaml).map_err(|e| ApiError::read(&e))?;
    check_rules(document.into())
}

/// Reads and checks one policy object that came from a cluster.
///
/// A watch should deliver untyped objects and hand each to this function: a typed watch would break for all policies
/// when one of them cannot be read.
///
/// # Errors
///
/// As [`validate`], without lines.
pub fn validate_value(object: Value) -> Result<GpuScalePolicy, ApiError> {
    let read = |e: serde_json::Error| ApiError::Value(e.to_string());
    Header::deserialize(&object).map_err(read)?.check()?;
    let document: Document = serde_json::from_value(object).map_err(read)?;
    check_rules(document.into())
}

/// Checks a change of a policy: the rules of the new one, and those that compare it with the old one.
///
/// # Errors
///
/// [`ApiError::Rules`] with every rule that does not hold.
pub fn validate_update(new: &GpuScalePolicy, old: &GpuScalePolicy) -> Result<(), ApiError> {
    new.validate_cel_update(old)
        .map_err(|errors| ApiError::Rules(violations(&errors)))
}

fn check_rules(policy: GpuScalePolicy) -> Result<GpuScalePolicy, ApiError> {
    let mut found = Vec::new();
    let definition = serde_json::to_value(crd()?).map_err(ApiError::internal)?;
    let object = serde_json::to_value(&policy).map_err(ApiError::internal)?;
    if let Some(schema) = definition.pointer("/spec/versions/0/schema/openAPIV3Schema") {
        check_sizes(schema, &object, &mut String::new(), &mut found);
    }
    if let Err(errors) = policy.validate_cel() {
        found.extend(violations(&errors));
    }
    if found.is_empty() {
        Ok(policy)
    } else {
        Err(ApiError::Rules(found))
    }
}

fn violations(errors: &kube::core::cel::ValidationErrors) -> Vec<Violation> {
    errors
        .iter()
        .map(|e| Violation {
            path: e.field_path.clone(),
            message: e.message.clone(),
        })
        .collect()
}

/// Compares the sizes of lists and maps with the schema. Everything else that a schema says is held by the types.
fn check_sizes(schema: &Value, value: &Value, path: &mut String, found: &mut Vec<Violation>) {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    let mut complain = |message: String| {
        found.push(Violation {
            path: path.clone(),
            message,
        })
    };
    match value {
        Value::Array(items) => {
            let count = items.len() as u64;
            if let Some(max) = limit("maxItems").filter(|max| count > *max) {
                complain(format!("has {count} items and may have {max}; remove some"));
            }
            if let Some(min) = limit("minItems").filter(|min| count < *min) {
                complain(format!("has {count} items and needs at least {min}; add one"));
            }
            if let Some(inner) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    descend(inner, item, &format!("[{index}]"), path, found);
                }
            }
        }
        Value::Object(entries) => {
            let count = entries.len() as u64;
            if let Some(max) = limit("maxProperties").filter(|max| count > *max) {
                complain(format!("has {count} entries and may have {max}; remove some"));
            }
            for (name, entry) in entries {
                if let Some(inner) = schema.get("properties").and_then(|p| p.get(name)) {
                    let step = if path.is_empty() {
                        name.clone()
                    } else {
                        format!(".{name}")
                    };
                    descend(inner, entry, &step, path, found);
                }
            }
        }
        _ => {}
    }
}

fn descend(schema: &Value, value: &Value, step: &str, path: &mut String, found: &mut Vec<Violation>) {
    let length = path.len();
    path.push_str(step);
    check_sizes(schema, value, path, found);
    path.truncate(length);
}

/// The reader's message without its picture of the source and its repeated position.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    match text.find(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

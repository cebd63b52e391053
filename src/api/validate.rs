//! The offline check: text in, a policy or every reason against it out.
//!
//! Three layers, each after the one before. Reading refuses unknown fields and values that a type cannot
//! hold, with the line. The schema's sizes (items of a list, entries of a map) are checked as the API server
//! would. Then the CEL rules of the custom resource run, all of them, so that one round of corrections is
//! enough.

use std::fmt;
use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde::Deserialize;
use serde_json::Value;

use super::spans::Spans;
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
    /// Line of that field in the document, from 1; of its parent when the field is not written; `None` for an
    /// object from a cluster.
    pub line: Option<u64>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
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
/// [`ApiError::Read`] with the first place that cannot be read, or [`ApiError::Rules`] with every rule that
/// does not hold.
pub fn validate(yaml: &str) -> Result<GpuScalePolicy, ApiError> {
    serde_saphyr::from_str::<Header>(yaml)
        .map_err(|e| ApiError::read(&e))?
        .check()?;
    let document: Document = serde_saphyr::from_str(yaml).map_err(|e| ApiError::read(&e))?;
    check_rules(document.into(), None).map_err(|error| match error {
        ApiError::Rules(mut violations) => {
            let spans = Spans::of(yaml);
            for violation in &mut violations {
                violation.line = spans.line(&violation.path);
            }
            ApiError::Rules(violations)
        }
        other => other,
    })
}

/// Reads and checks one policy object that came from a cluster.
///
/// A watch should deliver untyped objects and hand each to this function: a typed watch would break for all
/// policies when one of them cannot be read.
///
/// # Errors
///
/// As [`validate`], without lines.
pub fn validate_value(object: Value) -> Result<GpuScalePolicy, ApiError> {
    let read = |e: serde_json::Error| ApiError::Value(reworded(&e.to_string()));
    Header::deserialize(&object).map_err(read)?.check()?;
    let document: Document = serde_json::from_value(object).map_err(read)?;
    check_rules(document.into(), None)
}

/// Checks a change of a policy: the rules of the new one, and those that compare it with the old one.
///
/// # Errors
///
/// [`ApiError::Rules`] with every rule that does not hold.
pub fn validate_update(new: &GpuScalePolicy, old: &GpuScalePolicy) -> Result<(), ApiError> {
    check_rules(new.clone(), Some(old)).map(drop)
}

/// The custom resource's schema with its rules compiled.
struct Rules {
    schema: Value,
    compiled: CompiledSchema,
}

impl Rules {
    /// Compiled once for the process: a controller checks thousands of policies.
    fn get() -> Result<&'static Self, ApiError> {
        static RULES: OnceLock<Result<Rules, ApiError>> = OnceLock::new();
        RULES.get_or_init(Self::compile).as_ref().map_err(Clone::clone)
    }

    fn compile() -> Result<Self, ApiError> {
        let definition = serde_json::to_value(crd()?).map_err(ApiError::internal)?;
        let schema = definition
            .pointer("/spec/versions/0/schema/openAPIV3Schema")
            .ok_or_else(|| ApiError::internal("the definition has no schema"))?
            .clone();
        Ok(Self {
            compiled: compile_schema(&schema),
            schema,
        })
    }
}

fn check_rules(policy: GpuScalePolicy, old: Option<&GpuScalePolicy>) -> Result<GpuScalePolicy, ApiError> {
    let rules = Rules::get()?;
    let object = serde_json::to_value(&policy).map_err(ApiError::internal)?;
    let old = old
        .map(serde_json::to_value)
        .transpose()
        .map_err(ApiError::internal)?;
    let mut found = Vec::new();
    check_sizes(&rules.schema, &object, &mut String::new(), &mut found);
    if let Err(errors) = Validator::new().validate_compiled(&rules.compiled, &object, old.as_ref()) {
        let violation = |e: &kube::core::cel::ValidationError| violation(&e.field_path, e.message.clone());
        found.extend(errors.iter().map(violation));
    }
    if found.is_empty() {
        Ok(policy)
    } else {
        Err(ApiError::Rules(found))
    }
}

fn violation(path: &str, message: String) -> Violation {
    Violation {
        path: path.to_owned(),
        line: None,
        message,
    }
}

/// Compares the sizes of lists and maps with the schema. Everything else that a schema says is held by the
/// types.
fn check_sizes(schema: &Value, value: &Value, path: &mut String, found: &mut Vec<Violation>) {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    match value {
        Value::Array(items) => {
            let count = items.len() as u64;
            if let Some(max) = limit("maxItems").filter(|max| count > *max) {
                found.push(violation(
                    path,
                    format!("has {count} items and may have {max}; remove some"),
                ));
            }
            if let Some(min) = limit("minItems").filter(|min| count < *min) {
                found.push(violation(
                    path,
                    format!("has {count} items and needs at least {min}; add one"),
                ));
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
                found.push(violation(
                    path,
                    format!("has {count} entries and may have {max}; remove some"),
                ));
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

/// The reader's message without its picture of the source, its repeated position, and advice to programmers.
fn plain_message(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error.without_snippet() {
        return format!("`{key}` is written twice; keep one");
    }
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let end = text.find(" at line ").unwrap_or(text.len());
    reworded(&text[..end])
}

/// Puts the likely name into the message about an unknown one, before the long list of all names.
pub(crate) fn reworded(message: &str) -> String {
    let nearest = message
        .split_once("expected one of ")
        .and_then(|(before, names)| {
            let written = before.split('`').nth(1)?;
            let candidates = names.split(", ").map(|name| name.trim_matches('`'));
            let nearest = candidates.map(|name| (edits(written, name), name)).min()?;
            // Further apart than a third of the word is another word.
            (nearest.0 * 3 <= written.len()).then_some((before, nearest.1, names))
        });
    match nearest {
        Some((before, name, names)) => {
            format!(
                "{}; did you mean `{name}`? (expected one of {names})",
                before.trim_end_matches([',', ' '])
            )
        }
        None => message.to_owned(),
    }
}

/// Levenshtein distance, ignoring case: the least insertions, deletions and replacements between two names.
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.to_ascii_lowercase().into_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_ascii_lowercase().bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  maxNodes: 4
  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]
";

    fn refused(yaml: &str) -> String {
        validate(yaml).expect_err(yaml).to_string()
    }

    #[test]
    fn all_violations_come_at_once_with_lines() {
        let broken = POLICY.replace("maxNodes: 4", "maxNodes: 4\n  minNodes: 9\n  spareNodes: 5");
        let broken = broken.replace("name: gpu,", "name: gpu, unit: count, targetPercentage: 50,");
        let Err(ApiError::Rules(found)) = validate(&broken) else {
            panic!("accepted")
        };
        let places: Vec<_> = found.iter().map(|v| (v.line, v.path.as_str())).collect();
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            places.contains(&(Some(4), "spec")) && places.contains(&(Some(9), "spec.signals[0]")),
            "{places:?}"
        );
    }

    #[test]
    fn sizes_are_the_schemas() {
        let many = (0..9)
            .map(|i| format!("{{ name: s{i}, gpuRequests: {{}} }}"))
            .collect::<Vec<_>>()
            .join(", ");
        let signals = "{ name: gpu, dcgm: { metric: GpuUtilization } }";
        assert!(
            refused(&POLICY.replace(signals, &many)).contains("spec.signals: has 9 items and may have 8")
        );
        assert!(
            refused(&POLICY.replace(signals, "")).contains("spec.signals: has 0 items and needs at least 1")
        );
        let labels = (0..17).map(|i| format!("l{i}: x")).collect::<Vec<_>>().join(", ");
        let matched = format!("metric: GpuUtilization, matchLabels: {{ {labels} }}");
        let error = refused(&POLICY.replace("metric: GpuUtilization", &matched));
        assert!(
            error.contains("spec.signals[0].dcgm.matchLabels: has 17 entries and may have 16"),
            "{error}"
        );
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let error = refused(&POLICY.replace("maxNodes", "maxnodes"));
        assert!(
            error.contains("line 6, column 3: unknown field `maxnodes`; did you mean `maxNodes`?"),
            "{error}"
        );
        let error = refused(&POLICY.replace("GpuUtilization", "GpuUtilisation"));
        assert!(error.contains("did you mean `GpuUtilization`?"), "{error}");
        let error = refused(&POLICY.replace("maxNodes", "colour"));
        assert!(
            error.contains("unknown field `colour`, expected one of"),
            "{error}"
        );
        assert!(refused(&format!("{POLICY}extra: 1\n")).contains("unknown field `extra`"));
    }

    #[test]
    fn text_that_is_no_policy_says_so() {
        assert!(refused("").contains("apiVersion (none)"), "{}", refused(""));
        assert!(refused("a: [").starts_with("line "), "{}", refused("a: ["));
        assert!(refused("- 1").contains("line 1"), "{}", refused("- 1"));
        assert!(
            refused(
                &POLICY
                    .replace("  maxNodes: 4\n", "")
                    .replace("signals", "maxNodes: 4\n  x")
            )
            .contains("unknown")
        );
        assert!(refused(&POLICY[..POLICY.find("  signals").unwrap()]).contains("missing field `signals`"));
    }

    #[test]
    fn objects_are_checked_like_documents() {
        let document: Value = serde_saphyr::from_str(POLICY).unwrap();
        assert_eq!(validate_value(document.clone()), validate(POLICY));
        let mut broken = document;
        broken["spec"]["minNodes"] = 9.into();
        let error = validate_value(broken)
            .expect_err("minNodes above maxNodes")
            .to_string();
        assert!(
            error.starts_with("spec: minNodes (1 where it is not set) must not exceed maxNodes"),
            "{error}"
        );
    }

    #[test]
    fn the_target_cannot_change() {
        let old = validate(POLICY).unwrap();
        let mut new = old.clone();
        new.spec.max_nodes = Some(crate::api::numbers::NodeCount::clamped(6));
        assert_eq!(validate_update(&new, &old), Ok(()));
        new.spec.target_ref.name = String::from("h100").try_into().unwrap();
        let error = validate_update(&new, &old)
            .expect_err("another target")
            .to_string();
        assert!(
            error.starts_with("spec.targetRef: targetRef cannot change"),
            "{error}"
        );
    }

    #[test]
    fn a_written_policy_reads_back() {
        let policy = validate(POLICY).unwrap();
        let written = serde_saphyr::to_string(&policy).unwrap();
        assert_eq!(validate(&written), Ok(policy));
    }
}

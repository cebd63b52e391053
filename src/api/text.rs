//! Names and expressions that have been looked at: each newtype refuses what its reader could not use.
//!
//! The patterns are in the custom resource's schema too. They are checked by hand here, because the core has
//! no regular expressions; the tests compare the two on the same cases.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::policy::schedule::{Cron, CronError};

/// A text outside the syntax of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct TextError {
    /// The refused text, cut to 80 characters.
    text: String,
    /// What it should have been.
    what: &'static str,
    /// The syntax in words.
    rule: &'static str,
}

/// Defines a checked text.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $schema:tt, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                if $check(&text) {
                    Ok(Self(text))
                } else {
                    Err(TextError { text: text.chars().take(80).collect(), what: $what, rule: $rule })
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text! {
    /// A short name: the DNS label syntax that Kubernetes uses, up to 63 characters.
    Name, "a name",
    "use 1 to 63 lower-case letters, digits and `-`, starting and ending with a letter or digit",
    { "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
    is_label
}

text! {
    /// The name of a Kubernetes object or an AKS node pool: the DNS subdomain syntax, up to 253 characters.
    ObjectName, "an object name",
    "use 1 to 253 lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit",
    {
        "type": "string", "minLength": 1, "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
    },
    is_subdomain
}

text! {
    /// The name of an AKS Linux node pool: up to 12 characters, no hyphen.
    PoolName, "an AKS node pool name",
    "use 1 to 12 lower-case letters and digits, starting with a letter",
    { "type": "string", "minLength": 1, "maxLength": 12, "pattern": "^[a-z][a-z0-9]*$" },
    is_pool
}

text! {
    /// A Prometheus label name.
    LabelName, "a Prometheus label name",
    "use letters, digits and `_`, not starting with a digit",
    { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$" },
    is_label_name
}

text! {
    /// The value of a Prometheus label, matched exactly. Any text up to 256 bytes without control characters.
    LabelValue, "a label value",
    "use up to 256 bytes without control characters",
    { "type": "string", "maxLength": 256 },
    is_label_value
}

text! {
    /// A `PromQL` expression, 1 to 4096 bytes. It is parsed where it is used.
    PromQl, "a PromQL expression",
    "write 1 to 4096 bytes that are not only spaces",
    { "type": "string", "minLength": 1, "maxLength": 4096 },
    is_promql
}

text! {
    /// A time zone of the IANA database, such as `Europe/Berlin` or `UTC`.
    ZoneName, "a time zone",
    "use a name of the IANA time zone database such as `Europe/Berlin` or `UTC`",
    { "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9_+/-]+$" },
    is_zone
}

impl Name {
    /// The name of the metrics source that policies use unless they say otherwise.
    pub(super) fn default_source() -> Self {
        Self("default".into())
    }
}

impl ZoneName {
    /// Coordinated universal time.
    pub(super) fn utc() -> Self {
        Self("UTC".into())
    }
}

/// A cron expression: minute, hour, day of month, month, day of week, as in crontab(5).
///
/// Read when the policy is, so that a typing error is refused then and not at eight in the evening. The
/// syntax is that of [`Cron`], which also says when a schedule opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    cron: Cron,
}

/// Why a text is not a [`CronExpression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronExpressionError {
    /// Outside the syntax.
    #[error("cannot read cron {text:?}: {source}")]
    Syntax {
        /// The refused text.
        text: String,
        /// What is wrong with it.
        source: CronError,
    },
    /// More text than five fields need.
    #[error("a cron expression has at most {MAX_CRON_LENGTH} bytes")]
    TooLong,
}

/// The longest cron expression that is read, in bytes: five fields, each a long list.
const MAX_CRON_LENGTH: usize = 128;

impl CronExpression {
    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The expression as read.
    #[must_use]
    pub fn cron(&self) -> &Cron {
        &self.cron
    }
}

impl TryFrom<String> for CronExpression {
    type Error = CronExpressionError;

    fn try_from(text: String) -> Result<Self, CronExpressionError> {
        if text.len() > MAX_CRON_LENGTH {
            return Err(CronExpressionError::TooLong);
        }
        match Cron::parse(&text) {
            Ok(cron) => Ok(Self { text, cron }),
            Err(source) => Err(CronExpressionError::Syntax { text, source }),
        }
    }
}

impl From<CronExpression> for String {
    fn from(value: CronExpression) -> Self {
        value.text
    }
}

impl JsonSchema for CronExpression {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CronExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 9, "maxLength": MAX_CRON_LENGTH,
            "pattern": "^\\s*([0-9A-Za-z*,/-]+\\s+){4}[0-9A-Za-z*,/-]+\\s*$"
        })
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part = |p: &str| !p.is_empty() && p.bytes().all(inner) && !p.starts_with('-') && !p.ends_with('-');
    text.len() <= 253 && text.split('.').all(part)
}

fn is_pool(text: &str) -> bool {
    (1..=12).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_label_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_label_value(text: &str) -> bool {
    text.len() <= 256 && !text.chars().any(char::is_control)
}

fn is_promql(text: &str) -> bool {
    text.len() <= 4096 && !text.trim().is_empty()
}

/// Looked up in the bundled database, so the answer is the same on every machine.
fn is_zone(text: &str) -> bool {
    let syntax = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'/' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(syntax) && jiff::tz::db().get(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::cel::cel::{Context, Program, Value};

    fn check<T: TryFrom<String> + JsonSchema>(cases: &[(&str, bool)]) {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let pattern = schema.get("pattern").and_then(|p| p.as_str()).unwrap_or("(?s).*");
        let program = Program::compile("text.matches(pattern)").unwrap();
        for (text, expected) in cases {
            assert_eq!(T::try_from((*text).to_owned()).is_ok(), *expected, "{text:?}");
            let mut context = Context::default();
            context.add_variable("text", (*text).to_owned()).unwrap();
            context.add_variable("pattern", pattern.to_owned()).unwrap();
            if *expected {
                assert_eq!(
                    program.execute(&context).unwrap(),
                    Value::Bool(true),
                    "pattern of {text:?}"
                );
            }
        }
    }

    #[test]
    fn texts_are_checked_as_their_patterns_say() {
        check::<Name>(&[
            ("default", true),
            ("a", true),
            ("a-1", true),
            ("", false),
            ("-a", false),
            ("A", false),
        ]);
        check::<Name>(&[(&"a".repeat(63), true), (&"a".repeat(64), false), ("a.b", false)]);
        check::<ObjectName>(&[
            ("vllm", true),
            ("vllm.v1", true),
            ("a..b", false),
            ("vllm_1", false),
            ("", false),
        ]);
        check::<PoolName>(&[
            ("a100", true),
            ("a100poolname", true),
            ("a100poolname1", false),
            ("1a", false),
        ]);
        check::<LabelName>(&[
            ("Hostname", true),
            ("_x", true),
            ("9x", false),
            ("a-b", false),
            ("", false),
        ]);
        check::<LabelValue>(&[("", true), ("NVIDIA A100-SXM4-80GB", true), ("a\nb", false)]);
        check::<PromQl>(&[("sum(x)", true), ("  ", false), ("", false)]);
        check::<ZoneName>(&[
            ("Europe/Berlin", true),
            ("UTC", true),
            ("CEST", false),
            ("Mars/Base", false),
        ]);
    }

    #[test]
    fn the_error_names_the_syntax() {
        let error = PoolName::try_from("a100-pool".to_owned())
            .expect_err("hyphen")
            .to_string();
        assert_eq!(
            error,
            "\"a100-pool\" is not an AKS node pool name: use 1 to 12 lower-case letters and digits, \
                starting with a letter"
        );
    }
}

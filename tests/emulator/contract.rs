//! Holds documents against the definitions of the contract: the part of JSON Schema that the reference uses there.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

/// The definitions of one version.
pub struct Contract {
    definitions: Value,
}

impl Contract {
    /// The version of this name, such as `2026-08-01`.
    pub fn of(version: &str) -> Self {
        let path = format!("tests/fixtures/aks/agentpools-{version}.json");
        let mut document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        Self {
            definitions: document["definitions"].take(),
        }
    }

    /// What in `document` is not as the definition `name` has it.
    pub fn problems(&self, name: &str, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(&self.definitions[name], document, name, &mut problems);
        problems
    }

    /// Fails where `document` is not as the definition `name` has it.
    pub fn assert(&self, name: &str, document: &Value) {
        let problems = self.problems(name, document);
        assert!(problems.is_empty(), "{problems:#?}\n{document:#}");
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/definitions/").unwrap();
            assert!(self.definitions[name].is_object(), "{reference} leads nowhere");
            return self.check(&self.definitions[name], value, at, problems);
        }
        let right = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some(other) => panic!("the contract has type {other}, which this does not know"),
            None => true,
        };
        if !right {
            problems.push(format!("{at} is {value} and not of type {}", schema["type"]));
            return;
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if value.get(required.as_str().unwrap()).is_none() {
                problems.push(format!("{at} lacks {required}"));
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) if schema["properties"].is_object() => {
                    problems.push(format!("{at} is not in the contract"));
                }
                (Value::Null, more) => self.check(more, value, &at, problems),
                (known, _) => self.check(known, value, &at, problems),
            }
        }
        for (index, value) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], value, &format!("{at}[{index}]"), problems);
        }
    }
}

/// An example of the reference.
pub fn example(name: &str) -> Value {
    let path = format!("tests/fixtures/aks/reference/{name}.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The keys of an object that another one does not have with the same value.
pub fn missing(wanted: &Value, found: &Value) -> BTreeSet<String> {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted
        .filter(|(key, value)| found.get(key.as_str()) != Some(value))
        .map(|(key, _)| key.clone())
        .collect()
}

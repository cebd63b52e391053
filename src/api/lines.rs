//! Where each field of a document stands, so that a rule's violation can name a line.
//!
//! Rules run on the value and not on the text, so the text is read a second time, keeping nothing but
//! positions.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The lines of a document's fields.
#[derive(Debug, Default)]
pub(super) struct Lines {
    root: Node,
}

/// A value without its content: only what is inside, and where.
#[derive(Debug, Default)]
enum Node {
    #[default]
    Scalar,
    List(Vec<(u64, Self)>),
    Map(BTreeMap<String, (u64, Self)>),
}

impl Lines {
    /// Reads positions. A document that cannot be read has none, and its error was reported before.
    pub(super) fn of(yaml: &str) -> Self {
        Self {
            root: serde_saphyr::from_str(yaml).unwrap_or_default(),
        }
    }

    /// The line, from 1, of a path such as `spec.signals[0].up`; of its nearest parent when the field is not
    /// written.
    pub(super) fn find(&self, path: &str) -> Option<u64> {
        let mut node = &self.root;
        let mut found = None;
        for step in path.split(['.', '[']) {
            let inner = match (node, step.strip_suffix(']')) {
                (Node::Map(entries), None) => entries.get(step),
                (Node::List(items), Some(index)) => index.parse().ok().and_then(|i: usize| items.get(i)),
                _ => None,
            };
            let Some((line, inner)) = inner else { break };
            found = Some(*line);
            node = inner;
        }
        found
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// Answers every scalar the same way.
macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Node, E> { Ok(Node::Scalar) })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Node>>()? {
            items.push((item.referenced.line(), item.value));
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<Spanned<String>, Spanned<Node>>()? {
            // The name's line: the value of a block stands below it.
            entries.insert(name.value, (name.referenced.line(), value.value));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_lines() {
        let lines = Lines::of(
            "a: 1\nspec:\n  signals:\n    - name: x\n      up: { above: 1 }\n    - name: y\n  n: ~\n",
        );
        for (path, line) in [
            ("a", Some(1)),
            ("spec", Some(2)),
            ("spec.signals", Some(3)),
            ("spec.signals[0]", Some(4)),
            ("spec.signals[0].up", Some(5)),
            ("spec.signals[1]", Some(6)),
            ("spec.n", Some(7)),
            ("spec.signals[9]", Some(3)),
            ("spec.absent.field", Some(2)),
            ("absent", None),
        ] {
            assert_eq!(lines.find(path), line, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_lines() {
        assert_eq!(Lines::of("a: [").find("a"), None);
    }
}

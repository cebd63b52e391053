//! Where each field of a document stands, so that a rule's violation can point at it.
//!
//! Rules run on the value and not on the text, so the text is read a second time, keeping nothing but
//! positions. A place is told in bytes, for whoever draws the text, and as a line, for whoever only prints
//! one.
//!
//! It must not know what a field means, nor whether the document is valid.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// The places of a document's fields.
#[derive(Debug, Default)]
pub struct Spans {
    root: Node,
}

/// Where a field stands in its document; ranges are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line of the key, or of the item of a list, from 1.
    pub line: u64,
    /// The key; `None` for an item of a list.
    pub key: Option<Range<usize>>,
    /// The value, quotes and all, without the line end of a block scalar; empty at its start for a map or a
    /// list, which have no text of their own.
    pub value: Range<usize>,
}

impl Place {
    /// What to point at: a value that is one text, else the key above it.
    #[must_use]
    pub fn shown(&self) -> Range<usize> {
        match &self.key {
            Some(key) if self.value.is_empty() => key.clone(),
            _ => self.value.clone(),
        }
    }
}

/// A value without its content: only what is inside, and where.
#[derive(Debug, Default)]
enum Node {
    #[default]
    Scalar,
    List(Vec<(Place, Self)>),
    Map(BTreeMap<String, (Place, Self)>),
}

impl Spans {
    /// Reads positions. A document that cannot be read has none, and its error was reported before.
    #[must_use]
    pub fn of(yaml: &str) -> Self {
        Self {
            root: serde_saphyr::from_str(yaml).unwrap_or_default(),
        }
    }

    /// The line, from 1, of a path such as `spec.signals[0].up`; of its nearest parent when the field is not
    /// written.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<u64> {
        self.nearest(path).map(|place| place.line)
    }

    /// The place of a path such as `spec.signals[0].up`; `None` when the field is not written.
    #[must_use]
    pub fn exact(&self, path: &str) -> Option<&Place> {
        let (place, depth) = self.walk(path)?;
        (depth == steps(path).count()).then_some(place)
    }

    /// The place of a path, or of its nearest parent when the field is not written.
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<&Place> {
        self.walk(path).map(|(place, _)| place)
    }

    /// Paths of all fields called `name` beneath `path`, the shallowest first, then in the order of the text.
    #[must_use]
    pub fn named(&self, path: &str, name: &str) -> Vec<String> {
        let mut found: Vec<(usize, usize, String)> = Vec::new();
        if let Some(node) = self.node(path) {
            node.collect(name, path, 0, &mut found);
        }
        found.sort();
        found.into_iter().map(|(_, _, path)| path).collect()
    }

    fn node(&self, path: &str) -> Option<&Node> {
        steps(path).try_fold(&self.root, |node, step| node.step(step).map(|(_, inner)| inner))
    }

    /// The place furthest along the path, and how many steps lead there.
    fn walk(&self, path: &str) -> Option<(&Place, usize)> {
        let mut node = &self.root;
        let mut found = None;
        for (depth, step) in steps(path).enumerate() {
            let Some((place, inner)) = node.step(step) else {
                break;
            };
            found = Some((place, depth + 1));
            node = inner;
        }
        found
    }
}

/// The steps of `spec.signals[0]`: `spec`, `signals`, `0]`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).filter(|step| !step.is_empty())
}

impl Node {
    fn step(&self, step: &str) -> Option<(&Place, &Self)> {
        let (place, inner) = match (self, step.strip_suffix(']')) {
            (Self::Map(entries), None) => entries.get(step)?,
            (Self::List(items), Some(index)) => items.get(index.parse::<usize>().ok()?)?,
            _ => return None,
        };
        Some((place, inner))
    }

    fn collect(&self, name: &str, path: &str, depth: usize, found: &mut Vec<(usize, usize, String)>) {
        match self {
            Self::Scalar => {}
            Self::List(items) => {
                for (index, (_, item)) in items.iter().enumerate() {
                    item.collect(name, &format!("{path}[{index}]"), depth + 1, found);
                }
            }
            Self::Map(entries) => {
                for (key, (place, inner)) in entries {
                    let at = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    inner.collect(name, &at, depth + 1, found);
                    if key == name {
                        found.push((depth, place.value.start, at));
                    }
                }
            }
        }
    }
}

/// The bytes of a location; empty where they are not known.
fn bytes(location: Location) -> Range<usize> {
    let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let start = number(location.span().byte_offset());
    start..start + number(location.span().byte_len())
}

fn place(key: Option<Location>, value: &Spanned<Node>) -> Place {
    let mut span = bytes(value.referenced);
    if !matches!(value.value, Node::Scalar) {
        // Of a map or a list only the opening bracket is known, if there is one.
        span.end = span.start;
    }
    Place {
        line: key.unwrap_or(value.referenced).line(),
        key: key.map(bytes),
        value: span,
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
            items.push((place(None, &item), item.value));
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<Spanned<String>, Spanned<Node>>()? {
            // The name's line: the value of a block stands below it.
            let place = place(Some(name.referenced), &value);
            entries.insert(name.value, (place, value.value));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nspec:\n  signals:\n    - name: x\n      up: { above: 1.5 }\n    \
        - name: 'y é'\n  n: ~\n  text: |\n    one\n    two\n";

    #[test]
    fn paths_lead_to_lines() {
        let spans = Spans::of(TEXT);
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
            assert_eq!(spans.line(path), line, "{path}");
        }
    }

    #[test]
    fn paths_lead_to_bytes() {
        let spans = Spans::of(TEXT);
        for (path, shown) in [
            ("a", "1"),
            ("spec", "spec"),
            ("spec.signals", "signals"),
            ("spec.signals[0].up", "up"),
            ("spec.signals[0].up.above", "1.5"),
            ("spec.signals[1].name", "'y é'"),
            ("spec.text", "one\n    two\n"),
        ] {
            let place = spans.exact(path).expect(path);
            assert_eq!(&TEXT[place.shown()], shown, "{path}");
        }
        assert_eq!(spans.exact("spec.absent"), None);
        assert_eq!(spans.exact("spec.signals[2]"), None);
    }

    #[test]
    fn names_are_found_beneath_a_path() {
        let spans = Spans::of(TEXT);
        assert_eq!(
            spans.named("spec", "name"),
            ["spec.signals[0].name", "spec.signals[1].name"]
        );
        assert_eq!(
            spans.named("spec.signals[0]", "above"),
            ["spec.signals[0].up.above"]
        );
        assert_eq!(spans.named("spec", "a"), [""; 0]);
        assert_eq!(spans.named("", "spec"), ["spec"]);
    }

    #[test]
    fn what_cannot_be_read_has_no_places() {
        assert_eq!(Spans::of("a: [").line("a"), None);
    }
}

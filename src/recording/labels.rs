//! The identity of a series: a metric name and its labels.

use std::fmt;

/// A metric name and labels, in canonical form: labels ordered by name, each once, none of them empty.
///
/// A label with an empty value is the same as no label (Prometheus' data model), so it is left out. Two series
/// whose text differs only in the order of their labels are therefore one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    name: Box<str>,
    pairs: Box<[(Box<str>, Box<str>)]>,
}

/// The label that holds the metric's name where a format has no other place for it.
pub const NAME_LABEL: &str = "__name__";

impl Labels {
    /// A series from its name and labels in any order. A `__name__` among the labels gives the name when `name`
    /// is empty.
    ///
    /// # Errors
    ///
    /// The name of the label that occurs twice, `__name__` among them if it contradicts `name`.
    pub fn new<N, V>(name: &str, labels: impl IntoIterator<Item = (N, V)>) -> Result<Self, String>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut name: Box<str> = name.into();
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut named = !name.is_empty();
        for (label, value) in labels {
            let (label, value) = (label.as_ref(), value.as_ref());
            if label == NAME_LABEL {
                if named && *name != *value {
                    return Err(NAME_LABEL.to_owned());
                }
                named = true;
                name = value.into();
            } else {
                pairs.push((label.into(), value.into()));
            }
        }
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(twice[0].0.to_string());
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self {
            name,
            pairs: pairs.into(),
        })
    }

    /// The metric's name; empty if the series has none, as the result of a query may.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<&str> {
        let found = self.pairs.binary_search_by(|(name, _)| name.as_ref().cmp(label));
        found.ok().map(|index| self.pairs[index].1.as_ref())
    }

    /// All labels but the name, ordered by name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let pairs = self.pairs.iter().map(|(name, value)| name.len() + value.len());
        self.name.len() + pairs.sum::<usize>() + size_of_val(&*self.pairs)
    }
}

/// As in the exposition format: `name{label="value"}`, with `\`, `"` and line ends escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.pairs.is_empty() && !self.name.is_empty() {
            return Ok(());
        }
        for (index, (name, value)) in self.iter().enumerate() {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            write!(f, "{}{name}=\"{value}\"", if index == 0 { '{' } else { ',' })?;
        }
        f.write_str(if self.pairs.is_empty() { "{}" } else { "}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_labels_and_empty_ones_make_no_difference() {
        let one = Labels::new("m", [("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        let other = Labels::new("", [("a", "1"), ("__name__", "m"), ("b", "2")]).unwrap();
        assert_eq!(one, other);
        assert_eq!((one.name(), one.get("b"), one.get("c")), ("m", Some("2"), None));
        assert_eq!(one.to_string(), r#"m{a="1",b="2"}"#);
    }

    #[test]
    fn a_label_that_occurs_twice_is_named() {
        assert_eq!(
            Labels::new("m", [("a", "1"), ("b", ""), ("a", "1")]),
            Err("a".to_owned())
        );
        assert_eq!(Labels::new("m", [("__name__", "n")]), Err("__name__".to_owned()));
        assert!(Labels::new("m", [("__name__", "m")]).is_ok());
    }

    #[test]
    fn a_series_is_shown_as_it_would_be_exposed() {
        let none: [(&str, &str); 0] = [];
        assert_eq!(Labels::new("", none).unwrap().to_string(), "{}");
        assert_eq!(Labels::new("up", none).unwrap().to_string(), "up");
        let odd = Labels::new("m", [("a", "x\"y\\z\n")]).unwrap();
        assert_eq!(odd.to_string(), "m{a=\"x\\\"y\\\\z\\n\"}");
    }
}

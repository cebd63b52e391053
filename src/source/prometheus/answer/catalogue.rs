//! The series of the last answer to a query, by the bytes of their labels.
//!
//! A server writes the labels of a series in the same bytes every time, and its series mostly in the same order. So the
//! labels of the next series are compared with those that stood at its place before they are parsed at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::{Deserializer as _, MapAccess, Visitor};

use crate::control::ports::{SeriesBuilder, SeriesTable};
use crate::recording::Labels;

use super::AnswerError;

/// The series of the last answer to one query.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The JSON of the labels of each, in the order of `list`.
    texts: Vec<Box<str>>,
    list: Arc<[Arc<Labels>]>,
}

impl Catalogue {
    pub(super) fn begin(&mut self) -> Naming<'_> {
        let builder = SeriesBuilder::after(&self.list);
        Naming {
            catalogue: self,
            builder,
            at: 0,
            changed: None,
        }
    }
}

/// Names the series of an answer, one after the other.
#[derive(Debug)]
pub(super) struct Naming<'c> {
    catalogue: &'c mut Catalogue,
    builder: SeriesBuilder,
    at: usize,
    changed: Option<Changed>,
}

/// An answer that is not in the order of the last one.
#[derive(Debug)]
struct Changed {
    /// Places in the last answer.
    before: BTreeMap<Box<str>, usize>,
    texts: Vec<Box<str>>,
    /// Labels of this answer: a series that is there twice would be taken for two.
    seen: BTreeSet<Arc<Labels>>,
}

impl Naming<'_> {
    pub(super) fn samples(&mut self) -> &mut SeriesBuilder {
        &mut self.builder
    }

    /// Says of whom the samples since the last call are, by the JSON of the labels.
    pub(super) fn end(&mut self, text: &str, number: usize) -> Result<(), AnswerError> {
        let Catalogue { texts, list } = &*self.catalogue;
        if self.changed.is_none() {
            match (texts.get(self.at), list.get(self.at)) {
                (Some(known), Some(labels)) if **known == *text => {
                    self.builder.end(labels);
                    self.at += 1;
                    return Ok(());
                }
                _ => self.changed = Some(Changed::after(texts, list, self.at)),
            }
        }
        let Some(changed) = &mut self.changed else {
            return Ok(());
        };
        let known = changed.before.get(text).and_then(|&place| list.get(place));
        let labels = if let Some(labels) = known {
            Arc::clone(labels)
        } else {
            let labels = parse(text).map_err(|message| AnswerError::Series { number, message })?;
            Arc::new(labels)
        };
        if !changed.seen.insert(Arc::clone(&labels)) {
            let message = "its labels are those of a series before it".to_owned();
            return Err(AnswerError::Series { number, message });
        }
        self.builder.end(&labels);
        changed.texts.push(text.into());
        Ok(())
    }

    /// The series; they are what is expected next.
    pub(super) fn finish(self) -> SeriesTable {
        let series = self.builder.finish();
        match self.changed {
            Some(changed) => self.catalogue.texts = changed.texts,
            None => self.catalogue.texts.truncate(self.at),
        }
        self.catalogue.list = Arc::clone(series.labels());
        series
    }
}

impl Changed {
    fn after(texts: &[Box<str>], list: &[Arc<Labels>], at: usize) -> Self {
        Self {
            before: (0..)
                .zip(texts)
                .map(|(place, text)| (text.clone(), place))
                .collect(),
            texts: texts.iter().take(at).cloned().collect(),
            seen: list.iter().take(at).cloned().collect(),
        }
    }
}

/// Labels from a JSON object; `__name__` among them is the metric's name.
fn parse(text: &str) -> Result<Labels, String> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of labels")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let pairs = json.deserialize_map(Pairs).map_err(|error| error.to_string())?;
    json.end().map_err(|error: serde_json::Error| error.to_string())?;
    Labels::new("", pairs).map_err(|label| format!("label `{label}` is there twice"))
}

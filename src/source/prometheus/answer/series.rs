//! One series of an answer: labels, and pairs of a time and a value.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::control::ports::SeriesBuilder;
use crate::policy::config::Millis;

use super::{AnswerError, shown};

/// Times from 1970 to the year 2286: others are milliseconds taken for seconds, or garbage.
const SECONDS: std::ops::RangeInclusive<f64> = 0.0..=1e10;

/// Reads a series: its samples go to `samples`, and the JSON of its labels comes back.
pub(super) fn read<'p>(
    piece: &'p [u8],
    number: usize,
    samples: &mut SeriesBuilder,
) -> Result<&'p str, AnswerError> {
    let mut json = serde_json::Deserializer::from_slice(piece);
    let mut newest_ms = Millis::MIN;
    let one = json.deserialize_map(One {
        samples,
        newest_ms: &mut newest_ms,
    });
    let failed = |error: &serde_json::Error| AnswerError::Series {
        number,
        message: shown(&error.to_string()),
    };
    let found = one.map_err(|error| failed(&error))?;
    json.end().map_err(|error| failed(&error))?;
    if found.histogram {
        return Err(AnswerError::Histogram { number });
    }
    let labels = found.labels.map(RawValue::get);
    labels.ok_or_else(|| AnswerError::Series {
        number,
        message: "it has no `metric`".to_owned(),
    })
}

/// What is found beside samples.
#[derive(Debug, Default)]
struct Found<'p> {
    labels: Option<&'p RawValue>,
    histogram: bool,
}

/// A series.
struct One<'s> {
    samples: &'s mut SeriesBuilder,
    newest_ms: &'s mut Millis,
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::default();
        let mut valued = false;
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "metric" if found.labels.is_some() => return Err(de::Error::duplicate_field("metric")),
                "metric" => found.labels = Some(map.next_value()?),
                "values" | "value" if valued => return Err(de::Error::duplicate_field("values")),
                "values" => {
                    valued = true;
                    map.next_value_seed(Pairs {
                        samples: &mut *self.samples,
                        newest_ms: &mut *self.newest_ms,
                    })?;
                }
                "value" => {
                    valued = true;
                    map.next_value_seed(Pair {
                        samples: &mut *self.samples,
                        newest_ms: &mut *self.newest_ms,
                    })?;
                }
                "histogram" | "histograms" => {
                    found.histogram = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !valued && !found.histogram {
            return Err(de::Error::missing_field("values"));
        }
        Ok(found)
    }
}

/// The samples of a range.
struct Pairs<'s> {
    samples: &'s mut SeriesBuilder,
    newest_ms: &'s mut Millis,
}

impl<'de> DeserializeSeed<'de> for Pairs<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let pair = Pair {
                samples: &mut *self.samples,
                newest_ms: &mut *self.newest_ms,
            };
            if seq.next_element_seed(pair)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// One sample: `[1700000000.123,"85"]`.
struct Pair<'s> {
    samples: &'s mut SeriesBuilder,
    newest_ms: &'s mut Millis,
}

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of a time and a value in quotes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let seconds: f64 = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let text: &str = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(1, &self))?;
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &self));
        }
        if !SECONDS.contains(&seconds) {
            return Err(de::Error::custom(format_args!(
                "{seconds} is no time in seconds since 1970"
            )));
        }
        // Exact: milliseconds of these years fit in a float.
        #[expect(clippy::cast_possible_truncation, reason = "it is within 0 and 1e13")]
        let at_ms = (seconds * 1000.0).round() as Millis;
        if at_ms <= *self.newest_ms {
            return Err(de::Error::custom(format_args!(
                "its samples are not in the order of time at {seconds}"
            )));
        }
        *self.newest_ms = at_ms;
        let value = text
            .parse()
            .map_err(|_| de::Error::custom(format_args!("the value `{}` is no number", shown(text))))?;
        self.samples.push(at_ms, value);
        Ok(())
    }
}

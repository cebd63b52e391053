//! The samples of an answer: pairs of a time and a value in quotes.

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, SeqAccess, Visitor};

use super::super::format::TimeUnit;
use super::super::metrics::{MAX_SAMPLES, SeriesId};
use super::super::read_error::Cause;
use super::super::time::{self, plausible, shown};
use super::Answer;

/// A sample of a series whose labels have not come yet.
pub(super) struct Sample {
    pub(super) at_ms: i64,
    pub(super) value: f64,
    pub(super) line: u64,
}

/// Where samples go.
pub(super) enum Sink<'s> {
    Series(SeriesId),
    Waiting(&'s mut Vec<Sample>),
}

impl Sink<'_> {
    /// The same place once more.
    fn again(&mut self) -> Sink<'_> {
        match self {
            Self::Series(id) => Sink::Series(*id),
            Self::Waiting(waiting) => Sink::Waiting(waiting),
        }
    }

    fn push(&mut self, answer: &mut Answer<'_>, at_ms: i64, value: f64) -> Result<(), Cause> {
        let line = answer.line();
        match self {
            Self::Series(id) => answer.builder.push(*id, at_ms, value, line),
            Self::Waiting(waiting) if answer.builder.samples() + waiting.len() as u64 >= MAX_SAMPLES => {
                Err(Cause::TooManySamples)
            }
            Self::Waiting(waiting) => {
                waiting.push(Sample { at_ms, value, line });
                Ok(())
            }
        }
    }
}

/// The samples of a range: a list of pairs.
pub(super) struct Values<'s, 'a> {
    pub(super) answer: &'s mut Answer<'a>,
    pub(super) sink: Sink<'s>,
}

impl<'de> DeserializeSeed<'de> for Values<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let pair = Pair {
                answer: &mut *self.answer,
                sink: self.sink.again(),
            };
            if seq.next_element_seed(pair)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// One sample: `[1700000000.123, "85"]`.
pub(super) struct Pair<'s, 'a> {
    pub(super) answer: &'s mut Answer<'a>,
    pub(super) sink: Sink<'s>,
}

impl<'de> DeserializeSeed<'de> for Pair<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of a time and a value in quotes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let answer = self.answer;
        let expected = "a pair of a time and a value in quotes";
        let at_ms = seq.next_element_seed(Time(&mut *answer))?;
        let at_ms = at_ms.ok_or_else(|| de::Error::invalid_length(0, &expected))?;
        let value = seq.next_element_seed(Value(&mut *answer))?;
        let value = value.ok_or_else(|| de::Error::invalid_length(1, &expected))?;
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &expected));
        }
        let pushed = self.sink.push(answer, at_ms, value);
        pushed.map_err(|cause| answer.refuse(cause))
    }
}

/// A time in seconds, exact to the millisecond.
struct Time<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Time<'_, '_> {
    type Value = i64;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Time<'_, '_> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a time in {}", self.0.unit)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "times of recordings are far below 2^53 in either unit"
        )]
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        #[expect(clippy::cast_precision_loss, reason = "a negative time is refused")]
        self.visit_f64(number as f64)
    }

    /// In this century the neighbours of a number of seconds are 0.24 microseconds away, so that rounding to
    /// milliseconds gives the digits that were written.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<i64, E> {
        let ms = match self.0.unit {
            TimeUnit::Seconds => number * 1000.0,
            TimeUnit::Milliseconds => number,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what does not fit is implausible either way"
        )]
        let at_ms = ms.round() as i64;
        if plausible(at_ms) {
            return Ok(at_ms);
        }
        let refused = time::parse(number.to_string().as_bytes(), self.0.unit);
        refused.map_err(|cause| self.0.refuse(cause))
    }
}

/// A value in quotes, as the API writes it; `NaN`, `+Inf` and `-Inf` among them.
struct Value<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = f64;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Value<'_, '_> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        text.parse().map_err(|_| {
            let found = shown(text.as_bytes());
            self.0.refuse(Cause::Value { found })
        })
    }
}

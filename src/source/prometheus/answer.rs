//! Reads answers of the query API while they arrive, within limits.
//!
//! Every way in which an answer can fail to be one has its own name, and none of them is read as zero: an error in an
//! answer with status 200, a page of a proxy, a body that ends early, histograms, a scalar where series were asked for.
//! `warnings` and `VictoriaMetrics`' `isPartial` make an answer partial, which is not an error and never shrinks anything.
//!
//! Memory is bounded by the samples that are kept, one series, and what is around the series (`split.rs`). Series that were
//! in the last answer are recognised by the bytes of their labels ([`Catalogue`]).

mod catalogue;
mod series;
mod split;

use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::control::ports::{Completeness, SeriesTable};

pub use catalogue::Catalogue;
use catalogue::Naming;
use split::Splitter;

/// Warnings that are shown.
const WARNINGS_SHOWN: usize = 3;

/// Longest message of a server that is shown, in characters.
const MESSAGE_SHOWN: usize = 300;

/// The largest answer that is read; a larger one is an error and never a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Series.
    pub series: usize,
    /// Samples.
    pub samples: usize,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The server says that the query failed.
    #[error("the server says `{kind}`: {message}")]
    Query {
        /// `errorType`.
        kind: String,
        /// `error`.
        message: String,
    },
    /// The body ended before the document did.
    #[error("the answer is cut off after {bytes} bytes")]
    Cut {
        /// Bytes that came.
        bytes: u64,
    },
    /// Something else than an answer of the query API.
    #[error(
        "this is no answer of the query API: it begins with `{begins}`; a proxy or a login page may be in between"
    )]
    Foreign {
        /// How it begins.
        begins: String,
    },
    /// JSON that says neither success nor error.
    #[error("this is no answer of the query API: {what}")]
    Status {
        /// What is wrong with it.
        what: String,
    },
    /// A byte that no JSON has there.
    #[error("byte {place} of the answer is {byte:#04x}, which no JSON has there")]
    Byte {
        /// The byte.
        byte: u8,
        /// Its place, from 0.
        place: u64,
    },
    /// Text that is no JSON, or no series.
    #[error("series {number} of the answer cannot be read: {message}")]
    Series {
        /// Its number, from 1.
        number: usize,
        /// What is wrong.
        message: String,
    },
    /// A scalar or a string.
    #[error("the query gives a number or a text and not series; `vector(…)` makes a series of a number")]
    NoSeries,
    /// Native histograms.
    #[error("series {number} of the answer is a native histogram; the query has to give numbers")]
    Histogram {
        /// Its number, from 1.
        number: usize,
    },
    /// Two lists of series.
    #[error("the answer has two lists of series")]
    TwoLists,
    /// Nesting that no answer has.
    #[error("the answer is nested more than {most} deep")]
    TooDeep {
        /// Deepest that is read.
        most: usize,
    },
    /// More around the series than any server says.
    #[error("the answer has more than {most} bytes besides its series")]
    EnvelopeTooLong {
        /// Most that is read.
        most: usize,
    },
    /// One series that is longer than any window.
    #[error("a series of the answer has more than {most} bytes")]
    SeriesTooLong {
        /// Most that is read.
        most: usize,
    },
    /// More bytes than the source's limit.
    #[error(
        "the answer has more than {most} bytes (`limits.bytes`); narrow the labels or shorten the window"
    )]
    Bytes {
        /// The limit.
        most: u64,
    },
    /// More series than the source's limit.
    #[error("the answer has more than {most} series (`limits.series`); narrow the labels")]
    SeriesCount {
        /// The limit.
        most: usize,
    },
    /// More samples than the source's limit.
    #[error(
        "the answer has more than {most} samples (`limits.samples`); narrow the labels or shorten the window"
    )]
    Samples {
        /// The limit.
        most: usize,
    },
}

impl AnswerError {
    /// Whether it is a limit that was passed.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::EnvelopeTooLong { .. }
                | Self::SeriesTooLong { .. }
                | Self::Bytes { .. }
                | Self::SeriesCount { .. }
                | Self::Samples { .. }
        )
    }
}

/// What an answer says.
#[derive(Debug, Clone)]
pub struct Body {
    /// Whether it is all there is.
    pub completeness: Completeness,
    /// The series.
    pub series: SeriesTable,
}

/// Reads one answer, chunk by chunk.
#[derive(Debug)]
pub struct Reader<'c> {
    limits: Limits,
    splitter: Splitter,
    naming: Naming<'c>,
    number: usize,
    begins: Vec<u8>,
}

impl<'c> Reader<'c> {
    /// Begins an answer to the query that the catalogue is of.
    #[must_use]
    pub fn new(catalogue: &'c mut Catalogue, limits: Limits) -> Self {
        Self {
            limits,
            splitter: Splitter::new(),
            naming: catalogue.begin(),
            number: 0,
            begins: Vec::new(),
        }
    }

    /// Takes the next bytes of the body, of any length.
    ///
    /// # Errors
    /// [`AnswerError`] as soon as it is certain that there is no answer. Then the rest need not be read.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), AnswerError> {
        if self.splitter.bytes().saturating_add(chunk.len() as u64) > self.limits.bytes {
            return Err(AnswerError::Bytes {
                most: self.limits.bytes,
            });
        }
        if self.begins.len() < 40 {
            self.begins
                .extend_from_slice(chunk.get(..chunk.len().min(40)).unwrap_or_default());
            let first = self.begins.iter().find(|byte| !byte.is_ascii_whitespace());
            if first.is_some_and(|&byte| byte != b'{') {
                return Err(self.foreign());
            }
        }
        let Self {
            limits,
            splitter,
            naming,
            number,
            ..
        } = self;
        splitter.feed(chunk, |piece| {
            *number += 1;
            if *number > limits.series {
                return Err(AnswerError::SeriesCount { most: limits.series });
            }
            let labels = series::read(piece, *number, naming.samples())?;
            naming.end(labels, *number)?;
            if naming.samples().samples() > limits.samples {
                return Err(AnswerError::Samples { most: limits.samples });
            }
            Ok(())
        })
    }

    /// The body is over.
    ///
    /// # Errors
    /// [`AnswerError`] if it was no answer.
    pub fn finish(self) -> Result<Body, AnswerError> {
        if self.begins.iter().all(u8::is_ascii_whitespace) {
            return Err(AnswerError::Status {
                what: "it is empty".to_owned(),
            });
        }
        let envelope = self.splitter.finish()?;
        let completeness = judge(&envelope)?;
        Ok(Body {
            completeness,
            series: self.naming.finish(),
        })
    }

    fn foreign(&self) -> AnswerError {
        AnswerError::Foreign {
            begins: shown(String::from_utf8_lossy(&self.begins).trim_start()),
        }
    }
}

/// The document without its series.
#[derive(Debug, Deserialize)]
struct Envelope {
    status: Option<String>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: Option<String>,
    result: Option<Vec<IgnoredAny>>,
}

fn judge(envelope: &[u8]) -> Result<Completeness, AnswerError> {
    let status = |what: String| Err(AnswerError::Status { what });
    let envelope: Envelope = match serde_json::from_slice(envelope) {
        Ok(envelope) => envelope,
        Err(error) => return status(shown(&error.to_string())),
    };
    match envelope.status.as_deref() {
        Some("success") => {}
        Some("error") => {
            return Err(AnswerError::Query {
                kind: shown(envelope.error_type.as_deref().unwrap_or("error")),
                message: shown(envelope.error.as_deref().unwrap_or("it does not say why")),
            });
        }
        Some(other) => return status(format!("its `status` is `{}`", shown(other))),
        None => return status("it has no `status`".to_owned()),
    }
    let Some(data) = envelope.data else {
        return status("it has no `data`".to_owned());
    };
    match data.result_type.as_deref() {
        Some("matrix" | "vector") if data.result.as_ref().is_some_and(Vec::is_empty) => {}
        // Series are taken out while the answer arrives. One that is left was not seen to be one.
        Some("matrix" | "vector") if data.result.is_some() => {
            return status("its series are not where the API puts them".to_owned());
        }
        Some("matrix" | "vector") => return status("it has no `result`".to_owned()),
        Some("scalar" | "string") => return Err(AnswerError::NoSeries),
        Some(other) => return status(format!("its `resultType` is `{}`", shown(other))),
        None => return status("it has no `resultType`".to_owned()),
    }
    let warnings = envelope.warnings.unwrap_or_default();
    if let Some(first) = warnings.first() {
        let mut words = shown(first);
        for warning in warnings.iter().take(WARNINGS_SHOWN).skip(1) {
            words.push_str("; ");
            words.push_str(&shown(warning));
        }
        if warnings.len() > WARNINGS_SHOWN {
            words.push_str("; …");
        }
        return Ok(Completeness::Partial(words));
    }
    Ok(match envelope.is_partial {
        Some(true) => Completeness::Partial("the server marks it as partial (`isPartial`)".to_owned()),
        Some(false) | None => Completeness::Whole,
    })
}

/// What a server says, on one line and not too long.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = clean.take(MESSAGE_SHOWN).collect();
    if text.chars().nth(MESSAGE_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;

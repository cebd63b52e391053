//! Asks a server, and knows what its clock reads.
//!
//! An answer does not say as of when it was made, and windows run on the server's time. So the time is part of the question,
//! and it is the server's own: its `Date` tells it to the second, and every answer narrows down further how far that clock is
//! from ours. Only the first question goes out without a time.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use crate::control::ports::{
    Answer, Clock, Completeness, MetricsSource, ReadRequest, SourceError, SourceErrorKind,
};
use crate::policy::config::Millis;
use crate::policy::observation::Now;
use crate::source::http::{Answer as Response, Client};
use crate::source::remembered::Remembered;

use super::answer::{AnswerError, Catalogue, Limits, Reader};
use super::query;

/// How far the time of a question may be from the server's `Date`: less than a reading speaks for.
const MOST_APART_MS: Millis = 60_000;

/// How questions are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// As a form, which has room for any query.
    #[default]
    Post,
    /// In the address, for servers that allow nothing else.
    Get,
}

/// A server with the Prometheus API.
pub struct Server<C> {
    client: Client,
    clock: Rc<C>,
    method: Method,
    limits: Limits,
    /// Parameters of every question.
    parameters: Vec<(String, String)>,
    skew: Cell<Option<Skew>>,
    /// The series of the last answer to each question that is not being asked just now.
    catalogues: Remembered<Catalogue>,
}

/// Without the parameters: an administrator may have put a key among them.
impl<C> core::fmt::Debug for Server<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server")
            .field("client", &self.client)
            .field("method", &self.method)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<C: Clock> Server<C> {
    /// A server that is asked through `client`.
    pub fn new(
        client: Client,
        clock: Rc<C>,
        method: Method,
        limits: Limits,
        parameters: Vec<(String, String)>,
    ) -> Self {
        Self {
            client,
            clock,
            method,
            limits,
            parameters,
            skew: Cell::new(None),
            catalogues: Remembered::default(),
        }
    }

    /// How far the server's clock is ahead of the local wall clock, in ms, if it was heard.
    pub fn skew_ms(&self) -> Option<Millis> {
        let now = self.clock.now();
        let server_ms = self.skew.get()?.now_ms(now);
        Some(server_ms.saturating_sub(now.wall_ms))
    }

    async fn ask(&self, request: &ReadRequest<'_>, catalogue: &mut Catalogue) -> Result<Answer, SourceError> {
        let now_ms = || self.skew.get().map(|skew| skew.now_ms(self.clock.now()));
        let asked_ms = request.as_of_ms.or_else(now_ms);
        let sent = self.clock.now();
        let form = self.form(request, asked_ms);
        let mut response = match self.method {
            Method::Post => self.client.post_form("api/v1/query", form).await?,
            Method::Get => self.client.get("api/v1/query", &form).await?,
        };
        if let Some(date_ms) = response.date_ms {
            let heard = self.clock.now();
            self.skew
                .set(Some(Skew::heard(self.skew.get(), date_ms, sent, heard)));
            let meant_ms = asked_ms.filter(|_| request.as_of_ms.is_none());
            if let Some(meant_ms) = meant_ms {
                of_its_time(meant_ms, date_ms, heard.timer_ms.saturating_sub(sent.timer_ms))?;
            }
        }
        let mut reader = Reader::new(catalogue, self.limits);
        while let Some(chunk) = response.chunk().await? {
            reader
                .feed(chunk.as_ref())
                .map_err(|error| source_error(&error, &response))?;
        }
        let body = reader.finish().map_err(|error| source_error(&error, &response))?;
        let heard = self.skew.get().map(|skew| skew.now_ms(sent));
        Ok(Answer {
            now_ms: asked_ms.or(heard).unwrap_or(sent.wall_ms),
            completeness: match body.completeness {
                Completeness::Whole => Completeness::Whole,
                Completeness::Partial(words) => Completeness::Partial(response.hide_secrets(words)),
            },
            series: body.series,
        })
    }

    /// The question, in the encoding of a form.
    fn form(&self, request: &ReadRequest<'_>, asked_ms: Option<Millis>) -> String {
        let mut form = String::new();
        let mut add = |name: &str, value: &str| {
            if !form.is_empty() {
                form.push('&');
            }
            encode(name, &mut form);
            form.push('=');
            encode(value, &mut form);
        };
        add("query", &query::text(request));
        if let Some(at_ms) = asked_ms {
            add("time", &seconds(at_ms));
        }
        for (name, value) in &self.parameters {
            add(name, value);
        }
        form
    }
}

impl<C: Clock> MetricsSource for Server<C> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        // A question that is asked twice at a time has its catalogue once: the other one begins anew.
        let known = self.catalogues.take(request.selector);
        let mut catalogue = known.unwrap_or_default();
        let answer = self.ask(request, &mut catalogue).await;
        let timer_ms = self.clock.now().timer_ms;
        self.catalogues.keep(request.selector, catalogue, timer_ms);
        answer
    }
}

/// Whether what was asked as of now was of now. After the server's clock was set, or this machine slept, the question was as
/// of another time, and the answer would stand for the present. The next question is as of the right one.
fn of_its_time(meant_ms: Millis, date_ms: Millis, took_ms: Millis) -> Result<(), SourceError> {
    let behind_ms = date_ms.saturating_sub(took_ms).saturating_sub(meant_ms);
    let ahead_ms = meant_ms.saturating_sub(date_ms);
    if behind_ms <= MOST_APART_MS && ahead_ms <= MOST_APART_MS {
        return Ok(());
    }
    let (apart_ms, way) = if behind_ms > 0 {
        (behind_ms, "later")
    } else {
        (ahead_ms, "earlier")
    };
    Err(SourceError {
        kind: SourceErrorKind::Malformed,
        message: format!(
            "by its `Date` it is {} s {way} than it was asked for: a clock was set, this machine slept, or the answer is an old \
             one that a proxy kept",
            apart_ms / 1_000
        ),
    })
}

fn source_error(error: &AnswerError, response: &Response) -> SourceError {
    SourceError {
        kind: match error {
            AnswerError::Query { .. } => SourceErrorKind::Query,
            error if error.is_limit() => SourceErrorKind::TooLarge,
            _ => SourceErrorKind::Malformed,
        },
        message: response.hide_secrets(error.to_string()),
    }
}

/// Seconds with three decimals.
fn seconds(at_ms: Millis) -> String {
    let (whole, rest) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    format!("{whole}.{rest:03}")
}

/// Percent-encoding of all but the unreserved characters (RFC 3986, section 2.3), which every server decodes.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            // Writing into a string cannot fail.
            _ => {
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

/// Between which bounds the server's clock is ahead of the local timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Skew {
    least_ms: Millis,
    most_ms: Millis,
}

impl Skew {
    /// The server said `date_ms`, cut to the second, at some time between sending and hearing. Where that contradicts what
    /// was known, its clock was set.
    fn heard(before: Option<Self>, date_ms: Millis, sent: Now, heard: Now) -> Self {
        let least_ms = date_ms.saturating_sub(heard.timer_ms);
        let most_ms = date_ms.saturating_add(999).saturating_sub(sent.timer_ms);
        let fresh = Self { least_ms, most_ms };
        before
            .map(|before| Self {
                least_ms: before.least_ms.max(least_ms),
                most_ms: before.most_ms.min(most_ms),
            })
            .filter(|both| both.least_ms <= both.most_ms)
            .unwrap_or(fresh)
    }

    /// What the server's clock reads: the earliest that it can be, since there are no samples of later.
    fn now_ms(self, now: Now) -> Millis {
        now.timer_ms.saturating_add(self.least_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timer_ms: Millis) -> Now {
        Now {
            wall_ms: 5_000_000,
            timer_ms,
        }
    }

    #[test]
    fn dates_narrow_down_a_clock_to_less_than_a_second() {
        // The server is ahead of the timer by 1,234,567 ms; an answer takes 40 ms.
        let ahead_ms = 1_234_567;
        let mut skew = None;
        for tick in 0..40 {
            let sent = at(tick * 15_130);
            let date_ms = (sent.timer_ms + 20 + ahead_ms) / 1000 * 1000;
            let now = Skew::heard(skew, date_ms, sent, at(sent.timer_ms + 40));
            assert!(now.least_ms <= ahead_ms && ahead_ms <= now.most_ms, "{now:?}");
            skew = Some(now);
        }
        let known = skew.unwrap();
        assert!(known.most_ms - known.least_ms <= 150, "{known:?}");
        // The clock is put back by a minute: what was known is no longer so.
        let date_ms = (700_000 + ahead_ms - 60_000) / 1000 * 1000;
        let set = Skew::heard(skew, date_ms, at(700_000), at(700_040));
        assert!(
            (ahead_ms - 61_100..=ahead_ms - 60_000).contains(&set.least_ms),
            "{set:?}"
        );
    }

    #[test]
    fn a_form_carries_any_query() {
        let mut form = String::new();
        encode("sum(a{b=\"c d&é\"}[5m])", &mut form);
        assert_eq!(form, "sum%28a%7Bb%3D%22c%20d%26%C3%A9%22%7D%5B5m%5D%29");
        assert_eq!(seconds(1_700_000_000_012), "1700000000.012");
    }
}

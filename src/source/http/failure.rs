//! What went wrong with a request, in words that carry no secret.

use std::error::Error as _;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::control::ports::{SourceError, SourceErrorKind};
use crate::policy::config::Millis;

/// Longest text of a server that is shown, in characters.
const SHOWN: usize = 200;

/// The longest wait that a server may ask for: one that is told to wait for days is down.
const LONGEST_WAIT_MS: Millis = 60 * 60_000;

/// A request that got no answer, or an answer that broke off.
pub(super) fn failed(error: &reqwest::Error) -> SourceError {
    let kind = if error.is_timeout() {
        SourceErrorKind::Timeout
    } else if error.is_body() || error.is_decode() {
        SourceErrorKind::Malformed
    } else {
        SourceErrorKind::Unreachable
    };
    SourceError {
        kind,
        message: words(error),
    }
}

/// The last cause of an error, which is what helps. Those before it name the address, which may carry what nobody is to
/// read.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut words = None;
    while let Some(next) = cause {
        words = Some(next.to_string());
        cause = next.source();
    }
    shown(&words.unwrap_or_else(|| {
        if error.is_timeout() {
            "no answer in time"
        } else {
            "the request failed"
        }
        .to_owned()
    }))
}

/// A status that is no success.
pub(super) fn refused(kind: SourceErrorKind, status: StatusCode, body: &[u8]) -> SourceError {
    #[derive(Deserialize)]
    struct Said {
        #[serde(rename = "errorType")]
        kind: Option<String>,
        error: String,
    }
    let reason = status.canonical_reason().unwrap_or("no known status");
    let answered = format!("it answered {} ({reason})", status.as_u16());
    if status.is_redirection() {
        let message = format!("{answered}; redirects are not followed: name the address itself");
        return SourceError { kind, message };
    }
    match serde_json::from_slice::<Said>(body) {
        Ok(said) => SourceError {
            // Of the API and not of something in between: it is the query that failed.
            kind: match (kind, said.kind.is_some()) {
                (SourceErrorKind::Status(400..=499), true) => SourceErrorKind::Query,
                (kind, _) => kind,
            },
            message: format!("{answered}: {}", shown(&said.error)),
        },
        Err(_) if body.is_empty() => SourceError {
            kind,
            message: answered,
        },
        Err(_) => SourceError {
            kind,
            message: format!("{answered}: `{}`", shown(String::from_utf8_lossy(body).trim())),
        },
    }
}

/// On one line and not too long.
pub(crate) fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = clean.take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// An HTTP date as milliseconds since 1970 (RFC 9110, section 5.6.7; the form of RFC 2822 that servers send).
pub(crate) fn http_date(text: &str) -> Option<Millis> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// How long a server asks to be left alone: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after_ms(text: &str, date_ms: Option<Millis>) -> Option<Millis> {
    let wait_ms = match text.trim().parse::<u32>() {
        Ok(seconds) => Millis::from(seconds) * 1000,
        Err(_) => http_date(text.trim())?.saturating_sub(date_ms?),
    };
    Some(wait_ms.clamp(0, LONGEST_WAIT_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_never_days() {
        let now = http_date("Sun, 22 Nov 2026 22:00:00 GMT");
        assert_eq!(now, Some(1_795_384_800_000));
        for (text, wait_ms) in [
            ("30", Some(30_000)),
            (" 0 ", Some(0)),
            ("Sun, 22 Nov 2026 22:01:30 GMT", Some(90_000)),
            ("Sun, 22 Nov 2026 21:00:00 GMT", Some(0)),
            ("604800", Some(3_600_000)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after_ms(text, now), wait_ms, "{text}");
        }
        assert_eq!(retry_after_ms("Sun, 22 Nov 2026 22:01:30 GMT", None), None);
    }

    #[test]
    fn a_refusal_says_what_the_server_said_or_what_stands_in_between() {
        let case = |status: u16, body: &str| {
            let kind = SourceErrorKind::Status(status);
            let error = refused(kind, StatusCode::from_u16(status).unwrap(), body.as_bytes());
            (error.kind, error.message)
        };
        assert_eq!(
            case(
                400,
                r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#
            ),
            (
                SourceErrorKind::Query,
                "it answered 400 (Bad Request): 1:5: parse error".to_owned()
            )
        );
        assert_eq!(
            case(
                503,
                r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#
            ),
            (
                SourceErrorKind::Status(503),
                "it answered 503 (Service Unavailable): query timed out".to_owned()
            )
        );
        assert_eq!(
            case(502, "<html>\r\n<title>502</title>"),
            (
                SourceErrorKind::Status(502),
                "it answered 502 (Bad Gateway): `<html>  <title>502</title>`".to_owned()
            )
        );
        assert_eq!(case(401, "").1, "it answered 401 (Unauthorized)");
        assert_eq!(
            case(302, "").1,
            "it answered 302 (Found); redirects are not followed: name the address itself"
        );
    }
}

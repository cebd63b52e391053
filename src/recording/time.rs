//! Timestamps of foreign text as unix milliseconds, exactly and only if they can be true.

use super::format::TimeUnit;
use super::read_error::Cause;

/// 2000-01-01T00:00:00Z and 2100-01-01T00:00:00Z in unix milliseconds.
const PLAUSIBLE_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// Whether a time is between the years 2000 and 2100.
///
/// Seconds read as milliseconds are in January 1970, milliseconds read as seconds in the year 55840: a mistaken unit
/// is always seen.
#[must_use]
pub fn plausible(at_ms: i64) -> bool {
    PLAUSIBLE_MS.contains(&at_ms)
}

/// Reads a decimal number of seconds or milliseconds; fractions of a millisecond are rounded.
///
/// # Errors
///
/// [`Cause::Timestamp`] if it is no number, [`Cause::ImplausibleYear`] if it cannot be a time of a recording.
pub(super) fn parse(text: &[u8], unit: TimeUnit) -> Result<i64, Cause> {
    let at_ms = match unit {
        TimeUnit::Milliseconds => whole(text),
        TimeUnit::Seconds => seconds(text),
    };
    let at_ms = match at_ms {
        Some(at_ms) => at_ms,
        None => rounded(text, unit).ok_or_else(|| Cause::Timestamp {
            found: shown(text),
            unit,
        })?,
    };
    if plausible(at_ms) {
        return Ok(at_ms);
    }
    let (other, as_other) = match unit {
        TimeUnit::Milliseconds => (TimeUnit::Seconds, at_ms.saturating_mul(1000)),
        TimeUnit::Seconds => (TimeUnit::Milliseconds, at_ms / 1000),
    };
    Err(Cause::ImplausibleYear {
        found: shown(text),
        unit,
        hint: plausible(as_other).then_some(other),
    })
}

/// Digits alone: what nearly every timestamp is.
#[inline]
fn whole(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let mut number = 0_i64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(number)
}

/// Whole seconds with up to three decimals, without a detour over floating point.
#[inline]
fn seconds(text: &[u8]) -> Option<i64> {
    let Some(point) = text.iter().position(|&byte| byte == b'.') else {
        return whole(text).map(|seconds| seconds * 1000);
    };
    let decimals = &text[point + 1..];
    let scale = match decimals.len() {
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return None,
    };
    Some(whole(&text[..point])? * 1000 + whole(decimals)? * scale)
}

/// Exponents, many decimals, signs.
fn rounded(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let ms = match unit {
        TimeUnit::Milliseconds => number,
        TimeUnit::Seconds => number * 1000.0,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not fit is implausible either way"
    )]
    ms.is_finite().then(|| ms.round() as i64)
}

/// The beginning of a piece of foreign text, for an error message.
pub(super) fn shown(text: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_milliseconds_exactly() {
        use TimeUnit::{Milliseconds, Seconds};
        for (text, unit, wanted) in [
            ("1700000000", Seconds, 1_700_000_000_000),
            ("1700000000.1", Seconds, 1_700_000_000_100),
            ("1700000000.123", Seconds, 1_700_000_000_123),
            ("1700000000.1234567", Seconds, 1_700_000_000_123),
            ("1.700000000123e9", Seconds, 1_700_000_000_123),
            ("1700000000123", Milliseconds, 1_700_000_000_123),
            ("1700000000123.6", Milliseconds, 1_700_000_000_124),
        ] {
            assert_eq!(parse(text.as_bytes(), unit), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_mistaken_unit_is_refused_with_the_right_one() {
        let hint = |text: &str, unit| match parse(text.as_bytes(), unit) {
            Err(Cause::ImplausibleYear { hint, .. }) => hint,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(
            hint("1700000000123", TimeUnit::Seconds),
            Some(TimeUnit::Milliseconds)
        );
        assert_eq!(
            hint("1700000000", TimeUnit::Milliseconds),
            Some(TimeUnit::Seconds)
        );
        assert_eq!(hint("60", TimeUnit::Seconds), None);
        assert_eq!(hint("1700000000000000000", TimeUnit::Seconds), None);
        assert_eq!(hint("-5", TimeUnit::Milliseconds), None);
        for text in ["", "x", "1700000000s", "NaN", "inf", "2026-01-01"] {
            let error = parse(text.as_bytes(), TimeUnit::Seconds).unwrap_err();
            assert!(matches!(error, Cause::Timestamp { .. }), "{text}: {error:?}");
        }
    }
}

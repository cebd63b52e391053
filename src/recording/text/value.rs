//! Values of samples, as Prometheus accepts them.

/// The powers of ten up to the number of digits that [`short`] reads; all of them are exact.
const TENS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The integers below are exact in an `f64`.
const EXACT: u64 = 1 << 53;

/// Reads a decimal number, `NaN`, or an infinity (`Inf`, `Infinity`, with or without sign, in any case).
///
/// Refused, as Prometheus refuses it (`strconv.ParseFloat` without `p` and `_`): hexadecimal, a NaN with a sign, and
/// a decimal number too large for an `f64`.
#[inline]
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    short(text).or_else(|| by_library(text))
}

/// Digits with at most one point: what nearly every value is.
///
/// The digits as an integer and the power of ten are both exact, so their quotient is rounded once: it is the very
/// number that the standard library reads (Clinger, "How to read floating point numbers accurately", 1990).
#[inline]
fn short(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() >= TENS.len() {
        return None;
    }
    let mut number = 0_u64;
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(index);
        } else {
            return None;
        }
    }
    let points = usize::from(point.is_some());
    if digits.len() == points || number >= EXACT {
        return None;
    }
    let decimals = point.map_or(0, |point| digits.len() - point - 1);
    #[expect(clippy::cast_precision_loss, reason = "it is below 2^53")]
    let value = number as f64 / TENS[decimals];
    Some(if negative { -value } else { value })
}

/// Every other form, by the standard library, less what it accepts and Prometheus does not.
fn by_library(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let digits = text.iter().any(u8::is_ascii_digit);
    let signed = matches!(text.first(), Some(b'+' | b'-'));
    let accepted = value.is_finite() || (value.is_infinite() && !digits) || (value.is_nan() && !signed);
    accepted.then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_prometheus_is_read() {
        for (text, wanted) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("57", 57.0),
            ("+5", 5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("0.029399", 0.029_399),
            ("-273.15", -273.15),
            ("9223372036854775794", 9.223_372_036_854_776e18),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("1e+06", 1e6),
            ("4.94e-324", 5e-324),
            ("Inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
            ("infinity", f64::INFINITY),
        ] {
            let value = parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is refused"));
            assert_eq!(value.to_bits(), f64::to_bits(wanted), "{text}: {value}");
        }
        for text in ["NaN", "nan"] {
            assert!(parse(text.as_bytes()).unwrap().is_nan(), "{text}");
        }
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "", "-", "+", ".", "-.", "1.2.3", "1,5", "1_000", "0x10", "0x1p4", "1e", "1e999", "-1e999",
            "+NaN", "-NaN", "nil", "ERROR", "1 ", " 1", "--1", "1-", "\u{661}",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn the_short_way_gives_the_same_bits(text in "-?[0-9]{0,17}(\\.[0-9]{0,17})?") {
            let library = text.parse::<f64>().ok().map(f64::to_bits);
            prop_assert_eq!(parse(text.as_bytes()).map(f64::to_bits), library, "{}", text);
        }

        #[test]
        fn every_number_comes_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}")] {
                prop_assert_eq!(parse(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
            }
        }
    }
}

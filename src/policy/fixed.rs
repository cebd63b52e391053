//! Fixed-point arithmetic that neither overflows nor divides by zero.

use super::config::Micro;

/// `value × numerator ÷ denominator`, rounded down; 0 for an empty denominator.
pub(super) fn scaled(value: Micro, numerator: Micro, denominator: Micro) -> Micro {
    match value.checked_mul(numerator) {
        Some(product) if denominator > 0 => product / denominator,
        _ if denominator <= 0 => 0,
        _ => {
            let product = i128::from(value) * i128::from(numerator) / i128::from(denominator);
            Micro::try_from(product).unwrap_or(if product > 0 { Micro::MAX } else { Micro::MIN })
        }
    }
}

/// `value × numerator ÷ denominator`, rounded up, for bounds that must not be understated.
pub(super) fn scaled_up(value: Micro, numerator: Micro, denominator: Micro) -> Micro {
    let down = scaled(value, numerator, denominator);
    let exact = i128::from(down) * i128::from(denominator) == i128::from(value) * i128::from(numerator);
    if exact || denominator <= 0 {
        down
    } else {
        down.saturating_add(1)
    }
}

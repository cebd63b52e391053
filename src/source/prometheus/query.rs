//! What is asked: the text of a query.

use std::fmt::Write as _;

use crate::control::ports::ReadRequest;
use crate::control::ports::Selector;

/// The PromQL of a read: `metric{label="value"}[600000ms]` for series, and for an expression the subquery
/// `(expression)[600000ms:15000ms]`, whose steps are multiples of the step and so the same in every answer.
///
/// One metric to a query: Azure Managed Prometheus takes no more.
#[must_use]
pub fn text(request: &ReadRequest<'_>) -> String {
    let window_ms = request.window_ms.max(1);
    match request.selector {
        Selector::Metric { name, match_labels } => {
            let mut text = (*name).to_owned();
            for (number, (label, value)) in match_labels.iter().enumerate() {
                text.push(if number == 0 { '{' } else { ',' });
                text.push_str(label);
                text.push_str("=\"");
                escape(value, &mut text);
                text.push('"');
            }
            if !match_labels.is_empty() {
                text.push('}');
            }
            // Writing into a string cannot fail.
            let _ = write!(text, "[{window_ms}ms]");
            text
        }
        // A comment in the expression ends with its line.
        Selector::Expression { promql, step_ms } => {
            format!("({promql}\n)[{window_ms}ms:{}ms]", (*step_ms).max(1))
        }
    }
}

/// A label's value between double quotes (the Prometheus manual, "String literals": Go's escapes).
fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            control if control.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(selector: &Selector, window_ms: i64) -> String {
        text(&ReadRequest {
            source: "default",
            selector,
            window_ms,
            as_of_ms: None,
        })
    }

    #[test]
    fn a_metric_is_asked_for_as_raw_samples() {
        let name = "DCGM_FI_DEV_GPU_UTIL";
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[], "DCGM_FI_DEV_GPU_UTIL[90000ms]"),
            (
                &[("pool", "a100")],
                r#"DCGM_FI_DEV_GPU_UTIL{pool="a100"}[90000ms]"#,
            ),
            (
                &[("a", "1"), ("b", "2")],
                r#"DCGM_FI_DEV_GPU_UTIL{a="1",b="2"}[90000ms]"#,
            ),
            (
                &[("a", "x\"} or vector(0) #\\\n\u{7}")],
                r#"DCGM_FI_DEV_GPU_UTIL{a="x\"} or vector(0) #\\\n\u0007"}[90000ms]"#,
            ),
        ];
        for (labels, expected) in cases {
            let match_labels = labels
                .iter()
                .map(|&(label, value)| (label.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(ask(&Selector::Metric { name, match_labels }, 90_000), expected);
        }
    }

    #[test]
    fn an_expression_is_asked_for_at_steps_that_stay_where_they_are() {
        let selector = Selector::Expression {
            promql: "sum(waiting) # per model".to_owned(),
            step_ms: 15_000,
        };
        assert_eq!(
            ask(&selector, 600_000),
            "(sum(waiting) # per model\n)[600000ms:15000ms]"
        );
    }
}

//! Gates: expressions such as `miss_percent > 0.5` that fail a build when a policy's row fulfils them.
//!
//! Grammar: `KEY OP NUMBER` with a key of [`FIGURES`], nested ones with a dot
//! (`regret_hard.p10`), and one of `<`, `<=`, `>`, `>=`, `==`, `!=`. Of several runs the adverse end is compared:
//! the 95th percentile for `>` and `>=`, the 5th for `<` and `<=`, the median for the others.

use std::fmt;
use std::str::FromStr;

use super::figures::{FIGURES, Figures, index_of, text};
use super::json::ResultRow;

/// Why an expression is no gate, or a gate cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Not of the form `KEY OP NUMBER`.
    #[error(
        "cannot read `{0}`; write KEY OP NUMBER, such as `miss_percent > 0.5`, with one of < <= > >= == !="
    )]
    Syntax(String),
    /// A key that no row has.
    #[error("no figure `{key}` in `{expression}`; the figures are {}", keys())]
    Key {
        /// The expression as written.
        expression: String,
        /// The key in it.
        key: String,
    },
    /// Something else where the number should be.
    #[error("`{number}` in `{expression}` is not a finite number")]
    Number {
        /// The expression as written.
        expression: String,
        /// What stands in the number's place.
        number: String,
    },
    /// The cost without a price: unknown is not zero.
    #[error(
        "`{0}` cannot be judged: `cost_usd` is unknown without a price; give `--price` or `priceUsdPerHour`"
    )]
    NoPrice(String),
}

fn keys() -> String {
    FIGURES.map(|figure| format!("`{}`", figure.key)).join(", ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    NotEqual,
}

impl Op {
    /// Longer ones first, so that `<=` is not read as `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::More),
    ];

    #[expect(clippy::float_cmp, reason = "figures are rounded to fixed decimals before")]
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::More => value > limit,
            Self::AtLeast => value >= limit,
            Self::Equal => value == limit,
            Self::NotEqual => value != limit,
        }
    }
}

/// A condition that a policy's row must not fulfil.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    expression: String,
    index: usize,
    op: Op,
    limit: f64,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(expression: &str) -> Result<Self, GateError> {
        let found = Op::ALL
            .into_iter()
            .find_map(|(sign, op)| expression.split_once(sign).map(|(key, number)| (key, op, number)));
        let Some((key, op, number)) = found else {
            return Err(GateError::Syntax(expression.to_owned()));
        };
        let (key, number) = (key.trim(), number.trim());
        let index = index_of(key).ok_or_else(|| GateError::Key {
            expression: expression.to_owned(),
            key: key.to_owned(),
        })?;
        let limit = number
            .parse()
            .ok()
            .filter(|limit: &f64| limit.is_finite())
            .ok_or_else(|| GateError::Number {
                expression: expression.to_owned(),
                number: number.to_owned(),
            })?;
        Ok(Self {
            expression: expression.trim().to_owned(),
            index,
            op,
            limit,
        })
    }
}

impl Gate {
    /// Judges one row: `Some` says in one line why it fails.
    ///
    /// A time to react that is not there means that demand never exceeded what was ready: no failure.
    ///
    /// # Errors
    ///
    /// [`GateError::NoPrice`] for the cost of a pool without a price.
    pub fn check(&self, row: &ResultRow) -> Result<Option<String>, GateError> {
        let figure = &FIGURES[self.index];
        let (figures, which) = self.adverse(row);
        let Some(value) = figures.at(self.index) else {
            return if figure.key == "cost_usd" {
                Err(GateError::NoPrice(self.expression.clone()))
            } else {
                Ok(None)
            };
        };
        Ok(self.op.holds(value, self.limit).then(|| {
            format!(
                "`{}` fails `{}`: {} is {}{which}",
                row.name,
                self.expression,
                figure.key,
                text(value, figure.decimals)
            )
        }))
    }

    fn adverse<'a>(&self, row: &'a ResultRow) -> (&'a Figures, &'static str) {
        match (self.op, &row.spread) {
            (Op::More | Op::AtLeast, Some(spread)) => (&spread.p95, " (95th percentile)"),
            (Op::Less | Op::AtMost, Some(spread)) => (&spread.p5, " (5th percentile)"),
            (_, Some(_)) => (&row.figures, " (median)"),
            (_, None) => (&row.figures, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Price;
    use super::super::figures::tests::row;
    use super::super::json::Spread;
    use super::*;

    fn mine(miss_percent: f64) -> ResultRow {
        ResultRow::new(&row("mine", 100.0, miss_percent), Price::Known)
    }

    #[test]
    fn gates_hold_and_fail() {
        let check = |expression: &str, fails: bool| {
            let gate: Gate = expression.parse().unwrap();
            let found = gate.check(&mine(0.25)).unwrap();
            assert_eq!(found.is_some(), fails, "{expression}: {found:?}");
        };
        check("miss_percent > 0.5", false);
        check("miss_percent > 0.2", true);
        check("miss_percent>0.2", true);
        check("miss_percent >= 0.25", true);
        check("miss_percent < 0.25", false);
        check("miss_percent <= 0.25", true);
        check("miss_percent != 0.25", false);
        check("resizes == 17", true);
        check("busy_nodes_taken > 0", false);
        check("regret_hard.p10 > 1.02", true);
        check("time_to_react_p50_seconds > 1", false);
        check("node_hours > 1e2", false);
    }

    #[test]
    fn the_failure_says_which_row_and_by_how_much() {
        let gate: Gate = "miss_percent > 0.2".parse().unwrap();
        assert_eq!(
            gate.check(&mine(0.25)).unwrap().unwrap(),
            "`mine` fails `miss_percent > 0.2`: miss_percent is 0.250"
        );
    }

    #[test]
    fn of_several_runs_the_adverse_end_counts() {
        let row = ResultRow {
            spread: Some(Spread {
                runs: 9,
                p5: mine(0.1).figures,
                p95: mine(0.9).figures,
            }),
            ..mine(0.5)
        };
        let fails = |expression: &str| {
            let gate: Gate = expression.parse().unwrap();
            gate.check(&row).unwrap().is_some()
        };
        assert!(fails("miss_percent > 0.8") && !fails("miss_percent > 0.9"));
        assert!(fails("miss_percent < 0.2") && !fails("miss_percent < 0.1"));
        assert!(fails("miss_percent == 0.5"));
    }

    #[test]
    fn a_bad_expression_says_what_is_wrong() {
        let check = |expression: &str, expected: &str| {
            let error = expression.parse::<Gate>().unwrap_err().to_string();
            assert!(error.contains(expected), "{expression:?} gave: {error}");
        };
        check("miss_percent", "write KEY OP NUMBER");
        check("", "write KEY OP NUMBER");
        check("miss = 3", "write KEY OP NUMBER");
        check("miss > 3", "no figure `miss`");
        check("miss > 3", "`miss_percent`, ");
        check("regret_hard > 3", "`regret_hard.p10`");
        check(
            "miss_percent > lots",
            "`lots` in `miss_percent > lots` is not a finite number",
        );
        check("miss_percent > NaN", "not a finite number");
    }

    #[test]
    fn a_cost_without_a_price_is_not_zero() {
        let row = ResultRow::new(&row("mine", 100.0, 0.0), Price::Unknown);
        let gate: Gate = "cost_usd > 5".parse().unwrap();
        let error = gate.check(&row).unwrap_err().to_string();
        assert!(error.contains("unknown without a price"), "{error}");
    }
}

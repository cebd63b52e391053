//! The unit that an expression has, where it can be told, against the one that the signal states.
//!
//! It can be told for aggregations of one DCGM series, scaled by numbers. For everything else nothing is
//! said.

use promql_parser::parser::Expr;

use crate::api::signal::Unit;
use crate::check::codes::metrics as codes;
use crate::check::page::Page;
use crate::check::series::{self, Shape};
use crate::policy::dcgm::{DcgmMetric, DcgmUnit};

use super::Query;
use super::walk::dcgm_name;

/// What the values of an expression are.
#[derive(Debug, Clone, PartialEq)]
struct Quantity {
    name: String,
    shape: Shape,
    /// Factor on the exporter's values.
    scale: f64,
    /// Whether devices were added up.
    summed: bool,
}

impl Quantity {
    /// The value of one fully busy device; `None` for what is no utilization.
    fn full(&self) -> Option<f64> {
        match self.shape {
            Shape::Percent => Some(100.0 * self.scale),
            Shape::Ratio => Some(self.scale),
            Shape::Mebibytes | Shape::Gauge | Shape::Counter => None,
        }
    }

    fn is_full_at(&self, wanted: f64) -> bool {
        self.full()
            .is_some_and(|full| (full - wanted).abs() < 1e-9 * wanted)
    }
}

/// Reports a unit that the expression cannot have, and a query that `dcgm` says better.
pub(super) fn check(page: &mut Page<'_>, query: &Query<'_>, tree: &Expr, unit: Unit, path: &str) {
    let Some(quantity) = quantity(tree) else { return };
    let Some(problem) = mismatch(&quantity, unit) else {
        say_dcgm(page, query, &quantity, unit);
        return;
    };
    // Bytes were told already, and are no unit of the policy either.
    if quantity.shape == Shape::Mebibytes && page.has(&codes::MEBIBYTES) {
        return;
    }
    let series = query.word(&quantity.name);
    let (what, help) = problem;
    page.about(
        &codes::UNIT_MISMATCH,
        &format!("{path}.unit"),
        "stated here",
        what,
    )
    .also(series, scale_of(quantity.shape))
    .help(help);
}

fn scale_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Percent => "0 to 100",
        Shape::Ratio => "0 to 1",
        Shape::Mebibytes => "MiB",
        Shape::Gauge => "neither a percentage nor a ratio",
        Shape::Counter => "a counter",
    }
}

/// What is wrong with a unit, and what to do; `None` if nothing is.
fn mismatch(quantity: &Quantity, unit: Unit) -> Option<(String, String)> {
    let name = &quantity.name;
    if unit == Unit::Count {
        return None;
    }
    if quantity.full().is_none() {
        let is = match quantity.shape {
            Shape::Mebibytes => "is in MiB",
            Shape::Counter => "is a counter",
            _ => "has a unit of its own",
        };
        let what = format!("`{name}` {is} and no utilization");
        let help = "use a utilization, or state `unit: count` with `perNode`; for memory there is `dcgm: { \
            metric: MemoryUsed }`";
        return Some((what, help.to_owned()));
    }
    let (wanted, word) = match unit {
        Unit::Percent => (100.0, "percent"),
        Unit::Ratio | Unit::Gpus => (1.0, if unit == Unit::Gpus { "gpus" } else { "ratio" }),
        Unit::Count => return None,
    };
    match (quantity.summed, unit == Unit::Gpus) {
        (true, false) => {
            let what = format!("a sum of `{name}` over devices grows with the pool; it is no {word}");
            return Some((
                what,
                "use `avg` in place of `sum`, or `unit: gpus` and a sum of ratios".to_owned(),
            ));
        }
        (false, true) => {
            let what = format!("`{name}` is not summed here, so it is no number of GPUs");
            return Some((
                what,
                "use `sum` over ratios, or state `unit: percent` or `ratio`".to_owned(),
            ));
        }
        _ => {}
    }
    if quantity.is_full_at(wanted) {
        return None;
    }
    let full = quantity.full().unwrap_or_default();
    let what = format!("a busy device reads {full} in this expression, and `unit: {word}` expects {wanted}");
    let help = match (unit, quantity.is_full_at(1.0), quantity.is_full_at(100.0)) {
        (Unit::Percent, true, _) => "state `unit: ratio`; thresholds stay percentages".to_owned(),
        (Unit::Ratio, _, true) => "state `unit: percent`".to_owned(),
        (Unit::Gpus, _, true) => "divide the expression by 100".to_owned(),
        _ => format!("scale the expression so that a busy device reads {wanted}"),
    };
    Some((what, help))
}

/// The `dcgm` metric that says the same.
fn say_dcgm(page: &mut Page<'_>, query: &Query<'_>, quantity: &Quantity, unit: Unit) {
    if unit == Unit::Count || quantity.summed || page.has(&codes::NOT_FOR_MIG) {
        return;
    }
    let is_share = |metric: &DcgmMetric| matches!(metric.unit(), DcgmUnit::Percent | DcgmUnit::Ratio);
    let metric = DcgmMetric::ALL
        .into_iter()
        .find(|metric| metric.series() == quantity.name && is_share(metric));
    if let Some(metric) = metric {
        let message = format!(
            "a `dcgm` signal reads `{}` with its unit, devices and coverage known",
            quantity.name
        );
        page.report(
            &codes::SAY_DCGM,
            query.word(&quantity.name),
            "has a name of its own",
            message,
        )
        .help(format!(
            "write `dcgm: {{ metric: {metric:?} }}` in place of `promql` and `unit`"
        ));
    }
}

/// What the values of an expression are, where it can be told.
fn quantity(expr: &Expr) -> Option<Quantity> {
    match expr {
        Expr::VectorSelector(selector) => {
            let name = dcgm_name(selector)?;
            Some(Quantity {
                shape: series::shape(&name)?,
                name,
                scale: 1.0,
                summed: false,
            })
        }
        Expr::MatrixSelector(matrix) => quantity(&Expr::VectorSelector(matrix.vs.clone())),
        Expr::Paren(paren) => quantity(&paren.expr),
        Expr::Subquery(subquery) => quantity(&subquery.expr),
        Expr::Call(call) => match call.func.name {
            "avg_over_time" | "max_over_time" | "min_over_time" | "last_over_time" | "clamp"
            | "clamp_max" | "clamp_min" | "round" | "sort" => quantity(call.args.args.first()?),
            "quantile_over_time" => quantity(call.args.args.last()?),
            _ => None,
        },
        Expr::Aggregate(aggregate) => {
            let inner = quantity(&aggregate.expr)?;
            match aggregate.op.to_string().as_str() {
                "avg" | "max" | "min" | "quantile" | "topk" | "bottomk" if !inner.summed => Some(inner),
                "sum" => Some(Quantity {
                    summed: true,
                    ..inner
                }),
                _ => None,
            }
        }
        Expr::Binary(binary) => {
            let (op, left, right) = (binary.op.to_string(), &*binary.lhs, &*binary.rhs);
            match (op.as_str(), left, right) {
                ("*", Expr::NumberLiteral(n), other) | ("*", other, Expr::NumberLiteral(n)) => {
                    scaled(other, n.val)
                }
                ("/", other, Expr::NumberLiteral(n)) => scaled(other, 1.0 / n.val),
                (">" | "<" | ">=" | "<=" | "==" | "!=", other, _) if !binary.return_bool() => quantity(other),
                ("or", other, _) => quantity(other),
                _ => None,
            }
        }
        _ => None,
    }
}

fn scaled(expr: &Expr, factor: f64) -> Option<Quantity> {
    let inner = quantity(expr)?;
    let scale = inner.scale * factor;
    Some(Quantity { scale, ..inner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_where_they_can_be() {
        let check = |text: &str, fits: Option<Unit>| {
            let tree = promql_parser::parser::parse(text).unwrap();
            let found = quantity(&tree);
            for unit in [Unit::Percent, Unit::Ratio, Unit::Gpus] {
                let accepted = found
                    .as_ref()
                    .is_none_or(|quantity| mismatch(quantity, unit).is_none());
                assert_eq!(
                    accepted,
                    fits.is_none_or(|fits| fits == unit),
                    "{text} as {unit:?}"
                );
            }
        };
        check("avg(DCGM_FI_DEV_GPU_UTIL)", Some(Unit::Percent));
        check("avg(max by (UUID) (DCGM_FI_DEV_GPU_UTIL))", Some(Unit::Percent));
        check("avg(DCGM_FI_DEV_GPU_UTIL) / 100", Some(Unit::Ratio));
        check("avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)", Some(Unit::Ratio));
        check("100 * avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)", Some(Unit::Percent));
        check("sum(DCGM_FI_PROF_GR_ENGINE_ACTIVE)", Some(Unit::Gpus));
        check("sum(DCGM_FI_DEV_GPU_UTIL) / 100", Some(Unit::Gpus));
        check(
            "quantile(0.9, avg_over_time(DCGM_FI_DEV_GPU_UTIL[5m]))",
            Some(Unit::Percent),
        );
        // What cannot be told is not blamed.
        check("avg(gpu_busy)", None);
        check("sum(DCGM_FI_DEV_FB_USED) / sum(DCGM_FI_DEV_FB_TOTAL)", None);
        check("sum(DCGM_FI_DEV_GPU_UTIL) / count(DCGM_FI_DEV_GPU_UTIL)", None);
    }
}

//! What an expression does, node by node.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorSelector};

use crate::api::signal::Signal;
use crate::check::codes::metrics as codes;
use crate::check::metrics::report_label;
use crate::check::page::Page;
use crate::check::series::{self, Shape, Stranger};

use super::Query;

/// From this number on, something that is compared with or divides MiB was meant in bytes: a million MiB is
/// more memory than any device has.
const BYTES_FROM: f64 = 1e6;

/// Walks the tree of an expression and reports what it finds.
pub(super) fn check(page: &mut Page<'_>, query: &Query<'_>, signal: &Signal, tree: &Expr) {
    Walk { page, query, signal }.visit(tree);
}

struct Walk<'w, 'p, 'q> {
    page: &'w mut Page<'p>,
    query: &'w Query<'q>,
    signal: &'w Signal,
}

impl Walk<'_, '_, '_> {
    fn visit(&mut self, expr: &Expr) {
        match expr {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Paren(paren) => self.visit(&paren.expr),
            Expr::Unary(unary) => self.visit(&unary.expr),
            Expr::Subquery(subquery) => self.visit(&subquery.expr),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) {
        let op = aggregate.op.to_string();
        let dcgm = selectors(&aggregate.expr).into_iter().find_map(dcgm_name);
        if let Some(name) = &dcgm {
            if matches!(op.as_str(), "sum" | "avg" | "count" | "quantile" | "stddev")
                && is_raw(&aggregate.expr)
            {
                let message =
                    format!("`{op}` over the raw rows of `{name}` counts a shared device once per pod");
                let span = self.query.word(&op);
                self.page
                    .report(&codes::DUPLICATE_ROWS, span, "over raw rows", message);
            }
            if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                for label in &labels.labels {
                    // Grouping by a node label or a pod is what such labels are for; only the impossible is
                    // told.
                    if series::carries(label) == series::Carried::Never {
                        report_label(self.page, label, self.query.word(label), "grouped by");
                    }
                }
            }
        }
        self.visit(&aggregate.expr);
        if let Some(parameter) = &aggregate.param {
            self.visit(parameter);
        }
    }

    fn binary(&mut self, binary: &BinaryExpr) {
        let op = binary.op.to_string();
        let is_comparison = matches!(op.as_str(), ">" | "<" | ">=" | "<=" | "==" | "!=");
        if is_comparison && !binary.return_bool() {
            let message = format!("`{op}` without `bool` drops the points that do not pass");
            let span = self.query.filter();
            self.page
                .report(&codes::FILTER_DROPS, span, "a filter, not a test", message);
        }
        if op == "or" && (is_constant(&binary.lhs) || is_constant(&binary.rhs)) {
            let span = self.query.word("vector");
            let message = "where there is no data the expression says that there is nothing to do";
            self.page.report(
                &codes::ABSENT_IS_ZERO,
                span,
                "stands in for missing data",
                message,
            );
        }
        for (side, other) in [(&binary.lhs, &binary.rhs), (&binary.rhs, &binary.lhs)] {
            let Expr::NumberLiteral(number) = &**side else {
                continue;
            };
            let memory = selectors(other)
                .into_iter()
                .find(|s| s.name.as_deref().and_then(series::shape) == Some(Shape::Mebibytes));
            if let Some(name) = memory.and_then(|selector| selector.name.as_deref())
                && number.val.abs() >= BYTES_FROM
            {
                let message = format!("`{name}` is in MiB, and {} is a number of bytes", number.val);
                let span = self.query.word(name);
                self.page.report(&codes::MEBIBYTES, span, "MiB", message);
            }
        }
        self.visit(&binary.lhs);
        self.visit(&binary.rhs);
    }

    fn call(&mut self, call: &Call) {
        let name = call.func.name;
        if matches!(name, "rate" | "irate" | "increase") {
            let gauge = call
                .args
                .args
                .iter()
                .flat_map(|argument| selectors(argument))
                .filter_map(|selector| selector.name.as_deref())
                .find(|name| series::shape(name).is_some_and(|shape| shape != Shape::Counter));
            if let Some(series) = gauge {
                let message = format!("`{series}` is a gauge, and `{name}` is for counters");
                let (span, other) = (self.query.word(name), self.query.word(series));
                self.page
                    .report(&codes::RATE_OF_GAUGE, span, "for counters", message)
                    .also(other, "a gauge");
            }
        }
        let has_rule = self.signal.up.is_some() || self.signal.down.is_some();
        if name.ends_with("_over_time") && has_rule {
            let span = self.query.word(name);
            let message = format!(
                "`{name}` looks back, and the rule of signal `{}` waits on top",
                self.signal.name
            );
            self.page
                .report(&codes::DOUBLE_WINDOW, span, "a window of its own", message);
        }
        for argument in &call.args.args {
            self.visit(argument);
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let Some(name) = dcgm_name(selector) else { return };
        let span = self.query.word(&name);
        match series::stranger(&name) {
            Some(Stranger::NeverEmitted(meant)) => {
                let message = format!("no version of dcgm-exporter emits `{name}`");
                self.page
                    .report(&codes::UNKNOWN_SERIES, span, "emitted by no exporter", message)
                    .help(format!("use `{meant}`"));
            }
            Some(Stranger::Misspelt(known)) => {
                let message = format!("dcgm-exporter emits `{known}`, not `{name}`");
                self.page
                    .report(&codes::UNKNOWN_SERIES, span, "misspelt?", message)
                    .help(format!("use `{known}`"));
            }
            None => {}
        }
        for matcher in matchers(selector) {
            if matcher.name == "__name__" {
                continue;
            }
            let span = self.query.word(&matcher.name);
            if name == "DCGM_FI_DEV_GPU_UTIL" && selects_mig(matcher) {
                let message = format!(
                    "`{}` selects MIG instances, and `{name}` does not exist for them",
                    matcher.name
                );
                self.page
                    .report(&codes::NOT_FOR_MIG, span, "selects MIG instances", message)
                    .help("use `DCGM_FI_PROF_GR_ENGINE_ACTIVE`, or `dcgm: { metric: GraphicsEngineActive }`");
            } else {
                report_label(self.page, &matcher.name, span, "matched");
            }
        }
    }
}

fn matchers(selector: &VectorSelector) -> impl Iterator<Item = &Matcher> {
    let either = selector.matchers.or_matchers.iter().flatten();
    selector.matchers.matchers.iter().chain(either)
}

fn selects_mig(matcher: &Matcher) -> bool {
    matcher.name.starts_with("GPU_I_")
        && matches!(matcher.op, MatchOp::Equal | MatchOp::Re(_))
        && !matcher.value.is_empty()
}

/// The name of a selector that is meant to be one of the exporter's, written before the braces or inside.
pub(super) fn dcgm_name(selector: &VectorSelector) -> Option<String> {
    let inside = || {
        matchers(selector)
            .find(|m| m.name == "__name__")
            .map(|m| m.value.clone())
    };
    selector
        .name
        .clone()
        .or_else(inside)
        .filter(|name| series::is_dcgm(name))
}

/// The full name of the metric that a selector selects, if it selects one alone.
pub(super) fn name(selector: &VectorSelector) -> Option<String> {
    let inside = || {
        matchers(selector)
            .find(|matcher| matcher.name == "__name__" && matches!(matcher.op, MatchOp::Equal))
            .map(|matcher| matcher.value.clone())
    };
    selector.name.clone().or_else(inside)
}

/// All selectors of an expression.
pub(super) fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.vs],
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr),
        Expr::Paren(paren) => selectors(&paren.expr),
        Expr::Unary(unary) => selectors(&unary.expr),
        Expr::Subquery(subquery) => selectors(&subquery.expr),
        Expr::Binary(binary) => [selectors(&binary.lhs), selectors(&binary.rhs)].concat(),
        Expr::Call(call) => call
            .args
            .args
            .iter()
            .flat_map(|argument| selectors(argument))
            .collect(),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Vec::new(),
    }
}

/// Whether rows reach the outside as the exporter wrote them: no aggregation is in between.
fn is_raw(expr: &Expr) -> bool {
    match expr {
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => true,
        Expr::Paren(paren) => is_raw(&paren.expr),
        Expr::Unary(unary) => is_raw(&unary.expr),
        Expr::Subquery(subquery) => is_raw(&subquery.expr),
        Expr::Binary(binary) => is_raw(&binary.lhs) || is_raw(&binary.rhs),
        Expr::Call(call) => call.args.args.iter().any(|argument| is_raw(argument)),
        Expr::Aggregate(_) | Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => false,
    }
}

/// Whether an expression is `vector(…)` of a number.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(paren) => is_constant(&paren.expr),
        Expr::Call(call) => call.func.name == "vector",
        _ => false,
    }
}

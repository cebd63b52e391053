//! Reading recorded metrics, with `prometheus-parse` beside it.

fn main() {}

//! Servers with the Prometheus API: Prometheus, Thanos, Mimir, `VictoriaMetrics`, Azure Monitor.
//!
//! Raw samples are asked for, by an instant query that ends in a range: backends disagree on where a window begins
//! (Prometheus 2 counts the sample on its left edge, 3 and `VictoriaMetrics` do not), so windows are made here, by the same
//! code that makes them of a recording.
//!
//! Reading order: [`query`] says what is asked, [`answer`] reads what comes back, both pure; `server` (feature `source`)
//! asks.

pub mod answer;
pub mod query;
#[cfg(feature = "source")]
pub mod server;

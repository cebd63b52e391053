//! Health and metrics over HTTP.
//!
//! `/healthz` answers while the process does: the loop and this server share a thread, so a loop that hangs is one that does
//! not answer. `/readyz` answers once every policy has ticked for the first time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gpuscale::metrics::{Format, Page};
use tokio::net::TcpListener;

use crate::error::Error;

#[derive(Clone)]
struct Shown {
    page: Page,
    ready: Arc<AtomicBool>,
}

/// Serves at an address until the runtime ends; the address that it came to be, where any port was asked for.
pub(in crate::cli) async fn start(
    listen: &str,
    page: Page,
    ready: Arc<AtomicBool>,
) -> Result<SocketAddr, Error> {
    let cannot =
        |error: std::io::Error| Error::Usage(format!("cannot listen at `listen.metrics: {listen}`: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(Shown { page, ready });
    tokio::spawn(async move {
        // It ends with the process, or for a reason that the log has to have.
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}

async fn readiness(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not every policy has ticked yet\n",
        )
    }
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    match shown.page.text(format) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

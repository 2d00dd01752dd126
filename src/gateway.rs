//! HTTP on loopback for machines: `/health` for probes, `/metrics` for Prometheus. Reads the fleet, never changes it.

pub mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::handle::Handle;
use crate::engine::view::FleetView;
use crate::ports::store::BoxError;
use metrics::Meters;

#[derive(Debug, Clone)]
struct Shared {
    handle: Handle,
    meters: Arc<Meters>,
}

/// Serves until `stop`, then lets requests under way finish.
///
/// # Errors
/// When the address is taken or cannot be used; the caller tries again later.
pub async fn serve(
    handle: Handle,
    meters: Arc<Meters>,
    listen: SocketAddr,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "gateway listens");
    let routes = router(handle, meters);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

/// The routes; apart from [`serve`] so that they can be called without a socket.
pub fn router(handle: Handle, meters: Arc<Meters>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(scrape))
        .with_state(Shared { handle, meters })
}

/// 200 while the store answers (`healthy` or `degraded`), 503 otherwise, with the reason of each part.
async fn health(State(shared): State<Shared>) -> Response {
    let view = shared.handle.views().borrow().clone();
    let (status, word) = verdict(&view);
    let body = json!({
        "status": word,
        "store": { "kind": view.system.store.kind.as_str(), "ok": view.system.store.ok, "error": view.system.store.error.as_str() },
        "runtime": { "kind": view.system.runtime.kind.as_str(), "ok": view.system.runtime.ok, "error": view.system.runtime.error.as_str() },
        "leader": { "holder": view.system.leader.holder.as_str(), "epoch": view.system.leader.epoch, "me": view.system.leader.me },
        "stale_since": view.stale_since,
    });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn verdict(view: &FleetView) -> (StatusCode, &'static str) {
    if !view.loaded || view.stale_since.is_some() || !view.system.store.ok {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    } else if !view.system.runtime.ok || view.system.leader.holder.as_str().is_empty() {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "healthy")
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    let view = shared.handle.views().borrow().clone();
    match shared.meters.encode(&view) {
        Ok(text) => (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

//! The stream of events (server-sent events): every one, in order, resumable.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, EventView};
use crate::problem::Problem;
use crate::store::Filter;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Which {
    /// Only those of this org.
    org: Option<String>,
    /// Only those of this operation.
    operation: Option<String>,
    /// Those after this place; `Last-Event-ID` wins. Without either, those that come from now on.
    after: Option<i64>,
}

/// Follow what happens. Each event's `id` is its place; a client that comes back with `Last-Event-ID` misses nothing.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Which), responses(
    (status = 200, description = "Events, until the client goes", content_type = "text/event-stream"),
))]
pub async fn follow(
    State(api): State<Api>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok()?.parse().ok());
    let store = api.daemon.store();
    let after = match last.or(which.after) {
        Some(after) => after,
        None => store.newest().await?,
    };
    let filter = Filter {
        org: which.org,
        operation: which.operation,
    };
    let stopping = api.daemon.tasks().stopping().clone();
    let events = store
        .follow(after, filter)
        .take_until(stopping.cancelled_owned())
        .filter_map(async |stored| {
            let stored = stored.ok()?;
            let event = Event::default().id(stored.seq.to_string());
            event.json_data(EventView::from(&*stored)).ok().map(Ok)
        });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(alive))
}

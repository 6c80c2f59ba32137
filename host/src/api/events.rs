//! The stream of events (server-sent events): every one, in order, resumable.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::parameters::{Query, malformed};
use super::{Api, EventView};
use crate::problem::Problem;
use crate::store::Filter;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those of this org.
    org: Option<String>,
    /// Only those of this operation.
    operation: Option<String>,
    /// Those after this place; `Last-Event-ID` wins. Without either, those that come from now on.
    after: Option<i64>,
}

/// Follow what happens. Each event's `id` is its place; a client that comes back with `Last-Event-ID` misses nothing.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "follow_events",
    params(Which, ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that the client has")), responses(
    (status = 200, description = "Events, until the client goes; the data of each is an `EventView`", body = EventView, content_type = "text/event-stream"),
))]
pub async fn follow(
    State(api): State<Api>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").map(|last| {
        let place = last.to_str().ok().and_then(|last| last.parse().ok());
        place.ok_or_else(|| malformed("`Last-Event-ID` is not the id of an event".to_owned()))
    });
    let last: Option<i64> = last.transpose()?;
    let store = api.daemon.store();
    let after = match last.or(which.after) {
        Some(after) => after,
        None => store.newest().await?,
    };
    let filter = Filter {
        org: which.org,
        operation: which.operation,
    };
    let listener = api.daemon.metrics().listener();
    let stopping = api.daemon.tasks().stopping().clone();
    let events = store
        .follow(after, filter)
        .take_until(stopping.cancelled_owned())
        .filter_map(move |stored| {
            // Counted as long as the stream is there.
            let _counted = &listener;
            std::future::ready(stored.ok().and_then(|stored| {
                let event = Event::default().id(stored.seq.to_string());
                event.json_data(EventView::from(&*stored)).ok().map(Ok)
            }))
        });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(alive))
}

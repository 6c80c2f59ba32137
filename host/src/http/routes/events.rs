//! The stream of events (server-sent events): every one, in order, resumable.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::wire::parameters::{Query, malformed};
use crate::http::{Api, EventView};
use crate::problem::Problem;
use crate::state::store::{Filter, Followed, Gap, Stored};

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

/// Events that the client does not have, and that are kept no longer. Comes as an event named `gap`, without an `id`.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// After this place: the client's.
    after: i64,
    /// Up to and with this place. What is kept comes next.
    until: i64,
}

impl From<Gap> for GapView {
    fn from(gap: Gap) -> Self {
        Self {
            after: gap.after,
            until: gap.until,
        }
    }
}

/// Follow what happens. Each event's `id` is its place; a client that comes back with `Last-Event-ID` misses nothing of what
/// is kept (`keep_days` and `keep_events` under `[server]`). Where something was kept no longer, an event named `gap` says so
/// first: its data is a `GapView`.
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
    let store = api.service.store();
    let after = match last.or(which.after) {
        Some(after) => after,
        None => store.newest().await?,
    };
    let filter = Filter {
        org: which.org,
        operation: which.operation,
    };
    let listener = api.service.metrics().listener();
    let stopping = api.service.tasks().stopping().clone();
    let events = store
        .follow(after, filter)
        .take_until(stopping.cancelled_owned())
        // Whoever is cut off comes back, and is told what is wrong with the store.
        .take_while(|followed| std::future::ready(followed.is_ok()))
        .filter_map(move |followed| {
            // Counted as long as the stream is there.
            let _counted = &listener;
            let event = match followed {
                Ok(Followed::Event(stored)) => event(&stored),
                Ok(Followed::Gap(gap)) => Event::default()
                    .event("gap")
                    .json_data(GapView::from(gap))
                    .ok(),
                Err(_) => None,
            };
            std::future::ready(event.map(Ok))
        });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(alive))
}

fn event(stored: &Stored) -> Option<Event> {
    let event = Event::default().id(stored.seq.to_string());
    match EventView::try_from(stored) {
        Ok(view) => event.json_data(view).ok(),
        Err(error) => {
            // Whoever follows cannot do anything about it, and must not be stopped by it.
            tracing::error!(%error, seq = stored.seq, "an event in the store cannot be understood");
            None
        }
    }
}

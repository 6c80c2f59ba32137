//! The route of the event stream (server-sent events). The stream is in order, and resumes where it was cut.

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

/// Which events to send.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventFilter {
    /// Only events of the org with this slug. Default: of all orgs.
    org: Option<String>,
    /// Only events of the operation with this id. Default: of all operations.
    operation: Option<String>,
    /// Only events after the one with this `seq`. `Last-Event-ID` takes precedence. Default: only new events.
    after: Option<i64>,
}

/// The `data` of an event named `gap`: events that the client has not received and the host no longer keeps. It has no `id`.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// The `seq` of the last event that the client received.
    after: i64,
    /// The `seq` of the last event that is missing. The next event that the host keeps follows.
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

/// Follow the events of the host. The `id` of each event is its `seq`. A client that reconnects with `Last-Event-ID` receives
/// all later events that the host keeps (`keep_days` and `keep_events` under `[server]`). When some are no longer kept, an event
/// named `gap` comes first; its data is a `GapView`.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "follow_events",
    params(EventFilter, ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that the client received")), responses(
    (status = 200, description = "Events until the client disconnects or the host stops; the data of each is an `EventView`", body = EventView, content_type = "text/event-stream"),
))]
pub async fn follow(
    State(api): State<Api>,
    Query(wanted): Query<EventFilter>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").map(|last| {
        let seq = last.to_str().ok().and_then(|last| last.parse().ok());
        seq.ok_or_else(|| malformed("`Last-Event-ID` is not the id of an event".to_owned()))
    });
    let last: Option<i64> = last.transpose()?;
    let store = api.service.store();
    let after = match last.or(wanted.after) {
        Some(after) => after,
        None => store.newest().await?,
    };
    let filter = Filter {
        org: wanted.org,
        operation: wanted.operation,
    };
    let listener = api.service.metrics().listener();
    let stopping = api.service.tasks().stopping().clone();
    let events = store
        .follow(after, filter)
        .take_until(stopping.cancelled_owned())
        // An error of the store ends the stream. The client reconnects, and then gets the error as its answer.
        .take_while(|followed| std::future::ready(followed.is_ok()))
        .filter_map(move |followed| {
            // The stream owns the listener, so the metrics count it until the stream ends.
            let _listener = &listener;
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
            // The client cannot repair the event, so the stream skips it.
            tracing::error!(%error, seq = stored.seq, "an event in the store cannot be parsed");
            None
        }
    }
}

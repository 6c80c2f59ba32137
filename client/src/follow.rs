//! Follows an operation to its end. The operation's end is found even when the stream of its events is cut or refused.

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event as Message, Eventsource as _};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use tokio::time::timeout;

use super::backoff::{Pauses, RetryReason};
use super::request::Request;
use super::{Client, ClientError, Operation};
use orghost_model::event::{Event, What};
use orghost_model::status::OperationState;

/// After so long without an event, the operation itself is read: it may have ended without an event.
const QUIET: Duration = Duration::from_secs(5);

/// The events of an operation that has ended are all stored and arrive at once. After so long without one, none is left.
const DRAINED: Duration = Duration::from_millis(300);

/// Seconds to wait for the end of an operation after its last event: it ends a moment later.
const END_WAIT: u64 = 10;

impl Client {
    /// Passes the events of an operation to `show`, in order and each once, until the operation has ended. When a later
    /// operation supersedes it, that one is followed instead. Returns the operation that ended.
    ///
    /// # Errors
    /// [`ClientError`]: the operation cannot be read any more. A stream that is cut or refused is no error: it resumes after
    /// the last event, after a growing pause.
    pub async fn follow(
        &self,
        mut operation: Operation,
        mut show: impl FnMut(&Event),
    ) -> Result<Operation, ClientError> {
        let mut events = Events::of(self, &operation);
        let mut wait = 0;
        loop {
            operation = self.operation(&operation.id, wait).await?;
            wait = 0;
            if operation.state.is_final() {
                events.drain(&mut show).await;
                match self.successor(&operation).await? {
                    Some(next) => events = Events::of(self, &next),
                    None => return Ok(operation),
                }
                operation.id.clone_from(&events.operation);
                continue;
            }
            match events.read(QUIET, &mut show).await {
                Read::Quiet => {}
                Read::Ended => wait = END_WAIT,
                Read::Cut(retry_after) => {
                    let reason = RetryReason::of_cut(retry_after);
                    let pause = events.pauses.next_without_total(reason, retry_after);
                    self.pause(pause).await;
                }
                Read::Refused => {
                    let pause = events
                        .pauses
                        .next_without_total(RetryReason::EventsRefused, None);
                    self.pause(pause).await;
                }
            }
        }
    }

    /// The operation that superseded another one: the newest of its kind in the same org.
    async fn successor(&self, ended: &Operation) -> Result<Option<Operation>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            operations: Vec<Operation>,
        }
        if ended.state != OperationState::Superseded {
            return Ok(None);
        }
        let path = ["v1", "orgs", &ended.org, "operations"];
        let page: Page = self.json(&Request::get(&path)).await?;
        let mut newest = page.operations.into_iter();
        Ok(newest.find(|next| next.operation == ended.operation && next.id != ended.id))
    }
}

impl RetryReason {
    fn of_cut(retry_after: Option<Duration>) -> Self {
        match retry_after {
            Some(_) => Self::Busy,
            None => Self::Away,
        }
    }
}

/// The events of one operation, read over as many connections as needed.
struct Events<'a> {
    client: &'a Client,
    operation: String,
    /// The id of the newest event that was read.
    last: Option<i64>,
    connection: Option<Pin<Box<dyn Stream<Item = Option<Message>> + Send>>>,
    /// The pauses between connections. Each event that arrives resets them.
    pauses: Pauses,
}

/// Why reading stopped.
enum Read {
    /// No event arrived in the given time.
    Quiet,
    /// The event that ends the operation arrived.
    Ended,
    /// The connection was cut; how long the server asks to wait (`Retry-After`).
    Cut(Option<Duration>),
    /// The server refuses the stream.
    Refused,
}

impl<'a> Events<'a> {
    fn of(client: &'a Client, operation: &Operation) -> Self {
        Self {
            client,
            operation: operation.id.clone(),
            last: None,
            connection: None,
            pauses: client.backoff.pauses(),
        }
    }

    async fn read(&mut self, quiet: Duration, show: &mut impl FnMut(&Event)) -> Read {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => match self.connect().await {
                    Ok(connection) => self.connection.insert(connection),
                    Err(ClientError::Busy { retry_after, .. }) => {
                        return Read::Cut(Some(retry_after.unwrap_or_default()));
                    }
                    Err(ClientError::Away { .. }) => return Read::Cut(None),
                    Err(_) => return Read::Refused,
                },
            };
            let message = match timeout(quiet, connection.next()).await {
                Err(_) => return Read::Quiet,
                Ok(Some(Some(message))) => message,
                Ok(Some(None) | None) => {
                    self.connection = None;
                    return Read::Cut(None);
                }
            };
            self.last = message.id.parse().ok().or(self.last);
            self.pauses = self.client.backoff.pauses();
            // A newer server may send events that this program does not know.
            let Ok(event) = serde_json::from_str::<Event>(&message.data) else {
                continue;
            };
            show(&event);
            if matches!(event.what, What::Ended { .. } | What::Broke { .. }) {
                return Read::Ended;
            }
        }
    }

    /// Reads the remaining events of an operation that has ended, until the pauses are used up.
    async fn drain(&mut self, show: &mut impl FnMut(&Event)) {
        self.pauses = self.client.backoff.pauses();
        loop {
            match self.read(DRAINED, show).await {
                Read::Quiet | Read::Refused => return,
                Read::Ended => {}
                Read::Cut(retry_after) => {
                    let reason = RetryReason::of_cut(retry_after);
                    match self.pauses.next(reason, retry_after) {
                        Some(pause) => self.client.pause(pause).await,
                        None => return,
                    }
                }
            }
        }
    }

    /// Opens the stream once, after the last event that was read.
    async fn connect(
        &self,
    ) -> Result<Pin<Box<dyn Stream<Item = Option<Message>> + Send>>, ClientError> {
        let request = Request::get(&["v1", "events"]).query("operation", &self.operation);
        let request = match self.last {
            Some(last) => request.after_event(last),
            None => request.query("after", 0),
        };
        let answer = self.client.attempt(&request).await?;
        let messages = answer.bytes_stream().eventsource();
        Ok(messages.map(Result::ok).boxed())
    }
}

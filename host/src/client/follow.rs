//! Follows an operation to its end. Whatever happens to the stream of events, the end of the operation is told.

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event as Message, Eventsource as _};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use tokio::time::timeout;

use super::patience::Pauses;
use super::request::Ask;
use super::{Client, ClientError, Operation, State, Why};
use crate::model::event::{Event, What};

/// Without an event for so long, the operation itself is looked at: it may have ended without one.
const QUIET: Duration = Duration::from_secs(5);

/// Events of an operation that has ended are all stored, and come at once; after so long without one there is none left.
const DRAINED: Duration = Duration::from_millis(300);

/// Seconds to wait for an operation whose last event was seen: it ends a moment later.
const MOMENT: u64 = 10;

impl Client {
    /// Hands out the events of an operation, in their order and each once, until it has ended. When it is superseded, what
    /// supersedes it is followed in its place.
    ///
    /// # Errors
    /// The operation cannot be asked for any more. A stream that is cut or refused is no error: it is taken up again where
    /// it was, after a pause that grows.
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
                Read::Ended => wait = MOMENT,
                Read::Cut(asked) => {
                    let pause = events.pauses.next_of_many(Why::of(asked), asked);
                    self.pause(pause).await;
                }
                Read::Refused => {
                    let pause = events.pauses.next_of_many(Why::Refused, None);
                    self.pause(pause).await;
                }
            }
        }
    }

    /// What does now what a superseded operation would have done: the newest of its kind.
    async fn successor(&self, ended: &Operation) -> Result<Option<Operation>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            operations: Vec<Operation>,
        }
        if ended.state != State::Superseded {
            return Ok(None);
        }
        let path = ["v1", "orgs", &ended.org, "operations"];
        let page: Page = self.ask(&Ask::get(&path)).await?;
        let mut newest = page.operations.into_iter();
        Ok(newest.find(|next| next.operation == ended.operation && next.id != ended.id))
    }
}

impl Why {
    fn of(asked: Option<Duration>) -> Self {
        match asked {
            Some(_) => Self::Busy,
            None => Self::Away,
        }
    }
}

/// The events of one operation, over as many connections as it takes.
struct Events<'a> {
    client: &'a Client,
    operation: String,
    /// The place of the newest that was seen.
    last: Option<i64>,
    connection: Option<Pin<Box<dyn Stream<Item = Option<Message>> + Send>>>,
    /// Begin anew with each event that comes.
    pauses: Pauses,
}

/// Why no more is read for now.
enum Read {
    /// No event came for as long as was given.
    Quiet,
    /// The event that ends the operation came.
    Ended,
    /// The connection was cut; how long the server asks to wait.
    Cut(Option<Duration>),
    /// The server does not give them.
    Refused,
}

impl<'a> Events<'a> {
    fn of(client: &'a Client, operation: &Operation) -> Self {
        Self {
            client,
            operation: operation.id.clone(),
            last: None,
            connection: None,
            pauses: client.patience.pauses(),
        }
    }

    async fn read(&mut self, quiet: Duration, show: &mut impl FnMut(&Event)) -> Read {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => match self.connect().await {
                    Ok(connection) => self.connection.insert(connection),
                    Err(ClientError::Busy { asked, .. }) => {
                        return Read::Cut(Some(asked.unwrap_or_default()));
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
            self.pauses = self.client.patience.pauses();
            // A newer server may have events that this program does not know.
            let Ok(event) = serde_json::from_str::<Event>(&message.data) else {
                continue;
            };
            show(&event);
            if matches!(event.what, What::Ended { .. } | What::Broke { .. }) {
                return Read::Ended;
            }
        }
    }

    /// Reads what is left of an operation that has ended, unless patience ends before.
    async fn drain(&mut self, show: &mut impl FnMut(&Event)) {
        self.pauses = self.client.patience.pauses();
        loop {
            match self.read(DRAINED, show).await {
                Read::Quiet | Read::Refused => return,
                Read::Ended => {}
                Read::Cut(asked) => match self.pauses.next(Why::of(asked), asked) {
                    Some(pause) => self.client.pause(pause).await,
                    None => return,
                },
            }
        }
    }

    /// One attempt.
    async fn connect(
        &self,
    ) -> Result<Pin<Box<dyn Stream<Item = Option<Message>> + Send>>, ClientError> {
        let ask = Ask::get(&["v1", "events"]).query("operation", &self.operation);
        let ask = match self.last {
            Some(last) => ask.after_event(last),
            None => ask.query("after", 0),
        };
        let answer = self.client.attempt(&ask).await?;
        let messages = answer.bytes_stream().eventsource();
        Ok(messages.map(Result::ok).boxed())
    }
}

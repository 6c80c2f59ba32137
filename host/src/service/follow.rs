//! Follows an operation in the process that carries it out: its events while it runs, and its report at the end.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::model::diagnostic::Diagnostic;
use crate::model::event::Event;
use crate::problem::{Class, Problem};
use crate::provision::{Removal, Summary};

/// The operation's end of a [`follow`] pair.
#[derive(Debug)]
pub struct Follower {
    /// Cancels the operation, instead of the stop of the host.
    pub(super) cancel: CancellationToken,
    events: mpsc::UnboundedSender<Event>,
    report: oneshot::Sender<Result<Report, Problem>>,
}

/// The caller's end of a [`follow`] pair.
#[derive(Debug)]
pub struct Following {
    events: mpsc::UnboundedReceiver<Event>,
    report: oneshot::Receiver<Result<Report, Problem>>,
}

/// What an operation did.
#[derive(Debug)]
pub enum Report {
    /// It applied a plan.
    Applied(Summary),
    /// It destroyed an org.
    Destroyed(Removal),
    /// It was cancelled before it did anything, or there was nothing to do.
    Nothing,
}

/// A pair to follow one operation, which `cancel` cancels. The operation never waits for a caller that is slow: the events
/// of one operation fit into the memory.
pub fn follow(cancel: CancellationToken) -> (Follower, Following) {
    let (events, received) = mpsc::unbounded_channel();
    let (report, reported) = oneshot::channel();
    let follower = Follower {
        cancel,
        events,
        report,
    };
    let following = Following {
        events: received,
        report: reported,
    };
    (follower, following)
}

impl Follower {
    /// Passes on an event. A caller that has gone away misses it.
    pub(super) fn show(&self, event: &Event) {
        let _ = self.events.send(event.clone());
    }

    /// Passes on how the operation ended.
    pub(super) fn end(self, report: Result<Report, Problem>) {
        let _ = self.report.send(report);
    }
}

impl Following {
    /// Passes each event to `show`, until the operation has ended and its end is stored.
    ///
    /// # Errors
    /// The operation failed as a whole; `operation-broke`: it was ended by a defect of orghost, or took too long.
    pub async fn end(mut self, mut show: impl FnMut(&Event)) -> Result<Report, Problem> {
        while let Some(event) = self.events.recv().await {
            show(&event);
        }
        self.report.await.unwrap_or_else(|_| {
            let message = "the operation ended without a result; the log says why";
            let diagnostic = Diagnostic::new("operation-broke", message);
            Err(Problem::one(Class::Failed, diagnostic))
        })
    }
}

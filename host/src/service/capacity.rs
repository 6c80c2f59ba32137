//! Back-pressure: work above the limits of the host is refused before it costs anything.

use super::Service;
use super::queue::Ticket;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

impl Service {
    /// Checks that the host can accept one more operation.
    ///
    /// # Errors
    /// [`Class::Busy`] when [`limits::OPERATIONS`] operations are open.
    pub(super) fn check_capacity(&self) -> Result<(), Problem> {
        if self.0.queues.length() >= limits::OPERATIONS {
            return Err(busy("this host has as many open operations as it allows"));
        }
        Ok(())
    }

    /// Checks that one more call into a plugin may wait.
    ///
    /// # Errors
    /// [`Class::Busy`] when [`limits::PLANS_WAITING`] calls wait.
    pub(super) fn check_plugin_calls(&self) -> Result<(), Problem> {
        if self.0.plugin_calls.waiting() >= limits::PLANS_WAITING {
            return Err(busy("too many plans are waiting already"));
        }
        Ok(())
    }

    /// Takes the next ticket in an org's queue.
    ///
    /// # Errors
    /// [`Class::Busy`] when [`limits::OPERATIONS_OF_ORG`] operations of the org are open.
    pub(super) fn ticket(&self, org: &str) -> Result<Ticket, Problem> {
        let ticket = self.0.queues.ticket(org, limits::OPERATIONS_OF_ORG);
        ticket.ok_or_else(|| busy("too many operations of this org are waiting already"))
    }
}

/// The host has too much to do now.
pub(super) fn busy(why: &str) -> Problem {
    let diagnostic = Diagnostic::new("busy", why).help("try again in a few seconds");
    Problem::one(Class::Busy, diagnostic)
}

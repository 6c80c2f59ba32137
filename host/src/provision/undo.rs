//! Undoes what one operation did for a workspace: removes what it made, and starts again what it stopped.
//!
//! Nothing else is touched, and the old container is not started while the new one may run.

use tokio::time::timeout;

use super::engine::Engine;
use super::failure::{StepError, exit_code};
use super::run::within;
use super::seed::Verified;
use super::workspace::{Alone, Created, Seeded, Started, Unstarted, Workspace};
use crate::limits;
use crate::model::event::{Before, Failure, Step};
use crate::provision::observed::{Observed, Volume};

/// What has to be undone after a failure in this state of a workspace.
pub trait Undo {
    /// Whether nothing has run in the container, so that its new volumes hold no work.
    const NEVER_RAN: bool;
    /// Whether the container was seeded, so that it may be kept for diagnosis.
    const SEEDED: bool;
    /// Whether the old container was not touched yet.
    const OLD_IS_UNTOUCHED: bool;
}

impl Undo for Created {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = false;
    const OLD_IS_UNTOUCHED: bool = true;
}

impl Undo for Seeded {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = true;
}

impl Undo for Alone {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl Undo for Unstarted {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl Undo for Started {
    const NEVER_RAN: bool = false;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl<E: Engine, S: Undo> Workspace<'_, E, S> {
    /// Keeps the last lines that the program printed, removes the container (if `container` says that there may be one) and
    /// the unused volumes that this operation made, starts the old container again, and reports what is left behind. It
    /// has its own time limits, so that it also happens after a cancellation.
    pub(super) async fn undo(self, step: Step, error: &StepError, container: bool) -> Failure {
        let mut failure = error.at(step);
        let engine = self.run.engine;
        let key = &self.spec.key;
        if !S::NEVER_RAN {
            self.keep_last_lines(&mut failure).await;
        }
        if S::SEEDED && self.run.keep_failed {
            failure.left_behind.push(format!("the container of {key}"));
            failure.before = self.old_state("the failed container is kept");
            return failure;
        }
        if container
            && let Err(error) = within(limits::CLEANUP, engine.remove(&self.generation)).await
        {
            failure
                .left_behind
                .push(format!("the container of {key} ({error})"));
            // It may still run, and then it uses its volumes.
            failure.before = self.old_state("the failed container could not be removed");
            return failure;
        }
        for volume in &self.made {
            let kind = volume.kind();
            if matches!(volume, Volume::Workspace(_)) && !S::NEVER_RAN {
                let left = format!("the {kind} volume of {key}");
                failure.left_behind.push(left);
            } else if let Err(error) = within(limits::CLEANUP, engine.remove_volume(volume)).await {
                let left = format!("the {kind} volume of {key} ({error})");
                failure.left_behind.push(left);
            }
        }
        if let Some(old) = &self.old {
            failure.before = Some(match S::OLD_IS_UNTOUCHED && old.runs() {
                true => Before::Runs {
                    url: old.url.clone(),
                },
                false => self.start_old(old).await,
            });
        }
        failure
    }

    /// The state of the old container when it is not started again.
    fn old_state(&self, stopped_because: &str) -> Option<Before> {
        let old = self.old.as_ref()?;
        Some(match S::OLD_IS_UNTOUCHED && old.runs() {
            true => Before::Runs {
                url: old.url.clone(),
            },
            false => Before::Stopped {
                reason: stopped_because.to_owned(),
            },
        })
    }

    async fn keep_last_lines(&self, failure: &mut Failure) {
        let engine = self.run.engine;
        let lines = engine.last_lines(&self.generation, limits::LAST_LINES);
        let lines = timeout(limits::CLEANUP, lines).await;
        failure.last_lines = lines.ok().and_then(Result::ok).unwrap_or_default();
        if failure.exit_code.is_none() {
            let inspected = timeout(limits::CLEANUP, engine.inspect(&self.generation)).await;
            let seen = inspected.ok().and_then(Result::ok);
            failure.exit_code = seen.and_then(|seen| exit_code(seen.state));
        }
    }

    /// Starts the old container again, unless it still runs because it was not stopped yet.
    async fn start_old(&self, old: &Observed) -> Before {
        let engine = self.run.engine;
        let inspect = async || {
            let seen = timeout(limits::CLEANUP, engine.inspect(&old.generation)).await;
            seen.ok().and_then(Result::ok)
        };
        if let Some(seen) = inspect().await.filter(Observed::runs) {
            return Before::Runs { url: seen.url };
        }
        let stopped = |reason: String| Before::Stopped { reason };
        let Some(verified) = Verified::earlier(old) else {
            return stopped("it never ran".to_owned());
        };
        // The old container is started even if this cannot be journalled.
        let _ = self.run.journal(self.spec, Step::Rollback).await;
        match within(limits::ENGINE_CALL, engine.start(verified)).await {
            Ok(()) => Before::RunsAgain {
                url: inspect().await.and_then(|seen| seen.url),
            },
            Err(error) => stopped(format!("it could not be started again: {error}")),
        }
    }
}

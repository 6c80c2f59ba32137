//! Undoes what one operation did for a workspace, and only that: what it made is removed, what it stopped is started
//! again. Never starts anything while what it made may run.

use tokio::time::timeout;

use super::engine::Engine;
use super::failure::{StepError, exit_code};
use super::run::within;
use super::seed::Verified;
use super::workspace::{Alone, Created, Seeded, Started, Unstarted, Workspace};
use crate::limits;
use crate::model::event::{Before, Failure, Step};
use crate::provision::observed::{Observed, Volume};

/// What a failure at this point of the way undoes.
pub trait Way {
    /// Nothing has run in the container, so its new volumes hold nobody's work.
    const NEVER_RAN: bool;
    /// A failed container of this state may be kept for diagnosis.
    const SEEDED: bool;
    /// What is to be replaced was not touched yet.
    const OLD_IS_UNTOUCHED: bool;
}

impl Way for Created {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = false;
    const OLD_IS_UNTOUCHED: bool = true;
}

impl Way for Seeded {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = true;
}

impl Way for Alone {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl Way for Unstarted {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl Way for Started {
    const NEVER_RAN: bool = false;
    const SEEDED: bool = true;
    const OLD_IS_UNTOUCHED: bool = false;
}

impl<E: Engine, S: Way> Workspace<'_, E, S> {
    /// Keeps the last words, removes the container (once) and the volumes
    /// that this operation made and nobody used, lets what it was to replace
    /// run again, and says what is left. Has its own time, so that it also
    /// happens after a cancellation.
    pub(super) async fn undo(self, step: Step, error: &StepError, container: bool) -> Failure {
        let mut failure = error.at(step);
        let engine = self.run.engine;
        let key = &self.spec.key;
        if !S::NEVER_RAN {
            self.keep_last_words(&mut failure).await;
        }
        if S::SEEDED && self.run.keep_failed {
            failure.left_behind.push(format!("the container of {key}"));
            failure.before = self.old_is("the failed one is kept");
            return failure;
        }
        if container
            && let Err(error) = within(limits::CLEANUP, engine.remove(&self.generation)).await
        {
            failure
                .left_behind
                .push(format!("the container of {key} ({error})"));
            // Its volumes are in use, and it may run.
            failure.before = self.old_is("the failed one could not be removed");
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
                false => self.go_back_to(old).await,
            });
        }
        failure
    }

    /// What became of the old one, when it is not started again.
    fn old_is(&self, stopped_because: &str) -> Option<Before> {
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

    async fn keep_last_words(&self, failure: &mut Failure) {
        let engine = self.run.engine;
        let words = engine.last_lines(&self.generation, limits::LAST_LINES);
        let words = timeout(limits::CLEANUP, words).await;
        failure.last_lines = words.ok().and_then(Result::ok).unwrap_or_default();
        if failure.exit_code.is_none() {
            let inspected = timeout(limits::CLEANUP, engine.inspect(&self.generation)).await;
            let seen = inspected.ok().and_then(Result::ok);
            failure.exit_code = seen.and_then(|seen| exit_code(seen.state));
        }
    }

    /// Starts the old one again, unless it runs: nobody may have stopped it yet.
    async fn go_back_to(&self, old: &Observed) -> Before {
        let engine = self.run.engine;
        let look = async || {
            let seen = timeout(limits::CLEANUP, engine.inspect(&old.generation)).await;
            seen.ok().and_then(Result::ok)
        };
        if let Some(seen) = look().await.filter(Observed::runs) {
            return Before::Runs { url: seen.url };
        }
        let stopped = |reason: String| Before::Stopped { reason };
        let Some(verified) = Verified::earlier(old) else {
            return stopped("it never ran".to_owned());
        };
        // A journal that fails does not keep a workspace down.
        let _ = self.run.journal(self.spec, Step::Rollback).await;
        match within(limits::ENGINE_CALL, engine.start(verified)).await {
            Ok(()) => Before::RunsAgain {
                url: look().await.and_then(|seen| seen.url),
            },
            Err(error) => stopped(format!("it could not be started again: {error}")),
        }
    }
}

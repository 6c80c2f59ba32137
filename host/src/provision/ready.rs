//! Waits until a workspace is ready. Changes nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::engine::Engine;
use super::failure::StepError;
use super::health;
use super::run::Run;
use super::spec::Spec;
use crate::model::event::{Failure, Step};
use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::State;

/// Waits until a workspace that this operation did not make is ready. It is not undone when it is not ready.
///
/// # Errors
/// [`Failure`] at the step `ready` when it has ended, is not ready in time, or the operation was cancelled.
pub async fn still_answers<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    generation: &Generation,
    limit: Duration,
) -> Result<Option<String>, Failure> {
    let answered = answers(run, spec, generation, limit).await;
    answered.map_err(|error| error.at(Step::Ready))
}

/// Waits until a workspace is ready, and returns its address. An error when it has ended, the time is over, or the
/// operation was cancelled.
pub(super) async fn answers<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    generation: &Generation,
    limit: Duration,
) -> Result<Option<String>, StepError> {
    tokio::select! {
        answered = ask(run.engine, spec, generation, limit) => answered,
        () = run.cancel.cancelled() => Err(StepError::Cancelled),
    }
}

async fn ask<E: Engine>(
    engine: &E,
    spec: &Spec,
    generation: &Generation,
    limit: Duration,
) -> Result<Option<String>, StepError> {
    /// A container that was restarted this often is taken for broken.
    const CRASHES: u32 = 3;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let why = match engine.inspect(generation).await {
            Err(error @ EngineError::NotFound(_)) => return Err(error.into()),
            // Only a container that is gone or has ended is a failure. An engine that is busy proves nothing.
            Err(error) => error.to_string(),
            Ok(seen) => match (seen.state, seen.url) {
                // A program that ended with 0 has done its work.
                (
                    State::Exited { exit_code: Some(0) }
                    | State::Restarting {
                        exit_code: Some(0), ..
                    },
                    _,
                ) => return Ok(None),
                (State::Exited { exit_code }, _) => return Err(StepError::Ended(exit_code)),
                (
                    State::Restarting {
                        restarts,
                        exit_code,
                    },
                    _,
                ) if restarts >= CRASHES => {
                    return Err(StepError::Ended(exit_code));
                }
                (State::Restarting { .. }, _) => "its program crashes and is restarted".to_owned(),
                (State::Created, _) => "it was not started".to_owned(),
                // It publishes no port, so nothing can be asked.
                (State::Running, None) => return Ok(None),
                (State::Running, Some(url)) => {
                    match responds(&url, spec.runtime.health.as_deref(), deadline).await {
                        Ok(()) if is_still_at(engine, generation, &url).await => {
                            return Ok(Some(url));
                        }
                        Ok(()) => "it ended while it was checked".to_owned(),
                        Err(why) => why,
                    }
                }
            },
        };
        if Instant::now() + pause > deadline {
            return Err(StepError::NotReady(limit.as_secs(), why));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Checks a workspace that runs at `url` until it responds, but only for a while: then the engine is asked again whether it
/// still runs. So the engine is not asked before each check.
async fn responds(url: &str, path: Option<&str>, deadline: Instant) -> Result<(), String> {
    const WHILE: Duration = Duration::from_millis(250);
    let end = deadline.min(Instant::now() + WHILE);
    let mut pause = Duration::from_millis(10);
    loop {
        let checked = health::check(url, path).await;
        if checked.is_ok() || Instant::now() + pause > end {
            return checked;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Whether the workspace still runs at the address that answered. When it ends, its address or port is free, and another
/// workspace that gets it answers in its place.
async fn is_still_at<E: Engine>(engine: &E, generation: &Generation, url: &str) -> bool {
    let seen = engine.inspect(generation).await;
    seen.is_ok_and(|seen| seen.state == State::Running && seen.url.as_deref() == Some(url))
}

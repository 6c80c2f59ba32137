//! Waits until a workspace answers. Changes nothing.

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

/// Waits until a workspace that is already there answers. It is left alone
/// whatever comes of it: this operation did not make it.
///
/// # Errors
/// It has ended, or does not answer in time.
pub async fn still_answers<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    generation: &Generation,
    limit: Duration,
) -> Result<Option<String>, Failure> {
    let answered = answers(run, spec, generation, limit).await;
    answered.map_err(|error| error.at(Step::Ready))
}

/// Waits until it answers, has ended, the time is over, or somebody cancels.
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
    /// A container that was started again this often will not recover by waiting.
    const CRASHES: u32 = 3;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let why = match engine.inspect(generation).await {
            Err(error @ EngineError::NotFound(_)) => return Err(error.into()),
            // Only "it is dead" may end a workspace; an engine that is busy proves nothing.
            Err(error) => error.to_string(),
            Ok(seen) => match (seen.state, seen.url) {
                // What ended well is done.
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
                (State::Restarting { .. }, _) => "it crashes and is started again".to_owned(),
                (State::Created, _) => "it was not started".to_owned(),
                // Nothing is published: running is all that can be known.
                (State::Running, None) => return Ok(None),
                (State::Running, Some(url)) => {
                    match health::check(&url, spec.runtime.health.as_deref()).await {
                        Ok(()) => return Ok(Some(url)),
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

//! What the workspaces of one operation share, and how each of its steps is journalled before it is taken.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::concurrency::FairSemaphore;
use super::engine::Engine;
use super::engine::error::EngineError;
use super::failure::StepError;
use super::generation::Generation;
use super::generations::Generations;
use super::observed::Volume;
use super::spec::Spec;
use crate::limits;
use crate::model::event::{Event, Step, What};
use crate::model::ids::OperationId;
use crate::state::store::{Store, StoreError};

/// What the workspaces of one operation share.
pub struct Run<'a, E> {
    /// Where they run.
    pub engine: &'a E,
    /// The journal.
    pub store: &'a Store,
    /// This operation.
    pub operation: OperationId,
    /// Somebody wants it to end.
    pub cancel: CancellationToken,
    /// Sees every event after it was stored.
    pub observer: &'a (dyn Fn(&Event) + Send + Sync),
    /// Who may provision next, on the whole host.
    pub permits: &'a Arc<FairSemaphore>,
    /// Leave a failed container that was seeded, for diagnosis, and do not start again what it replaced.
    pub keep_failed: bool,
}

impl<'a, E: Engine> Run<'a, E> {
    /// Stores an event, then shows it.
    ///
    /// # Errors
    /// The store's.
    pub async fn emit(&self, event: Event) -> Result<(), StoreError> {
        self.store.append(&self.operation, &event).await?;
        (self.observer)(&event);
        Ok(())
    }

    /// Journals that a step is about to be taken.
    pub(super) async fn journal(&self, spec: &Spec, step: Step) -> Result<(), StoreError> {
        let what = What::Step { step };
        self.emit(Event::of_workspace(&spec.org, &spec.key, &spec.id, what))
            .await
    }

    /// Journals a step, then takes it. A cancelled run takes no more steps; a
    /// step that was begun is not torn, because its request would go on in the engine.
    pub(super) async fn step<T, Error: Into<StepError>>(
        &self,
        spec: &Spec,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StepError> {
        if self.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        self.journal(spec, step).await?;
        // The image may have to be pulled first.
        let limit = match step {
            Step::Create => limits::PULL + limits::ENGINE_CALL,
            _ => limits::ENGINE_CALL,
        };
        match timeout(limit, work).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(EngineError::TimedOut(limit.as_secs()).into()),
        }
    }

    /// Takes away generations that were cut off on their way, or should have been removed.
    pub(super) async fn clear(&self, spec: &Spec, found: &Generations) -> Result<(), StepError> {
        for leftover in found.leftovers() {
            let away = take_away(self.engine, leftover);
            self.step(spec, Step::Remove, away).await?;
        }
        Ok(())
    }
}

/// Stops and removes a generation: its container, and the volume of its seed.
///
/// # Errors
/// The engine's.
pub async fn take_away<E: Engine>(engine: &E, generation: &Generation) -> Result<(), EngineError> {
    engine.stop(generation).await?;
    discard(engine, generation).await
}

/// Work of an engine's that has so much time.
pub(super) async fn within(
    limit: Duration,
    work: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), EngineError> {
    let late = EngineError::TimedOut(limit.as_secs());
    timeout(limit, work).await.unwrap_or(Err(late))
}

/// Removes a generation at once: its container, then its seed.
pub(super) async fn discard<E: Engine>(
    engine: &E,
    generation: &Generation,
) -> Result<(), EngineError> {
    engine.remove(generation).await?;
    let seed = Volume::Configs(generation.clone());
    engine.remove_volume(&seed).await
}

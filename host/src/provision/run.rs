//! One running operation: what its workspaces share, and how each step is journalled before it is taken.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::concurrency::FairSemaphore;
use super::engine::Engine;
use super::engine::error::EngineError;
use super::failure::StepError;
use super::generation::Generation;
use super::generations::Generations;
use super::observed::Volume;
use super::spec::Spec;
use crate::limits;
use crate::model::event::{Event, Operation, Step, What};
use crate::model::ids::{OperationId, OrgId};
use crate::state::store::{Store, StoreError};

/// What all workspaces of one operation share.
pub struct Run<'a, E> {
    /// The engine that runs them.
    pub engine: &'a E,
    /// The store, with the journal.
    pub store: &'a Store,
    /// The operation.
    pub operation: OperationId,
    /// Cancels the operation: it takes no further step.
    pub cancel: CancellationToken,
    /// Called with every event after the event was stored.
    pub observer: &'a (dyn Fn(&Event) + Send + Sync),
    /// Limits how many workspaces are provisioned at the same time on the whole host.
    pub permits: &'a Arc<FairSemaphore>,
    /// Whether to keep a failed container that was seeded, for diagnosis, instead of removing it and starting the old one
    /// again.
    pub keep_failed: bool,
}

impl<'a, E: Engine> Run<'a, E> {
    /// Stores an event, and then passes it to the observer.
    ///
    /// # Errors
    /// [`StoreError`] when the event cannot be stored; the observer is then not called.
    pub async fn emit(&self, event: Event) -> Result<(), StoreError> {
        self.store.append(&self.operation, &event).await?;
        (self.observer)(&event);
        Ok(())
    }

    /// Reports that the operation began, after it reported which operation that was cut off it resumes.
    pub(super) async fn announce(
        &self,
        org: &OrgId,
        operation: Operation,
        workspaces: usize,
    ) -> Result<(), StoreError> {
        for cut_off in self.store.cut_off(org.slug()).await? {
            if cut_off.id != self.operation {
                let resumed = What::Resumed {
                    operation: cut_off.operation,
                    cut_off: cut_off.steps,
                };
                self.emit(Event::of_org(org, resumed)).await?;
            }
        }
        let began = What::Began {
            operation,
            engine: self.engine.kind(),
            workspaces,
        };
        self.emit(Event::of_org(org, began)).await
    }

    /// Reports that the operation ended, and closes it in the store.
    pub(super) async fn close(&self, org: &OrgId, failed: usize) -> Result<(), StoreError> {
        self.emit(Event::of_org(org, What::Ended { failed }))
            .await?;
        self.store.end(org.slug(), failed).await
    }

    /// Journals that a step is about to be taken.
    pub(super) async fn journal(&self, spec: &Spec, step: Step) -> Result<(), StoreError> {
        let what = What::Step { step };
        self.emit(Event::of_workspace(&spec.org, &spec.key, &spec.id, what))
            .await
    }

    /// Journals a step, and then takes it. A cancelled operation takes no further step. A step that has begun is not
    /// aborted, because the engine would carry out its request all the same.
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
        // The engine may have to pull the image first.
        let limit = match step {
            Step::Create => limits::PULL + limits::ENGINE_CALL,
            _ => limits::ENGINE_CALL,
        };
        let span = info_span!("step", step = step.as_str(), workspace = spec.key.as_str());
        match timeout(limit, work.instrument(span)).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(EngineError::TimedOut(limit.as_secs()).into()),
        }
    }

    /// Removes the generations that earlier operations left behind.
    pub(super) async fn remove_leftovers(
        &self,
        spec: &Spec,
        found: &Generations,
    ) -> Result<(), StepError> {
        for leftover in found.leftovers() {
            let remove = remove_generation(self.engine, leftover);
            self.step(spec, Step::Remove, remove).await?;
        }
        Ok(())
    }
}

/// Stops a generation, and removes its container and the volume of its seed.
///
/// # Errors
/// [`EngineError`] when the engine cannot do one of these.
pub async fn remove_generation<E: Engine>(
    engine: &E,
    generation: &Generation,
) -> Result<(), EngineError> {
    engine.stop(generation).await?;
    discard(engine, generation).await
}

/// Runs work of an engine within a time limit.
pub(super) async fn within(
    limit: Duration,
    work: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), EngineError> {
    let late = EngineError::TimedOut(limit.as_secs());
    timeout(limit, work).await.unwrap_or(Err(late))
}

/// Removes a generation without stopping it first: its container, and then its seed.
pub(super) async fn discard<E: Engine>(
    engine: &E,
    generation: &Generation,
) -> Result<(), EngineError> {
    engine.remove(generation).await?;
    let seed = Volume::Configs(generation.clone());
    engine.remove_volume(&seed).await
}

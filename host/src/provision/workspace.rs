//! One workspace that is being provisioned. Its type is its state, so that the compiler enforces the order of the steps:
//!
//! `Workspace<Created>` -> [`seed`](Workspace::seed) -> `Workspace<Seeded>`
//! -> [`stop_old`](Workspace::stop_old) -> `Workspace<Alone>`
//! -> [`start`](Workspace::start) -> `Workspace<Started>`
//! -> [`ready`](Workspace::ready) -> [`remove_old`](Workspace::remove_old)
//!
//! A container that was not seeded has neither `start` nor `stop_old`. A seeded one has no `start` while the container that
//! it replaces runs. An engine starts nothing without a [`Verified`], which comes only from a read-back that matched.
//! `tests/compile_fail/` holds programs that break these rules, with the errors of the compiler.
//!
//! Every step consumes the workspace. When a step fails, what this operation did is undone (`undo.rs`), and no `Workspace`
//! is left.

use std::time::Duration;

use tokio::time::timeout;

use super::engine::Engine;
use super::failure::StepError;
use super::generations::Generations;
use super::ready::answers;
use super::run::{Run, discard, within};
use super::seed::Verified;
use super::spec::Spec;
use crate::limits;
use crate::model::event::{Failure, Step};

use crate::provision::engine::error::EngineError;
use crate::provision::generation::Generation;
use crate::provision::observed::{Observed, Volume, VolumeOutcome};

/// A generation that this operation provisions, in the state `S`. Holds what has to be undone when a step fails.
pub struct Workspace<'a, E, S> {
    pub(super) run: &'a Run<'a, E>,
    pub(super) spec: &'a Spec,
    pub(super) generation: Generation,
    /// The container that it replaces, which is kept until the new one is completed.
    pub(super) old: Option<Observed>,
    /// The volumes that this operation made, which it may remove when it fails.
    pub(super) made: Vec<Volume>,
    state: S,
}

/// State: the container is made, and not seeded, or its seed was verified before there was a container.
pub struct Created(Option<Verified>);

/// State: seeded, and proven by a read-back that matched. The container that it replaces still runs.
pub struct Seeded(Verified);

/// State: seeded, and no other container of the workspace runs.
pub struct Alone(Verified);

/// State after a failure: seeded, and never started.
pub(super) struct Unstarted(());

/// State: started.
pub struct Started(());

impl<'a, E: Engine> Workspace<'a, E, Created> {
    /// Removes what an operation that was cut off left, and makes the volumes and the container. The current container of
    /// `found` keeps running.
    ///
    /// # Errors
    /// [`Failure`] at the step that failed; everything that this operation made is removed by then.
    pub async fn create(
        run: &'a Run<'a, E>,
        spec: &'a Spec,
        mut found: Generations,
    ) -> Result<Self, Failure> {
        let mut workspace = Self {
            run,
            spec,
            generation: found.next(&spec.id),
            old: found.current.take(),
            made: Vec::new(),
            state: Created(None),
        };
        if let Err(error) = run.remove_leftovers(spec, &found).await {
            return Err(workspace.undo(Step::Remove, &error, false).await);
        }
        let mut made = Vec::new();
        let volumes = create_volumes(run, spec, &workspace.generation, &mut made);
        let volumes = run.step(spec, Step::Volumes, volumes).await;
        workspace.made = made;
        if let Err(error) = volumes {
            if error.is_unanswered() {
                workspace.find_what_was_made().await;
            }
            return Err(workspace.undo(Step::Volumes, &error, false).await);
        }
        if run.engine.seeds_first().await {
            match workspace.put().await {
                Ok(verified) => workspace.state = Created(Some(verified)),
                Err((step, error)) => return Err(workspace.undo(step, &error, false).await),
            }
        }
        let (generation, Created(verified)) = (&workspace.generation, &workspace.state);
        let create = run
            .engine
            .create(spec, generation, &run.operation, verified.as_ref());
        match run.step(spec, Step::Create, create).await {
            Ok(()) => Ok(workspace),
            Err(error) => {
                // When the engine answered, there is no container. Otherwise there may be one.
                let may_exist = error.is_unanswered();
                Err(workspace.undo(Step::Create, &error, may_exist).await)
            }
        }
    }

    /// Writes the seed, reads it back, and compares. A seed that came before the container is only read back again: from now
    /// on nothing but the container can replace its volume.
    ///
    /// # Errors
    /// [`Failure`] when a step fails or the read-back differs; the container is removed by then.
    pub async fn seed(self) -> Result<Workspace<'a, E, Seeded>, Failure> {
        let verified = match &self.state {
            Created(None) => self.put().await,
            Created(Some(before)) => {
                // This is journalled already, and changes nothing.
                let late = EngineError::TimedOut(limits::ENGINE_CALL.as_secs());
                let again = timeout(limits::ENGINE_CALL, self.read_back()).await;
                let again = again.unwrap_or_else(|_| Err(late.into()));
                let again = again.map_err(|error| (Step::Verify, error));
                again.map(|verified| verified.after(before))
            }
        };
        match verified {
            Ok(verified) => Ok(self.into_state(Seeded(verified)).1),
            Err((step, error)) => Err(self.undo(step, &error, true).await),
        }
    }

    async fn put(&self) -> Result<Verified, (Step, StepError)> {
        let Self { run, spec, .. } = self;
        let write = async {
            let archive = spec.seed.archive()?;
            run.engine.put_seed(&self.generation, archive).await?;
            Ok::<_, StepError>(())
        };
        let written = run.step(spec, Step::Seed, write).await;
        written.map_err(|error| (Step::Seed, error))?;
        let verified = run.step(spec, Step::Verify, self.read_back()).await;
        verified.map_err(|error| (Step::Verify, error))
    }

    async fn read_back(&self) -> Result<Verified, StepError> {
        let found = self.run.engine.read_seed(&self.generation).await?;
        let manifest = self.spec.seed.manifest();
        Ok(manifest.verify(&found, &self.generation)?)
    }

    /// Adds to `made` the volumes of this generation that have this operation's label.
    async fn find_what_was_made(&mut self) {
        let Run {
            engine, operation, ..
        } = self.run;
        let listed = timeout(limits::CLEANUP, engine.volumes(&self.spec.org)).await;
        let found = listed.ok().and_then(Result::ok).unwrap_or_default();
        let wanted: Vec<_> = volumes(self.spec, &self.generation).collect();
        let own = found
            .into_iter()
            .filter(|found| found.operation == operation.as_str())
            .map(|found| found.volume);
        let unknown = own.filter(|own| wanted.contains(own) && !self.made.contains(own));
        let unknown: Vec<_> = unknown.collect();
        self.made.extend(unknown);
    }
}

impl<'a, E: Engine> Workspace<'a, E, Seeded> {
    /// Stops the container that it replaces, if there is one.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be stopped; by then the new container is removed, and the old one runs again.
    pub async fn stop_old(self) -> Result<Workspace<'a, E, Alone>, Failure> {
        let Self { run, spec, .. } = self;
        let (Seeded(verified), workspace) = self.into_state(Unstarted(()));
        if let Some(old) = &workspace.old {
            let stop = run.engine.stop(&old.generation);
            if let Err(error) = run.step(spec, Step::Stop, stop).await {
                return Err(workspace.undo(Step::Stop, &error, true).await);
            }
        }
        Ok(workspace.into_state(Alone(verified)).1)
    }
}

impl<'a, E: Engine> Workspace<'a, E, Alone> {
    /// Starts the container.
    ///
    /// # Errors
    /// [`Failure`] when it does not start; by then it is removed, and the old container runs again.
    pub async fn start(self) -> Result<Workspace<'a, E, Started>, Failure> {
        let Self { run, spec, .. } = self;
        let (Alone(verified), workspace) = self.into_state(Started(()));
        match run
            .step(spec, Step::Start, run.engine.start(verified))
            .await
        {
            Ok(()) => Ok(workspace),
            Err(error) if error.is_unanswered() => {
                Err(workspace.undo(Step::Start, &error, true).await)
            }
            Err(error) => {
                let (_, workspace) = workspace.into_state(Unstarted(()));
                Err(workspace.undo(Step::Start, &error, true).await)
            }
        }
    }
}

impl<'a, E: Engine> Workspace<'a, E, Started> {
    /// Resumes a replacement that was cut off after its start: `running` is the new container, and `found` is everything
    /// else of the workspace.
    ///
    /// # Errors
    /// [`Failure`] when a leftover, which is neither the new container nor the old one, cannot be removed.
    pub async fn resume(
        run: &'a Run<'a, E>,
        spec: &'a Spec,
        running: Observed,
        mut found: Generations,
    ) -> Result<Self, Failure> {
        let workspace = Self {
            run,
            spec,
            old: found.take_replaced(&running.generation),
            // Its seed is removed with it if it is not ready.
            made: vec![Volume::Configs(running.generation.clone())],
            generation: running.generation,
            state: Started(()),
        };
        match run.remove_leftovers(spec, &found).await {
            Ok(()) => Ok(workspace),
            Err(error) => Err(error.at(Step::Remove)),
        }
    }

    /// Its address from this machine; `None` when its engine does not know it.
    pub async fn url(&self) -> Option<String> {
        let inspected = timeout(
            limits::ENGINE_CALL,
            self.run.engine.inspect(&self.generation),
        )
        .await;
        inspected.ok()?.ok()?.url
    }

    /// Waits until it is ready, or has ended with exit code 0. Also returns its address.
    ///
    /// # Errors
    /// [`Failure`], with the last lines that it printed, when it ended otherwise or is not ready in time; by then the
    /// container is removed, and the old one runs again.
    pub async fn ready(self, limit: Duration) -> Result<(Self, Option<String>), Failure> {
        let Self { run, spec, .. } = self;
        let ready = match run.cancel.is_cancelled() {
            true => Err(StepError::Cancelled),
            false => run.journal(spec, Step::Ready).await.map_err(Into::into),
        };
        let ready = match ready {
            Ok(()) => answers(run, spec, &self.generation, limit).await,
            Err(error) => Err(error),
        };
        match ready {
            Ok(url) => Ok((self, url)),
            Err(error) => Err(self.undo(Step::Ready, &error, true).await),
        }
    }

    /// Removes the container that it replaced. This step cannot be cancelled, because the replacement is complete.
    ///
    /// # Errors
    /// [`Failure`] when the old container cannot be removed. The new one runs, and the next run removes the old one.
    pub async fn remove_old(self) -> Result<(), Failure> {
        let Self { run, spec, .. } = self;
        let Some(old) = self.old else {
            return Ok(());
        };
        let removed = async {
            run.journal(spec, Step::Remove).await?;
            let discarded = discard(run.engine, &old.generation);
            within(limits::ENGINE_CALL, discarded).await?;
            Ok::<_, StepError>(())
        };
        removed.await.map_err(|error| {
            let mut failure = error.at(Step::Remove);
            let left = format!("the container that {} replaced; {0} itself runs", spec.key);
            failure.left_behind.push(left);
            failure
        })
    }
}

impl<'a, E: Engine, S> Workspace<'a, E, S> {
    fn into_state<T>(self, state: T) -> (S, Workspace<'a, E, T>) {
        let next = Workspace {
            run: self.run,
            spec: self.spec,
            generation: self.generation,
            old: self.old,
            made: self.made,
            state,
        };
        (self.state, next)
    }
}

async fn create_volumes<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    generation: &Generation,
    made: &mut Vec<Volume>,
) -> Result<(), EngineError> {
    let Run {
        engine, operation, ..
    } = run;
    for volume in volumes(spec, generation) {
        match engine.create_volume(spec, &volume, operation).await? {
            VolumeOutcome::Created => made.push(volume),
            VolumeOutcome::Existing if matches!(volume, Volume::Workspace(_)) => {}
            VolumeOutcome::Existing => {
                // Left by an operation that was cut off, or by `down`: its content is unknown.
                engine.remove_volume(&volume).await?;
                engine.create_volume(spec, &volume, operation).await?;
                made.push(volume);
            }
        }
    }
    Ok(())
}

/// The volumes of a generation (`spec/provisioning.md` §3 and §4).
pub fn volumes(spec: &Spec, generation: &Generation) -> impl Iterator<Item = Volume> {
    [
        Some(Volume::Configs(generation.clone())),
        has_work(spec).then(|| Volume::Workspace(spec.id.clone())),
    ]
    .into_iter()
    .flatten()
}

/// Whether a workspace has a volume for the agent's own work.
pub fn has_work(spec: &Spec) -> bool {
    let sealed = spec.tier == crate::planning::policy::Tier::One;
    !sealed && spec.mount.is_none()
}

//! One workspace on its way up. The order is in the types:
//!
//! `Workspace<Created>` -> [`seed`](Workspace::seed) -> `Workspace<Seeded>`
//! -> [`stop_old`](Workspace::stop_old) -> `Workspace<Alone>`
//! -> [`start`](Workspace::start) -> `Workspace<Started>`
//! -> [`ready`](Workspace::ready) -> [`remove_old`](Workspace::remove_old)
//!
//! A container that was not seeded has no `start` and no `stop_old`; one that is seeded has no `start` while what it
//! replaces runs; and an engine starts nothing without a [`Verified`], which only a read-back that matched gives.
//! `tests/compile_fail/` holds programs that try, and the errors that the compiler answers.
//!
//! Every step consumes the workspace. When one fails, what this operation did
//! is undone (`undo.rs`), and only that, and no `Workspace` is left to go on
//! with.

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

/// A generation that this operation brings up, in a state of its way.
pub struct Workspace<'a, E, S> {
    pub(super) run: &'a Run<'a, E>,
    pub(super) spec: &'a Spec,
    pub(super) generation: Generation,
    /// What it replaces: there until the new one holds.
    pub(super) old: Option<Observed>,
    /// Volumes that this operation made: a failure may remove them.
    pub(super) made: Vec<Volume>,
    state: S,
}

/// Made, not seeded.
pub struct Created(());

/// Seeded, read back, equal. What it replaces runs on.
pub struct Seeded(Verified);

/// Seeded, and nothing else of its workspace runs.
pub struct Alone(Verified);

/// Seeded, and its engine said that it did not start, or was never asked.
pub(super) struct Unstarted(());

/// Started.
pub struct Started(());

impl<'a, E: Engine> Workspace<'a, E, Created> {
    /// Takes away what an operation that was cut off left, makes the volumes, makes the container. What counts of
    /// `found` runs on meanwhile.
    ///
    /// # Errors
    /// What went wrong, after everything that this operation made was undone.
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
            state: Created(()),
        };
        if let Err(error) = run.clear(spec, &found).await {
            return Err(workspace.undo(Step::Remove, &error, false).await);
        }
        let mut made = Vec::new();
        let volumes = create_volumes(run, spec, &workspace.generation, &mut made);
        let volumes = run.step(spec, Step::Volumes, volumes).await;
        workspace.made = made;
        if let Err(error) = volumes {
            if error.is_silence() {
                workspace.ask_what_was_made().await;
            }
            return Err(workspace.undo(Step::Volumes, &error, false).await);
        }
        let create = run
            .engine
            .create(spec, &workspace.generation, &run.operation);
        match run.step(spec, Step::Create, create).await {
            Ok(()) => Ok(workspace),
            Err(error) => {
                // An answer says that there is no container; silence says nothing.
                let perhaps = error.is_silence();
                Err(workspace.undo(Step::Create, &error, perhaps).await)
            }
        }
    }

    /// Puts the seed, reads it back, compares.
    ///
    /// # Errors
    /// What went wrong, after the container was removed.
    pub async fn seed(self) -> Result<Workspace<'a, E, Seeded>, Failure> {
        let Self { run, spec, .. } = self;
        let put = async {
            let archive = spec.seed.archive()?;
            run.engine.put_seed(&self.generation, archive).await?;
            Ok::<_, StepError>(())
        };
        if let Err(error) = run.step(spec, Step::Seed, put).await {
            return Err(self.undo(Step::Seed, &error, true).await);
        }
        let read_back = async {
            let found = run.engine.read_seed(&self.generation).await?;
            Ok::<_, StepError>(spec.seed.manifest().verify(&found, &self.generation)?)
        };
        match run.step(spec, Step::Verify, read_back).await {
            Ok(verified) => Ok(self.into_state(Seeded(verified)).1),
            Err(error) => Err(self.undo(Step::Verify, &error, true).await),
        }
    }

    /// The volumes on the engine that carry this operation's identity.
    async fn ask_what_was_made(&mut self) {
        let Run {
            engine, operation, ..
        } = self.run;
        let asked = timeout(limits::CLEANUP, engine.volumes(&self.spec.org)).await;
        let found = asked.ok().and_then(Result::ok).unwrap_or_default();
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
    /// Stops what it replaces, if there is something: from now on nothing of the workspace runs.
    ///
    /// # Errors
    /// What went wrong, after the new container was removed and the old one was started again.
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
    /// What went wrong, after the container was removed and what it replaced was started again.
    pub async fn start(self) -> Result<Workspace<'a, E, Started>, Failure> {
        let Self { run, spec, .. } = self;
        let (Alone(verified), workspace) = self.into_state(Started(()));
        match run
            .step(spec, Step::Start, run.engine.start(verified))
            .await
        {
            Ok(()) => Ok(workspace),
            Err(error) if error.is_silence() => {
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
    /// Goes on with a replacement that was cut off after its start: `running` is the new one, and `found` is all that
    /// there is beside it.
    ///
    /// # Errors
    /// What is neither the new one nor what it replaced could not be removed.
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
            // Its seed goes with it when it does not hold.
            made: vec![Volume::Configs(running.generation.clone())],
            generation: running.generation,
            state: Started(()),
        };
        match run.clear(spec, &found).await {
            Ok(()) => Ok(workspace),
            Err(error) => Err(error.at(Step::Remove)),
        }
    }

    /// Where it answers from this machine; `None` when its engine does not know.
    pub async fn url(&self) -> Option<String> {
        let inspected = timeout(
            limits::ENGINE_CALL,
            self.run.engine.inspect(&self.generation),
        )
        .await;
        inspected.ok()?.ok()?.url
    }

    /// Waits until it answers, or has ended well; says where.
    ///
    /// # Errors
    /// It ended badly, or is not ready in time; its last words were kept, the
    /// container was removed, and what it replaced was started again.
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

    /// Removes what it replaced: it holds. Somebody who cancels now is too late.
    ///
    /// # Errors
    /// The old one could not be removed: the new one runs, and the next run removes the old one.
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
                // Left by an operation that was cut off, or by `down`: nobody knows what is in it.
                engine.remove_volume(&volume).await?;
                engine.create_volume(spec, &volume, operation).await?;
                made.push(volume);
            }
        }
    }
    Ok(())
}

/// Which volumes a generation has (`spec/provisioning.md` §3 and §4).
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

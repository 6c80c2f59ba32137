//! One workspace on its way up. The order is in the types:
//!
//! `Workspace<Created>` -> [`seed`](Workspace::seed) -> `Workspace<Seeded>`
//! -> [`start`](Workspace::start) -> `Workspace<Started>`
//!
//! A container that was not seeded has no `start`:
//!
//! ```compile_fail,E0599
//! # use orghost::provision::{engine::Engine, workspace::{Created, Workspace}};
//! async fn unseeded<E: Engine>(workspace: Workspace<'_, E, Created>) {
//!     workspace.start().await;
//! }
//! ```
//!
//! and an engine starts nothing without the proof, which nobody can make up:
//!
//! ```compile_fail,E0451
//! # use orghost::provision::{seed::Verified, spec::WorkspaceId};
//! fn forged(id: WorkspaceId) -> Verified {
//!     Verified { id }
//! }
//! ```
//!
//! Every step consumes the workspace. When one fails, what this operation
//! made is undone, and only that, and no `Workspace` is left to go on with.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, EngineError, Observed, State, VolumeKind, VolumeOutcome};
use super::health;
use super::seed::{Mismatch, SeedError, Verified};
use super::spec::{OperationId, Spec};
use super::turns::Turns;
use crate::event::{Event, Failure, Step, What};
use crate::limits;
use crate::store::{Store, StoreError};

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
    pub turns: &'a Arc<Turns>,
    /// Leave a failed container that was seeded, for diagnosis.
    pub keep_failed: bool,
}

/// A container of this operation in a state of its way.
pub struct Workspace<'a, E, S> {
    run: &'a Run<'a, E>,
    spec: &'a Spec,
    /// Volumes that this operation made: a failure may remove them.
    made: Vec<VolumeKind>,
    state: S,
}

/// Made, not seeded.
pub struct Created(());

/// Seeded, read back, equal.
pub struct Seeded(Verified);

/// Seeded, and its engine said that it did not start, or was never asked.
struct Unstarted(());

/// Started.
pub struct Started(());

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The engine's part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The seed's part.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The seed is not what was put.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The step could not be journalled, and so was not taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// It ended before it was ready.
    #[error("it ended before it was ready")]
    Ended(Option<i32>),
    /// It does not answer.
    #[error("it was not ready within {0} seconds: {1}")]
    NotReady(u64, String),
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

    /// Journals a step, then takes it. A cancelled run takes no more steps; a
    /// step that was begun is not torn, because its request would go on in the engine.
    async fn step<T, Error: Into<StepError>>(
        &self,
        spec: &Spec,
        step: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StepError> {
        if self.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        let what = What::Step { step };
        self.emit(Event::of_workspace(&spec.org, &spec.key, &spec.id, what))
            .await?;
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
}

impl<'a, E: Engine> Workspace<'a, E, Created> {
    /// Takes away what stands in the way (`old`: an unequal or half-made
    /// container of this workspace), makes the volumes, makes the container.
    ///
    /// # Errors
    /// What went wrong, after everything that this operation made was undone.
    pub async fn create(
        run: &'a Run<'a, E>,
        spec: &'a Spec,
        old: Option<&Observed>,
    ) -> Result<Self, Failure> {
        let mut workspace = Self {
            run,
            spec,
            made: Vec::new(),
            state: Created(()),
        };
        if let Some(old) = old
            && let Err(error) = run.step(spec, Step::Remove, workspace.replace(old)).await
        {
            return Err(failure(Step::Remove, &error));
        }
        let mut made = Vec::new();
        let volumes = run
            .step(spec, Step::Volumes, create_volumes(run, spec, &mut made))
            .await;
        workspace.made = made;
        if let Err(error) = volumes {
            if is_silence(&error) {
                workspace.ask_what_was_made().await;
            }
            return Err(workspace.undo(Step::Volumes, &error, false).await);
        }
        match run
            .step(spec, Step::Create, run.engine.create(spec, &run.operation))
            .await
        {
            Ok(()) => Ok(workspace),
            Err(error) => {
                // An answer says that there is no container; silence says nothing.
                let perhaps = is_silence(&error);
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
            run.engine.put_seed(&spec.id, archive).await?;
            Ok::<_, StepError>(())
        };
        if let Err(error) = run.step(spec, Step::Seed, put).await {
            return Err(self.undo(Step::Seed, &error, true).await);
        }
        let read_back = async {
            let found = run.engine.read_seed(&spec.id).await?;
            Ok::<_, StepError>(spec.seed.manifest().verify(&found, &spec.id)?)
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
        let own = found
            .iter()
            .filter(|volume| volume.id == self.spec.id && volume.operation == operation.as_str());
        let unknown = own.map(|volume| volume.kind);
        let unknown: Vec<_> = unknown.filter(|kind| !self.made.contains(kind)).collect();
        self.made.extend(unknown);
    }

    async fn replace(&self, old: &Observed) -> Result<(), EngineError> {
        take_away(self.run.engine, old).await
    }
}

impl<'a, E: Engine> Workspace<'a, E, Seeded> {
    /// Starts the container.
    ///
    /// # Errors
    /// What went wrong, after the container was removed.
    pub async fn start(self) -> Result<Workspace<'a, E, Started>, Failure> {
        let Self { run, spec, .. } = self;
        let (Seeded(verified), workspace) = self.into_state(Started(()));
        match run
            .step(spec, Step::Start, run.engine.start(verified))
            .await
        {
            Ok(()) => Ok(workspace),
            Err(error) if is_silence(&error) => {
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
    /// Where it answers from this machine; `None` when its engine does not know.
    pub async fn url(&self) -> Option<String> {
        let inspected = timeout(limits::ENGINE_CALL, self.run.engine.inspect(&self.spec.id)).await;
        inspected.ok()?.ok()?.url
    }

    /// Waits until it answers, or has ended well.
    ///
    /// # Errors
    /// It ended badly, or is not ready in time; its last words were kept and
    /// the container was removed.
    pub async fn ready(self, limit: Duration) -> Result<Option<String>, Failure> {
        let Self { run, spec, .. } = self;
        let journalled = run
            .step(spec, Step::Ready, async { Ok::<_, StepError>(()) })
            .await;
        let ready = match journalled {
            Ok(()) => tokio::select! {
                ready = answers(run.engine, spec, limit) => ready,
                () = run.cancel.cancelled() => Err(StepError::Cancelled),
            },
            Err(error) => Err(error),
        };
        match ready {
            Ok(url) => Ok(url),
            Err(error) => Err(self.undo(Step::Ready, &error, true).await),
        }
    }
}

impl<'a, E: Engine, S> Workspace<'a, E, S> {
    fn into_state<T>(self, state: T) -> (S, Workspace<'a, E, T>) {
        let next = Workspace {
            run: self.run,
            spec: self.spec,
            made: self.made,
            state,
        };
        (self.state, next)
    }
}

/// What a failure at this point of the way undoes.
pub trait Way {
    /// Nothing has run in the container, so its new volumes hold nobody's work.
    const NEVER_RAN: bool;
    /// A failed container of this state may be kept for diagnosis.
    const SEEDED: bool;
}

impl Way for Created {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = false;
}

impl Way for Seeded {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
}

impl Way for Unstarted {
    const NEVER_RAN: bool = true;
    const SEEDED: bool = true;
}

impl Way for Started {
    const NEVER_RAN: bool = false;
    const SEEDED: bool = true;
}

impl<E: Engine, S: Way> Workspace<'_, E, S> {
    /// Keeps the last words, removes the container (once) and the volumes
    /// that this operation made and nobody used, and says what is left. Has
    /// its own time, so that it also happens after a cancellation.
    async fn undo(self, step: Step, error: &StepError, container: bool) -> Failure {
        let mut failure = failure(step, error);
        let engine = self.run.engine;
        let id = &self.spec.id;
        if !S::NEVER_RAN {
            let words = timeout(limits::CLEANUP, engine.last_lines(id, limits::LAST_LINES)).await;
            failure.last_lines = words.ok().and_then(Result::ok).unwrap_or_default();
            if failure.exit_code.is_none() {
                let inspected = timeout(limits::CLEANUP, engine.inspect(id)).await;
                failure.exit_code = inspected
                    .ok()
                    .and_then(Result::ok)
                    .and_then(|seen| exit_code(seen.state));
            }
        }
        if S::SEEDED && self.run.keep_failed {
            failure
                .left_behind
                .push(format!("the container of {}", self.spec.key));
            return failure;
        }
        if container && let Err(error) = within(engine.remove(id)).await {
            failure
                .left_behind
                .push(format!("the container of {} ({error})", self.spec.key));
            // Its volumes are in use.
            return failure;
        }
        for kind in &self.made {
            if *kind == VolumeKind::Workspace && !S::NEVER_RAN {
                failure
                    .left_behind
                    .push(format!("the {kind} volume of {}", self.spec.key));
            } else if let Err(error) = within(engine.remove_volume(id, *kind)).await {
                let left = format!("the {kind} volume of {} ({error})", self.spec.key);
                failure.left_behind.push(left);
            }
        }
        failure
    }
}

/// Stops and removes a container, and the volume of its seed: the next seed
/// must be what the plan says, with nothing older beside it.
///
/// # Errors
/// The engine's.
pub async fn take_away<E: Engine>(engine: &E, found: &Observed) -> Result<(), EngineError> {
    if matches!(found.state, State::Running | State::Restarting { .. }) {
        engine.stop(&found.id).await?;
    }
    engine.remove(&found.id).await?;
    engine.remove_volume(&found.id, VolumeKind::Configs).await
}

/// Waits until a workspace that is already there answers. It is left alone
/// whatever comes of it: this operation did not make it.
///
/// # Errors
/// It has ended, or does not answer in time.
pub async fn still_answers<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    limit: Duration,
) -> Result<Option<String>, Failure> {
    let answered = tokio::select! {
        answered = answers(run.engine, spec, limit) => answered,
        () = run.cancel.cancelled() => Err(StepError::Cancelled),
    };
    answered.map_err(|error| failure(Step::Ready, &error))
}

async fn create_volumes<E: Engine>(
    run: &Run<'_, E>,
    spec: &Spec,
    made: &mut Vec<VolumeKind>,
) -> Result<(), EngineError> {
    for kind in volumes(spec) {
        match run.engine.create_volume(spec, kind, &run.operation).await? {
            VolumeOutcome::Created => made.push(kind),
            VolumeOutcome::Existing if kind == VolumeKind::Workspace => {}
            VolumeOutcome::Existing => {
                // Left by an operation that was cut off, or by `down`: nobody knows what is in it.
                run.engine.remove_volume(&spec.id, kind).await?;
                run.engine.create_volume(spec, kind, &run.operation).await?;
                made.push(kind);
            }
        }
    }
    Ok(())
}

/// Which volumes a workspace has (`spec/provisioning.md` §3 and §4).
pub fn volumes(spec: &Spec) -> impl Iterator<Item = VolumeKind> {
    let sealed = spec.tier == crate::policy::Tier::One;
    let workspace = !sealed && spec.mount.is_none();
    [
        Some(VolumeKind::Configs),
        workspace.then_some(VolumeKind::Workspace),
    ]
    .into_iter()
    .flatten()
}

async fn answers<E: Engine>(
    engine: &E,
    spec: &Spec,
    limit: Duration,
) -> Result<Option<String>, StepError> {
    /// A container that was started again this often will not recover by waiting.
    const CRASHES: u32 = 3;
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let why = match engine.inspect(&spec.id).await {
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

async fn within(work: impl Future<Output = Result<(), EngineError>>) -> Result<(), EngineError> {
    let late = EngineError::TimedOut(limits::CLEANUP.as_secs());
    timeout(limits::CLEANUP, work).await.unwrap_or(Err(late))
}

/// What was asked for may have happened, or may still happen.
fn is_silence(error: &StepError) -> bool {
    matches!(
        error,
        StepError::Engine(EngineError::TimedOut(_) | EngineError::Away { .. })
    )
}

fn exit_code(state: State) -> Option<i32> {
    match state {
        State::Exited { exit_code } | State::Restarting { exit_code, .. } => exit_code,
        State::Created | State::Running => None,
    }
}

fn failure(step: Step, error: &StepError) -> Failure {
    let (code, help, exit_code) = match error {
        StepError::Engine(error) => (error.code(), error.help(), None),
        StepError::Seed(_) => (
            "seed",
            "correct the file in the template and run the same command again",
            None,
        ),
        StepError::Mismatch(_) => (
            "seed-mismatch",
            "the engine did not store what it was given (a full disk, or two writers): run the same command again",
            None,
        ),
        StepError::Store(_) => (
            "store",
            "free or repair the state folder and run the same command again",
            None,
        ),
        StepError::Cancelled => ("cancelled", "run the same command again to go on", None),
        StepError::Ended(exit_code) => (
            "ended",
            "correct its program or its settings and run the same command again; --keep-failed keeps its container",
            *exit_code,
        ),
        StepError::NotReady(..) => (
            "not-ready",
            "--timeout SECONDS gives it longer; --keep-failed keeps its container for diagnosis",
            None,
        ),
    };
    Failure {
        step,
        code: code.into(),
        reason: error.to_string(),
        help: help.to_owned(),
        last_lines: Vec::new(),
        exit_code,
        left_behind: Vec::new(),
    }
}

//! What an engine can do. An engine only obeys: the order of the steps, the
//! journal and the undoing are [`provision`](super)'s. It cannot start what
//! was not seeded, because [`Engine::start`] takes a [`Verified`].

pub mod backend;
pub mod docker;
pub mod error;
pub mod local;
mod mount;
pub mod swarm;

use std::future::Future;

use bytes::Bytes;
use futures_util::Stream;

use super::generation::Generation;
use super::observed::{Observed, ObservedVolume, Resource, Volume, VolumeOutcome};
use super::seed::{ReadBack, Verified};
use super::spec::Spec;

use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};

use error::EngineError;

/// Runs workspaces. Three engines implement it, and one suite of tests holds for all of them.
pub trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// Every container of an org: as many requests for a large org as for a small one (Docker: one), nothing is changed.
    fn observe(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Every container of one workspace: as [`Engine::observe`].
    fn find(
        &self,
        id: &WorkspaceId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Every volume of an org: as [`Engine::observe`].
    fn volumes(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<ObservedVolume>, EngineError>> + Send;

    /// Every container and every volume that carries this host's labels, whatever its org; nothing is changed.
    fn everything(
        &self,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<Vec<Resource>, EngineError>> + Send;

    /// What the workspaces of an org share, such as a network. Idempotent.
    fn prepare(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Undoes [`Engine::prepare`]. Nothing there is success.
    fn dismantle(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes one volume of a workspace, unless it exists and is this host's own.
    fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> impl Future<Output = Result<VolumeOutcome, EngineError>> + Send;

    /// Makes a generation's container, whether or not an older one runs. It is not started and nothing may start it: no
    /// restart policy yet.
    fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Unpacks an archive of regular files and folders under `/configs`.
    fn put_seed(
        &self,
        generation: &Generation,
        archive: Vec<u8>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// What really stands under `/configs` now.
    fn read_seed(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<ReadBack, EngineError>> + Send;

    /// Starts the container whose seed was verified, and keeps it running from now on.
    fn start(&self, verified: Verified) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// How a container is now.
    fn inspect(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<Observed, EngineError>> + Send;

    /// The last lines that it printed, oldest first.
    fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// What it printed, as it printed it: the last `tail` lines or all of it,
    /// and with `follow` also what comes until it ends.
    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<Self>;

    /// Asks a container to end, waits for the grace, kills it. Not there is success.
    fn stop(&self, generation: &Generation)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a container at once, running or not. Not there is success. Volumes stay.
    fn remove(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes one volume and what is in it. Not there is success.
    fn remove_volume(
        &self,
        volume: &Volume,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// The variables that a workspace's process gets: its own, above its
/// runtime's, below the host's (`spec/provisioning.md` §5).
pub fn process_env(spec: &Spec, configs: &str, host: &str, port: u16) -> EnvMap {
    let mut env = spec.runtime.env.clone();
    env.extend(spec.env.clone());
    let reserved = [
        ("HOST", host.to_owned()),
        ("ORGHOST_ORG", spec.org.slug().to_owned()),
        ("PORT", port.to_string()),
        ("TIER", u8::from(spec.tier).to_string()),
        ("WORKSPACE_CONFIG_PATH", configs.to_owned()),
        ("WORKSPACE_ID", spec.id.as_str().to_owned()),
        ("WORKSPACE_KEY", spec.key.as_str().to_owned()),
    ];
    env.extend(reserved.map(|(name, value)| (name.to_owned(), value)));
    if let Some(parent) = &spec.parent {
        env.insert("PARENT_ID".to_owned(), parent.as_str().to_owned());
    }
    env
}

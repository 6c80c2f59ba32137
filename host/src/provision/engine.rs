//! The interface of the engines that run workspaces: local, Docker and swarm.
//!
//! An engine does single steps. [`provision`](super) decides their order, journals them and undoes them. No engine can start
//! a container that was not seeded, because [`Engine::start`] takes a [`Verified`].

pub mod backend;
pub mod docker;
pub mod error;
mod folder;
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

/// The steps of an engine. Three engines implement it, and the same suite of tests runs against all of them.
pub trait Engine: Send + Sync {
    /// The kind of this engine.
    fn kind(&self) -> EngineKind;

    /// Lists every container of an org. The number of requests does not depend on the size of the org (Docker: one). Changes
    /// nothing.
    fn observe(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Lists every container of one workspace, like [`Engine::observe`].
    fn find(
        &self,
        id: &WorkspaceId,
    ) -> impl Future<Output = Result<Vec<Observed>, EngineError>> + Send;

    /// Lists every volume of an org, like [`Engine::observe`].
    fn volumes(
        &self,
        org: &OrgId,
    ) -> impl Future<Output = Result<Vec<ObservedVolume>, EngineError>> + Send;

    /// Lists every container and volume with this host's labels, of whatever org. Changes nothing.
    fn everything(
        &self,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<Vec<Resource>, EngineError>> + Send;

    /// Makes what the workspaces of an org share, such as a network, unless it is there.
    fn prepare(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Undoes [`Engine::prepare`]. Succeeds also when there is nothing to undo.
    fn dismantle(&self, org: &OrgId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes a volume of a workspace, unless the workspace already has it. A volume of this name that belongs to something else
    /// is an error.
    fn create_volume(
        &self,
        spec: &Spec,
        volume: &Volume,
        operation: &OperationId,
    ) -> impl Future<Output = Result<VolumeOutcome, EngineError>> + Send;

    /// Whether a seed is put and read back before there is a container. Otherwise the container comes first.
    fn seeds_first(&self) -> impl Future<Output = bool> + Send;

    /// Makes the container of a generation, also while an older one runs. The container is not started. It gets its restart
    /// policy only when its seed was `verified` before, so that nothing starts it unseeded.
    fn create(
        &self,
        spec: &Spec,
        generation: &Generation,
        operation: &OperationId,
        verified: Option<&Verified>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Unpacks an archive of regular files and folders under `/configs`.
    fn put_seed(
        &self,
        generation: &Generation,
        archive: Vec<u8>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Reads the files that are under `/configs` now.
    fn read_seed(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<ReadBack, EngineError>> + Send;

    /// Starts the container whose seed was verified. From then on the engine restarts it whenever it ends.
    fn start(&self, verified: Verified) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The present state of a container. [`EngineError::NotFound`] when there is none.
    fn inspect(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<Observed, EngineError>> + Send;

    /// The last lines that a container printed, oldest first.
    fn last_lines(
        &self,
        generation: &Generation,
        lines: usize,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// The output of a container: the last `tail` lines (`None`: all of it), and with `follow` also what it prints until it ends.
    fn logs(
        &self,
        generation: &Generation,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<Self>;

    /// Asks a container to end, and kills it after the grace period. Succeeds also when there is none.
    fn stop(&self, generation: &Generation)
    -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a container at once, also when it runs; its volumes are kept. Succeeds also when there is none.
    fn remove(
        &self,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a volume and its content. Succeeds also when there is none.
    fn remove_volume(
        &self,
        volume: &Volume,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// The variables that the process of a workspace gets: those of its runtime, overridden by its own, overridden by those of
/// the host (`spec/provisioning.md` §5).
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

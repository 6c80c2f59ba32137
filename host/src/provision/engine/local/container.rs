//! The container of a workspace, which the local engine keeps as `container.json`: how it is made from a spec.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use super::disk::VERSION;
use super::{Local, grants, program};
use crate::model::env_map::EnvMap;
use crate::model::ids::{OperationId, OrgId};
use crate::model::isolation::{Isolation, Unconfined};
use crate::planning::policy::Tier;
use crate::provision::engine::error::EngineError;
use crate::provision::engine::mount::Bind;
use crate::provision::engine::process_env;
use crate::provision::generation::Generation;
use crate::provision::observed::VolumeKind;
use crate::provision::spec::Spec;

/// The content of `container.json`: everything that the supervisor of a workspace needs. The file is there exactly as long
/// as the container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Always [`VERSION`].
    pub version: u32,
    /// The identity of the host's instance.
    pub instance: String,
    /// The org's slug.
    pub org: String,
    /// The workspace's key when the container was made.
    pub key: String,
    /// The digest of the spec that it was made from.
    pub spec: String,
    /// The identity of the operation that made it.
    pub operation: String,
    /// The absolute path of the program, and its arguments; never empty.
    pub command: Vec<String>,
    /// How the program is confined. Absent in a container of an earlier orghost, which did not confine programs.
    #[serde(default)]
    pub confinement: Option<Confinement>,
    /// The environment of the program, without `PORT`.
    pub env: EnvMap,
    /// The working directory of the program.
    pub directory: PathBuf,
    /// The time between TERM and KILL, in milliseconds.
    pub grace_ms: u64,
}

impl Container {
    /// How far its program is isolated from the machine.
    pub fn isolation(&self) -> Isolation {
        let unconfined = || Isolation::None {
            reason: Unconfined::MadeEarlier,
        };
        let confinement = self.confinement.as_ref();
        confinement.map_or_else(unconfined, Confinement::isolation)
    }

    /// Whether it belongs to this org of this host.
    pub fn belongs_to(&self, org: &OrgId) -> bool {
        self.instance == org.instance().as_str() && self.org == org.slug()
    }
}

impl Local {
    /// Makes the container of a spec, with all paths resolved.
    pub(super) fn container(
        &self,
        spec: &Spec,
        generation: &Generation,
        bind: Option<Bind>,
        operation: &OperationId,
    ) -> Result<Container, EngineError> {
        let folder = self.folder(generation);
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| EngineError::Folder {
                    path: path.display().to_string(),
                    reason: "its path is not UTF-8".to_owned(),
                })
        };
        let command = spec.runtime.command.clone().filter(|c| !c.is_empty());
        let command = command.ok_or_else(|| EngineError::RuntimeUnsuited {
            runtime: spec.runtime_name.clone(),
            wanted: "command",
            engine: "local",
        })?;
        let command = with_absolute_program(command, spec)?;
        let not_granted = [Some(&self.root), self.home.as_ref()];
        let not_granted: Vec<_> = not_granted
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let grants = grants::of(&folder, spec, bind.as_ref(), &command, &not_granted);
        let confinement = Confinement::new(grants, &spec.runtime);
        // The same workspaces have a directory as with the Docker engine.
        let (directory, home) = match bind {
            _ if spec.tier == Tier::One => (None, folder.scratch()),
            Some(bind) => (Some((bind.source.into(), bind.writable)), folder.scratch()),
            None => {
                let volume = folder.volume(VolumeKind::Workspace);
                (Some((volume.clone(), true)), volume)
            }
        };
        let mut env = process_env(
            spec,
            &text(&folder.volume(VolumeKind::Configs))?,
            "127.0.0.1",
            0,
        );
        // The supervisor chooses a port at every start.
        env.remove("PORT");
        for (name, value) in [
            ("PATH", program::PATH.to_owned()),
            ("HOME", text(&home)?),
            ("TMPDIR", text(&folder.scratch())?),
        ] {
            env.entry(name.to_owned()).or_insert(value);
        }
        if let Some((directory, writable)) = &directory {
            let access = if *writable { "read_write" } else { "read_only" };
            env.insert("WORKSPACE_DIR".to_owned(), text(directory)?);
            env.insert("WORKSPACE_ACCESS".to_owned(), access.to_owned());
        }
        Ok(Container {
            version: VERSION,
            instance: spec.org.instance().as_str().to_owned(),
            org: spec.org.slug().to_owned(),
            key: spec.key.as_str().to_owned(),
            spec: spec.digest.clone(),
            operation: operation.as_str().to_owned(),
            command,
            confinement: Some(confinement),
            env,
            directory: directory.map_or(home, |(directory, _)| directory),
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// The command with the absolute path of its program.
fn with_absolute_program(
    mut command: Vec<String>,
    spec: &Spec,
) -> Result<Vec<String>, EngineError> {
    if let Some(program) = command.first_mut() {
        let path = spec.runtime.env.get("PATH").map(String::as_str);
        let found = program::find(program, path)?;
        *program = found.display().to_string();
    }
    Ok(command)
}

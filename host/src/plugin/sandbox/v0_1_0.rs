//! Converts version 0.1.0 of the contract to the latest version. In 0.1.0 a workspace has a field `parent`, although its key
//! already contains the parent; an entry of a folder has a size; there is no `log`, no `read-all`, no origin of variables, and
//! no former names of workspaces.

use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use super::answer::{Answer, ContractBreach};
use super::bindings::latest::exports::orghost::plugin as latest;
use super::bindings::latest::orghost::plugin::template_files as files;
use super::bindings::v0_1_0::exports::orghost::plugin::{expander, importer};
use super::bindings::v0_1_0::orghost::plugin::template_files;
use super::call::Call;
use super::convert::shortened;
use crate::template::directory::TemplateDir;
use crate::template::path;

/// Links the imports of version 0.1.0.
pub fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    template_files::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)
}

/// The indices of a plugin's exports.
pub struct Exports {
    importer: importer::GuestIndices,
    expander: Option<expander::GuestIndices>,
}

impl Exports {
    pub fn new(pre: &InstancePre<Call>) -> wasmtime::Result<Self> {
        Ok(Self {
            importer: importer::GuestIndices::new(pre)?,
            expander: expander::GuestIndices::new(pre).ok(),
        })
    }

    pub fn has_expander(&self) -> bool {
        self.expander.is_some()
    }

    pub fn describe(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
    ) -> wasmtime::Result<latest::importer::Description> {
        let importer = self.importer.load(&mut *store, instance)?;
        importer.call_describe(store).map(description)
    }

    pub fn import_org(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
        request: &latest::importer::Request,
    ) -> wasmtime::Result<Answer> {
        let importer = self.importer.load(&mut *store, instance)?;
        let request = importer::Request {
            entry: request.entry.clone(),
            environment: environment(&request.environment),
            options: importer::Options {
                skip_external: request.options.skip_external,
            },
        };
        Ok(match importer.call_import_org(store, &request)? {
            Ok(answer) => plan(answer).map(Ok),
            Err(problems) => Ok(Err(all(problems, diagnostic))),
        })
    }

    pub fn expand(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
        text: &str,
        values: &latest::importer::Environment,
    ) -> wasmtime::Result<Option<latest::expander::Expansion>> {
        let Some(indices) = &self.expander else {
            return Ok(None);
        };
        let expander = indices.load(&mut *store, instance)?;
        let expansion = expander.call_expand(store, text, &environment(values))?;
        Ok(Some(latest::expander::Expansion {
            text: expansion.text,
            unresolved: expansion.unresolved,
            malformed: expansion.malformed,
        }))
    }
}

impl template_files::Host for Call {
    fn read(
        &mut self,
        path: String,
    ) -> wasmtime::Result<Result<Vec<u8>, template_files::FileError>> {
        Ok(files::Host::read(self, path)?.map_err(file_error))
    }

    fn entries(
        &mut self,
        path: String,
    ) -> wasmtime::Result<Result<Vec<template_files::Entry>, template_files::FileError>> {
        Ok(self
            .list(&path, TemplateDir::entries)?
            .map(|entries| all(entries, entry))
            .map_err(|error| file_error(error.into())))
    }
}

fn file_error(error: files::FileError) -> template_files::FileError {
    match error {
        files::FileError::NotFound => template_files::FileError::NotFound,
        files::FileError::InvalidPath => template_files::FileError::InvalidPath,
        files::FileError::WrongKind => template_files::FileError::WrongKind,
        files::FileError::TooLarge => template_files::FileError::TooLarge,
        files::FileError::Unreadable(reason) => template_files::FileError::Unreadable(reason),
    }
}

fn entry(entry: path::Entry) -> template_files::Entry {
    template_files::Entry {
        name: entry.name,
        kind: match entry.kind {
            path::EntryKind::File => template_files::EntryKind::File,
            path::EntryKind::Directory => template_files::EntryKind::Directory,
            path::EntryKind::Symlink => template_files::EntryKind::Symlink,
            path::EntryKind::Other => template_files::EntryKind::Other,
        },
        size: entry.size,
    }
}

fn environment(environment: &latest::importer::Environment) -> importer::Environment {
    let variables = |variables: &[latest::importer::Variable]| {
        let variable = |variable: &latest::importer::Variable| importer::Variable {
            name: variable.name.clone(),
            value: variable.value.clone(),
        };
        variables.iter().map(variable).collect()
    };
    importer::Environment {
        vars: variables(&environment.vars),
        granted: variables(&environment.granted),
    }
}

fn all<A, B>(list: Vec<A>, convert: impl FnMut(A) -> B) -> Vec<B> {
    list.into_iter().map(convert).collect()
}

/// Defines functions that convert records with the same fields in both versions.
macro_rules! unchanged {
    ($($function:ident: $record:ident { $($field:ident),* })*) => {$(
        fn $function(old: importer::$record) -> latest::importer::$record {
            latest::importer::$record { $($field: old.$field),* }
        }
    )*};
}

unchanged! {
    description: Description { name, version, handles }
    place: Place { file, line, column }
    org: Org { name, description }
    requirement: Requirement { any_of, missing_for }
    agent_plugin: AgentPlugin { source, config }
    schedule: Schedule { name, cron, timezone, prompt, enabled }
    config_entry: ConfigEntry { name, value, secret }
    skipped_channel: SkippedChannel { kind, reason }
    canvas: Canvas { x, y }
}

fn plan(old: importer::Plan) -> Result<latest::importer::Plan, ContractBreach> {
    Ok(latest::importer::Plan {
        org: org(old.org),
        workspaces: old
            .workspaces
            .into_iter()
            .map(workspace)
            .collect::<Result<_, _>>()?,
        required_env: all(old.required_env, requirement),
        recommended_env: all(old.recommended_env, requirement),
        warnings: all(old.warnings, diagnostic),
    })
}

fn workspace(old: importer::Workspace) -> Result<latest::importer::Workspace, ContractBreach> {
    let parent = old.key.rsplit_once('/').map(|(parent, _)| parent);
    if old.parent.as_deref() != parent {
        let key = shortened(&old.key);
        return Err(format!(
            "the parent of {key:?} is not the key without its last slug"
        ));
    }
    Ok(latest::importer::Workspace {
        key: old.key,
        name: old.name,
        renamed_from: Vec::new(),
        role: old.role,
        runtime: old.runtime,
        model: old.model,
        tier: old.tier,
        external: old.external,
        url: old.url,
        workspace_dir: old.workspace_dir,
        workspace_access: match old.workspace_access {
            importer::WorkspaceAccess::None => latest::importer::WorkspaceAccess::None,
            importer::WorkspaceAccess::ReadOnly => latest::importer::WorkspaceAccess::ReadOnly,
            importer::WorkspaceAccess::ReadWrite => latest::importer::WorkspaceAccess::ReadWrite,
        },
        plugins: all(old.plugins, agent_plugin),
        files: all(old.files, seed_file),
        env: all(old.env, env_var),
        schedules: all(old.schedules, schedule),
        channels: all(old.channels, channel),
        skipped_channels: all(old.skipped_channels, skipped_channel),
        memories: all(old.memories, memory),
        max_concurrent_tasks: old.max_concurrent_tasks,
        canvas: canvas(old.canvas),
    })
}

/// Version 0.1.0 has no origin of variables. The host later recognises those of the operator.
fn env_var(old: importer::EnvVar) -> latest::importer::EnvVar {
    latest::importer::EnvVar {
        name: old.name,
        value: old.value,
        secret: old.secret,
        origin: latest::importer::Origin::Plugin,
    }
}

fn seed_file(old: importer::SeedFile) -> latest::importer::SeedFile {
    latest::importer::SeedFile {
        path: old.path,
        content: match old.content {
            importer::Content::Inline(bytes) => latest::importer::Content::Inline(bytes),
            importer::Content::Template(path) => latest::importer::Content::Template(path),
            importer::Content::TemplateText(path) => latest::importer::Content::TemplateText(path),
        },
        secret: old.secret,
    }
}

fn channel(old: importer::Channel) -> latest::importer::Channel {
    latest::importer::Channel {
        kind: old.kind,
        config: all(old.config, config_entry),
        allowed_users: old.allowed_users,
        enabled: old.enabled,
    }
}

fn memory(old: importer::Memory) -> latest::importer::Memory {
    latest::importer::Memory {
        content: old.content,
        scope: match old.scope {
            importer::MemoryScope::Local => latest::importer::MemoryScope::Local,
            importer::MemoryScope::Team => latest::importer::MemoryScope::Team,
            importer::MemoryScope::Global => latest::importer::MemoryScope::Global,
        },
    }
}

fn diagnostic(old: importer::Diagnostic) -> latest::importer::Diagnostic {
    latest::importer::Diagnostic {
        code: old.code,
        message: old.message,
        place: old.place.map(place),
        field: old.field,
        workspace: old.workspace,
        help: old.help,
    }
}

//! Version 0.1.0 of the contract, converted to the latest. The only place that
//! knows how they differ: 0.1.0 says a workspace's parent, which its key says
//! already, has no `log`, and says neither who set a variable nor what a
//! workspace was called before.

use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use super::answer::{Answer, Lie};
use super::bindings::latest::exports::orghost::plugin as latest;
use super::bindings::latest::orghost::plugin::template_files as files;
use super::bindings::v0_1_0::exports::orghost::plugin::{expander, importer};
use super::bindings::v0_1_0::orghost::plugin::template_files;
use super::call::Call;
use super::convert::shortened;

/// Links what its plugins may import.
pub fn link(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    template_files::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)
}

/// Where its exports are.
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
            Ok(said) => plan(said).map(Ok),
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
        let said = expander.call_expand(store, text, &environment(values))?;
        Ok(Some(latest::expander::Expansion {
            text: said.text,
            unresolved: said.unresolved,
            malformed: said.malformed,
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
        Ok(files::Host::entries(self, path)?
            .map(|entries| all(entries, entry))
            .map_err(file_error))
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

fn entry(entry: files::Entry) -> template_files::Entry {
    template_files::Entry {
        name: entry.name,
        kind: match entry.kind {
            files::EntryKind::File => template_files::EntryKind::File,
            files::EntryKind::Directory => template_files::EntryKind::Directory,
            files::EntryKind::Symlink => template_files::EntryKind::Symlink,
            files::EntryKind::Other => template_files::EntryKind::Other,
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

/// Functions that convert records whose fields are the same.
macro_rules! unchanged {
    ($($function:ident: $record:ident { $($field:ident),* })*) => {$(
        fn $function(said: importer::$record) -> latest::importer::$record {
            latest::importer::$record { $($field: said.$field),* }
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

fn plan(said: importer::Plan) -> Result<latest::importer::Plan, Lie> {
    Ok(latest::importer::Plan {
        org: org(said.org),
        workspaces: said
            .workspaces
            .into_iter()
            .map(workspace)
            .collect::<Result<_, _>>()?,
        required_env: all(said.required_env, requirement),
        recommended_env: all(said.recommended_env, requirement),
        warnings: all(said.warnings, diagnostic),
    })
}

fn workspace(said: importer::Workspace) -> Result<latest::importer::Workspace, Lie> {
    let parent = said.key.rsplit_once('/').map(|(parent, _)| parent);
    if said.parent.as_deref() != parent {
        let key = shortened(&said.key);
        return Err(format!(
            "the parent of {key:?} is not the key without its last slug"
        ));
    }
    Ok(latest::importer::Workspace {
        key: said.key,
        name: said.name,
        renamed_from: Vec::new(),
        role: said.role,
        runtime: said.runtime,
        model: said.model,
        tier: said.tier,
        external: said.external,
        url: said.url,
        workspace_dir: said.workspace_dir,
        workspace_access: match said.workspace_access {
            importer::WorkspaceAccess::None => latest::importer::WorkspaceAccess::None,
            importer::WorkspaceAccess::ReadOnly => latest::importer::WorkspaceAccess::ReadOnly,
            importer::WorkspaceAccess::ReadWrite => latest::importer::WorkspaceAccess::ReadWrite,
        },
        plugins: all(said.plugins, agent_plugin),
        files: all(said.files, seed_file),
        env: all(said.env, env_var),
        schedules: all(said.schedules, schedule),
        channels: all(said.channels, channel),
        skipped_channels: all(said.skipped_channels, skipped_channel),
        memories: all(said.memories, memory),
        max_concurrent_tasks: said.max_concurrent_tasks,
        canvas: canvas(said.canvas),
    })
}

/// Nothing says who set it; the host recognises what is the operator's.
fn env_var(said: importer::EnvVar) -> latest::importer::EnvVar {
    latest::importer::EnvVar {
        name: said.name,
        value: said.value,
        secret: said.secret,
        origin: latest::importer::Origin::Plugin,
    }
}

fn seed_file(said: importer::SeedFile) -> latest::importer::SeedFile {
    latest::importer::SeedFile {
        path: said.path,
        content: match said.content {
            importer::Content::Inline(bytes) => latest::importer::Content::Inline(bytes),
            importer::Content::Template(path) => latest::importer::Content::Template(path),
            importer::Content::TemplateText(path) => latest::importer::Content::TemplateText(path),
        },
        secret: said.secret,
    }
}

fn channel(said: importer::Channel) -> latest::importer::Channel {
    latest::importer::Channel {
        kind: said.kind,
        config: all(said.config, config_entry),
        allowed_users: said.allowed_users,
        enabled: said.enabled,
    }
}

fn memory(said: importer::Memory) -> latest::importer::Memory {
    latest::importer::Memory {
        content: said.content,
        scope: match said.scope {
            importer::MemoryScope::Local => latest::importer::MemoryScope::Local,
            importer::MemoryScope::Team => latest::importer::MemoryScope::Team,
            importer::MemoryScope::Global => latest::importer::MemoryScope::Global,
        },
    }
}

fn diagnostic(said: importer::Diagnostic) -> latest::importer::Diagnostic {
    latest::importer::Diagnostic {
        code: said.code,
        message: said.message,
        place: said.place.map(place),
        field: said.field,
        workspace: said.workspace,
        help: said.help,
    }
}

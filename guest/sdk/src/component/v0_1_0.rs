//! Connects a plugin to the host for version 0.1.0 of the contract. The SDK has the types of 0.2.0-dev, which are
//! converted.
//!
//! In 0.1.0 a workspace has a field for its parent, a variable has no origin, and a workspace has no former names.

use super::Component;
use crate::bindings::v0_1_0::exports::orghost::plugin::{expander, importer};
use crate::bindings::v0_1_0::orghost::plugin::template_files;
use crate::{Entry, EntryKind, FileError, Plugin, TemplateFiles};

/// The files of the template, read through the host.
struct HostFiles;

impl TemplateFiles for HostFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        template_files::read(path).map_err(file_error)
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        template_files::entries(path)
            .map(|entries| all(entries, entry))
            .map_err(file_error)
    }
}

impl<P: Plugin> importer::Guest for Component<P> {
    fn describe() -> importer::Description {
        description(P::describe())
    }

    fn import_org(request: importer::Request) -> Result<importer::Plan, Vec<importer::Diagnostic>> {
        let request = crate::Request {
            entry: request.entry,
            environment: environment(request.environment),
            options: crate::Options {
                skip_external: request.options.skip_external,
            },
        };
        P::import_org(&HostFiles, &request)
            .map(plan)
            .map_err(|refusal| all(refusal.into(), diagnostic))
    }
}

impl<P: Plugin> expander::Guest for Component<P> {
    fn expand(text: String, values: expander::Environment) -> expander::Expansion {
        let made = P::expand(&text, &environment(values));
        expander::Expansion {
            text: made.text,
            unresolved: made.unresolved,
            malformed: made.malformed,
        }
    }
}

fn file_error(error: template_files::FileError) -> FileError {
    match error {
        template_files::FileError::NotFound => FileError::NotFound,
        template_files::FileError::InvalidPath => FileError::InvalidPath,
        template_files::FileError::WrongKind => FileError::WrongKind,
        template_files::FileError::TooLarge => FileError::TooLarge,
        template_files::FileError::Unreadable(reason) => FileError::Unreadable(reason),
    }
}

fn entry(entry: template_files::Entry) -> Entry {
    Entry {
        name: entry.name,
        kind: match entry.kind {
            template_files::EntryKind::File => EntryKind::File,
            template_files::EntryKind::Directory => EntryKind::Directory,
            template_files::EntryKind::Symlink => EntryKind::Symlink,
            template_files::EntryKind::Other => EntryKind::Other,
        },
    }
}

fn environment(values: importer::Environment) -> crate::Environment {
    let variable = |variable: importer::Variable| crate::Variable {
        name: variable.name,
        value: variable.value,
    };
    crate::Environment {
        vars: all(values.vars, variable),
        granted: all(values.granted, variable),
    }
}

fn all<A, B>(list: Vec<A>, convert: impl FnMut(A) -> B) -> Vec<B> {
    list.into_iter().map(convert).collect()
}

/// Makes functions that convert records with the same fields.
macro_rules! unchanged {
    ($($function:ident: $record:ident { $($field:ident),* })*) => {$(
        fn $function(made: crate::$record) -> importer::$record {
            importer::$record { $($field: made.$field),* }
        }
    )*};
}

unchanged! {
    description: Description { name, version, handles }
    place: Place { file, line, column }
    org: Org { name, description }
    requirement: Requirement { any_of, missing_for }
    agent_plugin: AgentPlugin { source, config }
    // The origin is left out.
    env_var: EnvVar { name, value, secret }
    schedule: Schedule { name, cron, timezone, prompt, enabled }
    config_entry: ConfigEntry { name, value, secret }
    skipped_channel: SkippedChannel { kind, reason }
    canvas: Canvas { x, y }
}

fn plan(made: crate::Plan) -> importer::Plan {
    importer::Plan {
        org: org(made.org),
        workspaces: all(made.workspaces, workspace),
        required_env: all(made.required_env, requirement),
        recommended_env: all(made.recommended_env, requirement),
        warnings: all(made.warnings, diagnostic),
    }
}

/// Converts a workspace. Its former names are left out.
fn workspace(made: crate::Workspace) -> importer::Workspace {
    importer::Workspace {
        parent: made.parent().map(str::to_owned),
        key: made.key,
        name: made.name,
        role: made.role,
        runtime: made.runtime,
        model: made.model,
        tier: made.tier,
        external: made.external,
        url: made.url,
        workspace_dir: made.workspace_dir,
        workspace_access: match made.workspace_access {
            crate::WorkspaceAccess::None => importer::WorkspaceAccess::None,
            crate::WorkspaceAccess::ReadOnly => importer::WorkspaceAccess::ReadOnly,
            crate::WorkspaceAccess::ReadWrite => importer::WorkspaceAccess::ReadWrite,
        },
        plugins: all(made.plugins, agent_plugin),
        files: all(made.files, seed_file),
        env: all(made.env, env_var),
        schedules: all(made.schedules, schedule),
        channels: all(made.channels, channel),
        skipped_channels: all(made.skipped_channels, skipped_channel),
        memories: all(made.memories, memory),
        max_concurrent_tasks: made.max_concurrent_tasks,
        canvas: canvas(made.canvas),
    }
}

fn seed_file(made: crate::SeedFile) -> importer::SeedFile {
    importer::SeedFile {
        path: made.path,
        content: match made.content {
            crate::Content::Inline(bytes) => importer::Content::Inline(bytes),
            crate::Content::Template(path) => importer::Content::Template(path),
            crate::Content::TemplateText(path) => importer::Content::TemplateText(path),
        },
        secret: made.secret,
    }
}

fn channel(made: crate::Channel) -> importer::Channel {
    importer::Channel {
        kind: made.kind,
        config: all(made.config, config_entry),
        allowed_users: made.allowed_users,
        enabled: made.enabled,
    }
}

fn memory(made: crate::Memory) -> importer::Memory {
    importer::Memory {
        content: made.content,
        scope: match made.scope {
            crate::MemoryScope::Local => importer::MemoryScope::Local,
            crate::MemoryScope::Team => importer::MemoryScope::Team,
            crate::MemoryScope::Global => importer::MemoryScope::Global,
        },
    }
}

fn diagnostic(made: crate::Diagnostic) -> importer::Diagnostic {
    importer::Diagnostic {
        code: made.code,
        message: made.message,
        place: made.place.map(place),
        field: made.field,
        workspace: made.workspace,
        help: made.help,
    }
}

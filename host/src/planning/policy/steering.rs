//! The variables that steer a program of this machine before its own code runs, or make it run or trust something else:
//! where the loader, a shell, an interpreter or a library looks, which program a tool calls, whom a connection goes to.
//! On an engine whose workspaces are processes of this machine only the operator may set them.
//!
//! A list cannot be complete: it holds what the manuals of common programs name. What it misses meets the confinement of
//! the process (`provision/local/confine.rs`). Families that grow with every release are taken whole, by their prefix, so
//! that `PYTHON_VERSION_NOTE` counts as Python's: a new name is safe before somebody has read about it, and the operator
//! can always set it. Names that templates use every day and that choose no code and no peer are let out again.

mod families;

use super::{Violation, WorkspaceViolations};
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::plan::{EnvVar, Origin};
pub use families::FAMILIES;

/// Variables that one kind of program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Who reads them, as in "…, which the dynamic loader reads".
    pub reader: &'static str,
    /// Names in capitals; one that ends in `*` stands for all that begin so.
    pub names: &'static [&'static str],
    /// Of those, the ones that anybody may set.
    pub harmless: &'static [&'static str],
    /// How the reader compares.
    pub letters: Letters,
}

/// How a program compares the names of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// As they are.
    Exact,
    /// Capitals and small letters are the same to it.
    AnyCase,
}

/// Who reads this variable, when it is one that steers.
pub fn reader(name: &str) -> Option<&'static str> {
    let family = FAMILIES.iter().find(|family| family.holds(name))?;
    Some(family.reader)
}

/// Refuses what steers and is not the operator's word.
pub(super) fn judge(vars: &[EnvVar], engine: EngineKind, judged: &mut WorkspaceViolations<'_>) {
    for EnvVar { name, origin, .. } in vars.iter().take(limits::ENV_VARS) {
        let Some(reader) = reader(name).filter(|_| *origin != Origin::Operator) else {
            continue;
        };
        let (file, line) = match origin {
            Origin::Template { file, line } => (Some(file), *line),
            _ => (None, None),
        };
        let who = match origin {
            Origin::Template { .. } => "the template",
            Origin::Caller => "whoever asks this server",
            Origin::Plugin | Origin::Operator => "the plugin",
        };
        let engine = engine.as_str();
        judged.violations.add(Violation {
            code: "steering-env",
            workspace: Some(judged.key.clone()),
            message: format!(
                "{name}, which {reader} reads, is set by {who}; on the engine {engine} only the operator may set it"
            ),
            help: format!(
                "take it out; the operator may set it as `env` of the runtime in the configuration file, or with --env {name}=VALUE where no server is asked"
            ),
            file: file.cloned(),
            line,
        });
    }
}

impl Family {
    fn holds(&self, name: &str) -> bool {
        let folded = match self.letters {
            Letters::Exact => name.to_owned(),
            Letters::AnyCase => name.to_ascii_uppercase(),
        };
        let one_of = |names: &[&str]| names.iter().any(|pattern| fits(pattern, &folded));
        one_of(self.names) && !one_of(self.harmless)
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::reader;

    #[test]
    fn ordinary_names_do_not_steer() {
        for name in [
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "GH_TOKEN",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "DATABASE_URL",
            "DOCKER_IMAGE",
            "LOG_LEVEL",
            "LANG",
            "TZ",
            "MODEL",
            "NODE_ENV",
            "NPM_TOKEN",
            "GIT_AUTHOR_NAME",
            "GIT_COMMITTER_EMAIL",
            "JAVA_VERSION",
            "HOMEPAGE",
            "MY_PATH",
            "PATHS",
            "ld_preload",
            "python_path",
            "TEMPERATURE",
            "EDITOR_NAME",
            "PROXY_TOKEN",
            "RUST_LOG",
        ] {
            assert_eq!(reader(name), None, "{name}");
        }
    }

    #[test]
    fn letters_count_where_they_count_for_the_reader() {
        assert_eq!(reader("https_proxy"), Some("proxy settings"));
        assert_eq!(reader("Npm_Config_Registry"), Some("npm"));
        assert_eq!(reader("path"), None);
    }
}

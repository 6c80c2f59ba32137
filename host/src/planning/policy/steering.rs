//! The check of variables that steer a program: on an engine without containers, only the operator may set them.
//!
//! Such a variable changes which code a program runs or whom it trusts: where the loader, a shell, an interpreter or a
//! library looks for files, which program a tool calls, or which host a connection goes to.
//!
//! The list cannot be complete: it holds what the manuals of common programs name. The confinement of the process
//! (`provision/engine/local/confine.rs`) limits what a variable that is missing here can do. Families that grow with
//! every release are refused by their prefix, so that a new variable is refused before anybody adds it here;
//! `PYTHON_VERSION_NOTE` is refused too, and the operator can still set it. Common names that choose neither code nor a
//! peer are excepted.

mod families;

use super::{Violation, WorkspaceViolations};
use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::plan::{EnvVar, Origin};
pub use families::FAMILIES;

/// The variables that one kind of program reads and that steer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The programs that read them, as in "LD_PRELOAD is read by the dynamic loader".
    pub reader: &'static str,
    /// The names, in capitals where letters do not count. A name that ends in `*` is a prefix.
    pub names: &'static [&'static str],
    /// The exceptions among those names: they steer nothing, so anybody may set them.
    pub harmless: &'static [&'static str],
    /// How the programs compare names.
    pub letters: Letters,
}

/// Whether a program distinguishes capitals and small letters in the names of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// It does.
    Exact,
    /// It does not.
    AnyCase,
}

/// The programs that read this variable; `None` for a variable that steers nothing.
pub fn reader(name: &str) -> Option<&'static str> {
    let family = FAMILIES.iter().find(|family| family.holds(name))?;
    Some(family.reader)
}

/// Refuses each steering variable that the operator did not set.
pub(super) fn judge(vars: &[EnvVar], engine: EngineKind, violations: &mut WorkspaceViolations<'_>) {
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
            Origin::Caller => "the caller of this server",
            Origin::Plugin | Origin::Operator => "the plugin",
        };
        let engine = engine.as_str();
        violations.violations.add(Violation {
            code: "steering-env",
            workspace: Some(violations.key.clone()),
            message: format!(
                "{name} is read by {reader} and is set by {who}; on the engine {engine} only the operator may set it"
            ),
            help: format!(
                "remove it; the operator can set it under `env` of the runtime in the configuration file, or, without a server, with --env {name}=VALUE"
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
    fn capitals_count_only_where_the_program_distinguishes_them() {
        assert_eq!(reader("https_proxy"), Some("HTTP clients"));
        assert_eq!(reader("Npm_Config_Registry"), Some("npm"));
        assert_eq!(reader("path"), None);
    }
}

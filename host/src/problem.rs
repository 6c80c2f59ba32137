//! Why orghost did not do what it was asked, for whoever asked: the command line makes an exit code and a report of
//! it, the API a problem document (RFC 9457). Never renders, and never holds a secret.

use std::path::Path;

use crate::backup::BackupError;
use crate::catalog::{CatalogError, NotAName, PluginName, Refusal};
use crate::diagnostic::Diagnostic;
use crate::plugin::{CallError, LoadError, SandboxError};
use crate::provision::ProvisionError;
use crate::provision::engine::EngineError;
use crate::sealed::SealedError;
use crate::store::StoreError;
use crate::template::TemplateDir;
use crate::vault::VaultError;

/// Whose turn it is to do something about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The operator's: the engine, the store, the machine, the network.
    Failed,
    /// The caller's: usage, or an invalid template or plugin.
    Invalid,
    /// The caller's, or the operator's: policy refuses.
    Refused,
    /// The caller's: there is no such thing.
    Unknown,
    /// The caller's: it does not fit with what is there now.
    Conflict,
    /// The caller's: required variables have no value.
    MissingEnv,
    /// Nobody's: there is too much to do just now; later it will work.
    Busy,
}

/// Why something was not done. All of it at once: there may be many errors.
#[derive(Debug)]
pub struct Problem {
    /// What kind of problem it is.
    pub class: Class,
    /// What is wrong, at least one.
    pub errors: Vec<Diagnostic>,
    /// The template that the errors are about: only its files are shown.
    pub template: Option<TemplateDir>,
}

impl Problem {
    /// A problem with one error.
    pub fn one(class: Class, error: Diagnostic) -> Self {
        Self {
            class,
            errors: vec![error],
            template: None,
        }
    }

    /// Why a call into a plugin gave nothing.
    pub fn of_call(error: CallError, template: Option<&TemplateDir>) -> Self {
        let message = error.to_string();
        let diagnostic = match error {
            CallError::SaidNo(errors) => {
                return Self {
                    class: Class::Invalid,
                    errors,
                    template: template.cloned(),
                };
            }
            CallError::Broke { help, .. } => Diagnostic::new("plugin-broke", message).help(help),
            CallError::Lied(_) => Diagnostic::new("plugin-lied", message)
                .help("this is a defect of the plugin: nothing was created; tell its author, or use another plugin"),
            CallError::NotExported(_) => {
                Diagnostic::new("not-exported", message).help("use a plugin that exports it, such as the built-in one")
            }
        };
        Self::one(Class::Invalid, diagnostic)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, help) = match &error {
            StoreError::Folder { .. } => (
                "state-folder",
                "name a folder that you may write with --state or ORGHOST_STATE",
            ),
            StoreError::Locked(_) => (
                "state-locked",
                "wait until it is done, or use another --state folder",
            ),
            StoreError::Newer { .. } => (
                "store-newer",
                "use the newer orghost, or another --state folder; nothing was changed",
            ),
            StoreError::Corrupt { .. } => (
                "store-corrupt",
                "restore a backup into another folder (orghost --state FOLDER restore FILE); nothing was changed",
            ),
            StoreError::Full(_) => (
                "disk-full",
                "make room and run it again: what was stored is still there",
            ),
            StoreError::ReadOnly { .. } => (
                "state-folder",
                "make the state folder writable, or name another one with --state or ORGHOST_STATE",
            ),
            StoreError::Database { .. } => (
                "store",
                "free space or restore the file from a backup; nothing was overwritten",
            ),
        };
        Self::one(
            Class::Failed,
            Diagnostic::new(code, error.to_string()).help(help),
        )
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let diagnostic = Diagnostic::new(error.code(), error.to_string()).help(error.help());
        Self::one(Class::Failed, diagnostic)
    }
}

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Engine(error) => error.into(),
            ProvisionError::Store(error) => error.into(),
            ProvisionError::Seed { key, error } => Self::one(
                Class::Invalid,
                Diagnostic::new("seed", error.to_string())
                    .workspace(key.as_str())
                    .help(
                        "nothing was created; correct the template and run the same command again",
                    ),
            ),
            ProvisionError::Unidentified(_) => Self::one(
                Class::Failed,
                Diagnostic::new("no-identity", error.to_string()).help("a defect of orghost"),
            ),
        }
    }
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        let help =
            "it needs 64-bit Linux or macOS, and room in the address space (see `ulimit -v`)";
        Self::one(
            Class::Failed,
            Diagnostic::new("sandbox", error.to_string()).help(help),
        )
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Inspect(_) => "plugin-not-a-component",
            LoadError::Contract(_) => "plugin-contract",
            LoadError::Invalid(_) => "plugin-invalid",
        };
        Self::one(Class::Invalid, Diagnostic::new(code, error.to_string()))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let (code, help) = match refusal {
            Refusal::Load(error) => return error.into(),
            Refusal::Describe(error) => return Self::of_call(error, None),
            Refusal::Unsigned => (
                "plugin-unsigned",
                "its author signs it: orghost plugin sign FILE --key KEY",
            ),
            Refusal::Signature(_) => (
                "plugin-signature",
                "get the plugin and its signature from its author again; trust a key only when you know whose it is",
            ),
            Refusal::Pinned { .. } => (
                "plugin-digest",
                "install that file, or change `digest` under [plugins.NAME]",
            ),
        };
        Self::one(Class::Refused, Diagnostic::new(code, message).help(help))
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let (exit, code, help) = match &error {
            CatalogError::NotInstalled(_) => (
                Class::Invalid,
                "plugin-not-installed",
                "`orghost plugin list` shows the installed ones; `orghost plugin add FILE|REF` installs one",
            ),
            CatalogError::Altered { .. } => (
                Class::Refused,
                "plugin-altered",
                "install it again with orghost plugin add, and find out who wrote to the state folder",
            ),
            CatalogError::Reserved => (
                Class::Invalid,
                "plugin-name",
                "give it another name with --name",
            ),
            CatalogError::Lock { .. } => (
                Class::Failed,
                "plugin-lock",
                "repair it, or remove it and install the plugins again",
            ),
            CatalogError::Disk { .. } => (
                Class::Failed,
                "plugin-store",
                "see to its permissions and the disk's space; a plugin whose file is gone is mended by installing it again",
            ),
        };
        Self::one(exit, Diagnostic::new(code, error.to_string()).help(help))
    }
}

impl From<SealedError> for Problem {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Store(error) => error.into(),
            SealedError::NoKey(error) => error.into(),
            error => Self::one(
                Class::Failed,
                Diagnostic::new("secret-key", error.to_string()).help(KEY_HELP),
            ),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        let (class, code, help) = match error {
            BackupError::Store(error) => return error.into(),
            BackupError::Sealed(error) => return error.into(),
            BackupError::Disk { .. } => (
                Class::Failed,
                "backup-file",
                "see to its permissions and the disk's space",
            ),
            BackupError::Exists(_) => (
                Class::Invalid,
                "backup-exists",
                "name another file; nothing is overwritten",
            ),
            BackupError::NotEmpty { .. } => (
                Class::Invalid,
                "state-not-empty",
                "name an empty folder with --state; only secret.key may be in it",
            ),
            BackupError::Newer(_) => (
                Class::Invalid,
                "backup-newer",
                "use the newer orghost; nothing was restored",
            ),
            BackupError::Damaged(_) => (
                Class::Invalid,
                "backup-damaged",
                "use another backup; nothing was restored",
            ),
        };
        Self::one(class, Diagnostic::new(code, message).help(help))
    }
}

const KEY_HELP: &str = "the secret key is the one of ORGHOST_SECRET_KEY, else of `secret_key_file` under [server], else of secret.key in the state folder";

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        Self::one(
            Class::Failed,
            Diagnostic::new("secret-key", error.to_string()).help(KEY_HELP),
        )
    }
}

/// A text that is no name of a plugin.
pub fn name_diagnostic(error: &NotAName) -> Diagnostic {
    Diagnostic::new("plugin-name", error.to_string())
        .help("a plugin file is written with a `/`, such as ./acme.wasm; `orghost plugin list` shows the installed ones")
}

/// The same problem, of an installed plugin.
pub fn named(mut problem: Problem, name: &PluginName) -> Problem {
    for error in &mut problem.errors {
        error.message = format!("{name}: {}", error.message);
    }
    problem
}

/// The same problem, of a plugin's file.
pub fn about(mut problem: Problem, file: &Path) -> Problem {
    for error in &mut problem.errors {
        error.file = Some(file.display().to_string());
    }
    problem
}

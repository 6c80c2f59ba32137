//! How a command ends: the exit code, and the errors as a person (with the
//! place in the source) or a program (`{"errors": […]}`) reads them.

use std::path::PathBuf;
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity};

use super::text::printable;
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::provision::ProvisionError;
use crate::provision::engine::EngineError;
use crate::store::StoreError;

/// The documented exit codes.
#[derive(Debug, Clone, Copy)]
pub enum Exit {
    /// 0
    Done,
    /// 1: the engine, the store, the machine.
    Failed,
    /// 2: usage, or an invalid template or plugin.
    Invalid,
    /// 3: refused by policy.
    Refused,
    /// 4: some workspaces failed.
    Partly,
    /// A hidden command's own.
    Other(ExitCode),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub errors: Vec<Diagnostic>,
    /// The folder that the errors' files are relative to.
    pub folder: Option<PathBuf>,
}

impl Failure {
    pub fn one(exit: Exit, error: Diagnostic) -> Self {
        Self {
            exit,
            errors: vec![error],
            folder: None,
        }
    }

    pub fn print(&self, json: bool) {
        if json {
            let _ = super::print_json(&serde_json::json!({ "errors": self.errors }));
            return;
        }
        for error in &self.errors {
            print(error, Severity::Error, self.folder.as_deref());
        }
    }
}

/// Prints one error or warning for a person, on standard error.
pub fn print(diagnostic: &Diagnostic, severity: Severity, folder: Option<&std::path::Path>) {
    let mut shown = MietteDiagnostic::new(sentence(diagnostic))
        .with_severity(severity)
        .with_code(printable(&diagnostic.code).into_owned());
    if let Some(help) = &diagnostic.help {
        shown = shown.with_help(printable(help).into_owned());
    }
    let report = match source(diagnostic, folder) {
        Some((name, text, span)) => {
            let label = LabeledSpan::new_primary_with_span(diagnostic.field.clone(), span);
            Report::new(shown.with_label(label)).with_source_code(NamedSource::new(name, text))
        }
        None => Report::new(shown),
    };
    let theme = if console::colors_enabled_stderr() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut text = String::new();
    let width = console::Term::stderr().size_checked().map_or(100, |(_, columns)| columns);
    let handler = GraphicalReportHandler::new_themed(theme).with_width(usize::from(width));
    if handler.render_report(&mut text, report.as_ref()).is_ok() {
        eprintln!("{}", text.trim_matches('\n'));
    }
}

fn sentence(diagnostic: &Diagnostic) -> String {
    let mut text = String::new();
    if let Some(workspace) = &diagnostic.workspace {
        text.push_str(workspace);
        text.push_str(": ");
    }
    text.push_str(&diagnostic.message);
    if let Some(file) = &diagnostic.file {
        text.push_str("\n  at ");
        text.push_str(file);
        for number in [diagnostic.line, diagnostic.column].into_iter().flatten() {
            text.push_str(&format!(":{number}"));
        }
    }
    printable(&text).into_owned()
}

/// The lines around a place, when the file can be had. Never of a `.env` file: its lines are secrets.
fn source(
    diagnostic: &Diagnostic,
    folder: Option<&std::path::Path>,
) -> Option<(String, String, std::ops::Range<usize>)> {
    let name = diagnostic.file.as_ref()?;
    let line = usize::try_from(diagnostic.line?).ok()?;
    let column = usize::try_from(diagnostic.column.unwrap_or(1)).ok()?;
    let path = folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    if path.file_name()?.to_string_lossy().starts_with(".env") {
        return None;
    }
    if std::fs::metadata(&path).ok()?.len() > limits::TEMPLATE_FILE_BYTES {
        return None;
    }
    let text = printable(&std::fs::read_to_string(&path).ok()?).into_owned();
    let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest = text.get(start..)?.lines().next().unwrap_or_default();
    let skip: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let marked = rest.get(skip..).unwrap_or_default().trim_end().len();
    Some((name.clone(), text, start + skip..start + skip + marked))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::Invalid => Self::from(2),
            Exit::Refused => Self::from(3),
            Exit::Partly => Self::from(4),
            Exit::Other(code) => code,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (code, help) = match &error {
            StoreError::Folder { .. } => ("state-folder", "name a folder that you may write with --state or ORGHOST_STATE"),
            StoreError::Locked(_) => ("state-locked", "wait until it is done, or use another --state folder"),
            StoreError::Newer { .. } => ("store-newer", "use the newer orghost, or another --state folder; nothing was changed"),
            StoreError::Database { .. } => ("store", "free space or restore the file from a backup; nothing was overwritten"),
        };
        Self::one(Exit::Failed, Diagnostic::new(code, error.to_string()).help(help))
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let diagnostic = Diagnostic::new(error.code(), error.to_string()).help(error.help());
        Self::one(Exit::Failed, diagnostic)
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Engine(error) => error.into(),
            ProvisionError::Store(error) => error.into(),
            ProvisionError::Seed { key, error } => Self::one(
                Exit::Invalid,
                Diagnostic::new("seed", error.to_string())
                    .workspace(key.as_str())
                    .help("nothing was created; correct the template and run the same command again"),
            ),
        }
    }
}

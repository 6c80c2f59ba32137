//! How a command ends: the exit code, and the errors as a person (with the
//! place in the source) or a program (`{"errors": […]}`) reads them.

use std::process::ExitCode;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
    Severity,
};

use super::text::{count, in_line, note, printable};
use crate::diagnostic::Diagnostic;
use crate::provision::ProvisionError;
use crate::provision::engine::EngineError;
use crate::store::StoreError;
use crate::template::{TemplateDir, TemplatePath};

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
    /// The template that the errors are about: only its files are shown.
    pub template: Option<TemplateDir>,
}

impl Failure {
    pub fn one(exit: Exit, error: Diagnostic) -> Self {
        Self {
            exit,
            errors: vec![error],
            template: None,
        }
    }

    pub fn print(&self, json: bool) {
        if json {
            let _ = super::print_json(&serde_json::json!({ "errors": self.errors }));
            return;
        }
        /// Nobody reads more at once; `--json` has all.
        const SHOWN: usize = 20;
        for error in self.errors.iter().take(SHOWN) {
            print(error, Severity::Error, self.template.as_ref());
        }
        if self.errors.len() > SHOWN {
            let more = count(self.errors.len() - SHOWN, "more error");
            note(&format!("and {more}; --json shows all"));
        }
    }
}

/// Prints one error or warning for a person, on standard error.
pub fn print(diagnostic: &Diagnostic, severity: Severity, template: Option<&TemplateDir>) {
    let mut shown = MietteDiagnostic::new(sentence(diagnostic))
        .with_severity(severity)
        .with_code(printable(&diagnostic.code).into_owned());
    if let Some(help) = &diagnostic.help {
        shown = shown.with_help(printable(help).into_owned());
    }
    let report = match template.and_then(|template| source(diagnostic, template)) {
        Some((name, text, span)) => {
            let field = diagnostic.field.as_deref().map(in_line);
            let label = LabeledSpan::new_primary_with_span(field, span);
            let source = NamedSource::new(in_line(&name), text);
            Report::new(shown.with_label(label)).with_source_code(source)
        }
        None => Report::new(shown),
    };
    let theme = if console::colors_enabled_stderr() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut text = String::new();
    let width = console::Term::stderr()
        .size_checked()
        .map_or(100, |(_, columns)| columns);
    let handler = GraphicalReportHandler::new_themed(theme).with_width(usize::from(width));
    if handler.render_report(&mut text, report.as_ref()).is_ok() {
        note(text.trim_matches('\n'));
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

/// The lines around a place in a template. Nothing outside of it is read,
/// whatever a plugin names, and no `.env` file: its lines are secrets.
fn source(
    diagnostic: &Diagnostic,
    template: &TemplateDir,
) -> Option<(String, String, std::ops::Range<usize>)> {
    let name = diagnostic.file.as_ref()?;
    let line = usize::try_from(diagnostic.line?).ok()?;
    let column = usize::try_from(diagnostic.column.unwrap_or(1)).ok()?;
    if name.rsplit('/').next()?.starts_with(".env") {
        return None;
    }
    let file = template.read(&TemplatePath::new(name).ok()?).ok()?;
    let text = printable(&String::from_utf8(file.bytes).ok()?).into_owned();
    let start: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let rest = text.get(start..)?.lines().next().unwrap_or_default();
    let skip: usize = rest
        .chars()
        .take(column.saturating_sub(1))
        .map(char::len_utf8)
        .sum();
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
            StoreError::Database { .. } => (
                "store",
                "free space or restore the file from a backup; nothing was overwritten",
            ),
        };
        Self::one(
            Exit::Failed,
            Diagnostic::new(code, error.to_string()).help(help),
        )
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
                    .help(
                        "nothing was created; correct the template and run the same command again",
                    ),
            ),
        }
    }
}

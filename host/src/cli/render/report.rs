//! Prints errors and warnings: for a person, with the place in the template; for a program, as `{"errors": […]}`.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
    Severity,
};

use super::text::{count, in_line, note, printable};
use crate::model::diagnostic::Diagnostic;
use crate::problem::Problem;
use crate::template::directory::TemplateDir;
use crate::template::path::TemplatePath;

/// Prints a problem: as JSON on standard output, or for a person.
pub fn print_problem(problem: &Problem, json: bool) {
    if json {
        let _ = crate::cli::print_json(&serde_json::json!({ "errors": problem.errors }));
        return;
    }
    /// How many errors are printed for a person; `--json` prints all.
    const SHOWN: usize = 20;
    for error in problem.errors.iter().take(SHOWN) {
        print(error, Severity::Error, problem.template.as_ref());
    }
    if problem.errors.len() > SHOWN {
        let more = count(problem.errors.len() - SHOWN, "more error");
        note(&format!("and {more}; --json shows all"));
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

/// Reads the file that a diagnostic names, with the span of its line and column. It reads only inside the template,
/// because a plugin chooses the name, and no `.env` file, because its lines are secrets.
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

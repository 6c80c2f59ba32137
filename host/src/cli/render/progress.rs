//! Shows events as they happen: a live tree on a terminal, plain lines
//! otherwise, one JSON object a line with `--json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{in_line, print_line, printable, stand_above};
use crate::cli::print_json;
use crate::model::event::{Before, Event, Failure, Operation, What};
use crate::model::plan::WorkspaceKey;

/// Shows the events of one command, until it is dropped.
pub struct Progress {
    form: Form,
    counts: Mutex<Counts>,
}

enum Form {
    Json,
    Plain,
    Tree {
        lines: BTreeMap<WorkspaceKey, ProgressBar>,
        all: MultiProgress,
    },
}

/// How far an operation is. A workspace counts once, whatever happens to it: an operation that goes on after its host was
/// killed says some things again.
#[derive(Default)]
struct Counts {
    operation: Option<Operation>,
    /// How many workspaces it is about: those that are removed besides, because they are no longer in the template, are not
    /// among them.
    total: usize,
    settled: BTreeSet<WorkspaceKey>,
    removed: BTreeSet<WorkspaceKey>,
}

impl Counts {
    /// Takes an event in; its line, if it has one.
    fn line(&mut self, event: &Event) -> Option<String> {
        if let What::Began {
            operation,
            workspaces,
            ..
        } = &event.what
        {
            *self = Self {
                operation: Some(*operation),
                total: *workspaces,
                ..Self::default()
            };
        }
        let text = plain(event)?;
        let Some(key) = &event.workspace else {
            return Some(text);
        };
        if !matches!(event.what, What::Removed) {
            self.settled.insert(key.clone());
            let (settled, total) = (self.settled.len(), self.total);
            return Some(format!("[{settled}/{total}] {key}: {text}"));
        }
        self.removed.insert(key.clone());
        let removed = self.removed.len();
        Some(match self.operation {
            Some(Operation::Down) => format!("[{removed}/{} removed] {key}", self.total),
            _ => format!("[{removed} removed] {key}"),
        })
    }
}

impl Progress {
    /// Chooses by where standard output goes. `keys` are the workspaces that have a line each in a tree, in their order.
    pub fn new(json: bool, keys: &[WorkspaceKey]) -> Self {
        let rows = usize::from(console::Term::stdout().size().0);
        let fits = !keys.is_empty() && keys.len() < rows;
        // A terminal of which nobody knows the kind (`TERM`) draws nothing.
        let draws = !ProgressDrawTarget::stdout().is_hidden();
        let form = if json {
            Form::Json
        } else if draws && fits {
            Form::tree(keys)
        } else {
            Form::Plain
        };
        Self {
            form,
            counts: Mutex::default(),
        }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.form {
            Form::Json => {
                let _ = print_json(event);
            }
            Form::Plain => {
                if let Some(line) = counts.line(event) {
                    print_line(&line);
                }
            }
            Form::Tree { lines, all } => {
                let bar = event.workspace.as_ref().and_then(|key| lines.get(key));
                match (bar, &event.what) {
                    (Some(bar), What::Step { step }) => {
                        bar.enable_steady_tick(Duration::from_millis(100));
                        bar.set_message(step.as_str());
                    }
                    (Some(bar), _) => {
                        if let Some(text) = plain(event) {
                            bar.finish_with_message(text);
                        }
                    }
                    (None, _) => {
                        if let Some(line) = counts.line(event) {
                            let _ = all.println(line);
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        stand_above(None);
    }
}

impl Form {
    fn tree(keys: &[WorkspaceKey]) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{prefix} {spinner} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = |key: &WorkspaceKey| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(format!("{}{}", "  ".repeat(key.depth()), key.slug()));
            bar.set_message("waiting");
            (key.clone(), bar)
        };
        let lines = keys.iter().map(line).collect();
        stand_above(Some(all.clone()));
        Self::Tree { lines, all }
    }
}

fn plain(event: &Event) -> Option<String> {
    Some(match &event.what {
        What::Began { .. } | What::Ended { .. } | What::Step { .. } => return None,
        What::Resumed { operation, cut_off } => {
            let where_ = if cut_off.is_empty() {
                String::new()
            } else {
                format!(" ({})", cut_off.join(", "))
            };
            format!(
                "an earlier `{}` was cut off{where_}: going on",
                operation.as_str()
            )
        }
        What::Unchanged { url } => format!("unchanged{}", at(url)),
        What::External { url } => format!("external{}", at(url)),
        What::Up { url, ready: true } => format!("ready{}", at(url)),
        What::Up { url, ready: false } => format!("started{}", at(url)),
        What::Failed(failure) => format!(
            "failed at {}: {}",
            failure.step.as_str(),
            in_line(&failure.reason)
        ),
        What::Skipped { reason } => format!("skipped: {}", in_line(reason)),
        What::Stopped => "stopped".to_owned(),
        What::Broke { reason } => format!("broke: {}", in_line(reason)),
        What::Removed => "removed".to_owned(),
        What::Swept { name } => format!("{} belonged to nobody, and was removed", in_line(name)),
    })
}

fn at(url: &Option<String>) -> String {
    url.as_ref()
        .map(|url| format!(" at {}", in_line(url)))
        .unwrap_or_default()
}

/// What the summary says of one failure.
pub fn failure_details(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(code) = failure.exit_code {
        lines.push(format!("it ended with exit code {code}"));
    }
    lines.extend(last_lines(&failure.last_lines, failure.code == "ended"));
    lines.extend(failure.before.as_ref().map(|before| match before {
        Before::Runs { url } => format!("the one before it was not stopped, and runs{}", at(url)),
        Before::RunsAgain { url } => format!("the one before it runs again{}", at(url)),
        Before::Stopped { reason } => {
            format!("the one before it is stopped: {}", printable(reason))
        }
    }));
    for left in &failure.left_behind {
        lines.push(format!("left behind: {}", printable(left)));
    }
    lines.push(format!("help: {}", failure.help));
    lines
}

/// What a workspace printed last, if it printed anything. One that ended by itself may be expected to have said why.
pub fn last_lines(printed: &[String], ended: bool) -> impl Iterator<Item = String> {
    let heading = match ended {
        true => "its last lines say why:",
        false => "its last lines may say why:",
    };
    let heading = (!printed.is_empty()).then(|| heading.to_owned());
    let lines = printed
        .iter()
        .map(|line| format!("  | {}", printable(line)));
    heading.into_iter().chain(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine_kind::EngineKind;

    fn event(workspace: Option<&str>, what: What) -> Event {
        Event {
            org: "acme".to_owned(),
            workspace: workspace.map(|key| WorkspaceKey::new(key).unwrap()),
            workspace_id: None,
            what,
        }
    }

    fn began(operation: Operation, workspaces: usize) -> Event {
        let engine = EngineKind::Local;
        event(
            None,
            What::Began {
                operation,
                engine,
                workspaces,
            },
        )
    }

    fn lines(events: &[Event]) -> Vec<String> {
        let mut counts = Counts::default();
        events.iter().filter_map(|e| counts.line(e)).collect()
    }

    #[test]
    fn what_is_removed_besides_is_counted_of_its_own() {
        let told = lines(&[
            began(Operation::Up, 1),
            event(Some("a"), What::Unchanged { url: None }),
            event(Some("b"), What::Removed),
            event(Some("c"), What::Removed),
        ]);
        assert_eq!(
            told,
            ["[1/1] a: unchanged", "[1 removed] b", "[2 removed] c"]
        );
        let told = lines(&[
            began(Operation::Down, 2),
            event(Some("b"), What::Removed),
            event(Some("a"), What::Removed),
        ]);
        assert_eq!(told, ["[1/2 removed] b", "[2/2 removed] a"]);
    }

    #[test]
    fn an_operation_that_goes_on_counts_nobody_twice() {
        let up = |key| event(Some(key), What::Unchanged { url: None });
        let told = lines(&[
            began(Operation::Up, 2),
            up("a"),
            up("a"),
            up("b"),
            began(Operation::Up, 2),
            up("a"),
        ]);
        let counts = ["[1/2] a", "[1/2] a", "[2/2] b", "[1/2] a"];
        assert_eq!(told, counts.map(|count| format!("{count}: unchanged")));
    }
}

//! Shows events as they happen: a live tree on a terminal, plain lines elsewhere, one JSON object per line with `--json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{in_line, print_above, print_line, printable};
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

/// The progress of an operation. A workspace is counted once, because an operation that resumes after its host was killed
/// repeats some events.
#[derive(Default)]
struct Counts {
    operation: Option<Operation>,
    /// How many workspaces the operation is about. Workspaces that it removes because they left the template are not
    /// included.
    total: usize,
    settled: BTreeSet<WorkspaceKey>,
    removed: BTreeSet<WorkspaceKey>,
}

impl Counts {
    /// Counts an event, and gives the line to print for it, if any.
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
        let text = event_text(event)?;
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
    /// Chooses the form: JSON if asked for, a tree on a terminal with enough rows, plain lines otherwise. `keys` are the
    /// workspaces that get a line in the tree, in order.
    pub fn new(json: bool, keys: &[WorkspaceKey]) -> Self {
        let rows = usize::from(console::Term::stdout().size().0);
        let fits = !keys.is_empty() && keys.len() < rows;
        // A terminal of an unknown kind (`TERM`) cannot draw a tree.
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
                        if let Some(text) = event_text(event) {
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
        print_above(None);
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
        print_above(Some(all.clone()));
        Self::Tree { lines, all }
    }
}

fn event_text(event: &Event) -> Option<String> {
    Some(match &event.what {
        What::Began { .. } | What::Ended { .. } | What::Step { .. } => return None,
        What::Resumed { operation, cut_off } => {
            let workspaces = if cut_off.is_empty() {
                String::new()
            } else {
                format!(" ({})", cut_off.join(", "))
            };
            format!(
                "resuming the `{}` that was interrupted{workspaces}",
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
        What::Broke { reason } => format!("ended early: {}", in_line(reason)),
        What::Removed => "removed".to_owned(),
        What::Swept { name } => format!("{} belonged to no org and was removed", in_line(name)),
    })
}

fn at(url: &Option<String>) -> String {
    url.as_ref()
        .map(|url| format!(" at {}", in_line(url)))
        .unwrap_or_default()
}

/// The lines about one failure in the summary of `up`.
pub fn failure_details(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(code) = failure.exit_code {
        lines.push(format!("it ended with exit code {code}"));
    }
    lines.extend(last_lines(&failure.last_lines, failure.code == "ended"));
    lines.extend(failure.before.as_ref().map(|before| match before {
        Before::Runs { url } => {
            format!("the previous one was not stopped and still runs{}", at(url))
        }
        Before::RunsAgain { url } => format!("the previous one runs again{}", at(url)),
        Before::Stopped { reason } => {
            format!("the previous one is stopped: {}", printable(reason))
        }
    }));
    for left in &failure.left_behind {
        lines.push(format!("not removed: {}", printable(left)));
    }
    lines.push(format!("help: {}", failure.help));
    lines
}

/// The last lines that a workspace printed, with a heading, if it printed anything. The heading is more certain for a
/// workspace that ended by itself: it usually prints the reason.
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
    fn workspaces_removed_by_an_up_are_counted_separately() {
        let shown = lines(&[
            began(Operation::Up, 1),
            event(Some("a"), What::Unchanged { url: None }),
            event(Some("b"), What::Removed),
            event(Some("c"), What::Removed),
        ]);
        assert_eq!(
            shown,
            ["[1/1] a: unchanged", "[1 removed] b", "[2 removed] c"]
        );
        let shown = lines(&[
            began(Operation::Down, 2),
            event(Some("b"), What::Removed),
            event(Some("a"), What::Removed),
        ]);
        assert_eq!(shown, ["[1/2 removed] b", "[2/2 removed] a"]);
    }

    #[test]
    fn a_resumed_operation_counts_each_workspace_once() {
        let up = |key| event(Some(key), What::Unchanged { url: None });
        let shown = lines(&[
            began(Operation::Up, 2),
            up("a"),
            up("a"),
            up("b"),
            began(Operation::Up, 2),
            up("a"),
        ]);
        let expected = ["[1/2] a", "[1/2] a", "[2/2] b", "[1/2] a"];
        assert_eq!(shown, expected.map(|count| format!("{count}: unchanged")));
    }
}

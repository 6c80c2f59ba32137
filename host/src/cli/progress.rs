//! Shows events as they happen: a live tree on a terminal, plain lines
//! otherwise, one JSON object a line with `--json`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print_json;
use super::text::{in_line, print_line, printable};
use crate::event::{Before, Event, Failure, What};
use crate::plan::WorkspaceKey;

/// One way of showing events.
pub enum Progress {
    Json,
    Plain {
        total: usize,
        settled: Mutex<usize>,
    },
    Tree {
        lines: BTreeMap<WorkspaceKey, ProgressBar>,
        all: MultiProgress,
    },
}

impl Progress {
    /// Chooses by where standard output goes. `keys` are the workspaces in their order.
    pub fn new(json: bool, keys: &[WorkspaceKey]) -> Self {
        let terminal = console::Term::stdout();
        let rows = usize::from(terminal.size().0);
        if json {
            Self::Json
        } else if terminal.features().is_attended() && keys.len() < rows {
            Self::tree(keys)
        } else {
            Self::Plain {
                total: keys.len(),
                settled: Mutex::new(0),
            }
        }
    }

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
        Self::Tree { lines, all }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        match self {
            Self::Json => {
                let _ = print_json(event);
            }
            Self::Plain { total, settled } => {
                let Some(text) = plain(event) else { return };
                let mut settled = settled.lock().unwrap_or_else(PoisonError::into_inner);
                match &event.workspace {
                    Some(key) => {
                        *settled += 1;
                        print_line(&format!("[{settled}/{total}] {key}: {text}"));
                    }
                    None => print_line(&text),
                }
            }
            Self::Tree { lines, all } => {
                let Some(bar) = event.workspace.as_ref().and_then(|key| lines.get(key)) else {
                    if let Some(text) = plain(event) {
                        let _ = all.println(text);
                    }
                    return;
                };
                if let What::Step { step } = &event.what {
                    bar.enable_steady_tick(Duration::from_millis(100));
                    bar.set_message(step.as_str());
                } else if let Some(text) = plain(event) {
                    bar.finish_with_message(text);
                }
            }
        }
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
    if !failure.last_lines.is_empty() {
        lines.push("its last lines:".to_owned());
        lines.extend(
            failure
                .last_lines
                .iter()
                .map(|line| format!("  | {}", printable(line))),
        );
    }
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

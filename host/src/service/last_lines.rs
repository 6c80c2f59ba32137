//! The last output of failed workspaces, for callers that follow an operation. It may hold secrets, because a failing program
//! may print its settings. So it is only in memory, never in the store or a log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::limits;
use crate::model::event::{Event, What};
use crate::model::ids::OperationId;
use crate::model::plan::WorkspaceKey;

/// The newest output, at most [`limits::LAST_LINES_HELD`] bytes.
#[derive(Default)]
pub struct LastLines(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// Oldest first.
    failures: VecDeque<FailureOutput>,
    bytes: usize,
}

struct FailureOutput {
    operation: OperationId,
    workspace: WorkspaceKey,
    lines: Vec<String>,
}

impl FailureOutput {
    fn bytes(&self) -> usize {
        self.lines.iter().map(String::len).sum()
    }
}

impl LastLines {
    /// Keeps the output that an event of a failed workspace carries. Ignores other events.
    pub fn record(&self, operation: &OperationId, event: &Event) {
        let (What::Failed(failure), Some(workspace)) = (&event.what, &event.workspace) else {
            return;
        };
        if failure.last_lines.is_empty() {
            return;
        }
        let output = FailureOutput {
            operation: operation.clone(),
            workspace: workspace.clone(),
            lines: failure.last_lines.clone(),
        };
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += output.bytes();
        held.failures.push_back(output);
        while held.bytes > limits::LAST_LINES_HELD
            && let Some(oldest) = held.failures.pop_front()
        {
            held.bytes -= oldest.bytes();
        }
    }

    /// The output of an operation's failed workspaces, by their keys.
    pub fn of(&self, operation: &OperationId) -> BTreeMap<String, Vec<String>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.failures.iter().filter(|w| w.operation == *operation);
        own.map(|output| (output.workspace.to_string(), output.lines.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Failure, Step};

    fn failed(key: &str, lines: Vec<String>) -> Event {
        let failure = Failure {
            step: Step::Work,
            code: "ended".into(),
            reason: String::new(),
            help: String::new(),
            last_lines: lines,
            exit_code: None,
            before: None,
            is_cancelled: false,
            left_behind: Vec::new(),
        };
        Event {
            org: "acme".to_owned(),
            workspace: WorkspaceKey::new(key).ok(),
            workspace_id: None,
            what: What::Failed(Box::new(failure)),
        }
    }

    #[test]
    fn output_is_kept_by_operation_and_the_oldest_is_dropped_first() {
        let kept = LastLines::default();
        let operation = |id: &str| OperationId(id.to_owned());
        kept.record(&operation("a"), &failed("x", vec!["one".to_owned()]));
        kept.record(&operation("b"), &failed("x", vec!["two".to_owned()]));
        kept.record(&operation("b"), &failed("y", Vec::new()));
        let of_b = kept.of(&operation("b"));
        assert_eq!(
            of_b.into_iter().collect::<Vec<_>>(),
            [("x".to_owned(), vec!["two".to_owned()])]
        );
        let large = vec!["l".repeat(limits::LAST_LINES_HELD - 3)];
        kept.record(&operation("c"), &failed("x", large));
        assert!(kept.of(&operation("a")).is_empty());
        assert_eq!(kept.of(&operation("b")).len(), 1);
        kept.record(&operation("d"), &failed("x", vec!["four".to_owned()]));
        assert!(kept.of(&operation("b")).is_empty());
    }
}

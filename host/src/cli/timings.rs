//! Records how long the parts of a command take, for `--timings`. The parts are `tracing` spans, which a server sends over OTLP.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

/// The parts of a command that have ended. Clones share one list.
#[derive(Clone)]
pub struct Recorder(Arc<Recorded>);

struct Recorded {
    began: Instant,
    parts: Mutex<Vec<Part>>,
}

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What was done, such as `judge`, or the step of a workspace.
    pub name: String,
    /// The key of the workspace that it was done for; none for the command as a whole.
    pub workspace: Option<String>,
    /// When it began, from the start of the command.
    pub start: Duration,
    /// When it ended, from the start of the command.
    pub end: Duration,
}

impl Recorder {
    /// Records every span of orghost from now on, in this process.
    pub fn start() -> Self {
        let recorder = Self(Arc::new(Recorded {
            began: Instant::now(),
            parts: Mutex::default(),
        }));
        let filter = Targets::new().with_target("orghost", tracing::Level::INFO);
        // Fails when something records already, which no command with `--timings` does.
        let _ = Registry::default()
            .with(recorder.clone().with_filter(filter))
            .try_init();
        recorder
    }

    /// The parts that have ended, in the order of their beginning, and how long the command has taken.
    pub fn parts(&self) -> (Vec<Part>, Duration) {
        let parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = parts.clone();
        parts.sort_by_key(|part| part.start);
        (parts, self.0.began.elapsed())
    }
}

/// A span that has begun.
struct Begun {
    start: Duration,
    labels: Labels,
}

/// The fields of a span that say what it is about.
#[derive(Default)]
struct Labels {
    step: Option<String>,
    workspace: Option<String>,
}

impl Visit for Labels {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "step" => self.step = Some(value.to_owned()),
            "workspace" => self.workspace = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S> Layer<S> for Recorder
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut labels = Labels::default();
        attributes.record(&mut labels);
        let begun = Begun {
            start: self.0.began.elapsed(),
            labels,
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(begun);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(Begun { start, labels }) = span.extensions_mut().remove() else {
            return;
        };
        let part = Part {
            name: labels.step.unwrap_or_else(|| span.name().to_owned()),
            workspace: labels.workspace,
            start,
            end: self.0.began.elapsed(),
        };
        let parts = &self.0.parts;
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(part);
    }
}

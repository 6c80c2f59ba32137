//! Shows where the time of a command went: a waterfall for people, JSON for scripts, and a trace file.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::text::{in_line, note};
use crate::cli::print_json;
use crate::cli::timings::{Part, Recorder};
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The sign of each step in the bar of a workspace.
const SIGNS: [(&str, char); 9] = [
    ("remove", '-'),
    ("volumes", 'v'),
    ("create", 'c'),
    ("seed", 's'),
    ("verify", '='),
    ("stop", 'x'),
    ("start", '>'),
    ("ready", '.'),
    ("rollback", '<'),
];

/// Shows the recorded parts: as JSON, or as a waterfall on standard error. With a file, also writes them as a trace in the
/// Chrome trace event format, which Perfetto opens.
///
/// # Errors
/// `write`: the file cannot be written.
pub fn show(recorder: &Recorder, json: bool, file: Option<&Path>) -> Result<(), Problem> {
    let (parts, total) = recorder.parts();
    if let Some(file) = file {
        let text = trace(&parts).to_string();
        std::fs::write(file, text).map_err(|error| {
            let message = format!("the trace cannot be written to {}: {error}", file.display());
            Problem::one(Class::Failed, Diagnostic::new("write", message))
        })?;
    }
    if json {
        let spans: Vec<Value> = parts.iter().map(span).collect();
        let total_us = micros(total);
        return print_json(&json!({"event": "timings", "total_us": total_us, "parts": spans}));
    }
    let columns = usize::from(console::Term::stderr().size().1).clamp(60, 160);
    for line in waterfall(&parts, total, columns) {
        note(&line);
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn span(part: &Part) -> Value {
    let mut span = json!({
        "name": part.name, "start_us": micros(part.start), "end_us": micros(part.end),
    });
    if let (Some(workspace), Some(fields)) = (&part.workspace, span.as_object_mut()) {
        fields.insert("workspace".to_owned(), json!(workspace));
    }
    span
}

/// The rows of the waterfall: one for each part of the command, and then one for each workspace.
fn rows(parts: &[Part]) -> Vec<(&str, Vec<&Part>)> {
    let mut rows: Vec<(&str, Vec<&Part>)> = Vec::new();
    let of_command = parts.iter().filter(|part| part.workspace.is_none());
    rows.extend(of_command.map(|part| (part.name.as_str(), vec![part])));
    let first_workspace = rows.len();
    for part in parts {
        let Some(workspace) = part.workspace.as_deref() else {
            continue;
        };
        let known = rows.iter_mut().skip(first_workspace);
        let known = known.into_iter().find(|(name, _)| *name == workspace);
        match known {
            Some((_, parts)) => parts.push(part),
            None => rows.push((workspace, vec![part])),
        }
    }
    rows
}

/// The waterfall in lines of this many columns, with a legend of the signs that it uses.
fn waterfall(parts: &[Part], total: Duration, columns: usize) -> Vec<String> {
    /// The widest name that is shown as a whole.
    const NAME: usize = 32;
    let rows = rows(parts);
    let names = rows.iter().map(|(name, _)| name.chars().count());
    let name_width = names.max().unwrap_or(0).clamp(4, NAME);
    let bar_width = columns.saturating_sub(name_width + 12).max(10);
    let cell = |time: Duration| {
        let share = time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
        ((share * bar_width as f64) as usize).min(bar_width - 1)
    };
    let mut lines = Vec::new();
    for (name, parts) in &rows {
        let mut bar = vec![' '; bar_width];
        let mut took = Duration::ZERO;
        for part in parts {
            let sign = sign(part);
            let from = cell(part.start);
            bar.iter_mut()
                .take(cell(part.end) + 1)
                .skip(from)
                .for_each(|cell| *cell = sign);
            took += part.end.saturating_sub(part.start);
        }
        let name = ending(&in_line(name), NAME);
        let bar: String = bar.into_iter().collect();
        lines.push(format!("{name:name_width$} {bar} {}", duration(took)));
    }
    let whole = "total";
    lines.push(format!(
        "{whole:name_width$} {:bar_width$} {}",
        "",
        duration(total)
    ));
    let is_used = |(step, _): &&(&str, char)| parts.iter().any(|part| part.name == *step);
    let used = SIGNS.iter().filter(is_used);
    let legend: Vec<String> = used.map(|(step, sign)| format!("{sign} {step}")).collect();
    if !legend.is_empty() {
        lines.push(legend.join("   "));
    }
    lines
}

/// A name, or its end when it is longer than `width`: the keys of workspaces differ at their end.
fn ending(name: &str, width: usize) -> String {
    let length = name.chars().count();
    match length.checked_sub(width) {
        None | Some(0) => name.to_owned(),
        Some(extra) => "…".chars().chain(name.chars().skip(extra + 1)).collect(),
    }
}

fn sign(part: &Part) -> char {
    let known = SIGNS.iter().find(|(step, _)| *step == part.name);
    known.map_or('#', |(_, sign)| *sign)
}

fn duration(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{:>6} us", time.as_micros()),
        1..10_000 => format!("{:>6.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:>6.1} s", time.as_secs_f64()),
    }
}

/// The parts in the Chrome trace event format: a track for the command, and one for each workspace.
fn trace(parts: &[Part]) -> Value {
    let mut tracks: Vec<Option<&str>> = vec![None];
    let mut events = Vec::new();
    for part in parts {
        let workspace = part.workspace.as_deref();
        let known = tracks.iter().position(|track| *track == workspace);
        let track = known.unwrap_or_else(|| {
            tracks.push(workspace);
            tracks.len() - 1
        });
        events.push(json!({
            "ph": "X", "cat": "orghost", "name": part.name, "pid": 1, "tid": track,
            "ts": micros(part.start), "dur": micros(part.end.saturating_sub(part.start)),
        }));
    }
    for (track, workspace) in tracks.iter().enumerate() {
        let name = workspace.unwrap_or("orghost");
        events.push(json!({
            "ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name},
        }));
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

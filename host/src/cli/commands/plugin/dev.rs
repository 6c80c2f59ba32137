//! `orghost plugin dev`: builds a plugin project, plans a template with it, and shows how the plan changes. It repeats
//! this on every change of the project or the template. It writes no plugin file and provisions nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use similar::TextDiff;

use super::build;
use crate::cli::args::plugin::DevArgs;
use crate::cli::exit::Exit;
use crate::cli::render::plan::{print_plan, print_warnings, shown};
use crate::cli::render::report::print_problem;
use crate::cli::render::text::{note, print_line, printable};
use crate::cli::request::{open_template, plugin_input, print_log};
use crate::cli::{Host, block_on, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::plan::Plan;
use crate::model::plugin::PluginLimits;
use crate::plugin::sandbox::{PluginInput, Sandbox};
use crate::problem::{Class, Problem};

/// How long no file may change before a build starts. Editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// Folders that only tools write to.
const IGNORED: &[&str] = &["target", "node_modules", ".venv", "__pycache__", ".git"];

enum Event {
    Changed,
    Stop,
}

/// `orghost plugin dev`: returns on Ctrl-C.
///
/// # Errors
/// The project's folder, the template or the arguments cannot be used at the start. Later errors are printed.
pub fn dev(host: &Host, args: &DevArgs) -> Result<Exit, Problem> {
    let folder = build::open(&args.folder)?;
    let template = build::open(&args.template).and_then(|path| {
        open_template(&path)?;
        Ok(path)
    })?;
    let input = plugin_input(host, &args.env, &[])?;
    let sandbox = host.sandbox()?;
    let limits = PluginLimits {
        wasi: args.wasi.wasi,
        ..PluginLimits::default()
    };
    let (events, received) = channel();
    stop_on_interrupt(events.clone());
    let mut watch = Watch::new(events, [folder.clone(), template.clone()])?;
    let mut previous: Option<String> = None;
    loop {
        // The watch starts before the build, so that a change during the build causes another one.
        watch.project(&folder);
        watch.folder(&template, RecursiveMode::Recursive);
        match build_and_plan(host, &folder, &template, &input, &sandbox, &limits) {
            Ok(plan) => {
                let text = pretty(&plan)?;
                show(host, &plan, &template, previous.as_deref(), &text)?;
                previous = Some(text);
            }
            Err(failure) => {
                print_problem(&failure, host.json);
                if previous.is_some() {
                    note("the next plan is compared with the previous one");
                }
            }
        }
        note("watching for changes; press Ctrl-C to end");
        if !changed(&received) {
            return Ok(Exit::Done);
        }
    }
}

fn build_and_plan(
    host: &Host,
    folder: &Path,
    template: &Path,
    input: &PluginInput,
    sandbox: &Sandbox,
    limits: &PluginLimits,
) -> Result<Plan, Problem> {
    let built = build::build_project(host, folder, None)?;
    let plugin = sandbox.load(&built.component, limits)?;
    let template = open_template(template)?;
    let reply = plugin.plan_measured(&template, input);
    print_log(&reply.log);
    reply.result.map_err(|e| e.into_problem(Some(&template)))
}

/// Formats the redacted plan, like `plan --json`, with one value on each line.
fn pretty(plan: &Plan) -> Result<String, Problem> {
    let text = serde_json::to_string_pretty(plan).map_err(|error| {
        let message = format!("the plan cannot be written as JSON: {error}");
        Problem::one(Class::Failed, Diagnostic::new("json", message))
    })?;
    Ok(text + "\n")
}

fn show(
    host: &Host,
    plan: &Plan,
    template: &Path,
    previous: Option<&str>,
    now: &str,
) -> Result<(), Problem> {
    let difference = previous.map(|previous| {
        TextDiff::from_lines(previous, now)
            .unified_diff()
            .header("previous", "now")
            .to_string()
    });
    if host.json {
        return print_json(&json!({ "plan": plan, "difference": difference }));
    }
    match difference {
        None => {
            print_plan(&shown(serde_json::json!(plan))?);
            print_warnings(&plan.warnings, template);
        }
        Some(difference) if difference.is_empty() => print_line("the plan is the same"),
        Some(difference) => print_line(printable(difference.trim_end()).as_ref()),
    }
    Ok(())
}

/// Waits for a change, and then until no file changes any more. False when the command has to end.
fn changed(events: &Receiver<Event>) -> bool {
    let mut next = events.recv().map_err(|_| RecvTimeoutError::Disconnected);
    loop {
        match next {
            Ok(Event::Changed) => next = events.recv_timeout(QUIET),
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

fn stop_on_interrupt(events: Sender<Event>) {
    std::thread::spawn(move || {
        let interrupted = block_on(async { Ok(tokio::signal::ctrl_c().await) });
        // If signals cannot be waited for, their default effect ends the program.
        if matches!(interrupted, Ok(Ok(()))) {
            let _ = events.send(Event::Stop);
        }
    });
}

/// The watched files and folders. Folders that tools write to are left out, because they are large and every build changes
/// them.
struct Watch {
    watcher: RecommendedWatcher,
    known: BTreeSet<PathBuf>,
}

impl Watch {
    /// Makes a watch without folders. Only changes of sources below one of `roots` are reported.
    fn new(events: Sender<Event>, roots: [PathBuf; 2]) -> Result<Self, Problem> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_change = match event {
                Ok(event) => {
                    !matches!(event.kind, EventKind::Access(_))
                        && event.paths.iter().any(|path| is_source(path, &roots))
                }
                // Some events were lost, so there may be a change.
                Err(_) => true,
            };
            if is_change {
                let _ = events.send(Event::Changed);
            }
        });
        let watcher = watcher.map_err(|error| {
            let message = format!("changes cannot be watched for: {error}");
            Problem::one(Class::Failed, Diagnostic::new("watch", message))
        })?;
        Ok(Self {
            watcher,
            known: BTreeSet::new(),
        })
    }

    /// Watches the project's files and its folders, except those that tools write to. Each call adds new folders.
    fn project(&mut self, folder: &Path) {
        self.folder(folder, RecursiveMode::NonRecursive);
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && is_source(&path, &[folder.to_path_buf()])
            {
                self.folder(&path, RecursiveMode::Recursive);
            }
        }
    }

    fn folder(&mut self, path: &Path, mode: RecursiveMode) {
        if self.known.contains(path) {
            return;
        }
        match self.watcher.watch(path, mode) {
            Ok(()) => {
                self.known.insert(path.to_path_buf());
            }
            Err(error) => note(&format!("{} is not watched: {error}", path.display())),
        }
    }
}

/// Whether a person may have written the file: its path below a root has no tool's folder, and it is not a build's output.
fn is_source(path: &Path, roots: &[PathBuf]) -> bool {
    let below = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    let tools = |part: &std::ffi::OsStr| IGNORED.iter().any(|name| part == *name);
    let output = path
        .extension()
        .is_some_and(|extension| extension == "wasm" || extension == "lock");
    !output && !below.unwrap_or(path).iter().any(tools)
}

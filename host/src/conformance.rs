//! The conformance suite: cases that check a plugin file against the rules for plugins. It renders nothing and judges no
//! policy. A plugin that traps or exceeds a limit fails one case, and the others still run.
//!
//! The suite has three parts. The cases of the *contract* run for every plugin. The cases of a *profile* run for a plugin whose
//! `describe` names that dialect. The plugin's *own* cases are folders beside it.

mod canary;
mod contract;
mod expectation;
mod hostile;
mod own;
mod profile;
mod report;
mod rules;
mod scratch;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use orghost_build::WorldVersion;

use crate::model::env_map::EnvMap;
use crate::model::plugin::{PluginDigest, PluginLimits};
use crate::plugin::sandbox::{CallError, Description, LoadError, Plugin, Sandbox};

pub use profile::digest as data_digest;
pub use report::{Case, Counts, Difference, Failed, Outcome, Part, Report};

/// The version of the suite. It increases when a case is added or checks something else.
pub const VERSION: u32 = 2;

/// The name of the standard dialect in `describe`, and of its profile.
pub const ORG_TEMPLATE: &str = "org-template/1";

/// The plugin that is tested, and its environment.
pub struct Subject<'a> {
    /// The bytes of the plugin file.
    pub bytes: &'a [u8],
    /// The limits of its calls, and what it may import.
    pub limits: PluginLimits,
    /// Variables of the host that are not granted. The plugin fails if one of their values is in its answer.
    pub ungranted: EnvMap,
}

/// The cases that run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A text that the `part/name` of a case must contain. `None`: all cases run.
    pub containing: Option<String>,
    /// The folder of the plugin's own cases. `None`: there are none.
    pub own: Option<PathBuf>,
    /// Whether to write the results of the own cases as their expectations.
    pub bless: bool,
}

/// The suite cannot run on this machine, so that there is no report about the plugin.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The folder of the plugin's own cases cannot be read.
    #[error("the cases in {} cannot be read: {source}", folder.display())]
    Cases {
        /// The path of the folder.
        folder: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A case cannot create, read or write its files.
    #[error("the case {case} could not run on this machine: {source}")]
    Machine {
        /// The full name of the case.
        case: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A plugin, loaded twice to compare the answers of two separate instances.
struct Loaded {
    plugin: Plugin,
    again: Plugin,
    /// The answer of `describe`.
    described: Result<Description, CallError>,
    ungranted: EnvMap,
    /// The version of the contract that it was built for.
    world: Option<WorldVersion>,
}

/// One case that has not run yet.
struct Check {
    part: Part,
    name: String,
    run: Box<Run>,
}

/// Runs a check. An error means that this machine failed, not the plugin.
type Run = dyn Fn(&Loaded) -> io::Result<Outcome> + Send + Sync;

/// Runs the suite on a few threads. `done` is called for each case as it ends, with the total number of cases.
///
/// # Errors
/// [`SuiteError`] when files of the cases cannot be read or written. A plugin that does not load is a failed case, not an
/// error.
pub fn run(
    sandbox: &Sandbox,
    subject: &Subject<'_>,
    selection: &Selection,
    done: &(dyn Fn(&Case, usize) + Sync),
) -> Result<Report, SuiteError> {
    let began = Instant::now();
    let loaded = load(sandbox, subject);
    let imports = Case {
        part: Part::Contract,
        name: "imports".to_owned(),
        outcome: match &loaded {
            Ok(_) => Outcome::Passed,
            Err(error) => Outcome::failed(error.to_string()),
        },
        time: began.elapsed(),
    };
    let described = loaded.as_ref().ok().map(|loaded| &loaded.described);
    let description = described.and_then(|described| described.as_ref().ok().cloned());

    let mut checks = contract::checks();
    if description.as_ref().is_some_and(|described| {
        described
            .handles
            .iter()
            .any(|dialect| dialect == ORG_TEMPLATE)
    }) {
        checks.extend(profile::checks());
    }
    if let Some(folder) = &selection.own {
        checks.extend(own::checks(folder, selection.bless)?);
    }
    let is_selected = |part: Part, name: &str| {
        let full = format!("{}/{name}", part.as_str());
        selection
            .containing
            .as_ref()
            .is_none_or(|text| full.contains(text))
    };
    checks.retain(|check| is_selected(check.part, &check.name));
    let imports = is_selected(imports.part, &imports.name).then_some(imports);
    let total = checks.len() + usize::from(imports.is_some());
    if let Some(case) = &imports {
        done(case, total);
    }
    let ran = in_parallel(&checks, loaded.as_ref().ok(), &|case| done(case, total))?;
    Ok(Report {
        description,
        digest: PluginDigest::of(subject.bytes),
        world: world(subject.bytes).map(|version| version.as_str().to_owned()),
        cases: imports.into_iter().chain(ran).collect(),
        complete: selection.containing.is_none(),
    })
}

fn load(sandbox: &Sandbox, subject: &Subject<'_>) -> Result<Loaded, LoadError> {
    let plugin = sandbox.load(subject.bytes, &subject.limits)?;
    let again = sandbox.load(subject.bytes, &subject.limits)?;
    Ok(Loaded {
        described: plugin.describe(),
        plugin,
        again,
        ungranted: subject.ungranted.clone(),
        world: world(subject.bytes),
    })
}

/// The version of the world, from the name of the interface that every plugin exports.
fn world(bytes: &[u8]) -> Option<WorldVersion> {
    let exports = orghost_build::inspect(bytes).ok()?.exports;
    let version = exports
        .iter()
        .find_map(|name| name.strip_prefix("orghost:plugin/importer@"))?;
    WorldVersion::ALL
        .into_iter()
        .find(|known| known.as_str() == version)
}

/// Runs the checks on several threads. The cases are in the order of the checks.
fn in_parallel(
    checks: &[Check],
    loaded: Option<&Loaded>,
    done: &(dyn Fn(&Case) + Sync),
) -> Result<Vec<Case>, SuiteError> {
    /// A few threads only, because each call can need 256 MiB.
    const THREADS: usize = 4;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
    let next = AtomicUsize::new(0);
    let cases = Mutex::new(Vec::with_capacity(checks.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(check) = checks.get(number) else {
                        break;
                    };
                    let case = check.case(loaded);
                    if let Ok(case) = &case {
                        done(case);
                    }
                    let mut cases = cases.lock().unwrap_or_else(PoisonError::into_inner);
                    cases.push((number, case));
                }
            });
        }
    });
    let mut cases: Vec<(usize, _)> = cases.into_inner().unwrap_or_else(PoisonError::into_inner);
    cases.sort_by_key(|(number, _)| *number);
    cases.into_iter().map(|(_, case)| case).collect()
}

impl Check {
    fn new(
        part: Part,
        name: impl Into<String>,
        run: impl Fn(&Loaded) -> io::Result<Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self {
            part,
            name: name.into(),
            run: Box::new(run),
        }
    }

    fn case(&self, loaded: Option<&Loaded>) -> Result<Case, SuiteError> {
        let began = Instant::now();
        let outcome = match loaded {
            Some(loaded) => (self.run)(loaded).map_err(|source| SuiteError::Machine {
                case: format!("{}/{}", self.part.as_str(), self.name),
                source,
            })?,
            None => Outcome::Skipped {
                why: "the plugin does not load".to_owned(),
            },
        };
        Ok(Case {
            part: self.part,
            name: self.name.clone(),
            outcome,
            time: began.elapsed(),
        })
    }
}

/// Why a call gave no plan although the template is valid.
fn describe_failure(error: &CallError) -> String {
    match error {
        CallError::Failed { reason, help } => format!("the plugin failed: {reason} ({help})"),
        CallError::Rejected(errors) => {
            let lines: Vec<String> = errors.iter().take(5).map(own::line).collect();
            format!(
                "the plugin rejected the template, which is valid:\n{}",
                lines.join("\n")
            )
        }
        other => other.to_string(),
    }
}

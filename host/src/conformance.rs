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
mod rules;
mod scratch;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use orghost_build::WorldVersion;

use crate::model::env_map::EnvMap;
use crate::model::plugin::{PluginDigest, PluginLimits};
use crate::plugin::sandbox::{CallError, Description, LoadError, Plugin, Sandbox};

pub use profile::digest as data_digest;

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

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The cases for every plugin.
    Contract,
    /// The cases for plugins that handle [`ORG_TEMPLATE`].
    OrgTemplate,
    /// The plugin's own cases.
    Own,
}

/// One case, and how it went.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which part it belongs to.
    pub part: Part,
    /// Unique in its part.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// Wall clock.
    pub time: Duration,
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// What came out was written as what is expected.
    Blessed,
    /// Not as it should.
    Failed(Failed),
    /// It did not run.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Sentences, one a line.
    pub why: String,
    /// Where something was expected and something else came out.
    pub difference: Option<Difference>,
}

/// Two texts that should be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file that holds what was expected.
    pub file: String,
    /// What was expected.
    pub expected: String,
    /// What came out.
    pub found: String,
}

/// What a run found out.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the plugin says about itself, when it says it.
    pub description: Option<Description>,
    /// Of the plugin file.
    pub digest: PluginDigest,
    /// The version of the plugin world that the file names.
    pub world: Option<String>,
    /// In the suite's order.
    pub cases: Vec<Case>,
    /// Whether every case was asked for.
    pub complete: bool,
}

/// How many cases of a part went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// They went as they should.
    pub passed: usize,
    /// They did not.
    pub failed: usize,
    /// They did not run.
    pub skipped: usize,
    /// Their expectations were written just now.
    pub blessed: usize,
}

/// Why there is no report. It says nothing about the plugin.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The folder of the own cases cannot be read.
    #[error("the cases in {} cannot be read: {source}", folder.display())]
    Cases {
        /// Which one.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A case could not make, read or write its files.
    #[error("the case {case} could not run on this machine: {source}")]
    Machine {
        /// Its full name.
        case: String,
        /// What the system says.
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

impl Part {
    /// Its name, as it stands before the names of its cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::OrgTemplate => ORG_TEMPLATE,
            Self::Own => "own",
        }
    }

    /// All parts, in the suite's order.
    pub const ALL: [Self; 3] = [Self::Contract, Self::OrgTemplate, Self::Own];
}

impl Case {
    /// The part and the name: what selects this case.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.part.as_str(), self.name)
    }
}

impl Outcome {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed(Failed {
            why: why.into(),
            difference: None,
        })
    }

    /// Passed, unless something is wrong.
    fn unless(wrong: &[String]) -> Self {
        /// Who breaks one rule a thousand times need not read it a thousand times.
        const SHOWN: usize = 10;
        if wrong.is_empty() {
            return Self::Passed;
        }
        let mut lines: Vec<&str> = wrong.iter().take(SHOWN).map(String::as_str).collect();
        let more = format!("and {} more", wrong.len().saturating_sub(SHOWN));
        if wrong.len() > SHOWN {
            lines.push(&more);
        }
        Self::failed(lines.join("\n"))
    }
}

impl Report {
    /// How the cases of a part went.
    pub fn counts(&self, part: Part) -> Counts {
        let mut counts = Counts::default();
        for case in self.cases.iter().filter(|case| case.part == part) {
            *match case.outcome {
                Outcome::Passed => &mut counts.passed,
                Outcome::Blessed => &mut counts.blessed,
                Outcome::Failed(_) => &mut counts.failed,
                Outcome::Skipped { .. } => &mut counts.skipped,
            } += 1;
        }
        counts
    }

    /// Whether no case failed.
    pub fn passed(&self) -> bool {
        Part::ALL
            .into_iter()
            .all(|part| self.counts(part).failed == 0)
    }
}

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

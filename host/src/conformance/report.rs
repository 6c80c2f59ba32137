//! The result of a run of the suite: its cases and their outcomes.

use std::time::Duration;

use super::ORG_TEMPLATE;
use crate::model::plugin::PluginDigest;
use crate::plugin::sandbox::Description;

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

/// One case with its outcome.
#[derive(Debug, Clone)]
pub struct Case {
    /// The part of the suite that it belongs to.
    pub part: Part,
    /// The name, unique in its part.
    pub name: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Wall clock of the case.
    pub time: Duration,
}

/// The outcome of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The result is as expected.
    Passed,
    /// The result was written as the new expectation.
    Blessed,
    /// The result is not as expected.
    Failed(Failed),
    /// The case did not run.
    Skipped {
        /// The reason.
        why: String,
    },
}

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The reasons, one per line.
    pub why: String,
    /// The expected and the found result. `None` when the case compares no texts.
    pub difference: Option<Difference>,
}

/// Two texts that should be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name of the file with the expectation.
    pub file: String,
    /// The expected text.
    pub expected: String,
    /// The found text.
    pub found: String,
}

/// The result of a run of the suite.
#[derive(Debug, Clone)]
pub struct Report {
    /// The answer of `describe`. `None` when it failed or the plugin did not load.
    pub description: Option<Description>,
    /// The digest of the plugin file.
    pub digest: PluginDigest,
    /// The version of the plugin world that the file was built for. `None` when it is unknown.
    pub world: Option<String>,
    /// The cases, in the suite's order.
    pub cases: Vec<Case>,
    /// Whether all cases were selected.
    pub complete: bool,
}

/// The number of cases of a part by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that did not run.
    pub skipped: usize,
    /// Cases whose expectations were written in this run.
    pub blessed: usize,
}

impl Part {
    /// The name of the part, which is also the beginning of the full names of its cases.
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
    /// `part/name`, by which a case is selected.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.part.as_str(), self.name)
    }
}

impl Outcome {
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(Failed {
            why: why.into(),
            difference: None,
        })
    }

    /// [`Outcome::Passed`] if there are no violations, else [`Outcome::Failed`].
    pub(super) fn unless(wrong: &[String]) -> Self {
        /// Violations that are listed. A plugin can violate one rule a thousand times.
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
    /// Counts the cases of a part by outcome.
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

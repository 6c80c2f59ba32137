//! Judges a plan by what the operator allows, and reports every violation at once.
//!
//! A plan is untrusted input. Provisioning takes an [`Approved`] and nothing else, and only [`Policy::judge`] makes one.
//! The policy does no I/O: `provision/engine/mount.rs` checks whether an approved directory exists, and where its
//! symbolic links lead.

mod approved;
mod files;
mod mount;
mod secret_file;
pub mod steering;
mod variables;
mod violation;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::limits;
use crate::model::engine_kind::EngineKind;
use crate::model::isolation::Target;
use crate::model::plan::{self, Plan};
pub use approved::{
    Approved, CONFIG, Mount, RuntimeName, SeedContent, SeedPath, SeedSource, TOKEN_FILE, Tier,
    Workspace,
};
pub use variables::RESERVED_ENV;
pub use violation::{Rejected, Violation};
use violation::{Violations, WorkspaceViolations, listed};

/// What the operator allows. The default allows only what is safe on any machine.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The highest tier that may run, from 1 to 4; by default 2. Tiers 3 and 4 have root's power on this machine.
    pub max_tier: Tier,
    /// The directories under which a plan may mount one. By default none, so that no directory may be mounted.
    pub allow_mount: Vec<PathBuf>,
    /// Whether to provision although required variables are missing; by default not.
    pub ignore_missing_env: bool,
    /// The names of the runtimes in the configuration file; by default none.
    pub runtimes: BTreeSet<String>,
    /// Whether the built-in demonstration runtime replaces every runtime that is not configured; by default not.
    pub demo: bool,
    /// Whether to refuse engines that do not isolate workspaces from the rest of the machine; by default not.
    pub require_isolation: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_tier: Tier::Two,
            allow_mount: Vec::new(),
            ignore_missing_env: false,
            runtimes: BTreeSet::new(),
            demo: false,
            require_isolation: false,
        }
    }
}

impl Policy {
    /// Approves a plan for its target, or reports every rule that it breaks there.
    ///
    /// # Errors
    /// [`Rejected`], with at least one violation, when something in the plan is not allowed.
    pub fn judge(&self, plan: Plan, target: &Target) -> Result<Approved, Box<Rejected>> {
        let mut violations = Violations::default();
        self.judge_target(target, &mut violations);
        self.judge_org(&plan, &mut violations);
        // Of a plan with too many workspaces, only the first ones are judged.
        let judged = plan.workspaces.iter().take(limits::WORKSPACES);
        let workspaces = judged
            .map(|workspace| self.judge_workspace(workspace, target.engine, &mut violations))
            .collect();
        if violations.list.is_empty() {
            Ok(Approved::new(plan, target.engine, workspaces))
        } else {
            Err(Box::new(Rejected {
                plan,
                violations: violations.list,
            }))
        }
    }

    fn judge_target(&self, target: &Target, violations: &mut Violations) {
        if self.require_isolation && !target.isolation.is_enough() {
            let (engine, isolation) = (target.engine.as_str(), &target.isolation);
            violations.org(
                "not-isolated",
                format!(
                    "the engine {engine} does not give the isolation that require_isolation demands: {isolation}"
                ),
                "use --engine docker, or a kernel with Landlock (Linux 6.2 or newer)",
            );
        }
    }

    fn judge_org(&self, plan: &Plan, violations: &mut Violations) {
        let count = plan.workspaces.len();
        if count > limits::WORKSPACES {
            violations.org(
                "too-many-workspaces",
                format!(
                    "the plan has {count} workspaces; at most {} are allowed",
                    limits::WORKSPACES
                ),
                "split the template into several orgs",
            );
        }
        if self.ignore_missing_env {
            return;
        }
        for requirement in plan
            .required_env
            .iter()
            .filter(|r| !r.missing_for.is_empty())
        {
            let names = requirement.any_of.join(" or ");
            let who: Vec<&str> = requirement
                .missing_for
                .iter()
                .map(|key| if key.is_empty() { "the org" } else { key })
                .collect();
            violations.org(
                "missing-env",
                format!("{names} is required by {} and is not set", listed(&who)),
                "set it with --env NAME=VALUE, --env-file or --grant NAME, or pass --ignore-missing-env",
            );
        }
    }

    fn judge_workspace(
        &self,
        workspace: &plan::Workspace,
        engine: EngineKind,
        violations: &mut Violations,
    ) -> Workspace {
        let mut judged = WorkspaceViolations {
            key: &workspace.key,
            violations,
        };
        let runtime = (!workspace.external).then(|| self.runtime(&workspace.runtime, &mut judged));
        let mut tier = self.tier(workspace, &mut judged);
        if runtime == Some(RuntimeName::Demo) {
            // The tier of the plan was judged above. The demonstration runtime needs no privileges, so it gets none.
            tier = tier.min(Tier::Two);
        }
        if runtime.is_some() && engine.runs_on_the_machine_itself() {
            steering::judge(&workspace.env, engine, &mut judged);
        }
        Workspace {
            path: workspace.path.clone(),
            key: workspace.key.clone(),
            parent: workspace.parent.clone(),
            name: workspace.name.clone(),
            runtime,
            tier,
            mount: mount::mount(&self.allow_mount, workspace, &mut judged),
            files: files::files(&workspace.files, workspace.external, &mut judged),
            env: variables::variables(&workspace.env, &mut judged),
            url: workspace.url.clone(),
        }
    }

    fn runtime(&self, name: &str, judged: &mut WorkspaceViolations<'_>) -> RuntimeName {
        if self.runtimes.contains(name) {
            return RuntimeName::Configured(name.to_owned());
        }
        if !self.demo {
            let known: Vec<&str> = self.runtimes.iter().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none is configured".to_owned()
            } else {
                format!("known are {}", listed(&known))
            };
            judged.add(
                "unknown-runtime",
                format!("the runtime {name:?} is not configured; {known}"),
                "add it to the configuration file (see `orghost up --help`), or pass --demo for the demonstration runtime",
            );
        }
        RuntimeName::Demo
    }

    fn tier(&self, workspace: &plan::Workspace, judged: &mut WorkspaceViolations<'_>) -> Tier {
        let Some(tier) = Tier::new(workspace.tier) else {
            judged.add(
                "unknown-tier",
                format!("there is no tier {}", workspace.tier),
                "tiers are 1, 2, 3 and 4",
            );
            return Tier::One;
        };
        if tier > self.max_tier && !workspace.external {
            let risk = match tier {
                Tier::One | Tier::Two => "",
                Tier::Three => ": it is privileged and sees the host's processes",
                Tier::Four => {
                    ": it is privileged, on the host's network, and holds the engine's socket"
                }
            };
            let (tier, max) = (u8::from(tier), u8::from(self.max_tier));
            judged.add(
                "tier-not-allowed",
                format!("tier {tier} is above the allowed tier {max}{risk}"),
                &format!("pass --max-tier {tier} if you trust this template that far"),
            );
        }
        tier
    }
}

//! A call of a plugin that is ready to be made: the loaded plugin and its input. Its key tells apart calls whose plans can
//! differ.

use std::sync::Arc;

use tracing::info_span;

use super::{Giver, PlanRequest, Planned, origins};
use crate::model::env_map::EnvMap;
use crate::plugin::sandbox::{Plugin, PluginInput};
use crate::problem::Problem;
use crate::template::directory::TemplateDir;

/// A plugin and its input, without the template.
pub struct PluginCall {
    pub(super) plugin: Arc<Plugin>,
    pub(super) planned_by: Option<String>,
    pub(super) input: PluginInput,
    pub(super) unset: Vec<String>,
}

/// Everything that a plan depends on, as a BLAKE3 digest: the template, the plugin, the limits of its calls and what it may
/// import, its input, and who gave the variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanKey([u8; 32]);

impl PlanKey {
    /// The key with this digest.
    pub(crate) fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl PluginCall {
    /// The key of the plan of a template with this digest.
    pub fn key(&self, template: &[u8; 32], giver: Giver) -> PlanKey {
        let PluginInput {
            vars,
            granted,
            skip_external,
        } = &self.input;
        let mut key = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            key.update(&(bytes.len() as u64).to_le_bytes());
            key.update(bytes);
        };
        part(template);
        part(self.plugin.digest().as_str().as_bytes());
        part(format!("{:?}", self.plugin.limits()).as_bytes());
        part(format!("{giver:?} {skip_external}").as_bytes());
        let mut map = |variables: &EnvMap| {
            part(&(variables.len() as u64).to_le_bytes());
            for (name, value) in variables {
                part(name.as_bytes());
                part(value.as_bytes());
            }
        };
        map(vars);
        map(granted);
        PlanKey::of_digest(key.finalize().into())
    }

    /// Calls the plugin.
    ///
    /// # Errors
    /// The plugin rejects the template, fails, or returns an invalid plan.
    pub fn run(&self, template: &TemplateDir, request: &PlanRequest) -> Result<Planned, Problem> {
        let reply = info_span!("call the plugin")
            .in_scope(|| self.plugin.plan_measured(template, &self.input));
        let mut plan = reply
            .result
            .map_err(|error| error.into_problem(Some(template)))?;
        let set = || origins::set(&mut plan, request, template);
        info_span!("find who set the variables").in_scope(set);
        Ok(Planned {
            plan,
            planned_by: self.planned_by.clone(),
            log: reply.log,
            unset: self.unset.clone(),
        })
    }

    /// The plan of an earlier call with the same key.
    pub fn repeat(&self, earlier: &Planned) -> Planned {
        Planned {
            plan: earlier.plan.clone(),
            planned_by: self.planned_by.clone(),
            log: earlier.log.clone(),
            unset: self.unset.clone(),
        }
    }
}

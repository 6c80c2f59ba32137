//! Loads, plans and judges a template, and prepares its org for provisioning. Stores nothing.
//!
//! A request first waits for memory, then for its caller's turn, then for a thread. It holds no thread while it waits.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;
use tracing::{Instrument as _, info_span};

use super::capacity::busy;
use super::memory::MemoryPermit;
use super::{Import, ImportOptions, Service, blocking};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::expansion::Expansion;
use crate::planning::planner::{self, Judgement, PlanRequest, Planned};
use crate::planning::policy::Violation;
use crate::problem::{Class, Problem};
use crate::provision::concurrency::Permit;
use crate::service::admission::{
    AdmissionContext, Admitted, Change, TemplateOrigin, admit, changes, choose_engine_here,
};
use crate::service::metrics::PlanResult;
use crate::template::bundle::Bundle;
use crate::template::directory::TemplateDir;

/// An org that can be provisioned.
pub struct Prepared {
    /// The approved plan with its identities and jobs.
    pub admitted: Admitted,
    /// The options of the import.
    pub request: ImportOptions,
    /// The memory of its template, from which the seeds are read.
    _memory: MemoryPermit,
}

/// What an import would do.
pub struct Preview {
    /// The plan and the policy's verdict on it.
    pub judgement: Judgement,
    /// How the workspaces of an approved plan differ from those of its org.
    pub changes: Vec<Change>,
}

/// A planned and judged template.
pub(super) struct Draft {
    pub(super) template: TemplateDir,
    pub(super) judgement: Judgement,
    pub(super) memory: MemoryPermit,
}

/// The number of plugin calls that run at a time. They only compute, so more than two for each core would be slower, and
/// other work needs the cores too.
pub(super) fn concurrent_plugin_calls() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * cores).clamp(2, limits::CONCURRENT_CALLS as usize / 2)
}

impl Service {
    /// Plans and judges a template, and compares the plan with the org of this host. Changes nothing.
    ///
    /// # Errors
    /// The request asks for something that callers may not, the template cannot be loaded, the plugin makes no plan, or the host
    /// has too much to do ([`Class::Busy`]). A plan that policy refuses is no error.
    pub async fn plan(&self, import: Import) -> Result<Preview, Problem> {
        let (_, is_known, Draft { judgement, .. }) = self.draft(import).await?;
        let changes = match &judgement.verdict {
            Ok(approved) if is_known => changes(approved, &self.0.store).await?,
            _ => Vec::new(),
        };
        Ok(Preview { judgement, changes })
    }

    /// Loads a template when there is memory for it, then plans and judges it. Also says whether this host has an org of its
    /// name or its slug. Fails as [`Service::plan`].
    pub(super) async fn draft(
        &self,
        import: Import,
    ) -> Result<(Arc<Bundle>, bool, Draft), Problem> {
        let host = &self.0;
        self.check_options(&import.request)?;
        let memory = host.memory.request(import.template.max_bytes());
        let memory = timeout(limits::MEMORY_WAIT, memory).await;
        let mut memory =
            memory.map_err(|_| busy("the templates that are being imported fill the memory"))?;
        let bundle = Arc::new(import.template.load(&host.templates).await?);
        memory.shrink(bundle.size() as u64);
        self.check_plugin_calls()?;
        let engine = self.engine_of_new_org(&import.request).await;
        let permit = host.plugin_calls.take(&import.caller).await;
        let request = &import.request;
        let planned = self.plan_bundle(permit, bundle.clone(), import.vars, request, engine);
        let (template, judgement, is_known) = planned.await?;
        let draft = Draft {
            template,
            judgement,
            memory,
        };
        Ok((bundle, is_known, draft))
    }

    /// Admits a draft to this host. Fails when policy refuses it, or as [`admit`].
    pub(super) async fn prepare(
        &self,
        draft: Draft,
        request: ImportOptions,
    ) -> Result<Prepared, Problem> {
        let host = &self.0;
        let Draft {
            template,
            judgement,
            memory,
        } = draft;
        let approved = judgement
            .verdict
            .map_err(|rejected| refused(&rejected.violations))?;
        let context = AdmissionContext {
            store: &host.store,
            config: &host.config,
            engines: &host.engines,
            tokens: self.agent_tokens().await?,
        };
        let origin = TemplateOrigin {
            template: request.template.clone(),
            take_over: request.take_over,
        };
        let admitted = admit(approved, &template, origin, &context)
            .instrument(info_span!("admit"))
            .await?;
        Ok(Prepared {
            admitted,
            request,
            _memory: memory,
        })
    }

    /// Expands the references in a text as in a template. Changes nothing.
    ///
    /// # Errors
    /// `grant` has a variable that callers may not ask for, the plugin fails, or the host has too much to do
    /// ([`Class::Busy`]).
    pub async fn expand(
        &self,
        caller: &str,
        text: String,
        vars: EnvMap,
        grant: Vec<String>,
    ) -> Result<Expansion, Problem> {
        let host = &self.0;
        let request = ImportOptions {
            grant,
            ..ImportOptions::default()
        };
        self.check_options(&request)?;
        let request = PlanRequest {
            vars,
            grant: request.grant,
            ..PlanRequest::default()
        };
        self.check_plugin_calls()?;
        let permit = host.plugin_calls.take(caller).await;
        let this = self.clone();
        let work = move || {
            let _permit = permit;
            this.0.planner.expand(&this.0.loaded, &text, &request)
        };
        blocking(work).await?
    }

    /// Checks what callers may ask for, which is less than what the operator may.
    fn check_options(&self, request: &ImportOptions) -> Result<(), Problem> {
        let allowed = &self.0.config.server.grant;
        if let Some(name) = request.grant.iter().find(|name| !allowed.contains(name)) {
            let message = format!("callers may not ask for the variable {name:?}");
            let diagnostic = Diagnostic::new("grant-not-allowed", message)
                .help("`grant` under [server] in the configuration file lists the variables that they may ask for");
            return Err(Problem::one(Class::Refused, diagnostic));
        }
        if request.plugin.as_deref().is_some_and(planner::is_file) {
            let diagnostic = Diagnostic::new("plugin-name", "a server runs installed plugins only")
                .help("install it first, and name the installed plugin");
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        Ok(())
    }

    /// Plans a bundle with the permit of its caller, and judges the plan. Also returns whether this host knows the org. All of
    /// it is one piece of work for one thread, because handing a small plan from thread to thread costs more than making it.
    pub(super) async fn plan_bundle(
        &self,
        permit: Permit,
        bundle: Arc<Bundle>,
        vars: EnvMap,
        request: &ImportOptions,
        engine_of_new: EngineKind,
    ) -> Result<(TemplateDir, Judgement, bool), Problem> {
        let plan_request = PlanRequest {
            plugin: request.plugin.clone(),
            vars,
            giver: request.giver,
            grant: request.grant.clone(),
            skip_external: request.skip_external,
            ..PlanRequest::default()
        };
        let began = Instant::now();
        let (this, requested) = (self.clone(), request.engine);
        let work = move || {
            // Held until the work ends, even if the caller disconnects: only then is the thread free again.
            let _permit = permit;
            #[cfg(feature = "fault-injection")]
            crate::fault::at("planning");
            let digest = bundle.digest();
            let template = TemplateDir::of_bundle(bundle);
            let planned = this.plan_or_repeat(&template, &digest, &plan_request);
            let judged = planned.and_then(|planned| this.judge(planned, requested, engine_of_new));
            (template, judged)
        };
        let (template, judgement) = blocking(work).await?;
        let result = match &judgement {
            Ok((judgement, _)) if judgement.verdict.is_ok() => PlanResult::Approved,
            Ok(_) => PlanResult::Refused,
            Err(_) => PlanResult::Nothing,
        };
        self.0.metrics.plan(result, began.elapsed());
        let (judgement, is_known) = judgement?;
        Ok((template, judgement, is_known))
    }

    /// The engine of an org that this host does not know. It may have to ask an engine, so no plugin call waits for it.
    pub(super) async fn engine_of_new_org(&self, request: &ImportOptions) -> EngineKind {
        let host = &self.0;
        host.engines
            .choose(request.engine.or(host.config.engine))
            .await
    }

    /// Calls the plugin, unless the same call gave a plan before.
    fn plan_or_repeat(
        &self,
        template: &TemplateDir,
        digest: &[u8; 32],
        request: &PlanRequest,
    ) -> Result<Planned, Problem> {
        let host = &self.0;
        // The plugin is chosen anew: it can have been replaced, or its requirements can refuse it.
        let call = host.planner.call(&host.loaded, template, request)?;
        let key = call.key(digest, request.giver);
        let known = host.plans.get(&key);
        host.metrics.plan_cache(known.is_some());
        if let Some(earlier) = known {
            return Ok(call.repeat(&earlier));
        }
        let planned = call.run(template, request)?;
        host.plans.put(key, call.repeat(&planned));
        Ok(planned)
    }

    /// Judges a plan for the engine that its org is on, or will be on. Blocks.
    fn judge(
        &self,
        planned: Planned,
        requested: Option<EngineKind>,
        engine_of_new: EngineKind,
    ) -> Result<(Judgement, bool), Problem> {
        let host = &self.0;
        let name = &planned.plan.org.name;
        let (target, is_known) = choose_engine_here(name, requested, &host.store, engine_of_new)?;
        Ok((planned.judge(&host.policy, target), is_known))
    }
}

/// The problem of a plan that policy refuses.
fn refused(violations: &[Violation]) -> Problem {
    let class = match violations
        .iter()
        .all(|violation| violation.code == "missing-env")
    {
        true if !violations.is_empty() => Class::MissingEnv,
        _ => Class::Refused,
    };
    Problem {
        class,
        errors: violations.iter().map(Diagnostic::from).collect(),
        template: None,
    }
}

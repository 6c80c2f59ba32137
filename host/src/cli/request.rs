//! Turns arguments into requests: variables, policy, template, and the judged plan that `plan` and `up` share.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::future::{Either, select};
use miette::Severity;
use tracing::{Instrument as _, info_span};

use super::Host;
use super::args::{EnvArgs, PlanArgs, PolicyArgs};
use super::render::report;
use super::render::text::{in_line, note};
use crate::config::{PolicyKeys, env_file};
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::plan::is_identifier;
use crate::planning::planner::{Giver, Judgement, Loaded, PlanRequest};
use crate::plugin::sandbox::PluginInput;
use crate::problem::{Class, Problem};
use crate::service::admission::choose_engine;
use crate::service::blocking;
use crate::state::store::Store;
use crate::template::directory::TemplateDir;

/// A template and the policy's judgement of its plan.
pub struct JudgedTemplate {
    /// The template that was planned.
    pub template: TemplateDir,
    /// The plan and the verdict on it.
    pub judgement: Judgement,
    /// The other input of the plan: variables, grants and the plugin's name.
    pub request: PlanRequest,
    /// The sandbox that ran the plugin.
    pub loaded: Loaded,
    /// The store, if there is one.
    pub store: Option<Store>,
}

/// Plans a template and judges its plan.
///
/// # Errors
/// The template or the plugin cannot be read, or the plugin returned no plan. A plan that the policy refuses is not an
/// error.
pub async fn judge(
    host: &Host,
    args: &PlanArgs,
    engine: Option<EngineKind>,
) -> Result<JudgedTemplate, Problem> {
    let flags = policy_keys(&args.policy)?;
    let template = info_span!("open the template").in_scope(|| open_template(&args.template))?;
    let mut request = plan_request(&args.env)?;
    request.skip_external = flags.skip_external;
    request.plugin.clone_from(&args.plugin.plugin);
    request.wasi = args.plugin.wasi.wasi;
    let engines = host.engines()?;
    let choosing = pin!(engines.choose(engine.or(host.config.engine)));
    let loaded = info_span!("start the sandbox").in_scope(|| host.sandbox().map(Loaded::new))?;
    let planner = host.planner.clone();
    let planning = pin!(blocking(move || {
        let plan = || planner.plan(&loaded, &template, &request);
        let planned = info_span!("plan").in_scope(plan);
        (planned, template, request, loaded)
    }));
    // Docker answers while the plugin plans. An org that is known needs no answer, and then nothing waits for it.
    let (planned, choice) = match select(planning, choosing).await {
        Either::Left((planned, choosing)) => (planned, Either::Left(choosing)),
        Either::Right((kind, planning)) => (planning.await, Either::Right(ready(kind))),
    };
    let (planned, template, request, loaded) = planned?;
    let planned = planned?;
    print_log(&planned.log);
    warn_of_unset(&planned.unset);
    let store = host.existing_store()?;
    let name = &planned.plan.org.name;
    let target = choose_engine(name, engine, store.as_ref(), choice)
        .instrument(info_span!("choose the engine"));
    let target = target.await?;
    let judge = || planned.judge(&host.planner.policy(&flags), target);
    Ok(JudgedTemplate {
        template,
        judgement: info_span!("judge the plan").in_scope(judge),
        request,
        loaded,
        store,
    })
}

/// Reads the policy flags, which are added to the configuration file's policy.
///
/// # Errors
/// `allow-mount`: a directory of `--allow-mount` cannot be made absolute.
pub fn policy_keys(args: &PolicyArgs) -> Result<PolicyKeys, Problem> {
    let absolute = |root: &PathBuf| {
        std::path::absolute(root).map_err(|error| {
            let message = format!("--allow-mount {}: {error}", root.display());
            Problem::one(Class::Invalid, Diagnostic::new("allow-mount", message))
        })
    };
    Ok(PolicyKeys {
        max_tier: args.max_tier,
        allow_mount: args
            .allow_mount
            .iter()
            .map(absolute)
            .collect::<Result<_, _>>()?,
        ignore_missing_env: args.ignore_missing_env,
        skip_external: args.skip_external,
        demo: args.demo,
        require_isolation: args.require_isolation,
        ..PolicyKeys::default()
    })
}

/// Makes a request for a plan, with the variables and grants of the arguments.
///
/// # Errors
/// `env-file`: a file of `--env-file` cannot be read. `env-name`: an argument of `--env` is not `NAME=VALUE`. Or a line
/// of a file is not valid.
pub fn plan_request(args: &EnvArgs) -> Result<PlanRequest, Problem> {
    let mut request = PlanRequest {
        grant: args.grant.clone(),
        giver: Giver::Operator,
        ..PlanRequest::default()
    };
    for file in &args.env_file {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!("the --env-file {name} cannot be read: {error}");
            let diagnostic = Diagnostic::new("env-file", message).file(&name);
            Problem::one(Class::Invalid, diagnostic)
        })?;
        let vars =
            env_file::parse(&text, &name).map_err(|error| Problem::one(Class::Invalid, *error))?;
        request.vars.extend(vars);
    }
    for (position, assignment) in (1..).zip(&args.env) {
        let (name, value) = assignment_of(assignment).map_err(|why| {
            let message = format!("--env number {position} is not NAME=VALUE: {why}");
            let mut diagnostic = Diagnostic::new("env-name", message)
                .help("a name has letters, digits and `_`, and does not begin with a digit; to use a variable of orghost's own environment, give --grant NAME");
            diagnostic.field = Some("--env".to_owned());
            Problem::one(Class::Invalid, diagnostic)
        })?;
        request.vars.insert(name.to_owned(), value.to_owned());
    }
    Ok(request)
}

/// Splits `NAME=VALUE`. The error holds no part of the text, because the text may be a secret value without its name.
fn assignment_of(text: &str) -> Result<(&str, &str), &'static str> {
    match text.split_once('=') {
        None => Err("it has no `=`"),
        Some(("", _)) => Err("it begins with `=`"),
        Some((name, _)) if !is_identifier(name) => Err("the part before `=` is not a valid name"),
        Some(assignment) => Ok(assignment),
    }
}

/// Makes the input of a plugin call, for commands that call a plugin directly.
///
/// # Errors
/// Those of [`plan_request`], or the configuration file does not allow a granted name.
pub fn plugin_input(
    host: &Host,
    args: &EnvArgs,
    granted: &[String],
) -> Result<PluginInput, Problem> {
    let (input, unset) = host.planner.request(&plan_request(args)?, granted)?;
    warn_of_unset(&unset);
    Ok(input)
}

fn warn_of_unset(names: &[String]) {
    for name in names {
        let message = format!("{name} is granted, but it is not set in orghost's environment");
        report::print(
            &Diagnostic::new("grant-unset", message),
            Severity::Warning,
            None,
        );
    }
}

/// Opens the template's folder that an argument names.
///
/// # Errors
/// `template-not-found`: the folder cannot be opened.
pub fn open_template(folder: &Path) -> Result<TemplateDir, Problem> {
    TemplateDir::open(folder).map_err(|error| {
        let message = format!(
            "the template {} cannot be opened: {error}",
            folder.display()
        );
        let diagnostic = Diagnostic::new("template-not-found", message)
            .file(folder.display().to_string())
            .help("give the folder that holds the template's org.yaml");
        Problem::one(Class::Invalid, diagnostic)
    })
}

/// Prints the log lines of a plugin.
pub fn print_log(lines: &[String]) {
    for line in lines {
        note(&format!("plugin: {}", in_line(line)));
    }
}

//! `orghost plan` and `orghost expand`, and the way from arguments to a judged
//! plan that `up` shares. Changes nothing but what `--render` names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use comfy_table::{ContentArrangement, Table};
use miette::Severity;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cli::args::{EnvArgs, ExpandCommand, PlanArgs, PlanCommand, PluginArgs, PolicyArgs};
use crate::cli::exit::Exit;
use crate::cli::render::report;
use crate::cli::render::text::{count, in_line, note, print_line, printable};
use crate::cli::{Host, print_json};
use crate::config::PolicyKeys;
use crate::config::env_file;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::isolation::Target;
use crate::model::plan::{Plan, WorkspaceKey, is_identifier};
use crate::planning::planner::{Giver, Loaded, PlanRequest};
use crate::planning::policy::{Approved, Rejected, SeedContent, Violation};
use crate::plugin::sandbox::{Expansion, PluginInput};
use crate::problem::{Class, Problem};
use crate::provision::seed::{Programs, Seed};
use crate::service::admission::{Becomes, Change, changes, choose_engine};
use crate::template::directory::TemplateDir;

/// A template, and what policy made of its plan.
pub struct JudgedTemplate {
    pub template: TemplateDir,
    pub verdict: Result<Approved, Box<Rejected>>,
    /// What it was judged for.
    pub target: Target,
    /// The plugin, when it is not the built-in one.
    pub planned_by: Option<String>,
    /// What was given beside the template.
    pub wanted: PlanRequest,
}

/// `orghost plan`.
pub async fn plan(host: &Host, command: &PlanCommand) -> Result<Exit, Problem> {
    let judged = judge(host, &command.plan, command.engine.engine).await?;
    let (plan, violations): (&Plan, &[Violation]) = match &judged.verdict {
        Ok(approved) => (approved.plan(), &[]),
        Err(rejected) => (&rejected.plan, &rejected.violations),
    };
    let revealed;
    let shown = if command.plan.show_secrets {
        revealed = plan.revealed();
        &revealed
    } else {
        plan
    };
    if let (Ok(approved), Some(out)) = (&judged.verdict, &command.render) {
        render(host, approved, &judged.template, out, &command.plan)?;
    }
    let changes = match (&judged.verdict, host.known_store()?) {
        (Ok(approved), Some(store)) => changes(approved, &store).await?,
        _ => Vec::new(),
    };
    if host.json {
        print_plan_json(shown, &judged.target, violations, &changes)?;
    } else {
        print_plan(&self::shown(serde_json::json!(shown))?);
        print_target(&judged.target);
        print_changes(&changes);
        note_plugin(&judged);
        print_warnings(&plan.warnings, &command.plan.template);
        print_violations(&told(violations));
    }
    match judged.verdict {
        Ok(_) => Ok(Exit::Done),
        Err(_) => Ok(Exit::Refused),
    }
}

/// `orghost expand`.
pub fn expand(host: &Host, command: &ExpandCommand) -> Result<Exit, Problem> {
    let PluginArgs { plugin, wasi } = &command.plugin;
    let chosen = host.planner.choose(plugin.as_deref(), wasi.wasi, None)?;
    let request = request(host, &command.env, &chosen.grant)?;
    let (plugin, _) = host.planner.load(&chosen, &host.sandbox()?)?;
    let expansion = plugin
        .expand(&command.text, &request)
        .map_err(|error| error.into_problem(None))?;
    print_expansion(host.json, &expansion)?;
    Ok(Exit::Done)
}

/// An expansion: the text on standard output, what is wrong with it beside.
pub fn print_expansion(json: bool, expansion: &Expansion) -> Result<(), Problem> {
    if json {
        return print_json(expansion);
    }
    if console::Term::stdout().is_term() {
        print_line(&printable(&expansion.text));
    } else {
        print_line(&expansion.text);
    }
    for name in &expansion.unresolved {
        note(&format!("unresolved: {}", in_line(name)));
    }
    for group in &expansion.malformed {
        note(&format!("malformed: {}", in_line(group)));
    }
    Ok(())
}

/// From arguments to a verdict.
pub async fn judge(
    host: &Host,
    args: &PlanArgs,
    asked: Option<EngineKind>,
) -> Result<JudgedTemplate, Problem> {
    let flags = policy_keys(&args.policy)?;
    let template = open_template(&args.template)?;
    let mut wanted = wanted(&args.env)?;
    wanted.skip_external = flags.skip_external;
    wanted.plugin.clone_from(&args.plugin.plugin);
    wanted.wasi = args.plugin.wasi.wasi;
    let loaded = Loaded::new(host.sandbox()?);
    let planned = host.planner.plan(&loaded, &template, &wanted)?;
    print_log(&planned.log);
    warn_of_unset(&planned.unset);
    let (store, engines) = (host.known_store()?, host.engines()?);
    let name = &planned.plan.org.name;
    let target = choose_engine(name, asked, store.as_ref(), &host.config, &engines).await?;
    let judged = planned.judge(&host.planner.policy(&flags), target);
    Ok(JudgedTemplate {
        template,
        verdict: judged.verdict,
        target: judged.target,
        planned_by: judged.planned_by,
        wanted,
    })
}

/// What the policy flags add to the configuration file.
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

/// The variables and grants of the arguments.
pub fn wanted(args: &EnvArgs) -> Result<PlanRequest, Problem> {
    let mut wanted = PlanRequest {
        grant: args.grant.clone(),
        giver: Giver::Operator,
        ..PlanRequest::default()
    };
    for file in &args.env_file {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!("the file {name} of --env-file cannot be read: {error}");
            let diagnostic = Diagnostic::new("env-file", message).file(&name);
            Problem::one(Class::Invalid, diagnostic)
        })?;
        let vars =
            env_file::parse(&text, &name).map_err(|error| Problem::one(Class::Invalid, *error))?;
        wanted.vars.extend(vars);
    }
    for (position, assignment) in (1..).zip(&args.env) {
        let (name, value) = assignment_of(assignment).map_err(|why| {
            let message = format!("--env number {position} is not NAME=VALUE: {why}");
            let mut diagnostic = Diagnostic::new("env-name", message)
                .help("a name has letters, digits and `_`, and begins with no digit; to use a variable of orghost's own environment, --grant NAME");
            diagnostic.field = Some("--env".to_owned());
            Problem::one(Class::Invalid, diagnostic)
        })?;
        wanted.vars.insert(name.to_owned(), value.to_owned());
    }
    Ok(wanted)
}

/// A name and its value. An error holds no part of the text, which may be a secret without its name.
fn assignment_of(text: &str) -> Result<(&str, &str), &'static str> {
    match text.split_once('=') {
        None => Err("it has no `=`"),
        Some(("", _)) => Err("it begins with `=`"),
        Some((name, _)) if !is_identifier(name) => Err("what stands before its `=` is no name"),
        Some(assignment) => Ok(assignment),
    }
}

/// What a call of a plugin gets, for commands that make calls of their own.
pub fn request(host: &Host, args: &EnvArgs, granted: &[String]) -> Result<PluginInput, Problem> {
    let (request, unset) = host.planner.request(&wanted(args)?, granted)?;
    warn_of_unset(&unset);
    Ok(request)
}

fn warn_of_unset(names: &[String]) {
    for name in names {
        let message = format!("{name} is granted, but orghost has no such variable");
        report::print(
            &Diagnostic::new("grant-unset", message),
            Severity::Warning,
            None,
        );
    }
}

/// A template's folder, as an argument names it.
pub fn open_template(folder: &Path) -> Result<TemplateDir, Problem> {
    TemplateDir::open(folder).map_err(|error| {
        let message = format!(
            "the template {} cannot be opened: {error}",
            folder.display()
        );
        let diagnostic = Diagnostic::new("template-not-found", message)
            .file(folder.display().to_string())
            .help("name the folder that holds the template's org.yaml");
        Problem::one(Class::Invalid, diagnostic)
    })
}

/// What a plugin wrote for whoever debugs it.
pub fn print_log(lines: &[String]) {
    for line in lines {
        note(&format!("plugin: {}", in_line(line)));
    }
}

fn print_plan_json(
    plan: &Plan,
    target: &Target,
    violations: &[Violation],
    changes: &[Change],
) -> Result<(), Problem> {
    #[derive(serde::Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        plan: &'a Plan,
        #[serde(flatten)]
        target: &'a Target,
        violations: &'a [Violation],
        #[serde(skip_serializing_if = "<[Change]>::is_empty")]
        changes: &'a [Change],
    }
    print_json(&Document {
        plan,
        target,
        violations,
        changes,
    })
}

/// What would become of an org that is known, one line for each workspace that is not simply the same.
pub fn print_changes(changes: &[Change]) {
    for Change { workspace, what } in changes {
        let told = match what {
            Becomes::Added => "is new".to_owned(),
            Becomes::Moved { from } => format!("was {}", in_line(&from.to_string())),
            Becomes::Left => "is in the template no longer; up --prune removes it".to_owned(),
        };
        print_line(&format!("{workspace} {told}"));
    }
}

fn told(violations: &[Violation]) -> Vec<Diagnostic> {
    violations.iter().map(Diagnostic::from).collect()
}

/// Shows what policy refused, as `up --json` and `plan --json` do.
pub fn print_refusal(
    host: &Host,
    rejected: &Rejected,
    target: &Target,
    args: &PlanArgs,
) -> Result<(), Problem> {
    if host.json {
        let plan = if args.show_secrets {
            rejected.plan.revealed()
        } else {
            rejected.plan.clone()
        };
        return print_plan_json(&plan, target, &rejected.violations, &[]);
    }
    print_violations(&told(&rejected.violations));
    Ok(())
}

/// Says what a plan was judged for.
pub fn print_target(target: &Target) {
    let Target { engine, isolation } = target;
    print_line(&format!("for the engine {} ({isolation})", engine.as_str()));
}

/// Says which plugin made the plan, when it is not the built-in one.
pub fn note_plugin(judged: &JudgedTemplate) {
    if let Some(plugin) = &judged.planned_by {
        note(&format!("planned by {}", in_line(plugin)));
    }
}

/// A plan's JSON, as far as a person is shown it: this machine's, or a server's.
#[derive(Debug, Deserialize)]
pub struct Shown {
    org: ShownOrg,
    workspaces: Vec<ShownWorkspace>,
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
    #[serde(default)]
    pub violations: Vec<Diagnostic>,
    #[serde(default)]
    pub changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct ShownOrg {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ShownWorkspace {
    key: WorkspaceKey,
    runtime: String,
    model: Option<String>,
    tier: u8,
    external: bool,
    files: Vec<IgnoredAny>,
    env: Vec<IgnoredAny>,
    schedules: Vec<IgnoredAny>,
    channels: Vec<IgnoredAny>,
    skipped_channels: Vec<IgnoredAny>,
}

/// The part of a plan that a person is shown.
pub fn shown(json: serde_json::Value) -> Result<Shown, Problem> {
    serde_json::from_value(json).map_err(|error| {
        let message = format!("this is no plan: {error}");
        Problem::one(Class::Failed, Diagnostic::new("json", message))
    })
}

/// The plan as a table.
pub fn print_plan(plan: &Shown) {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "WORKSPACE",
            "RUNTIME",
            "MODEL",
            "TIER",
            "FILES",
            "ENV",
            "SCHEDULES",
            "CHANNELS",
        ]);
    for workspace in &plan.workspaces {
        let indent = "  ".repeat(workspace.key.depth());
        let skipped = workspace.skipped_channels.len();
        let channels = match (workspace.channels.len(), skipped) {
            (made, 0) => made.to_string(),
            (made, skipped) => format!("{made} (+{skipped} skipped)"),
        };
        let runtime = if workspace.external {
            "external"
        } else {
            &workspace.runtime
        };
        table.add_row([
            format!("{indent}{}", workspace.key.slug()),
            in_line(runtime),
            in_line(workspace.model.as_deref().unwrap_or("-")),
            workspace.tier.to_string(),
            workspace.files.len().to_string(),
            workspace.env.len().to_string(),
            workspace.schedules.len().to_string(),
            channels,
        ]);
    }
    let workspaces = count(plan.workspaces.len(), "workspace");
    print_line(&format!("{}: {workspaces}", in_line(&plan.org.name)));
    for line in table.lines() {
        print_line(line.trim_end());
    }
}

/// Warnings, one line each. What is said of many places is said once, with
/// their number: a template of forty workspaces can have a hundred warnings.
pub fn print_warnings(warnings: &[Diagnostic], folder: &Path) {
    const SHOWN: usize = 20;
    let mut groups: Vec<(&Diagnostic, usize)> = Vec::new();
    let mut known = BTreeMap::new();
    for warning in warnings {
        let index = *known
            .entry((&warning.code, &warning.message))
            .or_insert_with(|| {
                groups.push((warning, 0));
                groups.len() - 1
            });
        if let Some((_, places)) = groups.get_mut(index) {
            *places += 1;
        }
    }
    for (warning, places) in groups.iter().take(SHOWN) {
        let mut place = String::new();
        if let Some(file) = &warning.file {
            place = folder.join(file).display().to_string();
            for number in [warning.line, warning.column].into_iter().flatten() {
                place.push_str(&format!(":{number}"));
            }
            place.push_str(": ");
        }
        let more = match places {
            0 | 1 => String::new(),
            places => format!(" (and {} like it)", count(places - 1, "other")),
        };
        let message = printable(&warning.message);
        note(&format!("warning: {}{message}{more}", printable(&place)));
    }
    if groups.len() > SHOWN {
        let more = count(groups.len() - SHOWN, "more warning");
        note(&format!("warning: {more}; orghost plan --json shows all"));
    }
}

/// Violations of one kind are told once, with all their workspaces.
pub fn print_violations(violations: &[Diagnostic]) {
    let mut groups: Vec<(&Diagnostic, Vec<&str>)> = Vec::new();
    let mut known = BTreeMap::new();
    for violation in violations {
        let key = violation.workspace.as_deref().unwrap_or_default();
        let index = *known
            .entry((
                &violation.code,
                &violation.message,
                &violation.file,
                violation.line,
            ))
            .or_insert_with(|| {
                groups.push((violation, Vec::new()));
                groups.len() - 1
            });
        if let Some((_, keys)) = groups.get_mut(index) {
            keys.push(key);
        }
    }
    for (violation, keys) in groups {
        let mut shown = violation.clone();
        shown.workspace = match keys.as_slice() {
            [""] => None,
            [key] => Some((*key).to_owned()),
            [first, others @ ..] => Some(format!(
                "{first} and {}",
                count(others.len(), "other workspace")
            )),
            [] => None,
        };
        report::print(&shown, Severity::Error, None);
    }
    if !violations.is_empty() {
        note("refused by policy: nothing was created");
    }
}

/// Writes what each workspace would find under `/configs`.
fn render(
    host: &Host,
    approved: &Approved,
    template: &TemplateDir,
    out: &Path,
    args: &PlanArgs,
) -> Result<(), Problem> {
    let failed = |path: &Path, reason: String| {
        let message = format!("{} cannot be rendered: {reason}", path.display());
        Problem::one(
            Class::Failed,
            Diagnostic::new("render", message).file(path.display().to_string()),
        )
    };
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed(
            out,
            "the folder is not empty; name another one".to_owned(),
        ));
    }
    for workspace in approved.workspaces() {
        let Some(runtime) = &workspace.runtime else {
            continue;
        };
        let runtime = host.config.runtimes.get(runtime.as_str());
        let programs = Programs::of(approved.engine(), &runtime.cloned().unwrap_or_default());
        let folder = out.join(workspace.key.as_str());
        let mut files = workspace.files.clone();
        if !args.show_secrets {
            for source in files.values_mut().filter(|source| source.secret) {
                source.content =
                    SeedContent::Inline(b"# redacted: --show-secrets shows it\n".to_vec());
            }
        }
        let seed =
            Seed::read(&files, template, programs).map_err(|e| failed(&folder, e.to_string()))?;
        for file in seed.files() {
            let (path, bytes, mode) = file.map_err(|e| failed(&folder, e.to_string()))?;
            let path = folder.join(path);
            write_new(&path, &bytes, mode).map_err(|e| failed(&path, e.to_string()))?;
        }
    }
    Ok(())
}

fn write_new(path: &PathBuf, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    // A child's folder may be named like a file of its parent's seed: that is an error, not an overwrite.
    options.write(true).create_new(true).mode(mode);
    options.open(path)?.write_all(bytes)
}

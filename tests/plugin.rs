//! Tests of the committed component: it is built from the current sources, imports only the template's files, and plans
//! like the crate that it is built from.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use orghost::model::env_map::EnvMap;
use orghost::model::plan::{Former, Origin};
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{
    BUILT_IN_WORLD, CallError, ORG_IMPORT, Plugin, PluginInput, Sandbox,
};
use orghost::template::directory::TemplateDir;
use orghost_build::inspect::Grant;
use orghost_build::{Guest, Inputs, Provenance};
use serde_json::{Value, json};

use crate::support::{Operator, Ran, native, own_templates, root, shared_templates};

#[test]
fn the_committed_component_is_up_to_date_with_its_sources() {
    let guest = guest(&orghost_build::Environment::default());
    let provenance = Provenance::read(&root().join("guest/org-import.lock")).unwrap();
    let stale = provenance.stale(&Inputs::of(&guest).unwrap(), ORG_IMPORT);
    assert!(stale.is_empty(), "run scripts/guest:\n{}", stale.join("\n"));
}

/// The sources of the default plugin.
fn guest(environment: &orghost_build::Environment) -> Guest {
    let (package, wit) = ("guest/org-import", "wit/v0.2.0-dev");
    Guest::open(&root().join(package), &root().join(wit), environment).unwrap()
}

#[test]
fn the_component_imports_only_the_templates_files() {
    let inspection = orghost_build::inspect(ORG_IMPORT).unwrap();
    assert_eq!(
        inspection.imports,
        ["orghost:plugin/template-files@0.2.0-dev"]
    );
    assert!(inspection.has_expander());
    // The host does not check it again when it loads it.
    let world = orghost_build::inspect::check(&inspection, Grant::Strict).unwrap();
    assert_eq!(world, BUILT_IN_WORLD);
}

#[test]
fn a_plan_holds_the_origin_of_variables_and_former_names() {
    let operator = Operator::new();
    let folder = operator.template(&[
        (
            "org.yaml",
            "name: A\nworkspaces: [{name: W, runtime: x, files_dir: w, renamed_from: [V, [Lead, U]]}]\n",
        ),
        (".env", "# who\nROOT=1\nBOTH=1\n"),
        ("w/.env", "OWN=1\nBOTH=2\n"),
    ]);
    let sandbox = Sandbox::new(None).unwrap();
    let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let request = PluginInput {
        vars: [("GIVEN".to_owned(), "1".to_owned())].into_iter().collect(),
        ..PluginInput::default()
    };
    let template = TemplateDir::open(Path::new(&folder)).unwrap();
    let plan = plugin.plan(&template, &request).unwrap();
    let workspace = &plan.workspaces[0];
    let env = workspace.env.iter();
    let env: Vec<(&str, &Origin)> = env.map(|var| (&*var.name, &var.origin)).collect();
    let of = |file: &str, line| Origin::Template {
        file: file.to_owned(),
        line: Some(line),
    };
    assert_eq!(
        env,
        [
            ("BOTH", &of("w/.env", 2)),
            ("GIVEN", &Origin::Operator),
            ("OWN", &of("w/.env", 1)),
            ("ROOT", &of(".env", 2)),
        ]
    );
    let path = Former::Path(vec!["Lead".to_owned(), "U".to_owned()]);
    assert_eq!(workspace.renamed_from, [Former::Name("V".to_owned()), path]);
}

/// The component is compiled to WebAssembly and its answer crosses the sandbox; the crate runs natively and its answer is
/// written out here, field by field. The test fails for a field that the crossing loses or changes.
#[test]
fn the_component_answers_with_every_field_of_its_crate() {
    let component = load(ORG_IMPORT);
    let mut plans = 0;
    for folder in templates() {
        let found = answer_of_component(&component, &folder);
        assert_eq!(found, answer_of_crate(&folder), "{}", folder.display());
        plans += usize::from(found.is_ok());
    }
    assert!(plans > 100, "only {plans} plans were compared");
}

/// Compilers may give other bytes for the same sources; the plans must be equal. Needs a compiler for WebAssembly.
#[test]
fn a_rebuilt_component_gives_the_same_plans() {
    let rustc = std::process::Command::new(root().join("scripts/wasm-rustc"))
        .output()
        .unwrap();
    let rustc = Ran::of(rustc).exits(0).stdout;
    let environment = orghost_build::Environment::from_vars(|name| match name {
        "RUSTC" => Some(rustc.trim_end().into()),
        _ => std::env::var_os(name),
    });
    let guest = guest(&environment);
    let rebuilt = orghost_build::build(&guest, &environment)
        .unwrap()
        .component;
    if rebuilt == ORG_IMPORT {
        return;
    }
    let (rebuilt, committed) = (load(&rebuilt), load(ORG_IMPORT));
    for folder in templates() {
        assert_eq!(
            answer_of_component(&rebuilt, &folder),
            answer_of_component(&committed, &folder),
            "{}",
            folder.display()
        );
    }
}

/// The templates of the repository, of the conformance profile, and the real ones where they exist.
fn templates() -> Vec<PathBuf> {
    let profile = std::fs::read_dir(root().join("host/conformance/org-template-1")).unwrap();
    // The cases of the expander have no template.
    let profile = profile
        .map(|case| case.unwrap().path().join("template"))
        .filter(|template| template.is_dir());
    let mut templates = own_templates();
    templates.extend(profile);
    templates.extend(shared_templates());
    templates
}

/// The variables of every request, so that references expand.
fn variables() -> EnvMap {
    [("SLACK_TOKEN", "xoxb-1"), ("TEAM", "t"), ("NAME", "n")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

/// A plan as JSON with all values, its origins and requirements; or the errors.
type Answer = Result<Value, Value>;

fn load(component: &[u8]) -> Plugin {
    let sandbox = Sandbox::new(None).unwrap();
    sandbox.load(component, &PluginLimits::default()).unwrap()
}

fn answer_of_component(plugin: &Plugin, folder: &Path) -> Answer {
    let request = PluginInput {
        vars: variables(),
        ..PluginInput::default()
    };
    match plugin.plan(&TemplateDir::open(folder).unwrap(), &request) {
        Ok(plan) => {
            let requirements = plan.required_env.iter().chain(&plan.recommended_env);
            Ok(json!({
                "plan": plan.revealed(),
                "requirements": requirements.map(|required| json!([required.any_of, required.missing_for])).collect::<Value>(),
                "secrets": plan.workspaces.iter().map(secrets_and_origins).collect::<Value>(),
            }))
        }
        Err(CallError::Rejected(errors)) => Err(json!(errors)),
        Err(error) => panic!("{}: {error}", folder.display()),
    }
}

fn secrets_and_origins(workspace: &orghost::model::plan::Workspace) -> Value {
    let env = workspace.env.iter().map(|var| {
        let origin = match &var.origin {
            Origin::Template { file, line } => json!([file, line]),
            Origin::Plugin => json!("plugin"),
            Origin::Operator => json!("operator"),
            Origin::Caller => json!("caller"),
        };
        json!([var.name, var.secret, origin])
    });
    let files = workspace.files.iter();
    let channels = workspace
        .channels
        .iter()
        .flat_map(|channel| &channel.config);
    json!({
        "env": env.collect::<Value>(),
        "files": files.map(|file| json!([file.path, file.secret])).collect::<Value>(),
        "channels": channels.map(|entry| json!([entry.name, entry.secret])).collect::<Value>(),
    })
}

fn answer_of_crate(folder: &Path) -> Answer {
    let files = native::Files(TemplateDir::open(folder).unwrap());
    match org_import::import_org(&files, &native::request(&variables())) {
        Ok(plan) => {
            let required = plan.required_env.iter();
            let missing = required.filter(|required| !required.missing_for.is_empty());
            let missing = missing.map(
                |required| json!({"any_of": required.any_of, "missing_for": required.missing_for}),
            );
            let requirements = plan.required_env.iter().chain(&plan.recommended_env);
            Ok(json!({
                "plan": {
                    "schema": 1,
                    "org": {"name": plan.org.name, "description": plan.org.description},
                    "workspaces": plan.workspaces.iter().map(crate_workspace).collect::<Value>(),
                    "required_env": plan.required_env.iter().map(crate_requirement).collect::<Value>(),
                    "recommended_env": plan.recommended_env.iter().map(crate_requirement).collect::<Value>(),
                    "missing_env": missing.collect::<Value>(),
                    "warnings": plan.warnings.iter().map(crate_diagnostic).collect::<Value>(),
                },
                "requirements": requirements
                    .map(|required| json!([required.any_of, required.missing_for]))
                    .collect::<Value>(),
                "secrets": plan.workspaces.iter().map(crate_secrets).collect::<Value>(),
            }))
        }
        Err(errors) => Err(errors.iter().map(crate_diagnostic).collect()),
    }
}

fn crate_workspace(workspace: &org_import::Workspace) -> Value {
    let access = match workspace.workspace_access {
        org_import::WorkspaceAccess::None => "none",
        org_import::WorkspaceAccess::ReadOnly => "read_only",
        org_import::WorkspaceAccess::ReadWrite => "read_write",
    };
    let plugins = workspace.plugins.iter().map(|plugin| match &plugin.config {
        None => json!({"source": plugin.source}),
        Some(config) => {
            let config: Value = serde_json::from_str(config).unwrap();
            json!({"source": plugin.source, "config": config})
        }
    });
    let files = workspace.files.iter().map(|file| match &file.content {
        org_import::Content::Inline(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!({"path": file.path, "inline": text}),
            Err(_) => json!({"path": file.path, "inline_base64": BASE64_STANDARD.encode(bytes)}),
        },
        org_import::Content::Template(path) => json!({"path": file.path, "template": path}),
        org_import::Content::TemplateText(path) => {
            json!({"path": file.path, "template": path, "text": true})
        }
    });
    let schedules = workspace.schedules.iter().map(|schedule| {
        json!({
            "name": schedule.name,
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "prompt": schedule.prompt,
            "enabled": schedule.enabled,
        })
    });
    let channels = workspace.channels.iter().map(|channel| {
        let config = channel.config.iter();
        json!({
            "type": channel.kind,
            "config": config.map(|entry| (entry.name.clone(), json!(entry.value))).collect::<serde_json::Map<_, _>>(),
            "allowed_users": channel.allowed_users,
            "enabled": channel.enabled,
        })
    });
    let skipped = workspace.skipped_channels.iter();
    let memories = workspace.memories.iter().map(|memory| {
        let scope = match memory.scope {
            org_import::MemoryScope::Local => "LOCAL",
            org_import::MemoryScope::Team => "TEAM",
            org_import::MemoryScope::Global => "GLOBAL",
        };
        json!({"content": memory.content, "scope": scope})
    });
    let mut json = json!({
        "key": workspace.key,
        "name": workspace.name,
        "role": workspace.role,
        "parent": workspace.key.rsplit_once('/').map(|(parent, _)| parent),
        "runtime": workspace.runtime,
        "model": workspace.model,
        "tier": workspace.tier,
        "external": workspace.external,
        "url": workspace.url,
        "workspace_dir": workspace.workspace_dir,
        "workspace_access": access,
        "plugins": plugins.collect::<Value>(),
        "files": files.collect::<Value>(),
        "env": workspace.env.iter().map(|var| json!({"name": var.name, "value": var.value})).collect::<Value>(),
        "schedules": schedules.collect::<Value>(),
        "channels": channels.collect::<Value>(),
        "skipped_channels": skipped.map(|it| json!({"type": it.kind, "reason": it.reason})).collect::<Value>(),
        "memories": memories.collect::<Value>(),
        "max_concurrent_tasks": workspace.max_concurrent_tasks,
        "canvas": {"x": workspace.canvas.x, "y": workspace.canvas.y},
    });
    if !workspace.renamed_from.is_empty() {
        let former = workspace.renamed_from.iter().map(|former| match former {
            org_import::Former::Name(name) => json!(name),
            org_import::Former::Path(names) => json!(names),
        });
        json["renamed_from"] = former.collect();
    }
    json
}

fn crate_requirement(requirement: &org_import::Requirement) -> Value {
    match requirement.any_of.as_slice() {
        [name] => json!(name),
        names => json!({"any_of": names}),
    }
}

fn crate_diagnostic(diagnostic: &org_import::Diagnostic) -> Value {
    let place = diagnostic.place.as_ref();
    let known = |number: u32| (number > 0).then_some(number);
    let mut json = json!({
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": place.map(|place| &place.file),
        "line": place.and_then(|place| known(place.line)),
        "column": place.and_then(|place| known(place.column)),
        "field": diagnostic.field,
        "workspace": diagnostic.workspace,
        "help": diagnostic.help,
    });
    json.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    json
}

fn crate_secrets(workspace: &org_import::Workspace) -> Value {
    let env = workspace.env.iter().map(|var| {
        let origin = match &var.origin {
            org_import::Origin::Template(place) => {
                json!([place.file, (place.line > 0).then_some(place.line)])
            }
            org_import::Origin::Plugin => json!("plugin"),
            org_import::Origin::Operator => json!("operator"),
        };
        json!([var.name, var.secret, origin])
    });
    let files = workspace.files.iter();
    let channels = workspace
        .channels
        .iter()
        .flat_map(|channel| &channel.config);
    json!({
        "env": env.collect::<Value>(),
        "files": files.map(|file| json!([file.path, file.secret])).collect::<Value>(),
        "channels": channels.map(|entry| json!([entry.name, entry.secret])).collect::<Value>(),
    })
}

#[test]
fn a_plan_is_the_same_in_every_call_and_instance() {
    let template = TemplateDir::open(&root().join("tests/cases/forty/template")).unwrap();
    let request = PluginInput {
        vars: EnvMap::from([("TELEGRAM_BOT_TOKEN".into(), "1:a".into())]),
        ..PluginInput::default()
    };
    let sandbox = Sandbox::new(None).unwrap();
    let (one, other) = (
        sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap(),
        sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap(),
    );
    let first = one.plan(&template, &request).unwrap();
    assert_eq!(first.workspaces.len(), 40);
    assert_eq!(one.plan(&template, &request).unwrap(), first);
    assert_eq!(other.plan(&template, &request).unwrap(), first);
}

//! Tests of the committed component: it is built from the current sources, imports only the template's files, and plans
//! like the crate that it is built from.

use std::path::Path;

use orghost::model::env_map::EnvMap;
use orghost::model::plan::{Former, Origin};
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{CallError, ORG_IMPORT, PluginInput, Sandbox};
use orghost::template::directory::TemplateDir;
use orghost_build::{Guest, Inputs, Provenance};

use crate::support::{Operator, native, own_templates, root, shared_templates};

#[test]
fn the_committed_component_is_up_to_date_with_its_sources() {
    let guest = Guest::open(
        &root().join("guest/org-import"),
        &root().join("wit/v0.2.0-dev"),
        &orghost_build::Environment::default(),
    );
    let provenance = Provenance::read(&root().join("guest/org-import.lock")).unwrap();
    let stale = provenance.stale(&Inputs::of(&guest.unwrap()).unwrap(), ORG_IMPORT);
    assert!(stale.is_empty(), "run scripts/guest:\n{}", stale.join("\n"));
}

#[test]
fn the_component_imports_only_the_templates_files() {
    let inspection = orghost_build::inspect(ORG_IMPORT).unwrap();
    assert_eq!(
        inspection.imports,
        ["orghost:plugin/template-files@0.2.0-dev"]
    );
    assert!(inspection.has_expander());
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

/// What the native crate makes of a template, told in the words of the host's plan.
fn natively(folder: &Path) -> Result<Vec<String>, Vec<String>> {
    let request = native::request(&EnvMap::default());
    let files = native::Files(TemplateDir::open(folder).unwrap());
    match org_import::import_org(&files, &request) {
        Ok(plan) => Ok(plan
            .workspaces
            .iter()
            .map(|w| {
                let files: Vec<_> = w
                    .files
                    .iter()
                    .map(|f| (&f.path, inline(&f.content)))
                    .collect();
                format!(
                    "{} {} {:?} {} {files:?} {:?}",
                    w.key,
                    w.runtime,
                    w.model,
                    w.tier,
                    w.canvas.x + w.canvas.y
                )
            })
            .chain(
                plan.warnings
                    .iter()
                    .map(|w| format!("{}: {}", w.code, w.message)),
            )
            .collect()),
        Err(errors) => Err(errors
            .iter()
            .map(|e| format!("{}: {}", e.code, e.message))
            .collect()),
    }
}

fn inline(content: &org_import::Content) -> Option<&[u8]> {
    match content {
        org_import::Content::Inline(bytes) => Some(bytes),
        _ => None,
    }
}

fn wasm(component: &[u8], folder: &Path) -> Result<Vec<String>, Vec<String>> {
    let plugin = Sandbox::new(None)
        .unwrap()
        .load(component, &PluginLimits::default())
        .unwrap();
    match plugin.plan(&TemplateDir::open(folder).unwrap(), &PluginInput::default()) {
        Ok(plan) => Ok(plan
            .workspaces
            .iter()
            .map(|w| {
                let files: Vec<_> = w
                    .files
                    .iter()
                    .map(|f| (&f.path, host_inline(&f.content)))
                    .collect();
                format!(
                    "{} {} {:?} {} {files:?} {:?}",
                    w.key,
                    w.runtime,
                    w.model,
                    w.tier,
                    w.canvas.x + w.canvas.y
                )
            })
            .chain(
                plan.warnings
                    .iter()
                    .map(|w| format!("{}: {}", w.code, w.message)),
            )
            .collect()),
        Err(CallError::SaidNo(errors)) => Err(errors
            .iter()
            .map(|e| format!("{}: {}", e.code, e.message))
            .collect()),
        Err(error) => panic!("{}: {error}", folder.display()),
    }
}

fn host_inline(content: &orghost::model::plan::Content) -> Option<&[u8]> {
    match content {
        orghost::model::plan::Content::Inline(bytes) => Some(bytes),
        orghost::model::plan::Content::Template { .. } => None,
    }
}

#[test]
fn the_component_plans_as_its_crate_does() {
    for folder in own_templates().into_iter().chain(shared_templates()) {
        assert_eq!(
            wasm(ORG_IMPORT, &folder),
            natively(&folder),
            "{}",
            folder.display()
        );
    }
}

/// `.ci/run` rebuilds the component before the tests and fails when it cannot;
/// whatever compiler did it, the plans are the same. Elsewhere the committed
/// component stands for itself.
#[test]
fn a_rebuilt_component_gives_the_same_plans() {
    let path = root().join("target/rebuilt/org-import.wasm");
    let rebuilt = match std::fs::read(&path) {
        Ok(rebuilt) => rebuilt,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{}: {error}", path.display()),
        Err(_) => ORG_IMPORT.to_vec(),
    };
    if orghost::model::plugin::PluginDigest::of(&rebuilt)
        == orghost::model::plugin::PluginDigest::of(ORG_IMPORT)
    {
        return;
    }
    for folder in own_templates().into_iter().chain(shared_templates()) {
        assert_eq!(
            wasm(&rebuilt, &folder),
            wasm(ORG_IMPORT, &folder),
            "{}",
            folder.display()
        );
    }
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

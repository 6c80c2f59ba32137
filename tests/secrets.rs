//! Tests that the debug output of types with secrets is redacted, for log lines, panics and failed tests.

use std::fmt::Debug;

use orghost::config::Config;
use orghost::http::ImportBody;
use orghost::model::engine_kind::EngineKind;
use orghost::model::env_map::EnvMap;
use orghost::model::ids::OrgId;
use orghost::model::plan::{
    AgentPlugin, Channel, ConfigEntry, Content, EnvVar, Org, Origin, Plan, SeedFile,
};
use orghost::planning::planner::{PlanRequest, Planned};
use orghost::planning::policy::Policy;
use orghost::provision;
use orghost::provision::engine::backend;
use orghost::service::admission::identify;
use orghost::service::{Import, ImportOptions, Source};
use orghost::state::store::Store;
use orghost::template::bundle::Bundle;
use orghost::template::directory::TemplateDir;

use crate::support::Operator;
use crate::support::world::workspace;

const SECRET: &str = "hunter2-of-the-operator";

#[track_caller]
fn shows_none(what: &str, value: &impl Debug) {
    let secrets = [
        SECRET.to_owned(),
        // The secret as a list of bytes.
        format!("{:?}", SECRET.as_bytes())
            .trim_matches(['[', ']'])
            .to_owned(),
        SECRET.bytes().map(|byte| format!("{byte},")).collect(),
    ];
    let (line, lines) = (format!("{value:?}"), format!("{value:#?}"));
    let packed = lines.replace([' ', '\n'], "");
    for secret in &secrets {
        for shown in [&line, &lines, &packed] {
            assert!(!shown.contains(secret.as_str()), "{what}: {shown}");
        }
    }
}

/// A plan with a secret in every place that can hold one.
fn plan() -> Plan {
    let secret = || SECRET.to_owned();
    let mut one = workspace("one");
    one.env = vec![EnvVar {
        name: "KEY".to_owned(),
        value: secret(),
        secret: true,
        origin: Origin::Plugin,
    }];
    one.files.push(SeedFile {
        path: "secret.yaml".to_owned(),
        content: Content::Inline(SECRET.into()),
        secret: true,
    });
    one.plugins = vec![AgentPlugin {
        source: "some".to_owned(),
        config: Some(serde_json::json!({ "token": secret() })),
    }];
    one.channels = vec![Channel {
        kind: "slack".to_owned(),
        config: vec![ConfigEntry {
            name: "token".to_owned(),
            value: secret(),
            secret: true,
        }],
        allowed_users: Vec::new(),
        enabled: true,
    }];
    Plan {
        org: Org {
            name: "Acme".to_owned(),
            description: String::new(),
        },
        workspaces: vec![one],
        required_env: Vec::new(),
        recommended_env: Vec::new(),
        warnings: Vec::new(),
    }
}

#[test]
fn debug_output_of_secret_types_is_redacted() {
    let vars = || EnvMap::from([("KEY".to_owned(), SECRET.to_owned())]);
    shows_none("a map of variables", &vars());
    let shown = format!("{:?}", vars());
    assert!(shown.contains("KEY"), "names are shown: {shown}");

    let request = orghost::plugin::sandbox::PluginInput {
        vars: vars(),
        granted: vars(),
        ..Default::default()
    };
    shows_none("a request to a plugin", &request);
    let wanted = PlanRequest {
        vars: vars(),
        ..PlanRequest::default()
    };
    shows_none("what a caller gives", &wanted);
    for template in [
        Source::Text(SECRET.to_owned()),
        Source::Archive(SECRET.into()),
    ] {
        let import = Import {
            caller: "me".to_owned(),
            template,
            vars: vars(),
            request: ImportOptions::default(),
        };
        shows_none("an import", &import);
    }
    let body = ImportBody {
        env: vars(),
        ..ImportBody::default()
    };
    shows_none("a request's body", &body);

    let bundle = Bundle::of_text(SECRET);
    shows_none("a template in memory", &bundle);
    let template = TemplateDir::of_bundle(bundle.into());
    shows_none("a template", &template);

    let text = format!("[runtimes.r]\nimage = \"i\"\nenv = {{ KEY = \"{SECRET}\" }}\n");
    let operator = Operator::new();
    let file = operator.file("orghost.toml", text);
    let config = Config::read(&file).unwrap();
    shows_none("the configuration file", &config);

    shows_none("a plan", &plan());
    let planned = Planned {
        plan: plan(),
        planned_by: None,
        log: Vec::new(),
        unset: Vec::new(),
    };
    shows_none("what a server keeps of a plan", &planned);
    let policy = Policy {
        runtimes: ["agent".to_owned()].into(),
        ..Policy::default()
    };
    let target = backend::target(EngineKind::Docker);
    let approved = policy.judge(plan(), &target).unwrap();
    shows_none("an approved plan", &approved);
    let store = Store::open(&operator.state()).unwrap();
    let org = OrgId::new(store.instance().clone(), "Acme");
    let runtime = config.runtimes["r"].clone();
    let ids = identify(&approved, &org, &[]).unwrap();
    let jobs = provision::jobs(&approved, &org, &ids, |_| runtime.clone(), &template).unwrap();
    shows_none("what there is to do", &jobs);
}

/// The environment holds all secrets of the operator.
#[test]
fn debug_output_of_the_environment_hides_values() {
    let environment = orghost::config::Environment::of_process();
    let shown = format!("{environment:?}");
    assert!(shown.contains("PATH"), "names are shown: {shown}");
    let path = std::env::var("PATH").unwrap();
    assert!(!shown.contains(&path), "{shown}");
}

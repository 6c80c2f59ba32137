//! Tests of steering variables: a name that the loader, a shell, an interpreter, git, TLS or a proxy setting reads can
//! be set only by the operator where a workspace is a process of this machine.

use orghost::model::engine_kind::EngineKind;
use orghost::model::plan::{
    Access, Canvas, Content, EnvVar, Org, Origin, Plan, SeedFile, Workspace, WorkspaceKey,
};
use orghost::planning::policy::Policy;
use orghost::planning::policy::steering::{FAMILIES, Letters};
use orghost::provision::engine::backend::target;
use proptest::prelude::*;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::{Operator, Ran};

/// A name from each pattern, in random letter case where case does not matter.
fn steering_name() -> impl Strategy<Value = String> {
    let patterns: Vec<_> = FAMILIES
        .iter()
        .flat_map(|family| family.names.iter().map(|name| (family.letters, *name)))
        .collect();
    let pattern = proptest::sample::select(patterns);
    (pattern, "[A-Z0-9_]{0,12}", any::<u64>())
        .prop_map(|((letters, pattern), rest, capitals)| {
            let name = match pattern.strip_suffix('*') {
                Some(beginning) => format!("{beginning}{rest}"),
                None => pattern.to_owned(),
            };
            let letter = |(place, letter): (usize, char)| match letters {
                Letters::AnyCase if capitals >> (place % 64) & 1 == 0 => {
                    letter.to_ascii_lowercase()
                }
                _ => letter,
            };
            name.chars().enumerate().map(letter).collect::<String>()
        })
        .prop_filter("what anybody may set", |name| {
            let starts = |harmless: &&str| name.starts_with(harmless.trim_end_matches('*'));
            !FAMILIES
                .iter()
                .any(|family| family.harmless.iter().any(&starts))
        })
}

fn not_the_operator() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Plugin),
        Just(Origin::Caller),
        ("[a-z]{1,8}/.env", proptest::option::of(1_u32..100))
            .prop_map(|(file, line)| Origin::Template { file, line }),
    ]
}

proptest! {
    #[test]
    fn only_the_operator_can_set_variables_that_steer_programs(name in steering_name(), origin in not_the_operator()) {
        let judged = |engine, origin: &Origin| {
            let policy = Policy { runtimes: ["shell".to_owned()].into(), ..Policy::default() };
            let judged = policy.judge(plan(&name, origin.clone()), &target(engine));
            judged.map(drop).map_err(|rejected| rejected.violations)
        };
        let violations = judged(EngineKind::Local, &origin).unwrap_err();
        prop_assert_eq!(violations.len(), 1);
        prop_assert_eq!(violations[0].code, "steering-env");
        prop_assert!(violations[0].message.contains(&name));
        prop_assert!(!violations[0].message.contains("the value"));
        if let Origin::Template { file, line } = &origin {
            prop_assert_eq!(violations[0].file.as_ref(), Some(file));
            prop_assert_eq!(violations[0].line, *line);
        }
        prop_assert!(judged(EngineKind::Local, &Origin::Operator).is_ok());
        for engine in [EngineKind::Docker, EngineKind::Swarm] {
            prop_assert!(judged(engine, &origin).is_ok());
        }
    }

    #[test]
    fn other_variables_can_be_set_by_templates(name in "APP_[A-Z_]{1,12}", origin in not_the_operator()) {
        let policy = Policy { runtimes: ["shell".to_owned()].into(), ..Policy::default() };
        prop_assert!(policy.judge(plan(&name, origin), &target(EngineKind::Local)).is_ok());
    }
}

fn plan(name: &str, origin: Origin) -> Plan {
    let key = WorkspaceKey::new("pm").unwrap();
    Plan {
        org: Org {
            name: "Acme".into(),
            description: String::new(),
        },
        workspaces: vec![Workspace {
            path: crate::support::world::path(&key),
            key,
            parent: None,
            name: "PM".into(),
            role: String::new(),
            runtime: "shell".into(),
            model: None,
            tier: 2,
            external: false,
            renamed_from: vec![],
            url: None,
            workspace_dir: None,
            workspace_access: Access::None,
            plugins: vec![],
            files: vec![SeedFile {
                path: "config.yaml".into(),
                content: Content::Inline(b"name: PM\n".to_vec()),
                secret: false,
            }],
            env: vec![EnvVar {
                name: name.into(),
                value: "the value".into(),
                secret: true,
                origin,
            }],
            schedules: vec![],
            channels: vec![],
            skipped_channels: vec![],
            memories: vec![],
            max_concurrent_tasks: 1,
            canvas: Canvas { x: 0.0, y: 0.0 },
        }],
        required_env: vec![],
        recommended_env: vec![],
        warnings: vec![],
    }
}

const ORG: &str = "name: Steer\ndefaults: {runtime: agent}\nworkspaces: [{name: A, files_dir: r}, {name: B, files_dir: s}]\n";

/// The variables of the test templates, and the program that reads each.
const INPUTS: [(&str, &str); 4] = [
    ("LD_PRELOAD=../configs/evil.so", "the dynamic loader"),
    ("PATH=../configs", "searches for another program"),
    ("PYTHONPATH=../configs", "Python"),
    ("HOME=../configs", "look for a home"),
];

/// A template with this line as the third line of one of its `.env` files.
fn template(operator: &Operator, file: &str, line: &str) -> String {
    let text = format!("# settings\nA=1\n{line}\n");
    operator.template(&[
        ("org.yaml", ORG),
        ("r/notes.md", "of A"),
        ("s/notes.md", "of B"),
        (file, &text),
    ])
}

fn violations(ran: &Ran) -> Vec<Value> {
    ran.json()["violations"].as_array().unwrap().clone()
}

#[test]
fn a_steering_variable_is_refused_with_its_line_and_creates_nothing() {
    for (line, reader) in INPUTS {
        for (file, whose) in [(".env", &["a", "b"][..]), ("r/.env", &["a"])] {
            let operator = Operator::new();
            let folder = template(&operator, file, line);
            let config = operator.file(
                "orghost.toml",
                "[runtimes.agent]\ncommand = ['/bin/sleep', '1000']\n",
            );
            let config = config.display().to_string();
            for entry in [&["--demo"][..], &["--config", &config]] {
                for command in ["plan", "up"] {
                    let mut args = vec![command, &folder, "--engine", "local", "--json"];
                    args.extend(entry);
                    let ran = operator.run(&args).exits(3);
                    let told = violations(&ran);
                    let keys: Vec<_> = told.iter().map(|v| v["workspace"].clone()).collect();
                    assert_eq!(keys, whose, "{line} in {file}: {told:?}");
                    for violation in told {
                        assert_eq!(violation["code"], "steering-env");
                        assert_eq!(
                            (&violation["file"], &violation["line"]),
                            (&json!(file), &json!(3))
                        );
                        let message = violation["message"].as_str().unwrap();
                        let name = line.split('=').next().unwrap();
                        assert!(
                            message.contains(name) && message.contains(reader),
                            "{message}"
                        );
                        assert!(violation["help"].as_str().unwrap().contains("--env"));
                    }
                }
            }
            assert!(
                !operator.state().exists(),
                "a refused template creates nothing"
            );
        }
    }
}

#[test]
fn the_human_output_names_the_line_of_a_steering_variable() {
    let operator = Operator::new();
    let folder = template(&operator, ".env", "LD_PRELOAD=../configs/evil.so");
    let ran = operator.run(&["up", &folder, "--demo", "--engine", "local"]);
    let told = ran.exits(3).stderr;
    for words in [
        "LD_PRELOAD",
        ".env:3",
        "--env LD_PRELOAD=VALUE",
        "nothing was created",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn all_steering_variables_are_reported_at_once() {
    let operator = Operator::new();
    let folder = template(
        &operator,
        ".env",
        "PATH=x\nhttps_proxy=http://x\nGIT_DIR=x\nNODE_ENV=production",
    );
    let args = ["plan", &folder, "--demo", "--engine", "local", "--json"];
    let told = violations(&operator.run(&args).exits(3));
    // Three names in each of two workspaces.
    assert_eq!(told.len(), 6, "{told:?}");
}

#[test]
fn steering_variables_are_allowed_in_containers() {
    let operator = Operator::new();
    let folder = template(&operator, ".env", "PATH=../configs");
    let ran = operator.run(&["plan", &folder, "--demo", "--engine", "docker", "--json"]);
    let plan = ran.exits(0).json();
    assert_eq!(plan["engine"], "docker");
    assert_eq!(plan["isolation"], json!({"kind": "container"}));
}

#[test]
fn the_operator_can_set_steering_variables() {
    let operator = Operator::new();
    let folder = operator.template(&[("org.yaml", ORG), ("r/x", ""), ("s/x", "")]);
    let config = operator.file(
        "orghost.toml",
        "[runtimes.agent]\ncommand = ['/bin/sleep', '1000']\nenv = {PATH = '/opt/agent/bin:/bin', HOME = '/opt/agent'}\n",
    );
    let config = config.display().to_string();
    let vars = operator
        .file("vars", "PYTHONPATH=/opt/agent/lib\n")
        .display()
        .to_string();
    let args = [
        "up",
        &folder,
        "--engine",
        "local",
        "--config",
        &config,
        "--env",
        "LD_BIND_NOW=1",
        "--env-file",
        &vars,
    ];
    operator.run(&args).exits(0);
    let mut containers = 0;
    for workspace in std::fs::read_dir(operator.state().join("local")).unwrap() {
        let container = workspace.unwrap().path().join("container.json");
        let container: Value = serde_json::from_slice(&std::fs::read(container).unwrap()).unwrap();
        for (name, value) in [
            ("PATH", "/opt/agent/bin:/bin"),
            ("HOME", "/opt/agent"),
            ("LD_BIND_NOW", "1"),
            ("PYTHONPATH", "/opt/agent/lib"),
        ] {
            assert_eq!(container["env"][name], value);
        }
        containers += 1;
    }
    assert_eq!(containers, 2);
    operator.run(&["down", "steer", "--volumes"]).exits(0);
}

#[tokio::test]
async fn callers_of_a_server_cannot_set_steering_variables() {
    let operator = Operator::new();
    let config = operator.file(
        "orghost.toml",
        "[runtimes.agent]\ncommand = ['/bin/sleep', '1000']\nenv = {PYTHONPATH = '/opt/agent'}\n",
    );
    let config = config.display().to_string();
    let server = Server::start(&operator, &["--engine", "local", "--config", &config]);
    let inline = "name: Steer\ndefaults: {runtime: agent}\nworkspaces: [{name: A}]\n";

    // As JSON, with variables in the request.
    let body = json!({"inline": inline, "env": {"LD_PRELOAD": "../configs/evil.so"}});
    let (status, answer) = server
        .ask(Method::POST, "/v1/orgs", Some(body.clone()))
        .await;
    assert_eq!(status, 403, "{answer}");
    let error = &answer["errors"][0];
    assert_eq!(error["code"], "steering-env", "{answer}");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the caller of this server")
    );
    let (status, answer) = server.ask(Method::POST, "/v1/plans", Some(body)).await;
    assert_eq!(status, 200);
    assert_eq!(answer["violations"][0]["code"], "steering-env");
    assert_eq!(answer["engine"], "local");

    // As an archive with `.env` files.
    for (line, _) in INPUTS {
        for file in [".env", "r/.env"] {
            let archive = archive(&[
                ("org.yaml", ORG),
                ("r/notes.md", "x"),
                ("s/notes.md", "x"),
                (file, &format!("{line}\n")),
            ]);
            let form = Form::new().part("archive", Part::bytes(archive));
            let request = server.request(Method::POST, "/v1/orgs").multipart(form);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 403);
            let told: Value = answer.json().await.unwrap();
            let error = &told["errors"][0];
            assert_eq!(
                (&error["code"], &error["file"], &error["line"]),
                (&json!("steering-env"), &json!(file), &json!(1))
            );
        }
    }
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));

    // A variable in the configuration file is allowed, and the org comes up.
    server.import(json!({"inline": inline})).await;
    let (status, _) = server
        .ask(Method::DELETE, "/v1/orgs/steer?volumes=true&wait=60", None)
        .await;
    assert_eq!(status, 200);
    assert_eq!(server.stop(), 0);
}

/// After a restart, the server still knows which variables came from the operator.
#[tokio::test]
async fn a_server_resumes_with_the_operators_variables() {
    let operator = Operator::new();
    let folder = operator.template(&[("org.yaml", ORG), ("r/x", ""), ("s/x", "")]);
    let config = operator.file(
        "orghost.toml",
        "[runtimes.agent]\ncommand = ['/bin/sleep', '1000']\n",
    );
    let config = config.display().to_string();
    let args = [
        "up",
        &folder,
        "--engine",
        "local",
        "--config",
        &config,
        "--env",
        "PYTHONPATH=/opt/agent",
    ];
    operator.run(&args).exits(0);
    let server = Server::start(&operator, &["--config", &config]);
    let org = server.get("/v1/orgs/steer").await;
    let id = org["workspaces"][0]["id"].as_str().unwrap();
    let path = format!("/v1/workspaces/{id}/restart?wait=60");
    let (status, answer) = server.ask(Method::POST, &path, None).await;
    assert_eq!(
        (status, &answer["state"]),
        (200, &json!("done")),
        "{answer}"
    );
    let (status, _) = server
        .ask(Method::DELETE, "/v1/orgs/steer?volumes=true&wait=60", None)
        .await;
    assert_eq!(status, 200);
    assert_eq!(server.stop(), 0);
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

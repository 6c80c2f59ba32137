//! Tests of the commands that use a server.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::Operator;
use crate::support::server::Server;

const ORG: &str = "name: Acme\nworkspaces: [{name: One, runtime: x, children: [{name: Two, runtime: x, tier: 1}]}]\n";

/// A server on one machine, and an operator on another one.
fn server_and_operator(args: &[&str]) -> (Operator, Server, Operator) {
    let machine = Operator::new();
    let mut all = vec!["--demo", "--engine", "local"];
    all.extend(args);
    let server = Server::start(&machine, &all);
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    (machine, server, operator)
}

#[test]
fn an_org_can_be_brought_up_shown_and_taken_down_over_a_server() {
    let (_machine, _server, operator) = server_and_operator(&[]);
    let template = operator.template(&[("org.yaml", ORG)]);
    let plan = operator.run(&["plan", &template, "--json"]).exits(0).json();
    assert_eq!(plan["workspaces"][1]["key"], "one/two", "{plan}");
    let events = operator
        .run(&["up", &template, "--wait", "--json"])
        .exits(0)
        .events();
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["up"], &summary["failed"]),
        (&2.into(), &0.into()),
        "{summary}"
    );
    // The events equal those of an `up` without a server, in the same order.
    let steps: Vec<_> = events
        .iter()
        .filter(|event| event["workspace"] == "one" && event["event"] == "step")
        .map(|event| event["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        ["volumes", "create", "seed", "verify", "start", "ready"]
    );

    let again = operator.run(&["up", &template]).exits(0);
    assert!(again.stdout.contains("2 unchanged"), "{}", again.stdout);
    let status = operator.run(&["status", "acme", "--json"]).exits(0).json();
    for workspace in status["orgs"][0]["workspaces"].as_array().unwrap() {
        assert_eq!(workspace["state"], "running", "{status}");
    }
    let logs = operator.run(&["logs", "one/two"]).exits(0).stdout;
    assert!(logs.contains("listening on"), "{logs}");
    let down = operator.run(&["down", "acme", "--volumes"]).exits(0);
    assert!(
        down.stdout.contains("2 workspaces removed"),
        "{}",
        down.stdout
    );
    let status = operator.run(&["status"]).exits(0);
    assert!(status.stdout.contains("no orgs"), "{}", status.stdout);
    assert!(
        !operator.state().exists(),
        "the operator's machine has no state"
    );
}

#[test]
fn one_workspace_can_be_stopped_started_and_restarted_over_a_server() {
    let (_machine, _server, operator) = server_and_operator(&[]);
    let template = operator.template(&[("org.yaml", ORG)]);
    operator.run(&["up", &template]).exits(0);
    let state = || {
        let status = operator.run(&["status", "--json"]).exits(0).json();
        status["orgs"][0]["workspaces"][1]["state"].clone()
    };
    operator.run(&["stop", "one/two"]).exits(0);
    assert_ne!(state(), "running");
    operator.run(&["start", "one/two"]).exits(0);
    assert_eq!(state(), "running");
    operator.run(&["restart", "one/two"]).exits(0);
    assert_eq!(state(), "running");
    let unknown = operator.run(&["stop", "three", "--json"]).exits(2);
    assert_eq!(unknown.error_codes(), ["unknown-workspace"]);
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn errors_and_exit_codes_are_the_same_with_and_without_a_server() {
    let (_machine, server, operator) = server_and_operator(&[]);
    let here = Operator::new();
    for (text, code) in [
        ("name: A\nworkspaces: [{name: X, runtime: x, tier: 4}]\n", 3),
        ("name: A\nworkspaces: [{name: X}]\n", 2),
        ("name: [\n", 2),
    ] {
        let template = operator.template(&[("org.yaml", text)]);
        for command in ["plan", "up"] {
            let there = operator
                .run(&[command, &template, "--json"])
                .exits(code)
                .json();
            let flags = ["--demo", "--json"];
            let same = here
                .run(&[&[command, &template][..], &flags].concat())
                .exits(code)
                .json();
            // The API answers a refused `up` with one problem document that lists the violations.
            let told = |json: &Value| {
                let list = json.get("errors").or(json.get("violations")).cloned();
                list.map(|list| list[0]["code"].clone())
            };
            assert_eq!(
                told(&there),
                told(&same),
                "{command} {text}: {there} {same}"
            );
        }
    }
    let expansion = operator
        .run(&["expand", "${A}/$B", "--env", "A=1", "--json"])
        .exits(0)
        .json();
    assert_eq!(expansion["text"], "1/$B");
    let unknown = operator.run(&["down", "nobody", "--json"]).exits(2);
    assert_eq!(unknown.error_codes(), ["unknown-org"]);
    let template = operator.template(&[("org.yaml", ORG)]);
    for flags in [
        &["--demo"][..],
        &["--max-tier", "3"],
        &["--plugin", "./a.wasm"],
    ] {
        let ran = operator
            .run(&[&["plan", &template, "--json"], flags].concat())
            .exits(2);
        assert_eq!(ran.error_codes(), ["not-with-server"], "{flags:?}");
    }
    drop(server);
    let gone = operator.run(&["status", "--json"]).exits(1);
    assert_eq!(gone.error_codes(), ["server-away"]);
}

#[test]
fn a_token_is_not_sent_without_tls() {
    let operator = Operator::new()
        .with_env("ORGHOST_SERVER", "http://orghost.example:7420")
        .with_env("ORGHOST_TOKEN", "secret-token");
    let ran = operator.run(&["status", "--json"]).exits(2);
    assert_eq!(ran.error_codes(), ["server-url"]);
    assert!(!ran.stdout.contains("secret-token"), "{}", ran.stdout);
}

/// An org with one crashing workspace, and the server's configuration for it.
fn crashing(machine: &Operator, command: &str) -> [String; 2] {
    let org = "name: Acme\nworkspaces: [{name: One, runtime: crash}]\n";
    let template = machine.template(&[("org.yaml", org)]);
    let config = format!("[runtimes.crash]\ncommand = ['/bin/sh', '-c', '{command}']\n");
    let config = machine.file("orghost.toml", config).display().to_string();
    [template, config]
}

/// The only failure in the output of `up --json`.
fn failure(events: &[Value]) -> Value {
    events.last().unwrap()["workspaces"][0]["failure"].clone()
}

#[test]
fn the_last_lines_of_a_failed_workspace_are_shown() {
    let machine = Operator::new();
    let [template, config] = crashing(&machine, "echo boom; echo password=hunter2 >&2; exit 3");
    let flags = ["--engine", "local", "--config", &config];
    let server = Server::start(&machine, &flags);
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    let there = operator.run(&["up", &template, "--wait"]).exits(4).stderr;
    let said = &there[there.find("its last lines say why:").unwrap()..];
    assert!(
        said.contains("  | boom") && said.contains("  | password=hunter2"),
        "{there}"
    );
    let here = Operator::new();
    let up = [&["up", &template, "--wait"][..], &flags].concat();
    let here = here.run(&up).exits(4).stderr;
    assert_eq!(there, here, "as without a server");

    let summary = operator
        .run(&["up", &template, "--wait", "--json"])
        .exits(4)
        .events();
    let lines = failure(&summary)["last_lines"].clone();
    assert_eq!(
        (&lines[0], &lines[1]),
        (&json!("boom"), &json!("password=hunter2"))
    );
    // A restart shows the same lines.
    let restart = operator.run(&["restart", "one"]).exits(4).stderr;
    assert!(restart.contains("  | boom"), "{restart}");
    operator.run(&["down", "acme", "--volumes"]).exits(0);
    // The lines may hold a secret, so the host stores them nowhere.
    drop(server);
    for entry in std::fs::read_dir(machine.state()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(7).any(|window| window == b"hunter2");
        assert!(!found, "{}", entry.path().display());
    }
}

#[test]
fn a_failure_without_output_shows_no_last_lines() {
    let machine = Operator::new();
    let [template, config] = crashing(&machine, "exit 3");
    let flags = ["--engine", "local", "--config", &config];
    let server = Server::start(&machine, &flags);
    let there = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    let here = Operator::new();
    let said = [
        there.run(&["up", &template, "--wait"]).exits(4).stderr,
        here.run(&[&["up", &template, "--wait"][..], &flags].concat())
            .exits(4)
            .stderr,
    ];
    for said in said {
        assert!(
            said.contains("help: ") && !said.contains("last lines"),
            "{said}"
        );
    }
    there.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_lines_need_the_scope_write() {
    let machine = Operator::new();
    let [template, config] = crashing(&machine, "echo hunter2; exit 3");
    let token = |scope: &str| {
        let new = ["token", "new", scope, "--scope", scope, "--json"];
        let made = machine.run(&new).exits(0).json();
        made["token"].as_str().unwrap().to_owned()
    };
    let (read, write) = (token("read"), token("write"));
    let server = Server::start(&machine, &["--engine", "local", "--config", &config]);
    let operator = Operator::new()
        .with_env("ORGHOST_SERVER", &server.url)
        .with_env("ORGHOST_TOKEN", &write);
    tokio::task::block_in_place(|| operator.run(&["up", &template, "--wait"])).exits(4);
    let get = async |token: &str, path: &str| -> Value {
        let request = server.request(reqwest::Method::GET, path);
        let answer = request.bearer_auth(token).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let operations = get(&read, "/v1/orgs/acme/operations").await;
    let path = format!(
        "/v1/operations/{}",
        operations["operations"][0]["id"].as_str().unwrap()
    );
    assert_eq!(get(&write, &path).await["last_lines"]["one"][0], "hunter2");
    let seen = get(&read, &path).await;
    assert_eq!(seen["failed"], 1, "{seen}");
    assert!(!seen.to_string().contains("hunter2"), "{seen}");
    tokio::task::block_in_place(|| operator.run(&["down", "acme", "--volumes"])).exits(0);
}

#[test]
fn an_interrupt_ends_following_but_not_the_operation() {
    let machine = Operator::new();
    let gate = machine.home.path().join("gate");
    let program = env!("CARGO_BIN_EXE_orghost");
    let wait = format!(
        "until [ -e {} ]; do /bin/sleep 0.1; done; exec {program} demo-runtime",
        gate.display()
    );
    let config = format!(
        "[runtimes.slow]\ncommand = ['/bin/sh', '-c', '{wait}']\nread = ['{program}']\nhealth = '/health'\n"
    );
    let config = machine.file("orghost.toml", config).display().to_string();
    let server = Server::start(&machine, &["--engine", "local", "--config", &config]);
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    let org = |code| format!("name: Acme {code}\nworkspaces: [{{name: One, runtime: slow}}]\n");
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
    ] {
        let template = operator.template(&[("org.yaml", &org(code))]);
        let mut command = operator.command(&["up", &template, "--wait", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        events.find(|event| event["step"] == "ready").unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let said = events.last().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(said["errors"][0]["code"], "interrupted", "{said}");
        let message = said["errors"][0]["message"].as_str().unwrap();
        assert!(
            message.contains("the server continues this `up`"),
            "{message}"
        );
    }
    std::fs::write(gate, "").unwrap();
    // The workspaces come up although the command was interrupted.
    for code in [130, 143] {
        let template = operator.template(&[("org.yaml", &org(code))]);
        operator.run(&["up", &template, "--wait"]).exits(0);
        let name = format!("acme-{code}");
        operator.run(&["down", &name, "--volumes"]).exits(0);
    }
}

#[test]
fn a_workspace_can_be_named_by_key_name_or_identity() {
    let org = "name: Acme\ndefaults: {runtime: x}\nworkspaces:\n  - {name: 'Dev Lead', children: [{name: Twin}]}\n  - {name: Other, children: [{name: Twin}]}\n";
    let (_machine, _server, there) = server_and_operator(&[]);
    let here = Operator::new();
    for (operator, flags) in [(&there, &[][..]), (&here, &["--demo", "--engine", "local"])] {
        let template = operator.template(&[("org.yaml", org)]);
        operator
            .run(&[&["up", &template][..], flags].concat())
            .exits(0);
        let status = operator.run(&["status", "--json"]).exits(0).json();
        let id = |at: usize| status["orgs"][0]["workspaces"][at]["id"].as_str().unwrap();
        for name in ["dev-lead", "Dev Lead", id(0)] {
            let logs = operator.run(&["logs", name]).exits(0).stdout;
            assert!(
                logs.contains(id(0)) || logs.contains("listening"),
                "{name}: {logs}"
            );
        }
        for command in ["logs", "stop", "start", "restart"] {
            let ran = operator.run(&[command, "Twin", "--json"]).exits(2);
            assert_eq!(ran.error_codes(), ["ambiguous-workspace"]);
            let message = ran.json()["errors"][0]["message"].to_string();
            for twin in ["dev-lead/twin", "other/twin", id(1), id(3)] {
                assert!(message.contains(twin), "{message}");
            }
            let ran = operator.run(&[command, "nobody", "--json"]).exits(2);
            assert_eq!(ran.error_codes(), ["unknown-workspace"]);
        }
        operator.run(&["down", "acme", "--volumes"]).exits(0);
    }
}

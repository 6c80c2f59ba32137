//! Commands that ask a server.

use crate::support::Operator;
use crate::support::server::Server;

const ORG: &str = "name: Acme\nworkspaces: [{name: One, runtime: x, children: [{name: Two, runtime: x, tier: 1}]}]\n";

/// A server of one machine, and an operator on another one.
fn server_and_operator(args: &[&str]) -> (Operator, Server, Operator) {
    let machine = Operator::new();
    let mut all = vec!["--demo", "--engine", "local"];
    all.extend(args);
    let server = Server::start(&machine, &all);
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    (machine, server, operator)
}

#[test]
fn an_org_is_brought_up_shown_and_taken_down() {
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
    // The same events, in the same order, as an `up` on this machine.
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
        "nothing of it was on this machine"
    );
}

#[test]
fn one_workspace_is_stopped_started_and_restarted() {
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
fn errors_and_exit_codes_are_those_of_this_machine() {
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
            // A refused `up` is one problem of the API, whose errors are the violations.
            let told = |json: &serde_json::Value| {
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
fn a_token_does_not_travel_in_the_clear() {
    let operator = Operator::new()
        .with_env("ORGHOST_SERVER", "http://orghost.example:7420")
        .with_env("ORGHOST_TOKEN", "secret-token");
    let ran = operator.run(&["status", "--json"]).exits(2);
    assert_eq!(ran.error_codes(), ["server-url"]);
    assert!(!ran.stdout.contains("secret-token"), "{}", ran.stdout);
}

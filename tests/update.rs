//! Tests of updates, from the command line and over the API: a failure is rolled back, and workspaces are not removed
//! by accident.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Operator;
use crate::support::server::Server;

const FULL: &str = "name: Emptied\ndefaults: {runtime: x}\nworkspaces:\n  - name: W\n";
/// The only workspace is commented out.
const EMPTY: &str = "name: Emptied\ndefaults: {runtime: x}\nworkspaces:\n#  - name: W\n";

fn template(operator: &Operator, text: &str) -> String {
    operator.template(&[("org.yaml", text)])
}

fn states(operator: &Operator) -> Vec<Value> {
    let status = operator.run(&["status", "--json"]).exits(0).json();
    let orgs = status["orgs"].as_array().unwrap();
    let of = |org: &Value| org["workspaces"].as_array().unwrap().clone();
    let workspaces = orgs.iter().flat_map(of);
    workspaces.map(|w| w["state"].clone()).collect()
}

#[test]
fn prune_with_an_emptied_template_needs_confirmation() {
    let operator = Operator::new();
    let up = |template: &str, more: &[&str], code| {
        let mut args = vec!["up", template, "--demo", "--engine", "local", "--json"];
        args.extend(more);
        operator.run(&args).exits(code)
    };
    up(&template(&operator, FULL), &[], 0);
    for workspaces in [
        "workspaces:\n#  - name: W",
        "workspaces: []",
        "workspaces: null",
    ] {
        let empty = format!("name: Emptied\ndefaults: {{runtime: x}}\n{workspaces}\n");
        let empty = template(&operator, &empty);
        // Without `--prune` the workspace is reported and not removed.
        let summary = up(&empty, &[], 0).events().pop().unwrap();
        assert_eq!(summary["orphans"], json!(["w"]), "{summary}");
        let refused = up(&empty, &["--prune"], 2).events().pop().unwrap();
        let error = &refused["errors"][0];
        assert_eq!(error["code"], "prune-needs-consent", "{refused}");
        assert!(error["help"].as_str().unwrap().contains("--yes"), "{error}");
        assert_eq!(states(&operator), ["running"], "{workspaces}");
    }
    let empty = template(&operator, EMPTY);
    let summary = up(&empty, &["--prune", "--yes"], 0).events().pop().unwrap();
    assert_eq!(summary["orphans"], json!([]), "{summary}");
    assert_eq!(states(&operator), [""; 0]);
    operator.run(&["down", "emptied", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_needs_the_same_confirmation() {
    let machine = Operator::new();
    let server = Server::start(&machine, &["--demo", "--engine", "local"]);
    assert_eq!(
        server.import(json!({"inline": FULL})).await["state"],
        "done"
    );
    let import = async |body: Value| {
        server
            .ask(Method::POST, "/v1/orgs?wait=60", Some(body))
            .await
    };
    let (status, refused) = import(json!({"inline": EMPTY, "prune": true})).await;
    assert_eq!(status, 409, "{refused}");
    assert_eq!(
        refused["errors"][0]["code"], "prune-needs-consent",
        "{refused}"
    );
    let running = async || server.get("/v1/orgs/emptied").await["workspaces"].clone();
    assert_eq!(running().await[0]["state"], "running");

    // The command line of another machine needs the same confirmation.
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    let empty = template(&operator, EMPTY);
    let up = |more: &[&str], code| {
        let args = [&["up", &empty, "--take-over", "--prune", "--json"], more].concat();
        operator.run(&args).exits(code).events().pop().unwrap()
    };
    let refused = up(&[], 2);
    assert_eq!(
        refused["errors"][0]["code"], "prune-needs-consent",
        "{refused}"
    );
    up(&["--yes"], 0);
    assert_eq!(running().await, json!([]));
    server
        .ask(
            Method::DELETE,
            "/v1/orgs/emptied?volumes=true&wait=60",
            None,
        )
        .await;
}

/// Two runtimes of the local engine: one that answers, and one that exits.
fn runtimes(operator: &Operator) -> String {
    let program = env!("CARGO_BIN_EXE_orghost");
    let config = format!(
        "[runtimes.good]\ncommand = ['{program}', 'demo-runtime']\nhealth = '/health'\n\
         [runtimes.bad]\ncommand = ['/bin/sh', '-c', 'echo no; exit 3']\n"
    );
    operator.file("orghost.toml", config).display().to_string()
}

fn org_of(runtime: &str) -> String {
    format!(
        "name: Updated\ndefaults: {{runtime: {runtime}}}\nworkspaces: [{{name: One}}, {{name: Two}}]\n"
    )
}

#[test]
fn a_failed_update_is_rolled_back_and_reported() {
    let operator = Operator::new();
    let config = runtimes(&operator);
    let up = |runtime: &str, more: &[&str], code| {
        let template = template(&operator, &org_of(runtime));
        let mut args = vec![
            "up", &template, "--engine", "local", "--config", &config, "--wait",
        ];
        args.extend(more);
        operator.run(&args).exits(code)
    };
    up("good", &[], 0);
    let failed = up("bad", &[], 4);
    assert!(
        failed
            .stderr
            .contains("the previous one runs again at http://127.0.0.1:"),
        "{}",
        failed.stderr
    );
    assert_eq!(states(&operator), ["running", "running"]);
    let again = up("good", &[], 0);
    assert!(again.stdout.contains("2 unchanged"), "{}", again.stdout);

    // The first workspace is the canary; the second is not changed.
    let summary = up("bad", &["--max-failures", "1", "--json"], 4);
    let summary = summary.events().pop().unwrap();
    assert_eq!(
        (&summary["failed"], &summary["skipped"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
    let failure = &summary["workspaces"][0]["failure"];
    assert_eq!(failure["before"]["state"], "runs_again", "{failure}");
    let reason = summary["workspaces"][1]["reason"].as_str().unwrap();
    assert!(reason.starts_with("left as it was"), "{reason}");

    // The failed generation is kept for diagnosis with its log, and the previous one stays stopped.
    let kept = up(
        "bad",
        &["--max-failures", "1", "--no-rollback", "--json"],
        4,
    );
    let summary = kept.events().pop().unwrap();
    let failure = &summary["workspaces"][0]["failure"];
    assert_eq!(failure["before"]["state"], "stopped", "{failure}");
    assert_eq!(failure["left_behind"], json!(["the container of one"]));
    let logs = operator.run(&["logs", "one"]).exits(0).stdout;
    assert!(logs.contains("no\n"), "{logs}");
    up("good", &[], 0);
    assert_eq!(operator.supervisors(), 2);
    operator.run(&["down", "updated", "--volumes"]).exits(0);
    assert_eq!(operator.supervisors(), 0);
}

//! Kills the host with SIGKILL after every write to its journal and runs it again. The result must equal a run without
//! a kill, and nothing may be left over.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::fake_docker::FakeDocker;
use crate::support::server::Server;
use crate::support::{Operator, Ran};

const ORG: &str =
    "name: Crash\ndefaults: {runtime: x}\nworkspaces: [{name: One, children: [{name: Two}]}]\n";

/// Runs an `up` that is killed after a write, and a second one. Returns the second summary with what `status` shows, or
/// `None` when the first run ended before that write.
fn killed_after(operator: &Operator, args: &[&str], write: u32) -> Option<Value> {
    let mut command = operator.command(args);
    command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
    let output = command.output().unwrap();
    let was_killed = output.status.signal() == Some(9);
    if !was_killed {
        assert!(
            write > 1,
            "the program is not built with fault-injection: use scripts/test, or --all-features"
        );
        Ran::of(output).exits(0);
        return None;
    }
    let summary = operator.run(args).exits(0).events().pop().unwrap();
    Some(summary)
}

fn is_complete(operator: &Operator, summary: &Value, write: u32) {
    let came = summary["up"].as_u64().unwrap() + summary["unchanged"].as_u64().unwrap();
    assert_eq!(came, 2, "after write {write}: {summary}");
    let status = operator.run(&["status", "--json"]).exits(0).json();
    let org = &status["orgs"][0];
    let states: Vec<_> = org["workspaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["state"].clone())
        .collect();
    assert_eq!(
        states,
        ["running", "running"],
        "after write {write}: {status}"
    );
    assert!(
        org.get("cut_off").is_none(),
        "after write {write}: {status}"
    );
}

/// Kills after the first write, the second, and so on, until a run has no such write.
fn after_every_write(engine: &str, is_clean: impl Fn(&Operator)) {
    for write in 1.. {
        if !recovers_after(engine, write, &is_clean) {
            // began; five steps and the end of each of two workspaces; ended
            assert_eq!(write, (1 + 2 * 6 + 1) + 1);
            return;
        }
    }
}

/// Kills after one write and runs again; `false` when the run had no such write.
pub(crate) fn recovers_after(engine: &str, write: u32, is_clean: impl Fn(&Operator)) -> bool {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let args = [
        "up",
        &template,
        "--demo",
        "--engine",
        engine,
        "--concurrency",
        "1",
        "--json",
    ];
    let summary = killed_after(&operator, &args, write);
    if let Some(summary) = &summary {
        is_complete(&operator, summary, write);
    }
    operator.run(&["down", "crash", "--volumes"]).exits(0);
    is_clean(&operator);
    summary.is_some()
}

#[test]
fn up_on_the_local_engine_recovers_from_a_kill_after_every_write() {
    after_every_write("local", |operator| {
        let left: Vec<_> = std::fs::read_dir(operator.state().join("local"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn up_on_docker_recovers_from_a_kill_after_every_write() {
    after_every_write("docker", docker_is_clean);
}

/// Kills an update of both workspaces after every write, on the real engine: two generations of one workspace never run
/// together, and the next run ends with exactly one of each.
fn an_update_recovers_from_every_write(
    engine: &str,
    runs: impl Fn(&Operator) -> usize,
    is_clean: impl Fn(&Operator),
) {
    for write in 1.. {
        let operator = Operator::new();
        let template = operator.template(&[("org.yaml", ORG)]);
        let common = ["up", &template, "--demo", "--engine", engine, "--json"];
        let with = |version: &'static str| {
            let more = ["--concurrency", "1", "--env", version];
            [&common[..], &more[..]].concat()
        };
        operator.run(&with("VERSION=1")).exits(0);
        let mut command = operator.command(&with("VERSION=2"));
        command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
        let was_killed = command.output().unwrap().status.signal() == Some(9);
        let running = runs(&operator);
        assert!((1..=2).contains(&running), "after write {write}: {running}");
        let summary = operator.run(&with("VERSION=2")).exits(0);
        is_complete(&operator, &summary.events().pop().unwrap(), write);
        assert_eq!(runs(&operator), 2, "after write {write}");
        operator.run(&["down", "crash", "--volumes"]).exits(0);
        is_clean(&operator);
        if !was_killed {
            // began; seven steps (volumes, create, seed, verify, stop, start, remove) and the end of each of two
            // workspaces; ended
            assert_eq!(write, (1 + 2 * 8 + 1) + 1);
            return;
        }
    }
}

#[test]
fn an_update_on_the_local_engine_recovers_from_a_kill_after_every_write() {
    an_update_recovers_from_every_write(
        "local",
        |operator| operator.supervisors(),
        |operator| local_is_clean(operator, "down"),
    );
}

#[test]
fn an_update_on_docker_recovers_from_a_kill_after_every_write() {
    let runs = |operator: &Operator| {
        let label = format!("label=orghost.instance={}", instance(operator));
        let mut docker = std::process::Command::new("docker");
        let listed = docker.args(["ps", "--quiet", "--filter", &label]).output();
        String::from_utf8(listed.unwrap().stdout)
            .unwrap()
            .lines()
            .count()
    };
    an_update_recovers_from_every_write("docker", runs, docker_is_clean);
}

fn docker_is_clean(operator: &Operator) {
    let lists: [&[&str]; 3] = [
        &["ps", "--all", "--quiet"],
        &["volume", "ls", "--quiet"],
        &["network", "ls", "--quiet"],
    ];
    nothing_is_left(operator, &lists);
}

/// Checks that none of these `docker` lists shows a resource of this host.
pub(crate) fn nothing_is_left(operator: &Operator, lists: &[&[&str]]) {
    let label = format!("label=orghost.instance={}", instance(operator));
    for list in lists {
        let output = std::process::Command::new("docker")
            .args(*list)
            .args(["--filter", &label])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{list:?}");
    }
}

fn instance(operator: &Operator) -> String {
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    db.query_row(
        "SELECT value FROM meta WHERE name = 'instance'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

/// `down` removes what a killed `up` left, without another `up` in between.
#[tokio::test(flavor = "multi_thread")]
async fn down_removes_what_a_killed_up_left() {
    down_removes_it_from(&FakeDocker::start());
    let volumes = tempfile::tempdir().unwrap();
    down_removes_it_from(&FakeDocker::on_disk(volumes.path()));
    assert_eq!(std::fs::read_dir(volumes.path()).unwrap().count(), 0);
}

fn down_removes_it_from(fake: &FakeDocker) {
    for write in 1..=14 {
        let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
        let template = operator.template(&[("org.yaml", ORG)]);
        let args = [
            "up",
            &template,
            "--demo",
            "--engine",
            "docker",
            "--concurrency",
            "1",
            "--json",
        ];
        let mut command = operator.command(&args);
        command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
        assert_eq!(
            command.output().unwrap().status.signal(),
            Some(9),
            "write {write}"
        );
        let status = operator.run(&["status", "--json"]).exits(0).json();
        assert_eq!(
            status["orgs"][0]["cut_off"],
            serde_json::json!(["up"]),
            "write {write}: {status}"
        );
        let down = operator
            .run(&["down", "crash", "--volumes", "--json"])
            .exits(0);
        let resumed = down
            .events()
            .into_iter()
            .find(|event| event["event"] == "resumed");
        let steps: BTreeSet<_> = resumed.unwrap()["cut_off"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        assert!(steps.len() <= 1, "workspaces overlap: {steps:?}");
        let left = [fake.containers(), fake.volumes(), fake.networks()].concat();
        assert!(left.is_empty(), "write {write}: {left:?}");
    }
}

/// Otherwise a server that is started much later would carry out the `down`.
#[test]
fn an_up_ends_the_down_that_was_killed_before_it() {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let up = ["up", &template, "--demo", "--engine", "local"];
    operator.run(&up).exits(0);
    let mut down = operator.command(&["down", "crash"]);
    down.env("ORGHOST_KILL_AT", "accepted");
    assert_eq!(down.output().unwrap().status.signal(), Some(9));
    let cut_off = || {
        let status = operator.run(&["status", "--json"]).exits(0).json();
        status["orgs"][0]["cut_off"].clone()
    };
    assert_eq!(cut_off(), json!(["down"]));
    operator.run(&up).exits(0);
    assert_eq!(cut_off(), Value::Null);
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    let open = "SELECT count(*) FROM operations WHERE ended_ms IS NULL";
    let open: i64 = db.query_row(open, [], |row| row.get(0)).unwrap();
    assert_eq!(open, 0);
    operator.run(&["down", "crash", "--volumes"]).exits(0);
}

/// The names of all events of an org's workspaces, in order.
fn journal(operator: &Operator) -> Vec<(String, String)> {
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    let mut query = db
        .prepare("SELECT workspace, json_extract(body, '$.event') FROM events WHERE workspace IS NOT NULL ORDER BY seq")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn only_operation(operator: &Operator, kind: &str) -> Option<String> {
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    let mut query = db
        .prepare("SELECT id FROM operations WHERE kind = ?1")
        .unwrap();
    let ids: Vec<String> = query
        .query_map([kind], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(ids.len() <= 1, "{ids:?}");
    ids.into_iter().next()
}

/// Starts a server that a test switch will kill.
fn server_with_kill_switch(
    operator: &mut Operator,
    switch: &str,
    value: &str,
    engine: &str,
) -> Server {
    operator.env.push((switch.to_owned(), value.to_owned()));
    let server = Server::start(
        operator,
        &["--demo", "--engine", engine, "--concurrency", "1"],
    );
    operator.env.pop();
    server
}

fn restarted(operator: &Operator, engine: &str) -> Server {
    Server::start(
        operator,
        &["--demo", "--engine", engine, "--concurrency", "1"],
    )
}

/// Sends a request and ignores a missing answer.
async fn send_and_ignore_the_answer(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<Value>,
) {
    let mut request = server.request(method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let _ = request.send().await;
}

async fn came_up_once(server: &Server, operator: &Operator, at: &str) {
    let id = only_operation(operator, "up").unwrap();
    let ended = server.get(&format!("/v1/operations/{id}?wait=120")).await;
    assert_eq!(ended["state"], "done", "{at}: {ended}");
    let org = server.get("/v1/orgs/crash").await;
    for workspace in org["workspaces"].as_array().unwrap() {
        assert_eq!(workspace["state"], "running", "{at}: {org}");
    }
    let journal = journal(operator);
    for key in ["one", "one/two"] {
        let count = |wanted: &str| {
            journal
                .iter()
                .filter(|(k, event)| k == key && event == wanted)
                .count()
        };
        assert!(count("up") <= 1, "{at}: {key} came up twice: {journal:?}");
        assert!(
            count("up") + count("unchanged") >= 1,
            "{at}: {key} never came up: {journal:?}"
        );
    }
}

async fn takes_the_org_down(server: &Server, at: &str) {
    let path = "/v1/orgs/crash?volumes=true&wait=120";
    let (status, gone) = server.ask(Method::DELETE, path, None).await;
    assert_eq!(
        (status, gone["state"].as_str()),
        (200, Some("done")),
        "{at}: {gone}"
    );
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]), "{at}");
}

/// Kills a server after one write of an import, and starts it again.
async fn server_killed_after(write: u32, engine: &str, operator: &mut Operator) {
    let at = format!("{engine}, write {write}");
    let server = server_with_kill_switch(
        operator,
        "ORGHOST_KILL_AFTER_WRITES",
        &write.to_string(),
        engine,
    );
    send_and_ignore_the_answer(
        &server,
        Method::POST,
        "/v1/orgs",
        Some(json!({"inline": ORG})),
    )
    .await;
    assert_eq!(server.ended(), -1, "{at}: not built with fault-injection");
    let server = restarted(operator, engine);
    came_up_once(&server, operator, &at).await;
    if engine == "local" {
        assert_eq!(operator.supervisors(), 2, "{at}");
    }
    takes_the_org_down(&server, &at).await;
    assert_eq!(server.stop(), 0, "{at}");
}

fn local_is_clean(operator: &Operator, at: &str) {
    assert_eq!(operator.supervisors(), 0, "{at}");
    let left: Vec<_> = std::fs::read_dir(operator.state().join("local"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{at}: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_the_local_engine_recovers_from_a_kill_after_every_write() {
    // began; five steps and the end of each of two workspaces; ended
    for write in 1..=1 + 2 * 6 + 1 {
        let mut operator = Operator::new();
        server_killed_after(write, "local", &mut operator).await;
        local_is_clean(&operator, &format!("write {write}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_docker_recovers_from_a_kill() {
    // The kills come after the begin, the first container, the seed, the start, and the start of the second workspace.
    for write in [1, 3, 4, 6, 7, 13] {
        let mut operator = Operator::new();
        server_killed_after(write, "docker", &mut operator).await;
        docker_is_clean(&operator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_an_operation_is_atomic_under_a_kill() {
    let import = json!({"inline": ORG});
    let mut operator = Operator::new();
    let server = server_with_kill_switch(&mut operator, "ORGHOST_KILL_AT", "planning", "local");
    send_and_ignore_the_answer(&server, Method::POST, "/v1/orgs", Some(import.clone())).await;
    assert_eq!(server.ended(), -1);
    let server = restarted(&operator, "local");
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
    assert_eq!(only_operation(&operator, "up"), None);
    // The unpacked upload is removed.
    let open = operator.state().join("snapshots/open");
    assert!(!open.exists() || std::fs::read_dir(open).unwrap().next().is_none());
    server.kill();

    for place in ["accepted", "begun crash"] {
        let mut operator = Operator::new();
        let server = server_with_kill_switch(&mut operator, "ORGHOST_KILL_AT", place, "local");
        send_and_ignore_the_answer(&server, Method::POST, "/v1/orgs", Some(import.clone())).await;
        assert_eq!(server.ended(), -1, "{place}");
        let server = restarted(&operator, "local");
        came_up_once(&server, &operator, place).await;
        takes_the_org_down(&server, place).await;
        assert_eq!(server.stop(), 0);
        local_is_clean(&operator, place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_down_resumes_it() {
    // began; a step and the end of each of two workspaces; ended
    for write in 1..=1 + 2 * 2 + 1 {
        let at = format!("write {write}");
        let mut operator = Operator::new();
        let server = restarted(&operator, "local");
        assert_eq!(server.import(json!({"inline": ORG})).await["state"], "done");
        assert_eq!(server.stop(), 0);
        let server = server_with_kill_switch(
            &mut operator,
            "ORGHOST_KILL_AFTER_WRITES",
            &write.to_string(),
            "local",
        );
        send_and_ignore_the_answer(&server, Method::DELETE, "/v1/orgs/crash?volumes=true", None)
            .await;
        assert_eq!(server.ended(), -1, "{at}");
        let server = restarted(&operator, "local");
        let id = only_operation(&operator, "down").unwrap();
        let ended = server.get(&format!("/v1/operations/{id}?wait=120")).await;
        assert_eq!(ended["state"], "done", "{at}: {ended}");
        assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]), "{at}");
        assert_eq!(server.stop(), 0, "{at}");
        local_is_clean(&operator, &at);
    }
}

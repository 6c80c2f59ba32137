//! Tests of the HTTP API from outside: every endpoint, the API document, compatibility with the reference's clients.

use std::process::Command;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::server::Server;
use crate::support::{Operator, root};

const ORG: &str = "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One, children: [{name: Two}]}, {name: Three}]\n";
const LOCAL: [&str; 3] = ["--demo", "--engine", "local"];

/// A time limit that is far above what any step takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server whose templates folder holds these `org.yaml` files.
fn templates(operator: &Operator, templates: &[(&str, &str)]) {
    for (name, text) in templates {
        operator.file(&format!("state/templates/{name}/org.yaml"), text);
    }
}

async fn take_down(server: &Server, org: &str) {
    let path = format!("/v1/orgs/{org}?volumes=true&wait=60");
    let (status, gone) = server.ask(Method::DELETE, &path, None).await;
    assert_eq!((status, &gone["state"]), (200, &json!("done")), "{gone}");
}

#[tokio::test]
async fn the_document_is_the_committed_one() {
    let operator = Operator::new();
    let said = operator.run(&["openapi"]).exits(0).stdout;
    let committed = std::fs::read_to_string(root().join("openapi.json")).unwrap_or_default();
    assert!(
        said == committed,
        "openapi.json is out of date: cargo run --all-features -- openapi > openapi.json"
    );
    let server = Server::start(&operator, &LOCAL);
    let served = server.get("/openapi.json").await;
    assert_eq!(served, serde_json::from_str::<Value>(&committed).unwrap());
}

/// Runs schemathesis against a server: it sends many requests for every endpoint of the API document.
#[test]
fn schemathesis_finds_no_violation_of_the_document() {
    let program = env!("CARGO_BIN_EXE_orghost");
    let target = std::path::Path::new(program).ancestors().nth(2).unwrap();
    let ran = Command::new(root().join("scripts/schemathesis"))
        .env("ORGHOST", program)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let complained = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{complained}");
    // Schemathesis did send requests.
    assert!(said.contains("/v1/orgs"), "{said}\n{complained}");
}

#[tokio::test]
async fn every_http_error_is_a_problem_document() {
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    let json = Some("application/json");
    for (method, path, kind, body, status, code) in [
        ("GET", "/v1/nothing", None, "", 404, "unknown-route"),
        ("PATCH", "/v1/orgs", None, "", 405, "method"),
        ("GET", "/v1/orgs?limit=0", None, "", 400, "malformed"),
        ("GET", "/v1/orgs?limit=501", None, "", 400, "malformed"),
        ("GET", "/v1/orgs?limt=5", None, "", 400, "malformed"),
        ("GET", "/v1/orgs/%ff", None, "", 400, "malformed"),
        ("GET", "/v1/orgs/nobody", None, "", 404, "unknown-org"),
        (
            "GET",
            "/v1/orgs/nobody/workspaces",
            None,
            "",
            404,
            "unknown-org",
        ),
        (
            "GET",
            "/v1/orgs/nobody/operations",
            None,
            "",
            404,
            "unknown-org",
        ),
        (
            "GET",
            "/v1/workspaces/x",
            None,
            "",
            404,
            "unknown-workspace",
        ),
        (
            "GET",
            "/v1/workspaces/x/logs",
            None,
            "",
            404,
            "unknown-workspace",
        ),
        (
            "GET",
            "/v1/workspaces/x/logs?tail=-1",
            None,
            "",
            400,
            "malformed",
        ),
        (
            "GET",
            "/v1/operations/x",
            None,
            "",
            404,
            "unknown-operation",
        ),
        (
            "GET",
            "/v1/operations/x?wait=3601",
            None,
            "",
            400,
            "malformed",
        ),
        ("GET", "/v1/events?after=x", None, "", 400, "malformed"),
        ("POST", "/v1/orgs", json, "{", 400, "malformed"),
        ("POST", "/v1/orgs", None, "{}", 415, "media-type"),
        ("POST", "/v1/orgs", json, "{}", 422, "body"),
        ("POST", "/v1/orgs", json, r#"{"inlin":"x"}"#, 422, "body"),
        (
            "POST",
            "/v1/orgs",
            json,
            r#"{"inline":"x","ready_seconds":86401}"#,
            422,
            "body",
        ),
        (
            "POST",
            "/v1/orgs",
            json,
            r#"{"template":"../x"}"#,
            404,
            "unknown-template",
        ),
        ("POST", "/v1/plugins", json, "{}", 415, "media-type"),
        (
            "POST",
            "/v1/plugins?name=B",
            Some("application/wasm"),
            "x",
            422,
            "plugin-name",
        ),
        (
            "POST",
            "/v1/plugins?name=a",
            Some("application/wasm"),
            "x",
            422,
            "plugin-not-a-component",
        ),
        (
            "DELETE",
            "/v1/plugins/nobody",
            None,
            "",
            404,
            "plugin-not-installed",
        ),
        (
            "POST",
            "/v1/expand",
            json,
            r#"{"text":"x","grant":["HOME"]}"#,
            403,
            "grant-not-allowed",
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = server.request(method.clone(), path).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = request.send().await.unwrap();
        let what = format!("{method} {path} {body}");
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{what}"
        );
        if status == 405 {
            assert_eq!(answer.headers()["allow"], "GET, HEAD, POST", "{what}");
        }
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(status), &json!(code)),
            "{what}: {problem}"
        );
        assert_eq!(problem["errors"][0]["code"], code, "{what}: {problem}");
    }
}

#[tokio::test]
async fn workspaces_and_operations_are_listed_in_pages() {
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    for _ in 0..3 {
        assert_eq!(server.import(json!({"inline": ORG})).await["state"], "done");
    }
    let mut keys = Vec::new();
    let mut path = "/v1/orgs/acme/workspaces?limit=2".to_owned();
    loop {
        let page = server.get(&path).await;
        let of_page = page["workspaces"].as_array().unwrap();
        assert!((1..=2).contains(&of_page.len()), "{page}");
        keys.extend(
            of_page
                .iter()
                .map(|w| w["key"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/orgs/acme/workspaces?limit=2&after={next}");
    }
    assert_eq!(keys, ["one", "one/two", "three"]);

    take_down(&server, "acme").await;
    // The operations of an org are still listed after the org is gone, newest first.
    let mut operations = Vec::new();
    let mut path = "/v1/orgs/acme/operations?limit=1".to_owned();
    loop {
        let page = server.get(&path).await;
        operations.extend(page["operations"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/orgs/acme/operations?limit=1&after={next}");
    }
    let did: Vec<_> = operations
        .iter()
        .map(|o| o["operation"].as_str().unwrap())
        .collect();
    assert_eq!(did, ["down", "up", "up", "up"]);
}

#[tokio::test]
async fn a_workspace_is_shown_and_its_log_is_followed() {
    let operator = Operator::new();
    let script = "echo begun; echo second; while [ ! -e $WORKSPACE_CONFIG_PATH/go ]; do sleep 0.1; done; echo later; sleep 1000";
    let config = operator.file(
        "orghost.toml",
        format!("[runtimes.teller]\ncommand = ['/bin/sh', '-c', '{script}']\n"),
    );
    let config = config.display().to_string();
    let server = Server::start(&operator, &["--engine", "local", "--config", &config]);
    let org = "name: Acme\ndefaults: {runtime: teller}\nworkspaces: [{name: One}, {name: Away, external: true, url: 'https://example.com'}]\n";
    assert_eq!(server.import(json!({"inline": org})).await["state"], "done");
    let listed = server.get("/v1/orgs/acme/workspaces").await["workspaces"].clone();
    let id = |index: usize| listed[index]["id"].as_str().unwrap().to_owned();
    let one = server.get(&format!("/v1/workspaces/{}", id(0))).await;
    assert_eq!(
        (&one["org"], &one["key"], &one["state"]),
        (&json!("acme"), &json!("one"), &json!("running")),
        "{one}"
    );
    let (status, problem) = server
        .ask(Method::GET, &format!("/v1/workspaces/{}/logs", id(1)), None)
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("external-workspace"))
    );

    let path = format!("/v1/workspaces/{}/logs?follow=true", id(0));
    let answer = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    let mut output = answer.bytes_stream();
    let mut text = String::new();
    read_until(&mut output, &mut text, "second\n").await;
    assert_eq!(text, "begun\nsecond\n");
    let go = glob(&operator.state().join("local"), "config.yaml");
    std::fs::write(go.with_file_name("go"), "").unwrap();
    read_until(&mut output, &mut text, "later\n").await;
    assert_eq!(text, "begun\nsecond\nlater\n");
    let path = format!("/v1/workspaces/{}/logs?tail=2", id(0));
    let answer = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "second\nlater\n");
    take_down(&server, "acme").await;
    // A followed log ends when the workspace is gone.
    timeout(PATIENCE, async { while output.next().await.is_some() {} })
        .await
        .unwrap();
    assert_eq!(server.stop(), 0);
}

async fn read_until(
    output: &mut (impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    text: &mut String,
    end: &str,
) {
    let read = async {
        while !text.ends_with(end) {
            let bytes = output.next().await.expect("it ended").unwrap();
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    };
    timeout(PATIENCE, read).await.unwrap();
}

/// Finds the one file with this name below a folder.
fn glob(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with(name) {
                return path;
            }
        }
    }
    panic!("there is no {name}")
}

#[tokio::test]
async fn templates_are_listed_with_what_they_need() {
    let operator = Operator::new();
    let needy = "name: Needy\ndescription: d\nrequired_env: [TOKEN, {any_of: [A, B]}]\nrecommended_env: [C]\n\
                 defaults: {runtime: x}\nworkspaces: [{name: One, tier: 4, children: [{name: Two}]}]\n";
    let broken = "name: Broken\nworkspaces: [{name: One}\n";
    templates(
        &operator,
        &[("needy", needy), ("broken", broken), ("plain", ORG)],
    );
    operator.file("state/templates/no-template/README.md", "");
    operator.file("state/templates/.hidden/org.yaml", ORG);
    let server = Server::start(&operator, &LOCAL);
    let listed = server.get("/v1/templates").await["templates"].clone();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["broken", "needy", "plain"]);
    assert_eq!(listed[0]["problem"]["status"], 422, "{listed}");
    assert_eq!(
        listed[0]["problem"]["errors"][0]["file"], "org.yaml",
        "{listed}"
    );
    assert_eq!(listed[0].get("workspaces"), None);
    assert_eq!(
        listed[1],
        json!({"name": "needy", "org": "Needy", "description": "d", "workspaces": 2,
               "required_env": ["TOKEN", {"any_of": ["A", "B"]}], "recommended_env": ["C"]})
    );
    let page = server.get("/v1/templates?limit=1&after=broken").await;
    assert_eq!(
        (&page["templates"][0]["name"], &page["next"]),
        (&json!("needy"), &json!("needy"))
    );
}

#[tokio::test]
async fn an_uploaded_plugin_is_verified_installed_quarantined_and_removed() {
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    let component = std::fs::read(root().join("guest/org-import.wasm")).unwrap();
    let add = async |query: &str, bytes: &[u8]| {
        let request = server.request(Method::POST, &format!("/v1/plugins{query}"));
        let request = request
            .header("content-type", "application/wasm")
            .body(bytes.to_vec());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    // This component describes itself with the name of the built-in plugin, which is reserved.
    let (status, problem) = add("", &component).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("plugin-name")),
        "{problem}"
    );
    let (status, added) = add("?name=acme", &component).await;
    assert_eq!((status, &added["changed"]), (201, &json!(true)), "{added}");
    let (status, added) = add("?name=acme", &component).await;
    assert_eq!((status, &added["changed"]), (200, &json!(false)), "{added}");
    // An upload without a name does not affect the installed plugin.
    let (status, problem) = add("", b"no component").await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("plugin-not-a-component")),
        "{problem}"
    );
    assert_eq!(server.get("/v1/plugins").await["quarantine"], json!([]));
    let (status, problem) = add("?name=acme", b"no component").await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("plugin-not-a-component")),
        "{problem}"
    );
    assert!(
        problem["errors"][0]["help"]
            .as_str()
            .unwrap()
            .contains("previous version stays")
    );
    let listed = server.get("/v1/plugins").await;
    assert_eq!(
        listed["plugins"][0]["digest"], added["plugin"]["digest"],
        "{listed}"
    );
    assert_eq!(listed["quarantine"][0]["name"], "acme", "{listed}");
    // `orghost plugin list` shows the same.
    let said = operator.run(&["plugin", "list", "--json"]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), listed);
    let org = format!("plugin: acme\n{ORG}");
    let (status, plan) = server
        .ask(Method::POST, "/v1/plans", Some(json!({"inline": org})))
        .await;
    assert_eq!(status, 200, "{plan}");
    assert!(
        plan["planned_by"].as_str().unwrap().starts_with("acme ("),
        "{plan}"
    );
    let (status, _) = server.ask(Method::DELETE, "/v1/plugins/acme", None).await;
    assert_eq!(status, 204);
    assert_eq!(
        server.get("/v1/plugins").await,
        json!({"plugins": [], "quarantine": []})
    );
}

#[tokio::test]
async fn an_uploaded_plugin_must_meet_the_operators_requirements() {
    let operator = Operator::new();
    let secret = operator.home.path().join("key").display().to_string();
    let said = operator
        .run(&["plugin", "keygen", &secret, "--json"])
        .exits(0)
        .stdout;
    let public = serde_json::from_str::<Value>(&said).unwrap()["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let component = std::fs::read(root().join("guest/org-import.wasm")).unwrap();
    let file = operator.file("acme.wasm", &component).display().to_string();
    operator
        .run(&["plugin", "sign", &file, "--key", &secret])
        .exits(0);
    let signature = std::fs::read_to_string(format!("{file}.minisig")).unwrap();
    let config = operator.file(
        "orghost.toml",
        format!("[policy]\nrequire_signature = [\"{public}\"]\n"),
    );
    let config = config.display().to_string();
    let server = Server::start(&operator, &["--config", &config]);
    let add = async |signature: Option<&str>| {
        let mut path = "/v1/plugins?name=acme".to_owned();
        if let Some(signature) = signature {
            let escaped = signature.bytes().map(|byte| format!("%{byte:02x}"));
            path += &format!("&signature={}", escaped.collect::<String>());
        }
        let request = server.request(Method::POST, &path);
        let request = request
            .header("content-type", "application/wasm")
            .body(component.clone());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, problem) = add(None).await;
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("plugin-unsigned")),
        "{problem}"
    );
    let (status, problem) = add(Some("not one")).await;
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("plugin-signature")),
        "{problem}"
    );
    let (status, added) = add(Some(&signature)).await;
    assert_eq!(
        (status, &added["plugin"]["signed_by"]),
        (201, &json!(public)),
        "{added}"
    );
}

#[tokio::test]
async fn expand_reports_unresolved_and_malformed_references() {
    let operator = Operator::new().with_env("SECRET", "s");
    let config = operator
        .file("orghost.toml", "[server]\ngrant = [\"SECRET\"]\n")
        .display()
        .to_string();
    let server = Server::start(&operator, &["--config", &config]);
    let expand = async |body: Value| server.ask(Method::POST, "/v1/expand", Some(body)).await;
    let (status, said) = expand(json!({"text": "${A}/$B ${}", "env": {"A": "1"}})).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(
        said,
        json!({"text": "1/$B ${}", "unresolved": ["B"], "malformed": ["${}"]})
    );
    let (_, said) = expand(json!({"text": "$SECRET", "grant": ["SECRET"]})).await;
    assert_eq!(said["text"], "s");
}

#[tokio::test]
async fn metrics_and_logs_hold_no_text_of_callers() {
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    assert_eq!(server.import(json!({"inline": ORG})).await["state"], "done");
    let answer = server.request(Method::GET, "/v1/orgs/made-up?x=made-up-query");
    let answer = answer
        .header("x-request-id", "my-id.1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "my-id.1");
    let answer = server.request(Method::GET, "/made-up");
    let answer = answer
        .header("x-request-id", "made up")
        .send()
        .await
        .unwrap();
    assert_ne!(answer.headers()["x-request-id"], "made up");
    let listening = server
        .request(Method::GET, "/v1/events")
        .send()
        .await
        .unwrap();

    let answer = server
        .request(Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text().await.unwrap();
    for line in [
        "orghost_requests_total{route=\"/v1/orgs/{org}\",method=\"GET\",status=\"404\"} 1",
        "orghost_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
        "orghost_request_duration_seconds_count{route=\"/v1/orgs\",method=\"POST\"} 1",
        "orghost_operations{operation=\"up\",state=\"done\"} 1",
        "orghost_operations_open 0",
        "orghost_workspaces_waiting 0",
        "orghost_workspaces_running 0",
        // One of the two tasks is the sweeper, which always runs.
        "orghost_tasks 2",
        "orghost_plan_duration_seconds_count{result=\"approved\"} 1",
        "orghost_event_listeners 1",
        "# EOF",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    let events = text
        .lines()
        .find_map(|line| line.strip_prefix("orghost_events_stored_total "));
    assert!(events.unwrap().parse::<u64>().unwrap() > 3, "{text}");
    assert!(!text.contains("made-up"), "{text}");
    drop(listening);
    take_down(&server, "acme").await;
    assert_eq!(server.stop(), 0);

    let log = std::fs::read_to_string(operator.home.path().join("serve.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let found = lines
        .iter()
        .find(|line| line["span"]["id"] == "my-id.1")
        .expect(&log);
    let fields = &found["fields"];
    assert_eq!(
        (&fields["method"], &fields["route"], &fields["status"]),
        (&json!("GET"), &json!("/v1/orgs/{org}"), &json!(404)),
        "{found}"
    );
    assert!(!log.contains("made-up"), "{log}");
}

#[tokio::test]
async fn an_event_stream_resumes_after_the_last_event_id() {
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    assert_eq!(server.import(json!({"inline": ORG})).await["state"], "done");
    let listen = async |path: &str, last: Option<&str>| {
        let mut request = server.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer.bytes_stream().eventsource()
    };
    let mut events = Vec::new();
    let mut stream = Box::pin(listen("/v1/events?after=0", None).await);
    for _ in 0..5 {
        events.push(
            timeout(PATIENCE, stream.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap(),
        );
    }
    drop(stream);
    // Events that happened without a listener are sent. `Last-Event-ID` wins over `after`, so no event is sent twice.
    take_down(&server, "acme").await;
    let last = events.last().unwrap().id.clone();
    let mut stream = Box::pin(listen("/v1/events?after=0&org=acme", Some(&last)).await);
    let ended = |event: &eventsource_stream::Event| event.data.contains("\"event\":\"ended\"");
    while events.iter().filter(|event| ended(event)).count() < 2 {
        events.push(
            timeout(PATIENCE, stream.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap(),
        );
    }
    let ids: Vec<i64> = events
        .iter()
        .map(|event| event.id.parse().unwrap())
        .collect();
    assert!(
        ids.iter().zip(1..).all(|(id, place)| *id == place),
        "{ids:?}"
    );
    for (event, id) in events.iter().zip(&ids) {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!((&data["seq"], &data["org"]), (&json!(id), &json!("acme")));
    }
    // Without `after`, a stream begins with the next event. A stopping server closes its streams.
    let mut stream = Box::pin(listen("/v1/events", None).await);
    server
        .import(
            json!({"inline": "name: Other\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n"}),
        )
        .await;
    let next = timeout(PATIENCE, stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(next.id.parse::<i64>().unwrap(), ids.last().unwrap() + 1);
    take_down(&server, "other").await;
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    timeout(PATIENCE, async {
        while stream.next().await.is_some_and(|event| event.is_ok()) {}
    })
    .await
    .unwrap();
    assert_eq!(stopped.await.unwrap(), 0);
}

#[tokio::test]
async fn clients_of_the_reference_can_import_unchanged() {
    let operator = Operator::new().with_env("TOKEN", "t");
    let config = operator.file(
        "orghost.toml",
        "[server]\ngrant = [\"TOKEN\"]\n[policy]\ndemo = true\n[runtimes.bad]\ncommand = ['/nowhere/agent']\n",
    );
    let config = config.display().to_string();
    let needy = "name: Needy\nrequired_env: [TOKEN, ABSENT]\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n";
    let granted = "name: Granted\nrequired_env: [TOKEN]\ndefaults: {runtime: x}\nworkspaces: [{name: One, tier: 1, \
                   channels: [{type: telegram, config: {bot_token: $NONE, chat_id: -1}}], children: [{name: Two}]}]\n";
    templates(
        &operator,
        &[
            ("needy", needy),
            ("granted", granted),
            ("broken", "name: ["),
        ],
    );
    let server = Server::start(&operator, &["--engine", "local", "--config", &config]);
    let import = async |body: Value| server.ask(Method::POST, "/org/import", Some(body)).await;

    let listed = server.get("/org/templates").await;
    assert_eq!(
        listed,
        json!([
            {"dir": "granted", "name": "Granted", "description": "", "workspaces": 2, "required_env": ["TOKEN"], "recommended_env": []},
            {"dir": "needy", "name": "Needy", "description": "", "workspaces": 1, "required_env": ["ABSENT", "TOKEN"], "recommended_env": []},
        ])
    );

    let (status, said) = import(json!({"dir": "granted"})).await;
    assert_eq!(
        (status, &said["org"], &said["count"]),
        (201, &json!("Granted"), &json!(2)),
        "{said}"
    );
    let one = &said["workspaces"][0];
    assert_eq!(
        (&one["name"], &one["tier"]),
        (&json!("One"), &json!(1)),
        "{said}"
    );
    assert_eq!(one.get("skipped"), None, "{said}");
    let skipped = &one["channels_skipped"][0];
    assert_eq!(
        (&skipped["workspace"], &skipped["type"]),
        (&json!("One"), &json!("telegram")),
        "{said}"
    );
    let shown = server
        .get(&format!("/v1/workspaces/{}", one["id"].as_str().unwrap()))
        .await;
    assert_eq!(shown["state"], "running", "{shown}");
    // A second import finds the workspaces unchanged. The template is inline JSON, as the reference's canvas sends it.
    let (status, said) = import(json!({"template": {
        "name": "Granted", "defaults": {"runtime": "x"}, "workspaces": [{"name": "New"}]}, "mode": "merge"})).await;
    assert_eq!((status, &said["count"]), (201, &json!(1)), "{said}");
    let (status, said) = import(json!({"template": granted, "mode": "reconcile"})).await;
    assert_eq!(status, 201, "{said}");
    assert!(
        said["workspaces"]
            .as_array()
            .unwrap()
            .iter()
            .all(|w| w["skipped"] == true),
        "{said}"
    );
    let keys = server.get("/v1/orgs/granted/workspaces").await;
    assert_eq!(
        keys["workspaces"].as_array().unwrap().len(),
        2,
        "reconcile removes what is not in the template: {keys}"
    );

    let (status, said) = import(json!({"dir": "needy"})).await;
    assert_eq!(status, 412, "{said}");
    assert_eq!(said["missing_env"], json!(["ABSENT"]), "{said}");
    assert_eq!(said["required_env"], json!(["ABSENT", "TOKEN"]), "{said}");
    assert_eq!(
        (&said["template"], said["suggestion"].is_string()),
        (&json!("Needy"), true),
        "{said}"
    );
    assert!(said["error"].is_string(), "{said}");
    for (body, status) in [
        (json!({"dir": "nobody"}), 404),
        (json!({"dir": "../granted"}), 404),
        (json!({"dir": "broken"}), 400),
        (json!({}), 400),
        (json!({"dir": "granted", "template": granted}), 400),
        (json!({"dir": "granted", "mode": "sometimes"}), 400),
        (json!({"template": {"name": "", "workspaces": []}}), 400),
        (
            json!({"template": {"name": "X", "defaults": {"runtime": "x", "tier": 4}, "workspaces": [{"name": "A"}]}}),
            403,
        ),
    ] {
        let (found, said) = import(body.clone()).await;
        assert_eq!(found, status, "{body}: {said}");
        assert_eq!(
            (&said["status"], &said["error"]),
            (&json!(status), &said["detail"]),
            "{body}: {said}"
        );
    }

    let half = "name: Half\nworkspaces: [{name: Good, runtime: x}, {name: Bad, runtime: bad, children: [{name: Child, runtime: x}]}]\n";
    let (status, said) = import(json!({"template": half})).await;
    assert_eq!((status, &said["count"]), (207, &json!(1)), "{said}");
    assert_eq!(said["workspaces"][0]["name"], "Good", "{said}");
    assert!(
        said["error"].as_str().unwrap().starts_with("Bad: "),
        "{said}"
    );
    for org in ["granted", "half"] {
        take_down(&server, org).await;
    }
}

#[tokio::test]
async fn an_invalid_form_is_refused_with_the_name_of_the_field() {
    use reqwest::multipart::{Form, Part};
    let operator = Operator::new();
    let server = Server::start(&operator, &LOCAL);
    let table = [
        (vec![("file", "x")], "file", "\"file\""),
        (
            vec![("archive", "x"), ("archive", "x")],
            "archive",
            "two parts",
        ),
        (vec![("request", "[]")], "request", "must be an object"),
        (vec![("request", "{\"env\": ")], "request.env", "EOF"),
        (vec![("request", "{} {}")], "request", "trailing"),
        (
            vec![("request", r#"{"ready_seconds": "soon"}"#)],
            "request.ready_seconds",
            "soon",
        ),
        (
            vec![("request", r#"{"prnue": true}"#)],
            "request.prnue",
            "prnue",
        ),
        (
            vec![("request", r#"{"env": {"TOKEN": 4711}}"#)],
            "request.env.TOKEN",
            "the value of a variable must be a string",
        ),
    ];
    for (parts, field, said) in table {
        let mut form = Form::new();
        for (name, text) in &parts {
            form = form.part(*name, Part::text(*text));
        }
        let request = server.request(Method::POST, "/v1/plans").multipart(form);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{parts:?}");
        let problem: Value = answer.json().await.unwrap();
        let error = &problem["errors"][0];
        assert_eq!(error["field"], field, "{problem}");
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{problem}"
        );
        assert!(!problem.to_string().contains("4711"), "{problem}");
    }
}

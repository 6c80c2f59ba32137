//! Tests of a server from outside, over a real socket.

use reqwest::Method;
use serde_json::json;

use crate::support::Operator;
use crate::support::server::Server;

const ORG: &str =
    "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One, children: [{name: Two}]}]\n";

#[tokio::test]
async fn an_org_can_be_imported_and_removed() {
    let operator = Operator::new();
    let server = Server::start(&operator, &["--demo", "--engine", "local"]);
    let done = server
        .import(json!({"inline": ORG, "ready_seconds": 30}))
        .await;
    assert_eq!(done["state"], "done", "{done}");
    let org = server.get("/v1/orgs/acme").await;
    for workspace in org["workspaces"].as_array().unwrap() {
        assert_eq!(workspace["state"], "running", "{org}");
    }
    let (status, gone) = server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
    assert_eq!(
        (status, gone["state"].as_str()),
        (200, Some("done")),
        "{gone}"
    );
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn a_second_writer_on_a_state_folder_is_refused() {
    let operator = Operator::new();
    let _server = Server::start(&operator, &["--demo", "--engine", "local"]);
    let template = operator.template(&[("org.yaml", ORG)]);
    let ran = operator.run(&["up", &template, "--demo", "--engine", "local", "--json"]);
    assert_eq!(ran.exits(1).error_codes(), ["state-locked"]);
    let ran = operator.run(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    assert_eq!(ran.exits(1).error_codes(), ["state-locked"]);
}

#[tokio::test]
async fn a_killed_server_resumes_accepted_work() {
    let operator = Operator::new();
    let args = ["--demo", "--engine", "local", "--concurrency", "1"];
    let server = Server::start(&operator, &args);
    let (status, accepted) = server
        .ask(Method::POST, "/v1/orgs", Some(json!({"inline": ORG})))
        .await;
    assert_eq!(status, 202, "{accepted}");
    server.kill();
    let server = Server::start(&operator, &args);
    let path = format!(
        "/v1/operations/{}?wait=60",
        accepted["id"].as_str().unwrap()
    );
    assert_eq!(server.get(&path).await["state"], "done");
    let (status, _) = server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
    assert_eq!(status, 200);
}

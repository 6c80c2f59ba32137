//! Tests of the life of workspaces: restart, stop, start, the proxy between agents, the sweeper.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use orghost::config::Config;
use orghost::model::engine_kind::EngineKind;
use orghost::service::sweep::Seen;
use orghost::state::store::Store;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Operator;
use crate::support::fake_docker::{FakeDocker, Fault, When};
use crate::support::server::Server;
use crate::support::service::{import, service};

const ONE: &str = "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n";

const FAMILY: &str = "
name: Acme
defaults: {runtime: x}
workspaces:
  - name: PM
    children:
      - {name: Dev, children: [{name: A}]}
      - {name: QA, children: [{name: B}]}
  - {name: Ops}
";

/// A function that answers an agent's requests.
type Answer = Arc<dyn Fn(&str, usize) -> Response + Send + Sync>;

/// An agent that a test scripts; it records its requests.
struct Agent {
    port: u16,
    asked: Arc<Mutex<Vec<(String, http::HeaderMap, Bytes)>>>,
}

impl Agent {
    /// `answer` gets the path and the number of earlier requests for it.
    async fn start(answer: impl Fn(&str, usize) -> Response + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Arc::new(answer);
        let handle = {
            let asked = asked.clone();
            async move |request: Request| {
                let (head, body) = request.into_parts();
                let path = head.uri.to_string();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let before = {
                    let mut asked = asked.lock().unwrap();
                    asked.push((path.clone(), head.headers, body));
                    asked.len() - 1
                };
                answer(&path, before)
            }
        };
        let port = serve(Router::new().fallback(handle)).await;
        Self { port, asked }
    }

    fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, ..)| path.clone()).collect()
    }
}

async fn serve(router: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

fn status(status: u16, body: &str) -> Response {
    (http::StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response()
}

fn drain(seconds: u64) -> Response {
    let result = json!({"status": "acknowledged", "drain_seconds": seconds});
    axum::Json(json!({"jsonrpc": "2.0", "id": null, "result": result})).into_response()
}

/// A server on a fake engine with an org of one workspace, whose agent answers at `port`.
async fn one_on(docker: &FakeDocker, port: u16) -> (Operator, Server, String) {
    let operator = Operator::new().with_env("DOCKER_HOST", &docker.endpoint());
    docker.answer_at(port);
    let server = Server::start(&operator, &["--demo", "--engine", "docker"]);
    let done = server.import(json!({"inline": ONE})).await;
    assert_eq!(done["state"], "done", "{done}");
    let id = ids(&server).await["one"].clone();
    docker.forget();
    (operator, server, id)
}

/// The identities of Acme's workspaces, by key.
async fn ids(server: &Server) -> BTreeMap<String, String> {
    let org = server.get("/v1/orgs/acme").await;
    let workspaces = org["workspaces"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    workspaces
        .map(|w| (text(&w["key"]), text(&w["id"])))
        .collect()
}

async fn workspace(server: &Server, key: &str) -> Value {
    let org = server.get("/v1/orgs/acme").await;
    let mut workspaces = org["workspaces"].as_array().unwrap().iter();
    workspaces.find(|w| w["key"] == key).unwrap().clone()
}

/// Starts an action on a workspace and waits for its end.
async fn act(server: &Server, method: Method, path: &str) -> Value {
    let mark = if path.contains('?') { '&' } else { '?' };
    let path = format!("/v1/workspaces/{path}{mark}wait=60");
    let (status, json) = server.ask(method, &path, None).await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "no {what} within the time limit");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn count(docker: &FakeDocker, call: &str) -> usize {
    docker.calls().iter().filter(|line| *line == call).count()
}

/// The number of starts of workspace `one`'s containers, over all generations.
fn starts(docker: &FakeDocker) -> usize {
    let is_start =
        |line: &&String| line.starts_with("POST containers/ws-one") && line.ends_with("/start");
    docker.calls().iter().filter(is_start).count()
}

/// The call of one liveness check.
const LIVENESS_CHECK: &str = "GET containers/json";
const STOP: &str = "POST containers/ws-one/stop";

#[tokio::test]
async fn a_stopped_workspace_stays_stopped_until_it_is_started() {
    let operator = Operator::new();
    let args = ["--demo", "--engine", "local"];
    let server = Server::start(&operator, &args);
    server.import(json!({"inline": ONE})).await;
    let id = ids(&server).await["one"].clone();
    let stopped = act(&server, Method::POST, &format!("{id}/stop")).await;
    assert_eq!(stopped["state"], "done", "{stopped}");
    assert_eq!(server.stop(), 0);

    let server = Server::start(&operator, &args);
    let one = workspace(&server, "one").await;
    let seen = [&one["outcome"], &one["wanted"], &one["state"]];
    assert_eq!(seen, ["stopped", "stopped", "exited"]);
    // A call through the proxy does not start it either.
    let path = format!("/v1/workspaces/{id}/a2a");
    let (status, told) = server.ask(Method::POST, &path, Some(json!({}))).await;
    assert_eq!((status, &told["code"]), (409, &json!("workspace-stopped")));

    let started = act(&server, Method::POST, &format!("{id}/start")).await;
    assert_eq!(started["state"], "done", "{started}");
    let one = workspace(&server, "one").await;
    assert_eq!([&one["wanted"], &one["state"]], ["running", "running"]);

    act(&server, Method::POST, &format!("{id}/stop")).await;
    server.import(json!({"inline": ONE})).await;
    assert_eq!(workspace(&server, "one").await["state"], "running");
    server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
}

#[tokio::test]
async fn restart_waits_for_the_agent_and_seeds_again_before_starting() {
    let agent = Agent::start(|_, before| drain(if before < 2 { 15 } else { 0 })).await;
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, agent.port).await;
    let asked = agent.asked.clone();
    let seen = Arc::new(Mutex::new(0));
    let at_stop = seen.clone();
    let look = move || *at_stop.lock().unwrap() = asked.lock().unwrap().len();
    docker.fault(When::Call(STOP), Fault::Meanwhile(Box::new(look)));
    let done = act(&server, Method::POST, &format!("{id}/restart")).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(done["operation"], "restart");
    // The agent was busy twice, and it was stopped only when it was idle.
    assert_eq!(agent.paths(), ["/signals/restart_pending"; 3]);
    assert_eq!(*seen.lock().unwrap(), 3);
    let (_, headers, body) = agent.asked.lock().unwrap()[0].clone();
    assert_eq!(headers["x-restart-signal"], "true");
    let call: Value = serde_json::from_slice(&body).unwrap();
    let wanted = json!({"jsonrpc": "2.0", "id": null, "method": "signals/restart_pending",
        "params": {"workspace_id": id, "drain_seconds": 20}});
    assert_eq!(call, wanted);
    let calls = docker.calls();
    let place = |call| calls.iter().position(|line| line == call).unwrap();
    let order = [
        "PUT containers/ws-one-1/archive",
        "GET containers/ws-one-1/archive",
        STOP,
        "POST containers/ws-one-1/start",
        "DELETE containers/ws-one",
    ];
    assert!(order.map(place).is_sorted(), "{calls:#?}");
}

#[tokio::test]
async fn restart_continues_when_the_agent_cannot_be_notified() {
    // Four agents: without an address, without a listener, without the signal's route, and with a broken answer.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody_at = nobody.local_addr().unwrap().port();
    drop(nobody);
    let unknown = Agent::start(|_, _| status(404, "")).await;
    let broken = Agent::start(|_, _| status(500, "no JSON")).await;
    for port in [0, nobody_at, unknown.port, broken.port] {
        let docker = FakeDocker::start();
        let (_operator, server, id) = one_on(&docker, port).await;
        let done = act(&server, Method::POST, &format!("{id}/restart")).await;
        assert_eq!(done["state"], "done", "{port}: {done}");
        assert_eq!(starts(&docker), 1);
    }
    assert_eq!(unknown.paths().len(), 1);
    assert_eq!(broken.paths().len(), 1);
}

#[tokio::test]
async fn restart_requests_during_a_restart_become_one() {
    let agent = Agent::start(|_, _| status(502, "")).await;
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, agent.port).await;
    docker.fault(When::Call(STOP), Fault::Delay(Duration::from_secs(2)));
    let restart = format!("/v1/workspaces/{id}/restart");
    let (code, first) = server.ask(Method::POST, &restart, None).await;
    assert_eq!(code, 202, "{first}");
    eventually("the stop", async || count(&docker, STOP) == 1).await;
    // The workspace does not answer because it is restarting.
    let call = server.request(Method::POST, &format!("/v1/workspaces/{id}/a2a"));
    assert_eq!(call.send().await.unwrap().status(), 503);
    let asked = (0..10).map(|_| server.ask(Method::POST, &restart, None));
    let answers = futures_util::future::join_all(asked).await;
    let ids: BTreeSet<_> = answers
        .iter()
        .map(|(_, row)| row["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert!(!ids.contains(&first["id"].to_string()));
    let trailing = answers[0].1["id"].as_str().unwrap();
    let path = format!("/v1/operations/{trailing}?wait=60");
    assert_eq!(server.get(&path).await["state"], "done");
    assert_eq!(starts(&docker), 2);
    // After the end, a new restart begins at once.
    docker.forget();
    let done = act(&server, Method::POST, &format!("{id}/restart")).await;
    assert_eq!(done["state"], "done");
    assert_eq!(starts(&docker), 1);
}

#[tokio::test]
async fn a_restart_does_not_delay_other_workspaces() {
    let agent = Agent::start(|_, _| drain(20)).await;
    let docker = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &docker.endpoint());
    docker.answer_at(agent.port);
    let server = Server::start(&operator, &["--demo", "--engine", "docker"]);
    server.import(json!({"inline": FAMILY})).await;
    let ids = ids(&server).await;
    let path = format!("/v1/workspaces/{}/restart", ids["pm"]);
    let (_, slow) = server.ask(Method::POST, &path, None).await;
    eventually("the signal", async || !agent.paths().is_empty()).await;
    let done = act(&server, Method::POST, &format!("{}/stop", ids["ops"])).await;
    assert_eq!(done["state"], "done");
    let slow = format!("/v1/operations/{}", slow["id"].as_str().unwrap());
    assert_eq!(server.get(&slow).await["state"], "queued");
    // A cancelled restart that still waits changes nothing.
    let (code, _) = server.ask(Method::DELETE, &slow, None).await;
    assert_eq!(code, 202);
    let ended = server.get(&format!("{slow}?wait=30")).await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert_eq!(workspace(&server, "pm").await["state"], "running");
}

#[tokio::test]
async fn a_restart_resumes_after_the_host_was_killed() {
    let docker = FakeDocker::start();
    let (operator, server, id) = one_on(&docker, 0).await;
    docker.fault(When::Call(STOP), Fault::Delay(Duration::from_secs(1)));
    let restart = format!("/v1/workspaces/{id}/restart");
    let (_, accepted) = server.ask(Method::POST, &restart, None).await;
    eventually("the stop", async || count(&docker, STOP) == 1).await;
    server.kill();
    docker.forget();
    let server = Server::start(&operator, &["--demo", "--engine", "docker"]);
    let path = format!(
        "/v1/operations/{}?wait=60",
        accepted["id"].as_str().unwrap()
    );
    let ended = server.get(&path).await;
    assert_eq!(ended["state"], "done", "{ended}");
    // The container made before the kill was removed and made again.
    assert_eq!(docker.containers(), ["ws-one-2 running"]);
}

#[tokio::test]
async fn a_workspace_with_children_is_not_removed_and_work_is_kept() {
    let docker = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &docker.endpoint());
    let server = Server::start(&operator, &["--demo", "--engine", "docker"]);
    let with_external =
        format!("{FAMILY}  - {{name: Out, external: true, url: 'https://agents.example/out'}}\n");
    server.import(json!({"inline": with_external})).await;
    let ids = ids(&server).await;
    let path = format!("/v1/workspaces/{}", ids["pm"]);
    let (code, told) = server.ask(Method::DELETE, &path, None).await;
    assert_eq!(
        (code, &told["code"]),
        (409, &json!("has-children")),
        "{told}"
    );
    for (method, action) in [
        (Method::POST, "/restart"),
        (Method::POST, "/stop"),
        (Method::POST, "/start"),
        (Method::POST, "/a2a"),
        (Method::DELETE, ""),
    ] {
        let path = format!("/v1/workspaces/{}{action}", ids["out"]);
        let (code, told) = server.ask(method, &path, None).await;
        let told = (code, told["code"].as_str());
        assert_eq!(told, (409, Some("external-workspace")), "{action}");
    }
    let done = act(
        &server,
        Method::DELETE,
        &format!("{}?cascade=true", ids["pm"]),
    )
    .await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(docker.containers(), ["ws-ops running"]);
    let volumes = docker.volumes();
    assert!(
        !volumes.contains(&"ws-pm/dev/a-configs".to_owned()),
        "{volumes:?}"
    );
    assert!(
        volumes.contains(&"ws-pm/dev/a-workspace".to_owned()),
        "{volumes:?}"
    );
    assert_eq!(workspace(&server, "pm").await["outcome"], "removed");
    // Restart is refused without a container; start makes a new one.
    let path = format!("/v1/workspaces/{}/restart", ids["pm"]);
    assert_eq!(server.ask(Method::POST, &path, None).await.0, 409);
    let done = act(&server, Method::POST, &format!("{}/start", ids["pm"])).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(docker.containers(), ["ws-ops running", "ws-pm running"]);
}

#[tokio::test]
async fn a_dead_looking_answer_causes_one_liveness_check() {
    let agent = Agent::start(|_, _| status(502, "the model is away")).await;
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, agent.port).await;
    let call = async || {
        let call = server.request(Method::POST, &format!("/v1/workspaces/{id}/a2a"));
        call.body("{}").send().await.unwrap()
    };
    // The workspace is alive, so its answer is forwarded unchanged.
    let answer = call().await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.text().await.unwrap(), "the model is away");
    assert_eq!(docker.calls(), [LIVENESS_CHECK]);

    // Concurrent calls share one check.
    docker.forget();
    docker.fault(
        When::Call(LIVENESS_CHECK),
        Fault::Delay(Duration::from_secs(2)),
    );
    let answers = futures_util::future::join_all((0..20).map(|_| call())).await;
    assert!(answers.iter().all(|answer| answer.status() == 502));
    assert_eq!(docker.calls(), [LIVENESS_CHECK]);

    // An unknown state does not count as dead.
    docker.forget();
    docker.fault(When::Call(LIVENESS_CHECK), Fault::Answer(500, "busy"));
    assert_eq!(call().await.status(), 502);
    assert_eq!(docker.calls(), [LIVENESS_CHECK]);
    assert_eq!(docker.containers(), ["ws-one running"]);

    // The workspace is dead: callers get 503 with Retry-After, and it is restarted once.
    docker.forget();
    docker.end("ws-one");
    let start = "POST containers/ws-one-1/start";
    docker.fault(When::Call(start), Fault::Delay(Duration::from_secs(2)));
    for answer in futures_util::future::join_all((0..5).map(|_| call())).await {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "15");
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["restarting"], true, "{told}");
        assert_eq!(told["retry_after"], 15, "{told}");
        assert_eq!(told["code"], "agent-restarting", "{told}");
    }
    eventually("the restart", async || {
        workspace(&server, "one").await["state"] == "running"
    })
    .await;
    assert_eq!(starts(&docker), 1);
    assert!(!agent.paths().iter().any(|path| path.contains("signals")));
}

#[tokio::test]
async fn a_failed_connection_causes_a_liveness_check() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, port).await;
    let path = format!("/v1/workspaces/{id}/a2a");
    let (code, told) = server.ask(Method::POST, &path, Some(json!({}))).await;
    assert_eq!((code, &told["code"]), (502, &json!("agent-unreachable")));
    assert_eq!(docker.calls(), [LIVENESS_CHECK]);
    docker.end("ws-one");
    let (code, told) = server.ask(Method::POST, &path, Some(json!({}))).await;
    assert_eq!((code, &told["restarting"]), (503, &json!(true)), "{told}");
}

#[tokio::test]
async fn a_workspace_can_call_its_family_with_its_own_token() {
    let operator = Operator::new();
    let server = Server::start(&operator, &["--demo", "--engine", "local"]);
    let import = json!({"inline": FAMILY, "ready_seconds": 30});
    assert_eq!(server.import(import).await["state"], "done");
    let ids = ids(&server).await;
    let file = |key: &str| {
        let configs = operator
            .state()
            .join("local")
            .join(&ids[key])
            .join("configs");
        configs.join(".auth_token")
    };
    let token = |key: &str| std::fs::read_to_string(file(key)).unwrap();
    let mode = std::fs::metadata(file("pm")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let call = async |caller: &str, token: Option<&str>, target: &str| {
        let path = format!("/v1/workspaces/{target}/a2a");
        let mut request = server.request(Method::POST, &path);
        request = request.header("x-workspace-id", caller);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send",
            "params": {"message": {"messageId": "m", "parts": []}}});
        let answer = request.json(&message).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (caller, target, wanted) in [
        ("pm", "pm", 200),
        ("pm/dev", "pm/qa", 200),
        ("pm/dev", "pm", 200),
        ("pm", "pm/dev/a", 200),
        ("pm/dev/a", "pm", 200),
        ("pm", "ops", 403),
        ("ops", "pm", 403),
        ("pm/dev/a", "pm/qa/b", 403),
        ("pm/dev/a", "pm/qa", 403),
    ] {
        let (code, body) = call(&ids[caller], Some(&token(caller)), &ids[target]).await;
        assert_eq!(code, wanted, "{caller} -> {target}: {body}");
        if wanted == 200 {
            assert!(body.contains("m-echo"), "{body}");
        }
    }
    // A token proves only the identity of its own workspace, and a call without a token is refused.
    let (pm, dev, nobody) = (&ids["pm"], &ids["pm/dev"], "f".repeat(32));
    for (caller, with) in [
        (pm.as_str(), None),
        (pm, Some(token("pm/dev"))),
        (pm, Some(String::new())),
        (nobody.as_str(), Some(token("pm"))),
        ("system:host", Some(token("pm"))),
    ] {
        let (code, body) = call(caller, with.as_deref(), dev).await;
        assert_eq!(code, 401, "{caller}: {body}");
    }
    // An unknown workspace is refused like a forbidden one.
    assert_eq!(call(pm, Some(&token("pm")), &nobody).await.0, 403);

    // The token stays the same over a restart of the server.
    let pm = token("pm");
    assert_eq!(server.stop(), 0);
    for name in ["orghost.db", "orghost.db-wal"] {
        let bytes = std::fs::read(operator.state().join(name)).unwrap_or_default();
        let is_there = bytes.windows(pm.len()).any(|part| part == pm.as_bytes());
        assert!(!is_there, "{name} holds a token");
    }
    let template = operator.template(&[("org.yaml", FAMILY)]);
    let up = [
        "up",
        &template,
        "--take-over",
        "--demo",
        "--engine",
        "local",
        "--json",
    ];
    let ran = operator.run(&up).exits(0);
    let summary = ran.events().pop().unwrap();
    assert_eq!(summary["unchanged"], 6, "{summary}");
    assert!(!ran.stdout.contains(&pm));
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test]
async fn the_proxy_removes_credentials_and_hop_by_hop_headers() {
    let agent = Agent::start(|path, _| match path {
        "/moved" => Response::builder()
            .status(307)
            .header("location", "http://127.0.0.1:1/")
            .body(Body::empty())
            .unwrap(),
        _ => Response::builder()
            .status(418)
            .header("set-cookie", "a=b")
            .header("x-own", "kept")
            .body(Body::from("short and stout"))
            .unwrap(),
    })
    .await;
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, agent.port).await;
    let at = |path: &str| format!("/v1/workspaces/{id}/a2a{path}");
    let answer = server
        .request(Method::POST, &at("/deep/path?a=b"))
        .header("authorization", "Basic c2VjcmV0")
        .header("cookie", "session=secret")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-far", "2")
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers()["x-own"], "kept");
    assert!(!answer.headers().contains_key("set-cookie"));
    assert_eq!(answer.text().await.unwrap(), "short and stout");
    let (path, headers, body) = agent.asked.lock().unwrap()[0].clone();
    assert_eq!(
        (path.as_str(), &body[..]),
        ("/deep/path?a=b", &b"hello"[..])
    );
    assert_eq!(headers["x-far"], "2");
    for gone in ["authorization", "cookie", "x-hop"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let (code, told) = server.ask(Method::GET, &at("/moved"), None).await;
    assert_eq!((code, &told["code"]), (502, &json!("agent-redirects")));
    for path in ["/signals/restart_pending", "/%73ignals/x", "/a//b"] {
        let (code, _) = server.ask(Method::POST, &at(path), None).await;
        assert_eq!(code, 403, "{path}");
    }
    let before = agent.paths().len();
    let large = vec![0; (16 << 20) + 1];
    let request = server.request(Method::POST, &at("")).body(large);
    // The server refuses before the body is complete, and some clients then report a write error.
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status(), 413);
    }
    assert_eq!(agent.paths().len(), before);
}

#[tokio::test]
async fn the_proxy_streams_requests_and_responses() {
    type Pieces = tokio::sync::mpsc::UnboundedSender<Bytes>;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    // Reports every piece of the request and answers it with an event at once.
    let echo = async |State(arrived): State<Pieces>, request: Request| {
        let pieces = request.into_body().into_data_stream().map(move |piece| {
            let piece = piece.unwrap();
            arrived.send(piece.clone()).unwrap();
            let event = [b"data: ", &piece[..], b"\n\n"].concat();
            Ok::<_, std::io::Error>(Bytes::from(event))
        });
        (
            [("content-type", "text/event-stream")],
            Body::from_stream(pieces),
        )
    };
    let port = serve(Router::new().fallback(echo).with_state(arrived)).await;
    let docker = FakeDocker::start();
    let (_operator, server, id) = one_on(&docker, port).await;
    let (send, pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let pieces = futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), pieces))
    });
    let request = server.request(Method::POST, &format!("/v1/workspaces/{id}/a2a"));
    send.send("one".into()).unwrap();
    let answer = request.body(reqwest::Body::wrap_stream(pieces));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    assert_eq!(arrivals.recv().await.unwrap(), "one");
    assert_eq!(events.next().await.unwrap().unwrap(), "data: one\n\n");
    // The second piece is sent only after the first one has come back.
    send.send("two".into()).unwrap();
    assert_eq!(arrivals.recv().await.unwrap(), "two");
    assert_eq!(events.next().await.unwrap().unwrap(), "data: two\n\n");
    drop(send);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn workspaces_fail_while_the_engine_is_away_and_can_be_retried() {
    let operator = Operator::new();
    let socket = operator.home.path().join("engine.sock");
    let endpoint = format!("unix://{}", socket.display());
    let operator = operator.with_env("DOCKER_HOST", &endpoint);
    let server = Server::start(&operator, &["--demo", "--engine", "docker"]);
    let failed = server.import(json!({"inline": ONE})).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert_eq!(failed["errors"][0]["code"], "engine-away", "{failed}");
    let one = workspace(&server, "one").await;
    assert_eq!(one["outcome"], "failed", "{one}");
    assert!(
        one["reason"].as_str().unwrap().contains("does not answer"),
        "{one}"
    );

    let docker = FakeDocker::start();
    let real = docker.endpoint();
    std::os::unix::fs::symlink(real.strip_prefix("unix://").unwrap(), &socket).unwrap();
    let id = one["id"].as_str().unwrap();
    let done = act(&server, Method::POST, &format!("{id}/start")).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(docker.containers(), ["ws-one running"]);
}

/// After a boot, the engine may start later than the host.
#[tokio::test]
async fn a_resumed_import_waits_for_its_engine() {
    let operator = Operator::new();
    let socket = operator.home.path().join("engine.sock");
    let endpoint = format!("unix://{}", socket.display());
    let operator = operator.with_env("DOCKER_HOST", &endpoint);
    let docker = FakeDocker::start();
    let real = docker.endpoint();
    let appear = || std::os::unix::fs::symlink(real.strip_prefix("unix://").unwrap(), &socket);
    appear().unwrap();
    let args = ["--demo", "--engine", "docker"];
    // The switch kills the host once the import is stored.
    let mut operator = operator.with_env("ORGHOST_KILL_AT", "accepted");
    let server = Server::start(&operator, &args);
    let request = server.request(Method::POST, "/v1/orgs");
    assert!(request.json(&json!({"inline": ONE})).send().await.is_err());
    drop(server);
    operator.env.pop();

    std::fs::remove_file(&socket).unwrap();
    let server = Server::start(&operator, &args);
    let one = workspace(&server, "one").await;
    assert_eq!(one["outcome"], "planned", "{one}");
    appear().unwrap();
    let operations = server.get("/v1/orgs/acme/operations").await;
    let id = operations["operations"][0]["id"].as_str().unwrap();
    let ended = server.get(&format!("/v1/operations/{id}?wait=60")).await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(docker.containers(), ["ws-one running"]);
}

/// A restart waits for the engine while the engine starts, and also after the host was killed.
#[tokio::test]
async fn restart_waits_for_its_engine() {
    let operator = Operator::new();
    let socket = operator.home.path().join("engine.sock");
    let endpoint = format!("unix://{}", socket.display());
    let mut operator = operator.with_env("DOCKER_HOST", &endpoint);
    let docker = FakeDocker::start();
    let real = docker.endpoint();
    let appear = || std::os::unix::fs::symlink(real.strip_prefix("unix://").unwrap(), &socket);
    appear().unwrap();
    let args = ["--demo", "--engine", "docker"];
    let server = Server::start(&operator, &args);
    assert_eq!(server.import(json!({"inline": ONE})).await["state"], "done");
    let id = ids(&server).await["one"].clone();
    let restart = format!("/v1/workspaces/{id}/restart");

    std::fs::remove_file(&socket).unwrap();
    let (status, accepted) = server.ask(Method::POST, &restart, None).await;
    assert_eq!(status, 202, "{accepted}");
    let operation = format!("/v1/operations/{}", accepted["id"].as_str().unwrap());
    let waiting = server.get(&format!("{operation}?wait=1")).await;
    assert_eq!(waiting["state"], "queued", "{waiting}");
    appear().unwrap();
    let ended = server.get(&format!("{operation}?wait=60")).await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(server.stop(), 0);

    // The switch kills the host once the restart is stored.
    operator = operator.with_env("ORGHOST_KILL_AT", "accepted");
    let server = Server::start(&operator, &args);
    let request = server.request(Method::POST, &restart);
    assert!(request.send().await.is_err());
    drop(server);
    operator.env.pop();
    std::fs::remove_file(&socket).unwrap();
    docker.forget();
    let server = Server::start(&operator, &args);
    let operations = server.get("/v1/orgs/acme/operations").await;
    let newest = &operations["operations"][0];
    assert_eq!(newest["operation"], "restart", "{operations}");
    let operation = format!("/v1/operations/{}", newest["id"].as_str().unwrap());
    let waiting = server.get(&format!("{operation}?wait=1")).await;
    assert_eq!(waiting["state"], "queued", "{waiting}");
    appear().unwrap();
    let ended = server.get(&format!("{operation}?wait=60")).await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(docker.containers(), ["ws-one-2 running"]);
    assert_eq!(server.stop(), 0);
}

/// A caller that reaches a dead workspace may disconnect at any time: its restart is stored and begun, or neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_caused_by_a_call_begins_when_the_caller_disconnects() {
    let docker = FakeDocker::start();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let config = Config {
        engine: Some(EngineKind::Docker),
        ..Config::default()
    };
    let service = service(folder.path(), store.clone(), config, docker.endpoint());
    let ended = async || {
        while !store.unended().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    service.import(import(ONE)).await.unwrap();
    ended().await;
    while service.tasks().count_running() > 0 {
        tokio::task::yield_now().await;
    }
    docker.end("ws-one");
    docker.forget();

    // A lock on the database holds the call in the middle of accepting the restart.
    let other = rusqlite::Connection::open(folder.path().join("orghost.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let workspaces = store.workspaces("acme").await.unwrap();
    let accepting = async {
        while service.tasks().count_running() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        liveness = service.check_liveness("acme", &workspaces[0]) => panic!("{liveness:?}"),
        () = accepting => {}
    }
    // The caller disconnects.
    other.execute_batch("ROLLBACK").unwrap();
    while store.operations("acme", None, 10).await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ended().await;
    assert_eq!(docker.containers(), ["ws-one-1 running"]);
    let left = service.drain(Duration::from_secs(30)).await;
    assert!(left.is_empty(), "{left:?}");
}

/// Deletes Acme from the store and leaves its resources on the engine.
fn forget_acme(operator: &Operator) {
    let store = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    store.pragma_update(None, "foreign_keys", true).unwrap();
    let gone = store.execute("DELETE FROM orgs WHERE slug = 'acme'", []);
    assert_eq!(gone.unwrap(), 1);
}

/// Inserts a container with our labels that belongs to another host.
fn insert_foreign(docker: &FakeDocker) {
    let id = "e".repeat(32);
    let other = json!({"orghost.managed": "true", "orghost.instance": "0123456789abcdef",
        "orghost.org": "acme", "orghost.workspace": "two", "orghost.id": id});
    docker.insert_foreign_container(&format!("ws-{id}"), &other);
    docker.insert_foreign_container("ws-plain", &json!({}));
}

#[tokio::test]
async fn an_orphan_is_removed_only_after_two_sightings() {
    let docker = FakeDocker::start();
    let (operator, server, _) = one_on(&docker, 0).await;
    assert_eq!(server.stop(), 0);
    forget_acme(&operator);
    insert_foreign(&docker);
    let foreign = [
        format!("ws-{} running", "e".repeat(32)),
        "ws-plain running".to_owned(),
    ];
    let all = docker.containers();
    let state = operator.state();
    let store = Store::open(&state).unwrap();
    let service = service(&state, store, Config::default(), docker.endpoint());
    let mut seen = Seen::default();
    let sweep = async |seen: &mut Seen| service.sweep(seen, true).await.unwrap();
    let found = sweep(&mut seen).await;
    let told: Vec<_> = found
        .iter()
        .map(|o| (o.thing.as_str(), o.engine, o.removable, o.removed))
        .collect();
    let docker_kind = EngineKind::Docker;
    let wanted = [
        ("container", docker_kind, true, false),
        ("configs", docker_kind, true, false),
        ("workspace", docker_kind, false, false),
    ];
    assert_eq!(told, wanted);
    assert_eq!(docker.containers(), all);

    // A failed listing proves nothing, and it resets what was seen before.
    docker.fault(
        When::Call("GET containers/json"),
        Fault::Answer(500, "busy"),
    );
    assert!(sweep(&mut seen).await.is_empty());
    docker.forget();
    sweep(&mut seen).await;
    assert_eq!(docker.containers(), all);

    let found = sweep(&mut seen).await;
    assert_eq!(found.iter().filter(|orphan| orphan.removed).count(), 2);
    assert_eq!(docker.containers(), foreign);
    assert_eq!(docker.volumes(), ["ws-one-workspace"]);
}

// The fake engine needs a second thread to answer while the test waits for the program.
#[tokio::test(flavor = "multi_thread")]
async fn sweep_only_lists_orphans_without_remove() {
    let docker = FakeDocker::start();
    let (operator, server, _) = one_on(&docker, 0).await;
    assert_eq!(server.stop(), 0);
    insert_foreign(&docker);
    // Every resource belongs to an org in the store.
    let ran = operator.run(&["sweep", "--remove", "--json"]).exits(0);
    assert_eq!(ran.json()["orphans"], json!([]));
    forget_acme(&operator);
    let before = docker.containers();
    let ran = operator.run(&["sweep", "--json"]).exits(0);
    let orphans = ran.json()["orphans"].as_array().unwrap().len();
    assert_eq!(orphans, 3, "{}", ran.stdout);
    assert_eq!(docker.containers(), before);
    operator.run(&["sweep", "--remove"]).exits(0);
    assert_eq!(docker.containers().len(), 2);
    assert_eq!(docker.volumes(), ["ws-one-workspace"]);
}

#[tokio::test]
async fn the_command_line_works_without_a_server() {
    let operator = Operator::new();
    let file = operator.file("orghost.toml", "[policy]\ndemo = true\n");
    let operator = operator.with_env("ORGHOST_CONFIG", &file.display().to_string());
    let server = Server::start(&operator, &["--engine", "local"]);
    assert_eq!(server.import(json!({"inline": ONE})).await["state"], "done");
    // A state folder has one writer.
    let ran = operator.run(&["stop", "one", "--json"]).exits(1);
    assert_eq!(ran.error_codes(), ["state-locked"]);
    assert_eq!(server.stop(), 0);
    for (command, outcome) in [("stop", "stopped"), ("start", "up"), ("restart", "up")] {
        let ran = operator.run(&[command, "one", "--json"]).exits(0);
        assert_eq!(ran.json()["outcome"], outcome, "{command}");
    }
    let ran = operator.run(&["stop", "two", "--json"]).exits(2);
    assert_eq!(ran.error_codes(), ["unknown-workspace"]);
    operator.run(&["down", "acme", "--volumes"]).exits(0);

    // An org that `up` made works the same way: `up` stored its snapshot.
    let template = operator.template(&[("org.yaml", ONE)]);
    operator
        .run(&["up", &template, "--engine", "local"])
        .exits(0);
    operator.run(&["stop", "one"]).exits(0);
    let ran = operator.run(&["start", "one", "--json"]).exits(0);
    assert_eq!(ran.json()["outcome"], "up");
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

//! Tests of the client against a server with scripted answers: which requests are retried, when, and which never are.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use orghost::model::event::{self, Event};
use orghost_client::{Backoff, Client, ClientError, Operation, Pause, RetryReason, Upload};
use orghost_model::status::OperationState;
use serde_json::{Value, json};

use crate::support::scripted::{Answer, Scripted};
use crate::support::{Operator, Ran};

const PATIENCE: Backoff = Backoff {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(40),
    busy: Duration::from_secs(20),
    away: Duration::from_secs(5),
};

type Pauses = Arc<Mutex<Vec<Pause>>>;

/// A client, and a record of the pauses that it makes.
async fn client(server: &Scripted, patience: Backoff) -> (Client, Pauses) {
    let pauses = Pauses::default();
    let seen = pauses.clone();
    let watcher = move |pause: &Pause| seen.lock().unwrap().push(*pause);
    let client = Client::new(&server.start().await, None, patience, watcher);
    (client.unwrap(), pauses)
}

fn waits(pauses: &Pauses) -> Vec<Duration> {
    pauses.lock().unwrap().iter().map(|p| p.wait).collect()
}

fn upload() -> Upload {
    Upload {
        request: json!({}),
        archive: Bytes::from_static(b"a template"),
        name: "template.tar".to_owned(),
    }
}

fn operation() -> Operation {
    let json = json!({"id": "7", "org": "acme", "operation": "up", "state": "queued", "failed": 0});
    serde_json::from_value(json).unwrap()
}

fn unchanged(key: &str) -> Value {
    json!({"org": "acme", "workspace": key, "event": "unchanged", "url": null})
}

fn ended() -> Value {
    json!({"org": "acme", "event": "ended", "failed": 0})
}

/// Follows an operation; returns the keys of the workspaces whose events were shown, and the result.
async fn follow(client: &Client) -> (Vec<String>, Result<Operation, ClientError>) {
    let mut shown = Vec::new();
    let ended = client.follow(operation(), |event: &Event| {
        shown.extend(event.workspace.as_ref().map(ToString::to_string));
    });
    let ended = ended.await;
    (shown, ended)
}

#[tokio::test]
async fn a_request_to_a_busy_server_is_retried_with_the_same_key() {
    let server = Scripted::default().on(
        "POST /v1/orgs",
        [
            Answer::busy(Some("0")),
            Answer::problem(503, "stopping", Some("0")),
            // The answer of a proxy in front of the server.
            Answer::Says(502, Vec::new(), "<html>".to_owned()),
            // The answer is lost, and the server still handles the request.
            Answer::HangsUp,
            Answer::problem(409, "idempotency-busy", None),
            Answer::operation(202, "queued"),
        ],
    );
    let (client, pauses) = client(&server, PATIENCE).await;
    let accepted = client.import(&upload()).await.unwrap();
    assert_eq!(accepted.id, "7");
    let asked = server.asked("POST /v1/orgs");
    assert_eq!(asked.len(), 6);
    let key = asked[0].key.as_ref().unwrap();
    assert!(asked.iter().all(|asked| asked.key.as_ref() == Some(key)));
    let reasons: Vec<RetryReason> = pauses.lock().unwrap().iter().map(|p| p.reason).collect();
    assert_eq!(
        reasons,
        [
            RetryReason::Busy,
            RetryReason::Busy,
            RetryReason::Busy,
            RetryReason::Away,
            RetryReason::Busy
        ]
    );
    // A pause of zero seconds is raised to the shortest pause.
    assert!(waits(&pauses).iter().all(|wait| *wait >= PATIENCE.first));
    // A second import gets its own key.
    client.import(&upload()).await.unwrap();
    assert_ne!(server.asked("POST /v1/orgs")[6].key.as_ref(), Some(key));
}

#[tokio::test]
async fn retry_after_is_respected() {
    let orgs = json!({"orgs": []});
    let server = Scripted::default().on(
        "GET /v1/orgs",
        [Answer::busy(Some("1")), Answer::json(200, orgs)],
    );
    let (client, pauses) = client(&server, PATIENCE).await;
    client.orgs().await.unwrap();
    let asked = server.asked("GET /v1/orgs");
    assert_eq!(waits(&pauses), [Duration::from_secs(1)]);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn retries_end_at_the_time_limit() {
    let server = Scripted::default().on("GET /v1/orgs", [Answer::busy(None)]);
    let short = Backoff {
        busy: Duration::from_millis(300),
        ..PATIENCE
    };
    let (client, pauses) = client(&server, short).await;
    let error = client.orgs().await.unwrap_err();
    assert!(matches!(error, ClientError::Busy { .. }), "{error}");
    let waits = waits(&pauses);
    assert_eq!(server.asked("GET /v1/orgs").len(), waits.len() + 1);
    // The pauses double (10, 20, 40, …), each with jitter.
    assert!((4..=9).contains(&waits.len()), "{waits:?}");
    assert!(waits.iter().sum::<Duration>() <= short.busy);
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_limit_fails_at_once() {
    let server = Scripted::default().on("GET /v1/orgs", [Answer::busy(Some("3600"))]);
    let (client, pauses) = client(&server, PATIENCE).await;
    let error = client.orgs().await.unwrap_err();
    assert!(matches!(error, ClientError::Busy { .. }), "{error}");
    assert!(waits(&pauses).is_empty());
}

#[tokio::test]
async fn final_errors_are_not_retried() {
    for (status, code) in [
        (404, "unknown-org"),
        (409, "org-changed"),
        (503, "engine-away"),
    ] {
        let server =
            Scripted::default().on("GET /v1/orgs/acme", [Answer::problem(status, code, None)]);
        let (client, pauses) = client(&server, PATIENCE).await;
        let error = client.org("acme").await.unwrap_err();
        assert!(matches!(error, ClientError::Rejected(_)), "{error}");
        assert!(waits(&pauses).is_empty(), "{code}");
    }
}

#[tokio::test]
async fn a_request_without_a_key_is_not_retried_when_its_answer_is_lost() {
    let server = Scripted::default()
        .on("GET /v1/orgs", [Answer::json(200, json!({"orgs": []}))])
        .on("DELETE /v1/orgs/acme", [Answer::HangsUp]);
    let (client, pauses) = client(&server, PATIENCE).await;
    client.orgs().await.unwrap();
    let error = client.take_down("acme", true).await.err().unwrap();
    assert!(matches!(error, ClientError::Away { .. }), "{error}");
    assert_eq!(server.asked("DELETE /v1/orgs/acme").len(), 1);
    assert!(waits(&pauses).is_empty());
    // A busy answer means that nothing was done, so a retry is safe.
    let server = Scripted::default().on(
        "DELETE /v1/orgs/acme",
        [Answer::busy(None), Answer::operation(202, "queued")],
    );
    let (client, _) = self::client(&server, PATIENCE).await;
    client.take_down("acme", true).await.ok().unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_reported_at_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://someone:secret@{}", closed.local_addr().unwrap());
    drop(closed);
    let watcher = |pause: &Pause| panic!("{pause:?}");
    let client = Client::new(&url, None, PATIENCE, watcher).unwrap();
    let error = client.orgs().await.unwrap_err();
    assert!(matches!(error, ClientError::Away { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_cut_event_stream_resumes_after_the_last_event() {
    let server = Scripted::default()
        .on(
            "GET /v1/operations/7",
            [
                Answer::operation(200, "running"),
                Answer::operation(200, "running"),
                Answer::operation(200, "running"),
                Answer::operation(200, "done"),
            ],
        )
        .on(
            "GET /v1/events",
            [
                Answer::EndsAfter(vec![(4, unchanged("a"))]),
                Answer::HangsUp,
                Answer::Tells(vec![(5, unchanged("b")), (9, ended())]),
            ],
        );
    let (client, pauses) = client(&server, PATIENCE).await;
    let (shown, ended) = follow(&client).await;
    assert!(ended.ok().unwrap().state == OperationState::Done);
    assert_eq!(shown, ["a", "b"]);
    let asked = server.asked("GET /v1/events");
    let last: Vec<_> = asked.iter().map(|a| a.last_event.as_deref()).collect();
    assert_eq!(last, [None, Some("4"), Some("4")]);
    assert!(asked[0].query.contains("after=0"), "{}", asked[0].query);
    assert_eq!(waits(&pauses).len(), 2);
}

#[tokio::test]
async fn a_refused_event_stream_is_retried_with_backoff() {
    let refused = 10;
    for answer in [
        Answer::busy(None),
        Answer::busy(Some("0")),
        Answer::problem(500, "broke", None),
        Answer::Says(404, Vec::new(), String::new()),
        Answer::HangsUp,
    ] {
        let mut streams = vec![answer; refused];
        streams.push(Answer::Tells(vec![(1, unchanged("a")), (2, ended())]));
        let mut states = vec![Answer::operation(200, "running"); refused + 1];
        states.push(Answer::operation(200, "done"));
        let server = Scripted::default()
            .on("GET /v1/operations/7", states)
            .on("GET /v1/events", streams);
        let (client, pauses) = client(&server, PATIENCE).await;
        let (shown, ended) = follow(&client).await;
        assert!(ended.ok().unwrap().state == OperationState::Done);
        assert_eq!(shown, ["a"]);
        let waits = waits(&pauses);
        assert_eq!(waits.len(), refused);
        let asked = server.asked("GET /v1/events");
        assert_eq!(asked.len(), refused + 1);
        for (wait, pair) in waits.iter().zip(asked.windows(2)) {
            assert!(pair[1].at - pair[0].at >= *wait, "{wait:?}");
        }
        assert!(waits[..3].iter().all(|wait| *wait >= PATIENCE.first));
        assert!(waits[3..].iter().all(|wait| *wait >= PATIENCE.longest));
        // The operation is polled once for each attempt to open the stream.
        assert_eq!(server.asked("GET /v1/operations/7").len(), refused + 2);
    }
}

#[tokio::test]
async fn the_result_is_reported_without_an_event_stream() {
    let server = Scripted::default()
        .on(
            "GET /v1/operations/7",
            [
                Answer::operation(200, "running"),
                Answer::operation(200, "failed"),
            ],
        )
        .on("GET /v1/events", [Answer::problem(403, "scope", None)]);
    let (client, _) = client(&server, PATIENCE).await;
    let (shown, ended) = follow(&client).await;
    assert!(ended.ok().unwrap().state == OperationState::Failed);
    assert!(shown.is_empty());
}

#[tokio::test]
async fn following_ends_when_the_server_stays_away() {
    let server = Scripted::default()
        .on(
            "GET /v1/operations/7",
            [Answer::operation(200, "running"), Answer::HangsUp],
        )
        .on("GET /v1/events", [Answer::HangsUp]);
    let short = Backoff {
        away: Duration::from_millis(200),
        ..PATIENCE
    };
    let (client, pauses) = client(&server, short).await;
    let (_, ended) = follow(&client).await;
    let error = ended.err().unwrap();
    assert!(matches!(error, ClientError::Away { .. }), "{error}");
    let pauses = pauses.lock().unwrap();
    assert!(pauses.iter().all(|pause| pause.reason == RetryReason::Away));
}

/// A scripted server with the org `acme`, for tests of the program.
fn acme(server: Scripted) -> Scripted {
    let org = json!({
        "org": "acme", "name": "Acme", "engine": "local", "template": "archive", "workspaces": [],
    });
    server
        .on("GET /v1/orgs/acme", [Answer::json(200, org)])
        .on("GET /v1/operations/7", [Answer::operation(200, "done")])
        .on("GET /v1/events", [Answer::Tells(vec![(1, ended())])])
}

fn operator(url: &str) -> (Operator, String) {
    let operator = Operator::new().with_env("ORGHOST_SERVER", url);
    let template = operator.template(&[("org.yaml", "name: Acme\nworkspaces: []\n")]);
    (operator, template)
}

#[tokio::test(flavor = "multi_thread")]
async fn up_reports_that_it_waits_and_resumes() {
    let server = acme(Scripted::default().on(
        "POST /v1/orgs",
        [Answer::busy(Some("1")), Answer::operation(202, "queued")],
    ));
    let (operator, template) = operator(&server.start().await);
    let ran = tokio::task::block_in_place(|| operator.run(&["up", &template])).exits(0);
    assert!(
        ran.stderr
            .contains("the server is busy; trying again in 1 s"),
        "{}",
        ran.stderr
    );
    assert_eq!(server.asked("POST /v1/orgs").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_retry_pause_at_once() {
    let server = acme(Scripted::default().on("POST /v1/orgs", [Answer::busy(Some("500"))]));
    let (operator, template) = operator(&server.start().await);
    let began = Instant::now();
    let mut command = operator.command(&["up", &template, "--json"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while server.asked("POST /v1/orgs").is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the client sent no request"
        );
        tokio::task::yield_now().await;
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = tokio::task::block_in_place(|| Ran::of(child.wait_with_output().unwrap())).exits(130);
    assert_eq!(ran.error_codes(), ["interrupted"]);
    assert_eq!(server.asked("POST /v1/orgs").len(), 1);
    assert!(began.elapsed() < Duration::from_secs(400));
}

#[tokio::test]
async fn every_action_has_its_own_idempotency_key() {
    let path = "POST /v1/workspaces/01/restart";
    let server = Scripted::default().on(path, [Answer::operation(202, "queued")]);
    let (client, _) = client(&server, PATIENCE).await;
    for _ in 0..2 {
        let accepted = client.act("01", event::Operation::Restart).await;
        accepted.ok().unwrap();
    }
    let keys: Vec<_> = server.asked(path).into_iter().map(|a| a.key).collect();
    assert!(keys[0].is_some() && keys[0] != keys[1], "{keys:?}");
}

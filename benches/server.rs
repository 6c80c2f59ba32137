//! Measures a server under load over real sockets: plans per second, many imports at once, and many listeners of
//! events. It prints a table with percentiles and the server's memory. The engine is the fake one of the tests, so that
//! only the server is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};

use support::fake_docker::FakeDocker;
use support::server::Server;
use support::{Operator, root};

/// How many callers plan at once.
const CALLERS: usize = 32;
/// How many orgs are imported at once.
const ORGS: usize = 200;
/// How many listeners receive events.
const LISTENERS: usize = 500;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let fake = FakeDocker::start();
        let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
        let config = operator.file("orghost.toml", "[server]\nrequests_per_second = 1000000\n");
        let forty = root().join("tests/cases/forty/template");
        let templates = operator.home.path().join("templates");
        std::fs::create_dir(&templates).unwrap();
        std::os::unix::fs::symlink(forty, templates.join("forty")).unwrap();
        let args = [
            "--demo",
            "--engine",
            "docker",
            "--ignore-missing-env",
            "--max-tier=4",
            "--config",
        ];
        let args = [
            &args[..],
            &[
                config.to_str().unwrap(),
                "--templates",
                templates.to_str().unwrap(),
            ],
        ]
        .concat();
        let server = Server::start(&operator, &args);
        println!(
            "{:<46} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "", "each s", "p50", "p99", "most", "memory"
        );
        plans(
            &server,
            "plans of 1 workspace",
            4000,
            &json!({"inline": "name: X\ndefaults: {runtime: x}\nworkspaces: [{name: A}]"}),
        )
        .await;
        plans(
            &server,
            "plans of 40 workspaces",
            1000,
            &json!({"template": "forty"}),
        )
        .await;
        imports(&server).await;
        listeners(&server).await;
        assert_eq!(server.stop(), 0);
    });
}

async fn plans(server: &Server, name: &str, count: usize, body: &Value) {
    let one = async || {
        let start = Instant::now();
        let (status, answer) = server
            .ask(Method::POST, "/v1/plans", Some(body.clone()))
            .await;
        assert_eq!(status, 200, "{answer}");
        start.elapsed()
    };
    one().await;
    let start = Instant::now();
    let caller = async || {
        let mut times = Vec::new();
        for _ in 0..count / CALLERS {
            times.push(one().await);
        }
        times
    };
    let callers: FuturesUnordered<_> = (0..CALLERS).map(|_| caller()).collect();
    let times: Vec<Vec<Duration>> = callers.collect().await;
    let times = times.concat();
    row(
        server,
        &format!("{name}, {CALLERS} callers"),
        times.len(),
        start.elapsed(),
        times,
    );
}

/// Measures many imports at once: the time until each is accepted, and the time until each org is up.
async fn imports(server: &Server) {
    let start = Instant::now();
    let import = async |n: usize| {
        let body = json!({"inline": format!("name: Org{n}\ndefaults: {{runtime: x}}\nworkspaces: [{{name: A}}]")});
        let asked = Instant::now();
        let (status, answer) = server.ask(Method::POST, "/v1/orgs", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
        (answer["id"].as_str().unwrap().to_owned(), asked.elapsed())
    };
    let all: FuturesUnordered<_> = (0..ORGS).map(import).collect();
    let accepted: Vec<(String, Duration)> = all.collect().await;
    let times = accepted.iter().map(|(_, time)| *time).collect();
    row(
        server,
        &format!("{ORGS} imports at once, until accepted"),
        ORGS,
        start.elapsed(),
        times,
    );
    let end = async |id: &str| {
        let ended = server.get(&format!("/v1/operations/{id}?wait=600")).await;
        assert_eq!(ended["state"], "done", "{ended}");
        start.elapsed()
    };
    let all: FuturesUnordered<_> = accepted.iter().map(|(id, _)| end(id)).collect();
    let times: Vec<Duration> = all.collect().await;
    row(
        server,
        &format!("{ORGS} imports at once, until up"),
        ORGS,
        start.elapsed(),
        times,
    );
}

/// Measures the time from storing an event to its arrival at each listener.
async fn listeners(server: &Server) {
    const WORKSPACES: usize = 30;
    let newest = server.get("/v1/orgs/org0").await;
    assert_eq!(newest["org"], "org0");
    let mut streams = Vec::new();
    for _ in 0..LISTENERS {
        let request = server.request(Method::GET, "/v1/events?org=loud");
        streams.push(request.send().await.unwrap());
    }
    let all: Vec<_> = (0..WORKSPACES).map(|n| format!("{{name: W{n}}}")).collect();
    let loud = format!(
        "name: Loud\ndefaults: {{runtime: x}}\nworkspaces: [{}]",
        all.join(", ")
    );
    let start = Instant::now();
    let listen = async |mut stream: reqwest::Response| {
        let (mut text, mut seen, mut times) = (String::new(), Vec::new(), Vec::new());
        loop {
            let chunk = stream
                .chunk()
                .await
                .unwrap()
                .expect("the stream has not ended");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")) else {
                    continue;
                };
                let data: Value = serde_json::from_str(data).unwrap();
                let at = Duration::from_millis(data["at_ms"].as_u64().unwrap());
                times.push(now.saturating_sub(at));
                seen.push(data["seq"].as_i64().unwrap());
                if data["event"] == "ended" {
                    return (seen, times);
                }
            }
        }
    };
    let all: FuturesUnordered<_> = streams.into_iter().map(listen).collect();
    let (received, done) = tokio::join!(
        all.collect::<Vec<_>>(),
        server.import(json!({"inline": loud}))
    );
    assert_eq!(done["state"], "done");
    let elapsed = start.elapsed();
    let (first, _) = &received[0];
    // `began`, then five steps and a result for each workspace, then `ended`.
    assert_eq!(first.len(), WORKSPACES * 6 + 2);
    assert!(
        received.iter().all(|(seen, _)| seen == first),
        "a listener missed an event or received it twice"
    );
    let times: Vec<Duration> = received.into_iter().flat_map(|(_, times)| times).collect();
    row(
        server,
        &format!(
            "{LISTENERS} listeners, {} events to each",
            WORKSPACES * 6 + 2
        ),
        times.len(),
        elapsed,
        times,
    );
}

fn row(server: &Server, name: &str, count: usize, elapsed: Duration, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| format!("{:.1?}", times[((times.len() - 1) as f64 * part) as usize]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    println!(
        "{name:<46} {:>9.0} {:>9} {:>9} {:>9} {:>5} MiB",
        count as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        memory >> 10
    );
}

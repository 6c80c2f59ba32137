//! Measures a server under load over real sockets: plans, many imports at once, lists in pages, and many listeners of
//! events. The engine is the fake one of the tests, so that only the server is measured.
//!
//! `ORGHOST_BASELINE=PROGRAM` names an older build of `orghost`. Both are then measured in turns in the same run, and the
//! ratios of their medians are printed. `wrk` also makes plans from a process of its own, where it is installed.
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
mod usage;
mod wrk;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};

use support::fake_docker::FakeDocker;
use support::server::Server;
use support::{Operator, root};
use usage::{Measured, Report, Usage};
use wrk::Wrk;

/// How many callers plan at once.
const CALLERS: usize = 32;
/// How many orgs are imported at once.
const ORGS: usize = 200;
/// How many workspaces are listed.
const LISTED: i64 = 10_000;
/// How many listeners receive events.
const LISTENERS: usize = 1_000;
/// How often each program is measured when there are two.
const ROUNDS: usize = 5;

/// One server, and the engine that it uses.
struct Host {
    server: Server,
    operator: Operator,
    _engine: FakeDocker,
    /// The number of templates that were made. No two are equal, so that no plan is known already.
    made: Cell<usize>,
}

fn main() {
    let now = PathBuf::from(env!("CARGO_BIN_EXE_orghost"));
    let mut programs = vec![("now", now)];
    let baseline = std::env::var_os("ORGHOST_BASELINE").map(PathBuf::from);
    programs.extend(baseline.map(|program| ("baseline", program)));
    let rounds = if programs.len() > 1 { ROUNDS } else { 1 };
    let wrk = Wrk::find();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut report = Report::default();
    for _ in 0..rounds {
        for (name, program) in &programs {
            runtime.block_on(measure(program, wrk.as_ref(), &mut |scenario, measured| {
                report.add(name, scenario, measured);
            }));
        }
        // The next round measures in the opposite order.
        programs.reverse();
    }
    report.print();
}

async fn measure(
    program: &PathBuf,
    wrk: Option<&Wrk>,
    report: &mut dyn FnMut(&'static str, Measured),
) {
    let host = Host::start(program);
    report(
        "plans of 1 workspace, 32 callers",
        host.plans(4000, || host.one_workspace()).await,
    );
    if let Some(wrk) = wrk {
        let usage = Usage::of(host.server.pid());
        let run = wrk.plans(&host.server.url, CALLERS);
        report("plans of 1 workspace, from wrk", usage.measured_by(run));
    }
    report(
        "plans of 40 workspaces, 32 callers",
        host.plans(
            600,
            || json!({"template": "forty", "env": {"ROUND": host.number().to_string()}}),
        )
        .await,
    );
    report(
        "the same plan of 40 workspaces, 32 callers",
        host.plans(2000, || json!({"template": "forty"})).await,
    );
    let (accepted, up) = host.imports().await;
    report("200 imports at once, until accepted", accepted);
    report("200 imports at once, until up", up);
    host.fill();
    report(
        "10 000 workspaces of 1 000 orgs, by org",
        host.list("/v1/orgs", "orgs", "org").await,
    );
    report(
        "10 000 workspaces of 1 org, by workspace",
        host.list("/v1/orgs/large/workspaces", "workspaces", "key")
            .await,
    );
    report(
        "1 000 listeners, 182 events to each",
        host.listeners().await,
    );
    assert_eq!(host.server.stop(), 0);
}

impl Host {
    fn start(program: &PathBuf) -> Self {
        let engine = FakeDocker::start();
        let mut operator = Operator::new().with_env("DOCKER_HOST", &engine.endpoint());
        program.clone_into(&mut operator.program);
        let config = operator.file("orghost.toml", "[server]\nrequests_per_second = 1000000\n");
        let templates = operator.home.path().join("templates");
        std::fs::create_dir(&templates).unwrap();
        let forty = root().join("tests/cases/forty/template");
        std::os::unix::fs::symlink(forty, templates.join("forty")).unwrap();
        let (config, templates) = (
            config.display().to_string(),
            templates.display().to_string(),
        );
        let server = Server::start(
            &operator,
            &[
                "--demo",
                "--engine=docker",
                "--ignore-missing-env",
                "--max-tier=4",
                "--config",
                &config,
                "--templates",
                &templates,
            ],
        );
        Self {
            server,
            operator,
            _engine: engine,
            made: Cell::default(),
        }
    }

    fn number(&self) -> usize {
        self.made.replace(self.made.get() + 1)
    }

    fn one_workspace(&self) -> Value {
        let number = self.number();
        json!({"inline": format!("name: X\ndefaults: {{runtime: x}}\nworkspaces: [{{name: A{number}}}]")})
    }

    async fn plans(&self, count: usize, body: impl Fn() -> Value) -> Measured {
        let one = async || {
            let start = Instant::now();
            let plan = self.server.ask(Method::POST, "/v1/plans", Some(body()));
            let (status, answer) = plan.await;
            assert_eq!(status, 200, "{answer}");
            start.elapsed()
        };
        for _ in 0..CALLERS {
            one().await;
        }
        let usage = Usage::of(self.server.pid());
        let caller = async || {
            let mut times = Vec::new();
            for _ in 0..count / CALLERS {
                times.push(one().await);
            }
            times
        };
        let callers: FuturesUnordered<_> = (0..CALLERS).map(|_| caller()).collect();
        let times: Vec<Vec<Duration>> = callers.collect().await;
        usage.measured(times.concat())
    }

    /// Measures many imports at once: the time until each is accepted, and the time until each org is up.
    async fn imports(&self) -> (Measured, Measured) {
        let server = &self.server;
        let usage = Usage::of(server.pid());
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
        let until_accepted = usage.measured(accepted.iter().map(|(_, time)| *time).collect());
        let end = async |id: &str| {
            let ended = server.get(&format!("/v1/operations/{id}?wait=600")).await;
            assert_eq!(ended["state"], "done", "{ended}");
            start.elapsed()
        };
        let all: FuturesUnordered<_> = accepted.iter().map(|(id, _)| end(id)).collect();
        let until_up = usage.measured(all.collect().await);
        (until_accepted, until_up)
    }

    /// Puts orgs with many workspaces into the database: an import of so many would take minutes.
    fn fill(&self) {
        let file = self.operator.state().join("orghost.db");
        let db = rusqlite::Connection::open(file).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        let org = |slug: &str, workspaces: i64| {
            db.execute(
                "INSERT INTO orgs (slug, name, engine, template) VALUES (?1, ?1, 'docker', 'inline')",
                [slug],
            )
            .unwrap();
            db.execute(
                "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?2)
                 INSERT INTO workspaces (id, org, path, key, position, name, runtime, tier, external, outcome, wanted, planned)
                 SELECT lower(hex(randomblob(16))), ?1, json_array('W' || n), 'w' || n, n, 'W' || n, 'x', 2, 0, 'up',
                        'running', 1 FROM counted",
                rusqlite::params![slug, workspaces],
            )
            .unwrap();
        };
        db.execute_batch("BEGIN").unwrap();
        org("large", LISTED);
        for number in 0..1_000 {
            org(&format!("small-{number:04}"), LISTED / 1_000);
        }
        db.execute_batch("COMMIT").unwrap();
    }

    /// Lists everything in pages. Each time is that of one page.
    async fn list(&self, path: &str, list: &str, id: &str) -> Measured {
        let usage = Usage::of(self.server.pid());
        let (mut times, mut seen, mut after) = (Vec::new(), 0, String::new());
        loop {
            let start = Instant::now();
            let page = self.server.get(&format!("{path}?limit=100{after}")).await;
            times.push(start.elapsed());
            let listed = page[list].as_array().unwrap();
            seen += listed.len();
            assert!(listed.iter().all(|row| row[id].is_string()));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            after = format!("&after={next}");
        }
        assert!(seen >= 1_000, "{path} listed {seen}");
        usage.measured(times)
    }

    /// Measures the time from storing an event to its arrival at each listener.
    async fn listeners(&self) -> Measured {
        const WORKSPACES: usize = 30;
        let server = &self.server;
        let mut streams = Vec::new();
        for _ in 0..LISTENERS {
            let request = server.request(Method::GET, "/v1/events?org=loud");
            streams.push(request.send().await.unwrap());
        }
        let usage = Usage::of(server.pid());
        let all: Vec<_> = (0..WORKSPACES).map(|n| format!("{{name: W{n}}}")).collect();
        let loud = format!(
            "name: Loud\ndefaults: {{runtime: x}}\nworkspaces: [{}]",
            all.join(", ")
        );
        let all: FuturesUnordered<_> = streams.into_iter().map(listen).collect();
        let (received, done) = tokio::join!(
            all.collect::<Vec<_>>(),
            server.import(json!({"inline": loud}))
        );
        assert_eq!(done["state"], "done");
        let (first, _) = &received[0];
        // `began`, then five steps and a result for each workspace, then `ended`.
        assert_eq!(first.len(), WORKSPACES * 6 + 2);
        assert!(
            received.iter().all(|(seen, _)| seen == first),
            "a listener missed an event or received it twice"
        );
        usage.measured(received.into_iter().flat_map(|(_, times)| times).collect())
    }
}

/// The numbers of the events that a stream received, and how long each took, until an operation ended.
async fn listen(mut stream: reqwest::Response) -> (Vec<i64>, Vec<Duration>) {
    let (mut text, mut seen, mut times) = (String::new(), Vec::new(), Vec::new());
    loop {
        let chunk = stream.chunk().await.unwrap();
        let chunk = chunk.expect("the stream has not ended");
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
}

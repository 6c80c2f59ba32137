//! Runs what months bring in about a minute: servers killed at any moment, an engine that goes away, a full disk. At
//! the end the store, the engine and the API agree, and no accepted work is lost.
//!
//! The test cannot move the machine's clock; `state.rs` shows that no order depends on the clock.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::support::disk::SmallDisk;
use crate::support::fake_docker::{FakeDocker, Fault, When};
use crate::support::server::Server;
use crate::support::{Operator, root, shared_templates};
use crate::work::Dice;

/// A connection to the engine that can be cut: open requests break off, and new ones fail until it is repaired.
struct Wire {
    endpoint: String,
    cut: Arc<AtomicBool>,
    broken: Arc<tokio::sync::Notify>,
    _proxy: JoinSet<()>,
}

impl Wire {
    async fn to(fake: &FakeDocker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let socket = fake.endpoint().trim_start_matches("unix://").to_owned();
        let cut = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(tokio::sync::Notify::new());
        let mut proxy = JoinSet::new();
        let (is_cut, breaks) = (cut.clone(), broken.clone());
        proxy.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (socket, is_cut, breaks) = (socket.clone(), is_cut.clone(), breaks.clone());
                connections.spawn(async move {
                    let broken = breaks.notified();
                    tokio::pin!(broken);
                    broken.as_mut().enable();
                    if is_cut.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut far = UnixStream::connect(socket).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = broken => drop::<TcpStream>(near),
                    }
                });
            }
        });
        Self {
            endpoint,
            cut,
            broken,
            _proxy: proxy,
        }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.broken.notify_waiters();
    }

    fn repair(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

const ARGS: [&str; 4] = ["--demo", "--engine", "docker", "--max-tier=2"];
/// The number of steps in one run, which takes about half a minute.
const ROUNDS: usize = 200;
const ORGS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

fn template(org: &str, workspaces: usize) -> Value {
    let all: Vec<_> = (0..workspaces)
        .map(|n| format!("{{name: W{n}, children: [{{name: Sub}}]}}"))
        .collect();
    let all = all.join(", ");
    json!({"inline": format!("name: {org}\ndefaults: {{runtime: x}}\nworkspaces: [{all}]\n"), "prune": true, "yes": true})
}

/// The random seed: `ORGHOST_TEST_SEED` of a failed run, or a new one.
pub fn seed() -> u64 {
    let named = std::env::var("ORGHOST_TEST_SEED");
    named.map_or_else(
        |_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64 | 1
        },
        |seed| seed.parse().unwrap(),
    )
}

fn database(operator: &Operator) -> rusqlite::Connection {
    let state = operator
        .env
        .iter()
        .find(|(name, _)| name == "ORGHOST_STATE");
    let state = state.map_or(operator.state(), |(_, state)| state.into());
    rusqlite::Connection::open(state.join("orghost.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_work_survives_kills_outages_and_full_disks() {
    let seed = seed();
    eprintln!("ORGHOST_TEST_SEED={seed}");
    let mut dice = Dice::number(seed);
    let fake = FakeDocker::start();
    // Slow calls give faults a chance to hit the middle of the work.
    let slowly = Duration::from_millis(3);
    fake.fault(When::Always, Fault::Delay(slowly));
    let wire = Wire::to(&fake).await;
    let disk = SmallDisk::new(16 << 10);
    let operator = Operator::new()
        .with_env("DOCKER_HOST", &wire.endpoint)
        .with_env("ORGHOST_STATE", disk.path().join("state").to_str().unwrap());
    let mut server = Server::start(&operator, &ARGS);
    let mut accepted = Vec::new();
    for round in 0..ROUNDS {
        let org = ORGS[dice.below(ORGS.len())];
        // An answer may be an error, but an accepted operation must end; that is checked at the end.
        let ask = async |method: Method, path: String, body: Option<Value>| {
            let mut request = server.request(method, &path);
            if let Some(body) = body {
                request = request.json(&body);
            }
            let answer = request.send().await.ok()?;
            let is_accepted = answer.status() == 202;
            let answer: Value = answer.json().await.ok()?;
            is_accepted.then(|| answer["id"].as_str().unwrap().to_owned())
        };
        let import = async |workspaces: usize| {
            ask(
                Method::POST,
                "/v1/orgs".to_owned(),
                Some(template(org, workspaces)),
            )
            .await
        };
        match dice.below(10) {
            0..=3 => accepted.extend(import(1 + dice.below(4)).await),
            4 => {
                let path = format!("/v1/orgs/{org}?volumes={}", dice.below(2) == 0);
                accepted.extend(ask(Method::DELETE, path, None).await);
            }
            5 => {
                wire.cut();
                accepted.extend(import(2).await);
            }
            6 => wire.repair(),
            7 => {
                let filler = disk.fill();
                accepted.extend(import(1).await);
                std::fs::remove_file(filler).unwrap();
            }
            8 => {
                // Kill the server at a random moment.
                tokio::time::sleep(Duration::from_millis(dice.below(200) as u64)).await;
                server.kill();
                server = Server::start(&operator, &ARGS);
            }
            _ => {
                let code = server.stop();
                assert!(code == 0 || code == 1, "round {round}: {code}");
                server = Server::start(&operator, &ARGS);
            }
        }
    }
    wire.repair();
    server.kill();
    let server = Server::start(&operator, &ARGS);
    for id in &accepted {
        let row = server.get(&format!("/v1/operations/{id}?wait=120")).await;
        let state = row["state"].as_str().unwrap();
        assert!(
            ["done", "failed", "superseded"].contains(&state),
            "seed {seed}: {row}"
        );
        if state == "failed" {
            assert!(
                row["failed"].as_u64() > Some(0) || row["errors"][0]["code"].is_string(),
                "seed {seed}: {row}"
            );
        }
    }
    eprintln!("{} operations were accepted", accepted.len());

    // After a last import without faults, store, engine and API agree.
    for (index, org) in ORGS.iter().enumerate() {
        let done = server.import(template(org, index + 1)).await;
        assert_eq!(done["state"], "done", "seed {seed}: {done}");
    }
    let mut all = Vec::new();
    for (index, org) in ORGS.iter().enumerate() {
        let shown = server.get(&format!("/v1/orgs/{org}")).await;
        let workspaces = shown["workspaces"].as_array().unwrap();
        assert_eq!(workspaces.len(), 2 * (index + 1), "seed {seed}: {shown}");
        for workspace in workspaces {
            assert_eq!(workspace["state"], "running", "seed {seed}: {shown}");
            all.push(workspace["key"].as_str().unwrap().to_owned());
        }
    }
    let db = database(&operator);
    let count = |query: &str| -> usize {
        db.query_row(query, [], |row| row.get::<_, u32>(0)).unwrap() as usize
    };
    assert_eq!(
        count("SELECT count(*) FROM workspaces WHERE outcome = 'up'"),
        all.len(),
        "seed {seed}"
    );
    let running = fake.containers();
    assert_eq!(running.len(), all.len(), "seed {seed}: {running:?}");
    assert!(
        running
            .iter()
            .all(|container| container.ends_with(" running")),
        "seed {seed}: {running:?}"
    );
    assert_eq!(
        count("SELECT count(*) FROM operations WHERE ended_ms IS NULL"),
        0,
        "seed {seed}"
    );
    // Event numbers have no gap and no duplicate.
    let (events, newest) = (
        count("SELECT count(*) FROM events"),
        count("SELECT max(seq) FROM events"),
    );
    assert_eq!(events, newest, "seed {seed}");
    drop(db);
    for org in ORGS {
        let path = format!("/v1/orgs/{org}?volumes=true&wait=120");
        let (status, gone) = server.ask(Method::DELETE, &path, None).await;
        assert_eq!(
            (status, gone["state"].as_str()),
            (200, Some("done")),
            "seed {seed}: {gone}"
        );
    }
    let left = [fake.containers(), fake.volumes(), fake.networks()].concat();
    assert!(left.is_empty(), "seed {seed}: {left:?}");
    assert_eq!(server.stop(), 0);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Several callers import four orgs at once, and the server is killed in the middle. The page sends the same requests.
#[tokio::test(flavor = "multi_thread")]
async fn four_orgs_come_up_although_the_server_is_killed() {
    let operator = Operator::new();
    let templates = operator.state().join("templates");
    let found = shared_templates()
        .into_iter()
        .find(|path| path.ends_with("molecule-dev"));
    let big = found.unwrap_or_else(|| {
        eprintln!("molecule-dev is not here: tests/cases/forty stands in for it");
        root().join("tests/cases/forty/template")
    });
    copy(&big, &templates.join("big"));
    let args = [
        "--demo",
        "--engine",
        "local",
        "--max-tier=4",
        "--ignore-missing-env",
        "--skip-external",
    ];
    let server = Server::start(&operator, &args);
    let accept = async |body: Value| {
        let (status, answer) = server.ask(Method::POST, "/v1/orgs", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
        (
            answer["id"].as_str().unwrap().to_owned(),
            answer["org"].as_str().unwrap().to_owned(),
        )
    };
    // Three callers import the large org, the first of them with the command line. Each other org has one caller.
    let folder = templates.join("big").display().to_string();
    let elsewhere = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    let up = ["up", &folder, "--skip-external", "--take-over", "--json"];
    let mut command = elsewhere.command(&up);
    let mut command = command.stdout(Stdio::null()).spawn().unwrap();
    let big = || accept(json!({"template": "big", "skip_external": true, "take_over": true}));
    let small = |name: &str| {
        accept(
            json!({"inline": format!("name: {name}\ndefaults: {{runtime: x}}\nworkspaces: [{{name: A, children: [{{name: B}}]}}]")}),
        )
    };
    let all = tokio::join!(big(), big(), small("One"), small("Two"), small("Three"));
    let accepted = [all.0, all.1, all.2, all.3, all.4];
    // Wait for the middle: some workspaces are up, not all.
    let came = || -> i64 {
        let query = "SELECT count(*) FROM events WHERE json_extract(body, '$.event') = 'up'";
        database(&operator)
            .query_row(query, [], |row| row.get(0))
            .unwrap()
    };
    let of_big = |org: &str| -> i64 {
        let query = "SELECT count(*) FROM operations WHERE org = ?1";
        database(&operator)
            .query_row(query, [org], |row| row.get(0))
            .unwrap()
    };
    while came() < 10 || of_big(&accepted[0].1) < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill();
    assert_eq!(
        command.wait().unwrap().code(),
        Some(1),
        "its server was killed"
    );

    let server = Server::start(&operator, &args);
    let listed = server
        .get(&format!("/v1/orgs/{}/operations", accepted[0].1))
        .await;
    assert_eq!(
        listed["operations"].as_array().unwrap().len(),
        3,
        "{listed}"
    );
    let of_command = listed["operations"].as_array().unwrap().iter();
    let of_command = of_command.map(|row| {
        (
            row["id"].as_str().unwrap().to_owned(),
            accepted[0].1.clone(),
        )
    });
    for (id, org) in accepted.iter().cloned().chain(of_command) {
        let row = server.get(&format!("/v1/operations/{id}?wait=300")).await;
        assert!(
            row["state"] == "done" || row["state"] == "superseded",
            "{org}: {row}"
        );
    }
    let mut running = 0;
    let orgs: BTreeMap<_, _> = accepted.iter().map(|(_, org)| (org.clone(), ())).collect();
    assert_eq!(orgs.len(), 4, "{orgs:?}");
    for org in orgs.keys() {
        let shown = server.get(&format!("/v1/orgs/{org}")).await;
        for workspace in shown["workspaces"].as_array().unwrap() {
            if workspace["external"] != true {
                assert_eq!(workspace["state"], "running", "{org}: {workspace}");
                running += 1;
            }
        }
    }
    assert!(running > 20, "{running}");
    eprintln!("{running} workspaces run");
    assert_eq!(
        operator.supervisors(),
        running,
        "every workspace came up exactly once"
    );

    // The events are in order, and no workspace came up twice.
    let db = database(&operator);
    let newest: i64 = db
        .query_row("SELECT max(seq) FROM events", [], |row| row.get(0))
        .unwrap();
    drop(db);
    let mut stream = server
        .request(Method::GET, "/v1/events?after=0")
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    let mut seen = Vec::new();
    let mut ups: BTreeMap<(String, String), u32> = BTreeMap::new();
    while seen.last() != Some(&newest) {
        let chunk = stream
            .chunk()
            .await
            .unwrap()
            .expect("the stream did not end");
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name).map(str::trim))
            };
            let (Some(id), Some(data)) = (field("id:"), field("data:")) else {
                continue;
            };
            seen.push(id.parse().unwrap());
            let data: Value = serde_json::from_str(data).unwrap();
            if data["event"] == "up" {
                let text = |name: &str| data[name].as_str().unwrap().to_owned();
                *ups.entry((text("org"), text("workspace"))).or_default() += 1;
            }
        }
    }
    assert_eq!(seen, (1..=newest).collect::<Vec<_>>());
    assert!(ups.values().all(|count| *count == 1), "{ups:?}");

    for org in orgs.keys() {
        let path = format!("/v1/orgs/{org}?volumes=true&wait=300");
        let (status, gone) = server.ask(Method::DELETE, &path, None).await;
        assert_eq!(
            (status, gone["state"].as_str()),
            (200, Some("done")),
            "{gone}"
        );
    }
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
    assert_eq!(server.stop(), 0);
    assert_eq!(operator.supervisors(), 0);
    let left: Vec<_> = std::fs::read_dir(operator.state().join("local"))
        .map(|entries| entries.map(|e| e.unwrap().path()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

//! Tests of background work: permits, queues, tasks that panic, hosts that stop during work, and full queues.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;

use futures_util::{FutureExt as _, StreamExt as _, poll};
use orghost::model::event::{Event, Operation, What};
use orghost::provision::concurrency::FairSemaphore;
use orghost::service::queue::OrgQueues;
use orghost::state::store::{Filter, Followed, Store};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::Operator;
use crate::support::fake_docker::{FakeDocker, Fault, When};
use crate::support::server::Server;

/// Pseudo-random numbers that are the same in every run (xorshift64).
pub struct Dice(pub u64);

impl Dice {
    /// The generator of the n-th run.
    pub fn number(n: u64) -> Self {
        Self(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn org(name: &str, workspaces: usize) -> Value {
    let all: Vec<_> = (0..workspaces).map(|n| format!("{{name: W{n}}}")).collect();
    let all = all.join(", ");
    json!({"inline": format!("name: {name}\ndefaults: {{runtime: x}}\nworkspaces: [{all}]\n")})
}

/// A fake engine that holds every call until the test releases it, and an operator who uses it.
fn held_engine() -> (FakeDocker, Arc<Semaphore>, Operator) {
    let fake = FakeDocker::start();
    let gate = Arc::new(Semaphore::new(0));
    fake.fault(When::Always, Fault::Hold(gate.clone()));
    let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    (fake, gate, operator)
}

fn release(gate: &Semaphore) {
    gate.add_permits(1_000_000);
}

const SERVE: [&str; 3] = ["--demo", "--engine", "docker"];

async fn accepted(server: &Server, body: Value) -> String {
    let (status, answer) = server.ask(Method::POST, "/v1/orgs", Some(body)).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, id: &str) -> Value {
    let row = server.get(&format!("/v1/operations/{id}?wait=120")).await;
    assert!(
        !["queued", "running"].contains(&row["state"].as_str().unwrap()),
        "{row}"
    );
    row
}

/// Waits until the server's log contains these words.
async fn logged(operator: &Operator, words: &str) {
    let log = operator.home.path().join("serve.log");
    while !std::fs::read_to_string(&log).unwrap().contains(words) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The events of the store in order: name, org and workspace.
fn events(operator: &Operator) -> Vec<(String, String, Option<String>)> {
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    let mut query = db
        .prepare("SELECT json_extract(body, '$.event'), org, workspace FROM events ORDER BY seq")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

async fn take_down(server: &Server, org: &str) {
    let path = format!("/v1/orgs/{org}?volumes=true&wait=60");
    let (status, answer) = server.ask(Method::DELETE, &path, None).await;
    assert_eq!(
        (status, answer["state"].as_str()),
        (200, Some("done")),
        "{answer}"
    );
}

/// tokio limits how often a task polls in one go. Without `unconstrained`, a future polled above that limit would look
/// like one that is not ready.
#[tokio::test]
async fn permits_are_never_lost_and_never_exceed_the_limit() {
    tokio::task::unconstrained(random_permits()).await;
}

async fn random_permits() {
    for seed in 1..=300 {
        let mut dice = Dice::number(seed);
        let most = 1 + dice.below(3);
        let semaphore = FairSemaphore::new(most);
        let (mut waiting, mut held) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            match dice.below(4) {
                0 | 1 => {
                    let (semaphore, org) = (semaphore.clone(), ["a", "b", "c"][dice.below(3)]);
                    let mut wait = async move { semaphore.take(org).await }.boxed();
                    match poll!(&mut wait) {
                        Poll::Ready(permit) => held.push(permit),
                        Poll::Pending => waiting.push(wait),
                    }
                }
                2 if !waiting.is_empty() => {
                    // A dropped waiter may hold a permit that it has not seen yet.
                    drop(waiting.swap_remove(dice.below(waiting.len())));
                }
                _ if !held.is_empty() => drop(held.swap_remove(dice.below(held.len()))),
                _ => {}
            }
            if dice.below(3) == 0 {
                let mut still = Vec::new();
                for mut wait in std::mem::take(&mut waiting) {
                    match poll!(&mut wait) {
                        Poll::Ready(permit) => held.push(permit),
                        Poll::Pending => still.push(wait),
                    }
                }
                waiting = still;
                assert_eq!(semaphore.waiting(), waiting.len(), "seed {seed}");
                assert!(
                    waiting.is_empty() || held.len() == most,
                    "seed {seed}: a permit is lost"
                );
            }
            assert!(held.len() <= most, "seed {seed}");
        }
        drop((waiting, held));
        assert_eq!(semaphore.waiting(), 0, "seed {seed}");
        for _ in 0..most {
            let permit = semaphore.take("z").now_or_never();
            hold_forever(permit.unwrap_or_else(|| panic!("seed {seed}: a permit is lost")));
        }
        assert!(
            semaphore.take("z").now_or_never().is_none(),
            "seed {seed}: too many permits"
        );
    }
}

fn hold_forever<T>(permit: T) {
    std::mem::forget(permit);
}

#[tokio::test]
async fn permits_are_fair_among_orgs() {
    let semaphore = FairSemaphore::new(1);
    let first = semaphore.take("big").await;
    let mut waiting = Vec::new();
    for org in ["big", "big", "big", "small", "big", "tiny"] {
        let semaphore = semaphore.clone();
        let mut wait = async move { (org, semaphore.take(org).await) }.boxed();
        assert!(poll!(&mut wait).is_pending());
        waiting.push(wait);
    }
    drop(first);
    let mut order = Vec::new();
    let mut all = futures_util::stream::FuturesUnordered::from_iter(waiting);
    while let Some((org, _turn)) = all.next().await {
        order.push(org);
    }
    assert_eq!(order, ["big", "small", "tiny", "big", "big", "big"]);
}

#[tokio::test]
async fn a_queue_keeps_its_order_when_tickets_leave() {
    tokio::task::unconstrained(random_queues()).await;
}

async fn random_queues() {
    for seed in 1..=300 {
        let mut dice = Dice::number(seed);
        let queues = OrgQueues::default();
        let longest = 2 + dice.below(6);
        // By org, in order of arrival; the first ticket of an org is active.
        let mut model: BTreeMap<usize, VecDeque<(u32, orghost::service::queue::Ticket)>> =
            BTreeMap::new();
        for number in 0..300 {
            let org = dice.below(3);
            let queue = model.entry(org).or_default();
            match dice.below(3) {
                0 | 1 => match queues.ticket(&format!("org-{org}"), longest) {
                    Some(ticket) => {
                        assert!(queue.len() < longest, "seed {seed}");
                        queue.push_back((number, ticket));
                    }
                    None => assert_eq!(queue.len(), longest, "seed {seed}"),
                },
                _ if !queue.is_empty() => drop(queue.remove(dice.below(queue.len()))),
                _ => {}
            }
            assert_eq!(
                queues.length(),
                model.values().map(VecDeque::len).sum::<usize>()
            );
            for queue in model.values_mut() {
                for (position, (_, ticket)) in queue.iter_mut().enumerate() {
                    let is_active = ticket.wait().now_or_never().is_some();
                    assert_eq!(is_active, position == 0, "seed {seed}, step {number}");
                }
            }
        }
        drop(model);
        assert_eq!(queues.length(), 0, "seed {seed}: an empty queue is kept");
    }
}

/// Several writers write more events than the store keeps in memory, to slow followers that join at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_get_every_event_once_and_in_order() {
    const EACH: usize = 900;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let operation = store.begin("a", Operation::Up).await.unwrap();
    let write = async |org: &'static str| {
        for workspaces in 0..EACH {
            let engine = orghost::model::engine_kind::EngineKind::Local;
            let began = What::Began {
                operation: Operation::Up,
                engine,
                workspaces,
            };
            let event = Event {
                org: org.to_owned(),
                workspace: None,
                workspace_id: None,
                what: began,
            };
            store.append(&operation, &event).await.unwrap();
        }
    };
    let follow = async |after: i64, org: Option<&str>, pause: usize| {
        let filter = Filter {
            org: org.map(str::to_owned),
            operation: None,
        };
        let mut events = std::pin::pin!(store.follow(after, filter));
        let mut seen = Vec::new();
        let wanted = org.map_or(2 * EACH - usize::try_from(after).unwrap(), |_| EACH);
        while seen.len() < wanted {
            let Followed::Event(event) = events.next().await.unwrap().unwrap() else {
                panic!("no event was deleted");
            };
            seen.push(event.seq);
            if pause > 0 && seen.len().is_multiple_of(pause) {
                // Falls behind by more events than the store keeps in memory.
                let behind = store.newest().await.unwrap() + 1100;
                while store.newest().await.unwrap() < behind.min(2 * EACH as i64) {
                    tokio::task::yield_now().await;
                }
            }
        }
        seen
    };
    let all = tokio::join!(
        write("a"),
        write("b"),
        follow(0, None, 0),
        follow(0, None, 700),
        follow(0, Some("a"), 0),
        follow(0, Some("b"), 300),
        follow(500, None, 0)
    );
    let (_, _, eager, slow, a, b, later) = all;
    let whole: Vec<i64> = (1..=2 * EACH as i64).collect();
    assert_eq!(eager, whole);
    assert_eq!(slow, whole);
    assert_eq!(later, whole[500..]);
    let mut both = [a.clone(), b.clone()].concat();
    assert!(a.is_sorted() && b.is_sorted());
    both.sort_unstable();
    assert_eq!(both, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_only_its_own_operation() {
    let fake = FakeDocker::start();
    let mut operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    operator = operator.with_env("ORGHOST_PANIC_AT", "begun bad");
    let server = Server::start(&operator, &SERVE);
    let bad = accepted(&server, org("Bad", 2)).await;
    let waits = accepted(&server, org("Bad", 2)).await;
    let bad = ended(&server, &bad).await;
    assert_eq!(
        (bad["state"].as_str(), bad["errors"][0]["code"].as_str()),
        (Some("failed"), Some("operation-broke")),
        "{bad}"
    );
    // Operations behind it in the queue still run.
    assert_eq!(ended(&server, &waits).await["state"], "failed");
    assert!(
        events(&operator)
            .iter()
            .any(|(event, org, _)| event == "broke" && org == "bad")
    );
    for workspace in server.get("/v1/orgs/bad").await["workspaces"]
        .as_array()
        .unwrap()
    {
        assert!(workspace.to_string().contains("failed"), "{workspace}");
    }
    let good = server.import(org("Good", 2)).await;
    assert_eq!(good["state"], "done", "{good}");
    take_down(&server, "good").await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_planning_is_answered_with_an_error() {
    let operator = Operator::new().with_env("ORGHOST_PANIC_AT", "planning");
    let server = Server::start(&operator, &["--demo", "--engine", "local"]);
    let (status, problem) = server
        .ask(Method::POST, "/v1/orgs", Some(org("A", 1)))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (500, Some("broke")),
        "{problem}"
    );
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_leaves_its_work_to_the_next_one() {
    let (fake, gate, operator) = held_engine();
    let server = Server::start(&operator, &SERVE);
    let first = accepted(&server, org("Acme", 3)).await;
    let second = accepted(&server, org("Other", 1)).await;
    server.ask_to_stop();
    logged(&operator, "stopping: running operations").await;
    release(&gate);
    assert_eq!(server.ended(), 0);
    // The store was closed properly: its write-ahead log is gone.
    let log = operator.state().join("orghost.db-wal");
    assert!(!log.exists(), "the store was not closed");
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    for id in [first, second] {
        assert_eq!(ended(&server, &id).await["state"], "done");
    }
    assert_eq!(fake.containers().len(), 4, "{:?}", fake.containers());
    take_down(&server, "acme").await;
    take_down(&server, "other").await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_limit_and_names_what_still_runs() {
    let (fake, gate, operator) = held_engine();
    let config = operator.file("orghost.toml", "[server]\ndrain_seconds = 1\n");
    let args = [&["--config", config.to_str().unwrap()][..], &SERVE].concat();
    let server = Server::start(&operator, &args);
    let id = accepted(&server, org("Acme", 1)).await;
    server.ask_to_stop();
    assert_eq!(server.ended(), 1);
    logged(
        &operator,
        "still running; the next start resumes it: up acme",
    )
    .await;
    release(&gate);
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    assert_eq!(ended(&server, &id).await["state"], "done");
    take_down(&server, "acme").await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_server_at_once() {
    let (fake, gate, operator) = held_engine();
    let config = operator.file("orghost.toml", "[server]\ndrain_seconds = 3600\n");
    let args = [&["--config", config.to_str().unwrap()][..], &SERVE].concat();
    let server = Server::start(&operator, &args);
    let id = accepted(&server, org("Acme", 1)).await;
    server.ask_to_stop();
    logged(&operator, "stopping: running operations").await;
    server.ask_to_stop();
    assert_eq!(server.ended(), 1);
    logged(&operator, "stopped at once").await;
    release(&gate);
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    assert_eq!(ended(&server, &id).await["state"], "done");
    take_down(&server, "acme").await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_org_does_not_wait_for_a_large_one() {
    let (_fake, gate, operator) = held_engine();
    let args = [&SERVE[..], &["--concurrency", "1"]].concat();
    let server = Server::start(&operator, &args);
    let big = accepted(&server, org("Big", 30)).await;
    let small = accepted(&server, org("Small", 1)).await;
    release(&gate);
    assert_eq!(ended(&server, &small).await["state"], "done");
    assert_eq!(ended(&server, &big).await["state"], "done");
    let came: Vec<_> = events(&operator)
        .into_iter()
        .filter(|(event, ..)| event == "up")
        .map(|(_, org, _)| org)
        .collect();
    assert_eq!(came.len(), 31);
    let place = came.iter().position(|org| org == "small").unwrap();
    assert!(place < 5, "{place} workspaces of the other org came first");
    take_down(&server, "big").await;
    take_down(&server, "small").await;
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_of_one_org_is_refused_with_retry_after() {
    let (_fake, gate, operator) = held_engine();
    let server = Server::start(&operator, &SERVE);
    let mut ids = Vec::new();
    for _ in 0..orghost::limits::OPERATIONS_OF_ORG {
        ids.push(accepted(&server, org("Acme", 1)).await);
    }
    let request = server
        .request(Method::POST, "/v1/orgs")
        .json(&org("Acme", 1));
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    let seconds: u32 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(seconds > 0);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "busy");
    // Other orgs are not delayed.
    ids.push(accepted(&server, org("Other", 1)).await);
    release(&gate);
    for id in &ids {
        assert_eq!(ended(&server, id).await["state"], "done");
    }
    let again = accepted(&server, org("Acme", 1)).await;
    assert_eq!(ended(&server, &again).await["state"], "done");
    take_down(&server, "acme").await;
    take_down(&server, "other").await;
    assert_eq!(server.stop(), 0);
}

/// An org that is removed and imported again is up at the end, also when the host is killed in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_queued_behind_a_removal_keeps_its_snapshot() {
    let (fake, gate, operator) = held_engine();
    let server = Server::start(&operator, &SERVE);
    let mut ids = vec![accepted(&server, org("Acme", 1)).await];
    let (_, down) = server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true", None)
        .await;
    ids.push(down["id"].as_str().unwrap().to_owned());
    ids.push(accepted(&server, org("Acme", 2)).await);
    server.kill();
    release(&gate);
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    let mut states = Vec::new();
    for id in &ids {
        states.push(
            ended(&server, id).await["state"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(states, ["superseded", "done", "done"]);
    assert_eq!(fake.containers().len(), 2, "{:?}", fake.containers());
    take_down(&server, "acme").await;
    assert_eq!(server.stop(), 0);
}

/// A cancelled operation is not resumed, even when the host was killed before it could roll back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_operation_stays_cancelled_after_a_kill() {
    let (fake, gate, operator) = held_engine();
    let server = Server::start(&operator, &SERVE);
    let under_way = accepted(&server, org("Acme", 2)).await;
    let waits = accepted(&server, org("Acme", 3)).await;
    let other = accepted(&server, org("Other", 1)).await;
    for id in [&under_way, &waits] {
        let path = format!("/v1/operations/{id}");
        let (status, answer) = server.ask(Method::DELETE, &path, None).await;
        assert_eq!(status, 202, "{answer}");
    }
    server.kill();
    release(&gate);
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    assert_eq!(ended(&server, &other).await["state"], "done");
    for id in [&under_way, &waits] {
        assert_eq!(ended(&server, id).await["state"], "cancelled");
        let path = format!("/v1/operations/{id}");
        let (status, answer) = server.ask(Method::DELETE, &path, None).await;
        assert_eq!((status, &answer["code"]), (409, &json!("operation-ended")));
    }
    // No step of it began, and no workspace waits for it.
    assert_eq!(fake.containers().len(), 1, "{:?}", fake.containers());
    for workspace in server.get("/v1/orgs/acme").await["workspaces"]
        .as_array()
        .unwrap()
    {
        assert_eq!(workspace["outcome"], "skipped", "{workspace}");
    }
    take_down(&server, "other").await;
    assert_eq!(server.stop(), 0);
}

/// A stopping host does not leave a cancelled operation to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_operation_stays_cancelled_when_the_host_stops() {
    let (fake, gate, operator) = held_engine();
    let server = Server::start(&operator, &SERVE);
    let id = accepted(&server, org("Acme", 2)).await;
    let path = format!("/v1/operations/{id}");
    assert_eq!(server.ask(Method::DELETE, &path, None).await.0, 202);
    server.ask_to_stop();
    logged(&operator, "stopping: running operations").await;
    release(&gate);
    assert_eq!(server.ended(), 0);
    fake.forget();
    let server = Server::start(&operator, &SERVE);
    assert_eq!(ended(&server, &id).await["state"], "cancelled");
    assert!(fake.containers().is_empty(), "{:?}", fake.containers());
    assert_eq!(server.stop(), 0);
}

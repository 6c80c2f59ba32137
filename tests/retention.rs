//! Tests of retention: what is deleted, what is kept, and what a listener is told about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt as _;
use orghost::config::{Config, Keep, ServerKeys};
use orghost::model::clock::Clock;
use orghost::model::engine_kind::EngineKind;
use orghost::model::event::Operation;
use orghost::service::Service;
use orghost::state::store::{Filter, Followed, Gap, OperationRow, Store};
use reqwest::Method;
use serde_json::json;

use crate::support::Operator;
use crate::support::fake_docker::FakeDocker;
use crate::support::server::Server;
use crate::support::service::{import, service};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A clock under the control of the test, and the number that sets it.
fn manual_clock() -> (Clock, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    let read = now.clone();
    (Clock::of(move || read.load(Ordering::SeqCst)), now)
}

async fn ended(service: &Service, accepted: &OperationRow) -> OperationRow {
    let store = service.store();
    let mut events = std::pin::pin!(store.follow(0, Filter::default()));
    loop {
        let row = store.operation(accepted.id.as_str()).await.unwrap();
        let row = row.unwrap();
        if row.state.is_final() {
            return row;
        }
        // The end of an operation is not an event, so the row is read again after a pause.
        let pause = std::time::Duration::from_millis(1);
        let _ = tokio::time::timeout(pause, events.next()).await;
    }
}

/// The rows of events and operations, the bytes of the database, the files of snapshots.
fn size(state: &std::path::Path) -> [usize; 4] {
    let db = rusqlite::Connection::open(state.join("orghost.db")).unwrap();
    let number = |query: &str| -> usize {
        let number: i64 = db.query_row(query, [], |row| row.get(0)).unwrap();
        usize::try_from(number).unwrap()
    };
    [
        number("SELECT count(*) FROM events"),
        number("SELECT count(*) FROM operations"),
        number("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"),
        std::fs::read_dir(state.join("snapshots")).unwrap().count(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_bounds_the_store_over_a_year_of_imports() {
    let docker = FakeDocker::start();
    let folder = tempfile::tempdir().unwrap();
    let (clock, now) = manual_clock();
    let store = Store::open_with(folder.path(), clock).unwrap();
    let config = Config {
        engine: Some(EngineKind::Docker),
        server: ServerKeys {
            keep_days: 30,
            keep_events: 400,
            keep_operations: 50,
            ..ServerKeys::default()
        },
        ..Config::default()
    };
    let service = service(folder.path(), store, config, docker.endpoint());
    let mut sizes = Vec::new();
    for day in 1..=365 {
        now.fetch_add(DAY_MS, Ordering::SeqCst);
        // A changed role each day gives work to do and a new snapshot to keep.
        let template = format!(
            "name: Acme\ndefaults: {{runtime: x}}\nworkspaces: [{{name: One, role: Day {day}}}]\n"
        );
        let accepted = service.import(import(&template)).await.unwrap();
        let row = ended(&service, &accepted).await;
        assert_eq!(row.state.as_str(), "done", "day {day}: {row:?}");
        service.prune().await.unwrap();
        if day % 91 == 0 {
            sizes.push(size(folder.path()));
        }
    }
    let [season, .., year] = sizes[..] else {
        panic!("{sizes:?}");
    };
    let [events, operations, bytes, snapshots] = year;
    assert!(events <= 400 && operations <= 31, "{sizes:?}");
    assert!(bytes <= season[2] + 16 * 4096, "{sizes:?}");
    assert_eq!(snapshots, 1, "{sizes:?}");
    let left = service.drain(std::time::Duration::from_secs(30)).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn retention_keeps_what_a_running_operation_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, now) = manual_clock();
    let store = Store::open_with(folder.path(), clock).unwrap();
    let event = |org: &str| orghost::model::event::Event {
        org: org.to_owned(),
        workspace: None,
        workspace_id: None,
        what: orghost::model::event::What::Ended { failed: 0 },
    };
    let open = store.begin("open", Operation::Up).await.unwrap();
    let done = store.begin("done", Operation::Up).await.unwrap();
    for _ in 0..10 {
        store.append(&open, &event("open")).await.unwrap();
        store.append(&done, &event("done")).await.unwrap();
    }
    store.end("done", 0).await.unwrap();
    now.fetch_add(400 * DAY_MS, Ordering::SeqCst);
    let keep = Keep {
        events: 5,
        operations: 1,
        days: 365,
    };
    let pruned = store.prune(keep).await.unwrap();
    assert_eq!((pruned.events, pruned.operations), (10, 1));
    assert_eq!(store.unended().await.unwrap().len(), 1);
    let of = |operation: &str| Filter {
        operation: Some(operation.to_owned()),
        ..Filter::default()
    };
    let kept = store.events(0, &of(open.as_str()), 100).await.unwrap();
    assert_eq!(kept.len(), 10);
    // Event numbers continue after the deletion.
    assert_eq!(store.newest().await.unwrap(), 20);

    // A listener for the open operation misses nothing. A listener for everything is told what was deleted.
    let mut one = std::pin::pin!(store.follow(0, of(open.as_str())));
    let Followed::Event(first) = one.next().await.unwrap().unwrap() else {
        panic!("no event of this operation was deleted");
    };
    assert_eq!(first.seq, kept[0].seq);
    let mut all = std::pin::pin!(store.follow(3, Filter::default()));
    let gap = all.next().await.unwrap().unwrap();
    assert_eq!(
        gap,
        Followed::Gap(Gap {
            after: 3,
            until: 20
        })
    );
    let Followed::Event(next) = all.next().await.unwrap().unwrap() else {
        panic!("a gap is reported once");
    };
    assert!(next.seq > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_told_that_it_missed_deleted_events() {
    let docker = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &docker.endpoint());
    let config = operator.file("orghost.toml", "[server]\nkeep_events = 3\n");
    let args = [
        "--demo",
        "--engine",
        "docker",
        "--config",
        config.to_str().unwrap(),
    ];
    let server = Server::start(&operator, &args);
    let org = "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n";
    server.import(json!({"inline": org})).await;
    assert_eq!(server.stop(), 0);

    // The server deletes old events at its start.
    let server = Server::start(&operator, &args);
    let said = loop {
        let request = server.request(Method::GET, "/v1/events");
        let mut stream = request.header("last-event-id", "1").send().await.unwrap();
        let first = stream.chunk().await.unwrap().unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        if first.contains("event: gap") {
            break first;
        }
    };
    assert!(said.contains("\"after\":1"), "{said}");
    assert!(said.contains("\"until\":"), "{said}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_retention_of_zero_is_refused() {
    for key in ["keep_days", "keep_events", "keep_operations"] {
        let operator = Operator::new();
        let config = operator.file("orghost.toml", format!("[server]\n{key} = 0\n"));
        let ran = operator.run(&["status", "--json", "--config", config.to_str().unwrap()]);
        let ran = ran.exits(2);
        assert_eq!(ran.error_codes(), ["config-invalid"]);
        assert!(ran.stdout.contains(key), "{}", ran.stdout);
    }
}

//! What it takes that everything that was answered is on the disk: events stored by one writer and by many, as the store
//! does it (one transaction for all that wait, then one wait for the disk), beside a transaction for each, with and without
//! a wait for the disk.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on ends"
)]

mod sides;
mod table;

use std::sync::Mutex;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orghost::model::event::{Event, Operation, What};
use orghost::state::store::Store;
use rusqlite::{Connection, params};
use sides::Sides;
use table::Target;

/// Events in one sample, whoever stores them.
const EVENTS: usize = 256;

/// A database whose every write is a transaction of its own.
fn plain(folder: &std::path::Path, synchronous: &str) -> Mutex<Connection> {
    let db = Connection::open(folder.join(format!("{synchronous}.db"))).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "synchronous", synchronous).unwrap();
    db.execute_batch(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, at_ms INTEGER NOT NULL,
                              workspace TEXT, step TEXT, body TEXT NOT NULL, org TEXT NOT NULL) STRICT;
         CREATE INDEX events_of_operation ON events(operation, workspace);
         CREATE INDEX events_of_org ON events(org, seq);",
    )
    .unwrap();
    Mutex::new(db)
}

fn durability(criterion: &mut Criterion) {
    // On the disk that the state folder of a test would be on, not in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async { Store::open(&folder.path().join("state")).unwrap() });
    let operation = runtime
        .block_on(store.begin("acme", Operation::Up))
        .unwrap();
    let event = Event {
        org: "acme".to_owned(),
        workspace: None,
        workspace_id: None,
        what: What::Ended { failed: 0 },
    };
    let body = serde_json::json!(event).to_string();
    let (normal, full) = (plain(folder.path(), "normal"), plain(folder.path(), "full"));
    let alone = |db: &Mutex<Connection>, writers: usize| {
        std::thread::scope(|scope| {
            for _ in 0..writers {
                scope.spawn(|| {
                    for _ in 0..EVENTS / writers {
                        let db = db.lock().unwrap();
                        db.prepare_cached(
                            "INSERT INTO events (operation, at_ms, body, org) VALUES (?1, ?2, ?3, ?4)",
                        )
                        .unwrap()
                        .execute(params![operation.as_str(), 1, body, "acme"])
                        .unwrap();
                    }
                });
            }
        });
    };
    let together = |writers: usize| {
        let write = |_| async {
            for _ in 0..EVENTS / writers {
                store.append(&operation, &event).await.unwrap();
            }
        };
        runtime.block_on(futures_util::future::join_all((0..writers).map(write)));
    };
    for (title, writers) in [
        ("store: 256 events of 1 writer", 1),
        ("store: 256 events of 16 writers", 16),
        ("store: 256 events of 256 writers", 256),
    ] {
        Sides::new(criterion, title, 10, Duration::from_secs(5))
            .side("each alone, not waiting for the disk", Target::Open, || {
                alone(&normal, writers);
            })
            .side("each alone, on the disk", Target::Open, || {
                alone(&full, writers);
            })
            .side("all that wait together, on the disk", Target::Open, || {
                together(writers);
            })
            .print();
    }
}

criterion_group!(benches, durability);
criterion_main!(benches);

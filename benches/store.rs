//! Measures the cost of durable events, stored by one writer and by many. The store writes all waiting events in one
//! transaction and then waits for the disk once; this is compared with one transaction per event, with and without waiting
//! for the disk.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
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

/// The number of events in one sample, of all writers together.
const EVENTS: usize = 256;

/// Opens a database in which every write is its own transaction.
fn open_database(folder: &std::path::Path, synchronous: &str) -> Mutex<Connection> {
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
    // In the target folder, because the system's temporary folder may be in memory.
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
    let (normal, full) = (
        open_database(folder.path(), "normal"),
        open_database(folder.path(), "full"),
    );
    let one_transaction_each = |db: &Mutex<Connection>, writers: usize| {
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
    let shared_transactions = |writers: usize| {
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
                one_transaction_each(&normal, writers);
            })
            .side("each alone, on the disk", Target::Open, || {
                one_transaction_each(&full, writers);
            })
            .side("all that wait together, on the disk", Target::Open, || {
                shared_transactions(writers);
            })
            .print();
    }
}

criterion_group!(benches, durability);
criterion_main!(benches);

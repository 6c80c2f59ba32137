//! Tests of the store: a failed write fails alone, an unreadable row is an error with its name, and a store in use by
//! an older orghost is not migrated.

use std::path::Path;

use orghost::model::engine_kind::EngineKind;
use orghost::model::event::{Event, Operation, What};
use orghost::state::encryption::Keyring;
use orghost::state::store::{
    Filter, KeptSource, LastOutcome, OrgRow, SourceRow, Start, Store, StoreError, WorkspaceRow,
};

use orghost::state::token::{Scope, mint};

use crate::support::Operator;

/// The schema of version 2, as released.
const VERSION_2: &str = include_str!("stores/version-2.sql");

fn database(state: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(state.join("orghost.db")).unwrap()
}

fn acme() -> OrgRow {
    OrgRow {
        slug: "acme".to_owned(),
        name: "Acme".to_owned(),
        engine: EngineKind::Local,
        template: "inline".to_owned(),
    }
}

fn source(keyring: &Keyring) -> KeptSource {
    KeptSource {
        row: SourceRow {
            snapshot: "0".repeat(64),
            request: serde_json::json!({}),
        },
        vars: keyring.encrypt("x", b"x").unwrap(),
    }
}

fn workspace() -> WorkspaceRow {
    serde_json::from_value(serde_json::json!({
        "id": "0".repeat(32), "key": "a", "path": ["A"], "name": "A", "runtime": "claude-code", "tier": 2,
        "external": false, "outcome": "planned", "wanted": "running", "planned": true,
    }))
    .unwrap()
}

fn event(org: &str) -> Event {
    Event {
        org: org.to_owned(),
        workspace: None,
        workspace_id: None,
        what: What::Ended { failed: 0 },
    }
}

/// Concurrent writers share one transaction. A failed write does not undo the writes of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_does_not_fail_others_in_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let keyring = Keyring::of_text(&Keyring::new_key().unwrap()).unwrap();
    let operation = store.begin("acme", Operation::Up).await.unwrap();
    let writes = (0..300).map(|number| {
        let (store, operation, keyring) = (&store, &operation, &keyring);
        async move {
            match number % 3 {
                // Two workspaces have one identity: the database refuses the second, after the org was written.
                0 => {
                    let twice = vec![workspace(), workspace()];
                    let source = Some(source(keyring));
                    let accepted = store.accept(acme(), twice, source, Start::Queued).await;
                    accepted.is_err()
                }
                _ => store.append(operation, &event("acme")).await.is_ok(),
            }
        }
    });
    let all = futures_util::future::join_all(writes).await;
    assert!(all.iter().all(|as_it_should| *as_it_should));
    let events = store.events(0, &Filter::default(), 1_000).await.unwrap();
    let places: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(places, (1..=200).collect::<Vec<_>>());
    assert!(
        store.orgs().await.unwrap().is_empty() && store.all_encrypted().await.unwrap().is_empty(),
        "a failed write left a part of its rows"
    );
}

#[tokio::test]
async fn a_read_sees_every_finished_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for number in 0..200 {
        let id = store.begin("acme", Operation::Up).await.unwrap();
        let read = store.operation(id.as_str()).await.unwrap();
        assert!(
            read.is_some(),
            "operation {number} was stored and cannot be read"
        );
    }
}

fn workspaces(names: impl Iterator<Item = u32>) -> Vec<WorkspaceRow> {
    let row = |number| {
        serde_json::from_value(serde_json::json!({
            "id": format!("{number:032x}"), "key": format!("k{number}"), "path": [format!("N{number}")],
            "name": format!("N{number}"), "runtime": "claude-code", "tier": 2, "external": number % 3 == 0,
            "outcome": if number % 3 == 0 { "external" } else { "planned" }, "wanted": "running", "planned": true,
        }))
    };
    names.map(|number| row(number).unwrap()).collect()
}

#[tokio::test]
async fn pages_of_workspaces_are_the_whole_list_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let accept = async |rows| {
        store
            .accept(acme(), rows, None, Start::Queued)
            .await
            .unwrap()
    };
    accept(workspaces(0..7)).await;
    // Two of them left the template, and the order of the others changed.
    accept(workspaces([6, 1, 0, 4, 3].into_iter())).await;
    let all = store.workspaces("acme").await.unwrap();
    assert_eq!(all.iter().filter(|row| !row.planned).count(), 2);
    for limit in [1, 2, 5, 7, 500] {
        let mut listed = Vec::new();
        loop {
            let after = listed.last().map(|row: &WorkspaceRow| row.key.to_string());
            let page = store.list_workspaces("acme", after.as_deref(), limit).await;
            let page = page.unwrap().unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, all, "in pages of {limit}");
    }
    let unknown = store.list_workspaces("acme", Some("k9"), 5).await.unwrap();
    assert_eq!(unknown, None);
}

#[tokio::test]
async fn a_page_of_orgs_counts_the_outcomes_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for (slug, numbers) in [("b", 0..4), ("a", 10..10), ("c", 20..25)] {
        let org = OrgRow {
            slug: slug.to_owned(),
            name: slug.to_uppercase(),
            ..acme()
        };
        let accepted = store.accept(org, workspaces(numbers), None, Start::Queued);
        accepted.await.unwrap();
    }
    let page = store.list_orgs("", 2).await.unwrap();
    let slugs: Vec<&str> = page.iter().map(|listed| listed.org.slug.as_str()).collect();
    assert_eq!(slugs, ["a", "b"]);
    assert_eq!(page[0].outcomes, []);
    assert_eq!(
        page[1].outcomes,
        [(LastOutcome::External, 2), (LastOutcome::Planned, 2)]
    );
    let page = store.list_orgs("b", 2).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].org.name, "C");
}

/// `orghost token` is another process with connections of its own.
#[tokio::test]
async fn tokens_that_another_connection_makes_or_revokes_count_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Store::open(folder.path()).unwrap();
    let command = Store::open(folder.path()).unwrap();
    let (_, digest) = mint().unwrap();
    let knows = async || {
        let admission = server.admission(Some(digest)).await.unwrap();
        (admission.any, admission.token.is_some())
    };
    // More than once each, because what was read before is used again.
    for _ in 0..3 {
        assert_eq!(knows().await, (false, false));
    }
    let made = command.put_token("t", "me", Scope::Read, None, digest);
    made.await.unwrap();
    for _ in 0..3 {
        assert_eq!(knows().await, (true, true));
    }
    assert!(command.revoke_token("t").await.unwrap());
    for _ in 0..3 {
        assert_eq!(knows().await, (true, false));
    }
    assert_eq!(server.admission(None).await.unwrap().token, None);
}

/// Stored data that this version does not understand is an error, never a guess.
#[tokio::test]
async fn an_unreadable_row_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let keyring = Keyring::of_text(&Keyring::new_key().unwrap()).unwrap();
    let source = Some(source(&keyring));
    store
        .accept(acme(), Vec::new(), source, Start::Queued)
        .await
        .unwrap();
    let id = store.begin("acme", Operation::Stop).await.unwrap();
    store.take_key("me", "k", "d").await.unwrap();
    let db = database(folder.path());
    let operation = format!("operation {}", id.as_str());
    let spoilt = [
        ("operations", "state", "'half'", operation.as_str()),
        ("operations", "kind", "'levitate'", &operation),
        ("operations", "request", "'{'", &operation),
        ("operations", "errors", "'[1]'", &operation),
        ("orgs", "engine", "'podman'", "org acme"),
        ("sources", "request", "'{'", "source of acme"),
        ("answers", "status", "200", "answer k of me"),
        ("meta", "value", "'soon'", "meta events_gone"),
    ];
    for (table, column, value, row) in spoilt {
        let only = if table == "meta" {
            "WHERE name = 'events_gone'"
        } else {
            ""
        };
        let sound: rusqlite::types::Value = db
            .query_row(&format!("SELECT {column} FROM {table} {only}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        let set = |value: &str| format!("UPDATE {table} SET {column} = {value} {only}");
        db.execute(&set(value), []).unwrap();
        let read = match table {
            "operations" => store.operation(id.as_str()).await.map(drop),
            "orgs" => store.orgs().await.map(drop),
            "sources" => store.source("acme").await.map(drop),
            "answers" => store.take_key("me", "k", "d").await.map(drop),
            _ => {
                use futures_util::StreamExt as _;
                let mut events = std::pin::pin!(store.follow(0, Filter::default()));
                events.next().await.unwrap().map(drop)
            }
        };
        match read {
            Err(StoreError::Unreadable { row: named, .. }) => assert_eq!(named, row),
            other => panic!("{table}.{column}: {other:?}"),
        }
        if table == "operations" {
            assert!(store.unended().await.is_err(), "{column}");
        }
        db.execute(&set("?1"), [sound]).unwrap();
    }
    assert!(store.operation(id.as_str()).await.unwrap().is_some());
}

/// A state folder as version 2 left it.
fn of_version_2(operator: &Operator) {
    std::fs::create_dir_all(operator.state()).unwrap();
    let db = database(&operator.state());
    db.execute_batch(VERSION_2).unwrap();
    let org = "INSERT INTO orgs VALUES ('acme', 'Acme', 'local', 'inline')";
    db.execute(org, []).unwrap();
    let org = "INSERT INTO orgs VALUES ('cafe', 'Cafe\u{301}', 'local', 'inline')";
    db.execute(org, []).unwrap();
}

/// The same name can be written in several ways in Unicode.
#[tokio::test]
async fn an_org_of_an_older_store_is_found_by_its_name_however_it_is_written() {
    let operator = Operator::new();
    of_version_2(&operator);
    let store = Store::open(&operator.state()).unwrap();
    for (slug, name) in [("x", "Cafe\u{301}"), ("x", "Caf\u{e9}"), ("cafe", "x")] {
        let found = store.orgs_called(slug, name).await.unwrap();
        let found: Vec<&str> = found.iter().map(|org| org.slug.as_str()).collect();
        assert_eq!(found, ["cafe"], "{slug} {name}");
    }
    assert_eq!(store.orgs_called("x", "Cafe").await.unwrap(), []);
}

fn version(operator: &Operator) -> u32 {
    let db = database(&operator.state());
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn a_store_in_use_by_an_older_orghost_is_not_migrated() {
    let operator = Operator::new();
    of_version_2(&operator);
    let lock = std::fs::File::create(operator.state().join("orghost.lock")).unwrap();
    lock.lock().unwrap();
    for args in [
        &["status", "--json"][..],
        &["serve", "--json"],
        &["token", "list", "--json"],
    ] {
        let ran = operator.run(args).exits(1);
        assert_eq!(ran.error_codes(), ["store-in-use"], "{args:?}");
        assert!(ran.stdout.contains("version 2"), "{}", ran.stdout);
    }
    assert_eq!(version(&operator), 2);
    drop(lock);

    // The older orghost has ended.
    let ran = operator.run(&["status", "--json"]).exits(0);
    assert_eq!(ran.json()["orgs"][0]["org"], "acme");
    assert!(version(&operator) > 2);
    let db = database(&operator.state());
    let vacuum: u32 = db
        .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
        .unwrap();
    assert_eq!(vacuum, 2, "it gives room back to the disk");
}

#[test]
fn a_command_can_read_the_store_beside_a_running_server() {
    let operator = Operator::new();
    operator.run(&["status"]).exits(0);
    let lock = std::fs::File::create(operator.state().join("orghost.lock")).unwrap();
    lock.lock().unwrap();
    operator.run(&["status", "--json"]).exits(0);
    operator.run(&["token", "list", "--json"]).exits(0);
}

//! Tests of the state folder: backups, damaged stores, encryption keys, and no secret in the clear.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::disk::SmallDisk;
use crate::support::fake_docker::FakeDocker;
use crate::support::server::Server;
use crate::support::{Operator, Ran};

const ORG: &str =
    "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One, children: [{name: Two}]}]\n";
const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--json"];
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// An operator with a fake engine and one org that is up.
fn with_org(fake: &FakeDocker) -> Operator {
    let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    let template = operator.template(&[("org.yaml", ORG), (".env", "IN_FILE=one\n")]);
    let up = ["up", &template, "--demo", "--engine", "docker"];
    operator
        .run(&[&up[..], &["--env", "GIVEN=two"]].concat())
        .exits(0);
    operator
}

fn database(operator: &Operator) -> PathBuf {
    operator.state().join("orghost.db")
}

fn rows(operator: &Operator, table: &str) -> u32 {
    let db = rusqlite::Connection::open(database(operator)).unwrap();
    let count = format!("SELECT count(*) FROM {table}");
    db.query_row(&count, [], |row| row.get(0)).unwrap()
}

/// The content of every file below a folder, by path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                found.insert(path, bytes);
            }
        }
    }
    found
}

#[track_caller]
fn refuses(operator: &Operator, args: &[&str], code: &str) -> Ran {
    let ran = operator.run(args);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert_eq!(ran.error_codes(), [code], "{}", ran.stdout);
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_can_be_restored_elsewhere() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let args = ["--demo", "--engine", "docker"];
    let server = Server::start(&operator, &args);
    server.import(json!({"inline": "name: Late\ndefaults: {runtime: x}\nworkspaces: [{name: A}]", "env": {"K": "v"}})).await;
    let file = operator.home.path().join("state.backup");
    let file = file.to_str().unwrap();
    let ran = operator.run(&["backup", file]).exits(0);
    assert!(ran.stderr.contains("the encryption key"), "{}", ran.stderr);
    assert!(ran.stderr.contains("local engine"), "{}", ran.stderr);
    // The running server is not disturbed.
    assert_eq!(server.get("/v1/orgs/late").await["org"], "late");
    assert_eq!(server.stop(), 0);
    let bytes = std::fs::read(file).unwrap();
    let key = std::fs::read_to_string(operator.state().join("secret.key")).unwrap();
    let has_key = bytes
        .windows(64)
        .any(|window| window == key.trim().as_bytes());
    assert!(!has_key, "the backup holds the secret key");
    refuses(&operator, &["backup", file, "--json"], "backup-exists");
    assert_eq!(
        std::fs::read(file).unwrap(),
        bytes,
        "the existing file was overwritten"
    );

    let elsewhere = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    let restored = elsewhere.run(&["restore", file, "--json"]).exits(0).json();
    assert_eq!(restored["orgs"], json!(["acme", "late"]));
    // Without the encryption key the server does not start, and no new key is made.
    refuses(&elsewhere, &SERVE, "secret-key");
    assert!(!elsewhere.state().join("secret.key").exists());
    std::fs::write(elsewhere.state().join("secret.key"), &key).unwrap();
    let before = fake.containers();
    let server = Server::start(&elsewhere, &args);
    for org in ["acme", "late"] {
        for workspace in server.get(&format!("/v1/orgs/{org}")).await["workspaces"]
            .as_array()
            .unwrap()
        {
            assert_eq!(workspace["state"], "running", "{workspace}");
        }
    }
    assert_eq!(fake.containers(), before);
    for org in ["acme", "late"] {
        let path = format!("/v1/orgs/{org}?volumes=true&wait=60");
        assert_eq!(server.ask(Method::DELETE, &path, None).await.0, 200);
    }
    assert!(fake.containers().is_empty() && fake.volumes().is_empty());
    assert_eq!(server.stop(), 0);
    assert_eq!(
        (rows(&elsewhere, "sources"), rows(&elsewhere, "sealed")),
        // The key material of the agents' tokens stays.
        (0, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_restored() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let file = operator.home.path().join("state.backup");
    operator.run(&["backup", file.to_str().unwrap()]).exits(0);
    let whole = std::fs::read(&file).unwrap();
    let restore = |bytes: &[u8], code: &str| {
        let elsewhere = Operator::new();
        let file = elsewhere.file("state.backup", bytes);
        refuses(
            &elsewhere,
            &["restore", file.to_str().unwrap(), "--json"],
            code,
        );
        let left = files(&elsewhere.state());
        assert!(left.is_empty(), "{code}: {:?}", left.keys());
    };
    restore(b"", "backup-damaged");
    restore(&b"no archive at all".repeat(1000), "backup-damaged");
    for part in [3, 5, 9] {
        restore(&whole[..whole.len() * part / 10], "backup-damaged");
    }
    // Flip one bit in the middle of the first file.
    let mut altered = whole.clone();
    altered[512 + 4096 + 100] ^= 1;
    restore(&altered, "backup-damaged");
    let mut newer = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        newer.append_data(&mut header, name, bytes).unwrap();
    };
    add("backup.json", b"{\"format\": 99, \"whatever\": 1}");
    restore(&newer.into_inner().unwrap(), "backup-newer");
    let mut hostile = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.as_mut_bytes()[..9].copy_from_slice(b"../escape");
    header.set_mode(0o600);
    header.set_cksum();
    hostile.append(&header, &b"x"[..]).unwrap();
    restore(&hostile.into_inner().unwrap(), "backup-damaged");

    // A state folder in use is not changed.
    let before = files(&operator.state());
    refuses(
        &operator,
        &["restore", file.to_str().unwrap(), "--json"],
        "state-not-empty",
    );
    assert_eq!(files(&operator.state()), before);
    // A folder with only the encryption key counts as empty.
    let elsewhere = Operator::new();
    elsewhere.file(
        "state/secret.key",
        std::fs::read(operator.state().join("secret.key")).unwrap(),
    );
    elsewhere.run(&["restore", file.to_str().unwrap()]).exits(0);
    let names: Vec<_> = std::fs::read_dir(elsewhere.state())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{names:?}"
    );
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_leaves_no_partial_store() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let file = operator.home.path().join("state.backup");
    operator.run(&["backup", file.to_str().unwrap()]).exits(0);
    for write in 1.. {
        let elsewhere = Operator::new();
        let mut command = elsewhere.command(&["restore", file.to_str().unwrap()]);
        command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
        if command.output().unwrap().status.signal() != Some(9) {
            assert!(write > 2, "not built with fault-injection");
            break;
        }
        let is_whole = database(&elsewhere).exists();
        let snapshots = elsewhere.state().join("snapshots").exists();
        assert!(
            snapshots || !is_whole,
            "the database was restored before the files that it needs"
        );
        if !is_whole {
            refuses(
                &elsewhere,
                &["restore", file.to_str().unwrap(), "--json"],
                "state-not-empty",
            );
        }
    }
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_newer_store_is_refused_and_not_changed() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let file = database(&operator);
    let sound = std::fs::read(&file).unwrap();
    let mut page = sound.clone();
    page[2 * 4096..4 * 4096].fill(0xff);
    let mut header = sound.clone();
    header[..16].copy_from_slice(b"SQLite format 9\0");
    let mut newer = sound.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let damaged = [
        ("emptied", Vec::new(), "store-corrupt"),
        (
            "cut off in its header",
            sound[..50].to_vec(),
            "store-corrupt",
        ),
        (
            "cut off",
            sound[..sound.len() / 2 / 4096 * 4096].to_vec(),
            "store-corrupt",
        ),
        (
            "garbage",
            b"somebody may want it back ".repeat(1000),
            "store-corrupt",
        ),
        ("of another version of SQLite", header, "store-corrupt"),
        ("damaged in the middle", page, "store-corrupt"),
        ("newer", newer, "store-newer"),
    ];
    for (how, bytes, code) in damaged {
        std::fs::write(&file, &bytes).unwrap();
        let before = files(&operator.state());
        let ran = refuses(&operator, &SERVE, code);
        assert!(ran.stdout.contains("orghost.db"), "{how}: {}", ran.stdout);
        assert_eq!(
            files(&operator.state()),
            before,
            "{how}: something was written"
        );
    }
    std::fs::write(&file, &sound).unwrap();
    Server::start(&operator, &["--demo"]).stop();
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn an_unwritable_state_folder_is_refused() {
    let disk = SmallDisk::new(4096);
    let state = disk.path().join("state");
    let operator = Operator::new().with_env("ORGHOST_STATE", state.to_str().unwrap());
    operator.run(&["status"]).exits(0);
    let before = files(&state);
    disk.make_read_only();
    let ran = refuses(&operator, &SERVE, "state-folder");
    assert!(ran.stdout.contains("writable"), "{}", ran.stdout);
    assert_eq!(files(&state), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing() {
    let fake = FakeDocker::start();
    let disk = SmallDisk::new(2048);
    let state = disk.path().join("state");
    let operator = Operator::new()
        .with_env("ORGHOST_STATE", state.to_str().unwrap())
        .with_env("DOCKER_HOST", &fake.endpoint());
    let args = ["--demo", "--engine", "docker"];
    let server = Server::start(&operator, &args);
    server.import(json!({"inline": ORG})).await;
    let filler = disk.fill();
    let late = json!({"inline": "name: Late\ndefaults: {runtime: x}\nworkspaces: [{name: A}]"});
    let (status, problem) = server
        .ask(Method::POST, "/v1/orgs", Some(late.clone()))
        .await;
    assert_eq!(status, 500, "{problem}");
    let said = problem.to_string();
    assert!(
        said.contains("full") || said.contains("No space left"),
        "{said}"
    );
    // Reads still work on the full disk.
    assert_eq!(
        server.get("/v1/orgs/acme").await["workspaces"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    server.kill();
    // Without space, no new store is made.
    let other = disk.path().join("other");
    let ran = operator.run(&["status", "--json", "--state", other.to_str().unwrap()]);
    let codes = ran.exits(1).error_codes();
    assert!(
        ["disk-full", "state-folder", "store"].contains(&&*codes[0]),
        "{codes:?}"
    );
    assert!(!other.join("orghost.db").exists());
    // A failed backup leaves no file behind.
    let backup = disk.path().join("backup");
    refuses(
        &operator,
        &["backup", backup.to_str().unwrap(), "--json"],
        "backup-file",
    );
    let names = std::fs::read_dir(disk.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let is_left = |name: &std::ffi::OsString| name.to_string_lossy().contains("backup");
    assert!(!names.iter().any(is_left), "{names:?}");
    std::fs::remove_file(filler).unwrap();
    let server = Server::start(&operator, &args);
    let done = server.import(late).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(
        server.get("/v1/orgs").await["orgs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for org in ["acme", "late"] {
        let path = format!("/v1/orgs/{org}?volumes=true&wait=60");
        assert_eq!(server.ask(Method::DELETE, &path, None).await.0, 200);
    }
    assert!(fake.containers().is_empty(), "{:?}", fake.containers());
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_encryption_key_is_refused_at_start_and_never_replaced() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let key = operator.state().join("secret.key");
    let right = std::fs::read(&key).unwrap();
    for (how, text) in [("another", OTHER_KEY), ("none", "no key"), ("empty", "")] {
        std::fs::write(&key, text).unwrap();
        let before = files(&operator.state());
        refuses(&operator, &SERVE, "secret-key");
        let template = operator.home.path().join("template");
        let up = ["up", template.to_str().unwrap(), "--demo", "--json"];
        refuses(&operator, &up, "secret-key");
        refuses(&operator, &["rotate-key", "--json"], "secret-key");
        assert_eq!(files(&operator.state()), before, "{how}");
    }
    std::fs::remove_file(&key).unwrap();
    refuses(&operator, &SERVE, "secret-key");
    assert!(
        !key.exists(),
        "a new key was made although secrets need the old one"
    );
    // Root can read any file, so the unreadable key is a folder.
    std::fs::create_dir(&key).unwrap();
    refuses(&operator, &SERVE, "secret-key");
    std::fs::remove_dir(&key).unwrap();
    // The variable wins over the file, even with a wrong key.
    std::fs::write(&key, &right).unwrap();
    let mut command = operator.command(&SERVE);
    let ran = Ran::of(
        command
            .env("ORGHOST_SECRET_KEY", OTHER_KEY)
            .output()
            .unwrap(),
    );
    assert_eq!(ran.exits(1).error_codes(), ["secret-key"]);
    let other = operator.file(
        "orghost.toml",
        "[server]\nsecret_key_file = \"/nowhere/key\"\n",
    );
    let args = [&SERVE[..], &["--config", other.to_str().unwrap()]].concat();
    refuses(&operator, &args, "secret-key");
    Server::start(&operator, &["--demo"]).stop();
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_rotation_the_old_encryption_key_decrypts_nothing() {
    let fake = FakeDocker::start();
    let operator = with_org(&fake);
    let key = operator.state().join("secret.key");
    let old = std::fs::read_to_string(&key).unwrap();
    let rotated = operator.run(&["rotate-key", "--json"]).exits(0).json();
    assert_eq!(
        rotated["sealed"], 3,
        "a snapshot, the org's variables and what agents' tokens are made with: {rotated}"
    );
    let new = std::fs::read_to_string(&key).unwrap();
    assert!(new.lines().count() == 1 && new != old);
    let with_key = |key: &str, args: &[&str]| {
        let mut command = operator.command(args);
        Ran::of(command.env("ORGHOST_SECRET_KEY", key).output().unwrap())
    };
    assert_eq!(
        with_key(&old, &SERVE).exits(1).error_codes(),
        ["secret-key"]
    );
    // No byte of the old encrypted values is left.
    let id = rusqlite::Connection::open(database(&operator)).unwrap();
    let id: Vec<u8> = id
        .query_row("SELECT substr(value, 2, 8) FROM sealed", [], |row| {
            row.get(0)
        })
        .unwrap();
    for (path, bytes) in files(&operator.state().join("snapshots")) {
        assert_eq!(bytes[1..9], id, "{path:?}");
    }

    // With the key in the environment, the error says what to do, and that works.
    let alone = with_key(new.trim(), &["rotate-key", "--json"]);
    assert_eq!(alone.exits(2).error_codes(), ["key-in-environment"]);
    let both = format!("{OTHER_KEY}\n{new}");
    assert_eq!(
        with_key(&both, &["rotate-key", "--json"]).exits(0).json()["sealed"],
        3
    );
    assert_eq!(
        with_key(new.trim(), &SERVE).exits(1).error_codes(),
        ["secret-key"]
    );
    let operator = operator.with_env("ORGHOST_SECRET_KEY", OTHER_KEY);
    Server::start(&operator, &["--demo"]).stop();
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_key_rotation_loses_no_secret() {
    let fake = FakeDocker::start();
    for write in 1.. {
        let operator = with_org(&fake);
        let mut command = operator.command(&["rotate-key"]);
        command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
        let was_killed = command.output().unwrap().status.signal() == Some(9);
        // The key file has every key that encrypted a value.
        Server::start(&operator, &["--demo"]).stop();
        operator.run(&["rotate-key"]).exits(0);
        let key = std::fs::read_to_string(operator.state().join("secret.key")).unwrap();
        assert_eq!(key.lines().count(), 1, "after write {write}");
        Server::start(&operator, &["--demo"]).stop();
        operator.run(&["down", "acme", "--volumes"]).exits(0);
        if !was_killed {
            // both keys in the file; the snapshot; the texts; one key in the file
            assert_eq!(write, 5);
            return;
        }
    }
}

#[test]
fn a_server_can_replan_an_org_that_up_made() {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let up = [
        "up", &template, "--demo", "--engine", "local", "--env", "A=b",
    ];
    let mut command = operator.command(&up);
    command.env("ORGHOST_KILL_AFTER_WRITES", "5");
    assert_eq!(command.output().unwrap().status.signal(), Some(9));
    // The template folder is deleted, but the snapshot is kept.
    std::fs::remove_dir_all(&template).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::start(&operator, &["--demo", "--engine", "local"]);
        let id: String = rusqlite::Connection::open(database(&operator))
            .unwrap()
            .query_row("SELECT id FROM operations", [], |row| row.get(0))
            .unwrap();
        let ended = server.get(&format!("/v1/operations/{id}?wait=60")).await;
        assert_eq!(ended["state"], "done", "{ended}");
        let org = server.get("/v1/orgs/acme").await;
        for workspace in org["workspaces"].as_array().unwrap() {
            assert_eq!(workspace["state"], "running", "{org}");
        }
        assert_eq!(server.stop(), 0);
    });
    // After `down`, the snapshot and the values are deleted.
    operator.run(&["down", "acme", "--volumes"]).exits(0);
    assert_eq!(
        (rows(&operator, "sources"), rows(&operator, "sealed")),
        (0, 1)
    );
    Server::start(&operator, &["--demo"]).stop();
    let snapshots = files(&operator.state().join("snapshots"));
    assert!(snapshots.is_empty(), "{:?}", snapshots.keys());
}

const IN_FILE: &str = "marker-of-the-env-file-7f3a";
const GIVEN: &str = "marker-that-was-given-91bc";
const OF_HOST: &str = "marker-of-the-host-55d0";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_stored_in_the_clear() {
    let org = "name: Acme\ndefaults: {runtime: x}\nworkspaces:\n- name: One\n  channels: [{type: telegram, config: {bot_token: $GIVEN, chat_id: $OF_HOST}}]\n  children: [{name: Two}]\n";
    let operator = Operator::new().with_env("OF_HOST", OF_HOST);
    let dotenv = format!("IN_FILE={IN_FILE}\n");
    let template = operator.template(&[("org.yaml", org), (".env", &dotenv)]);
    let templates = operator.state().parent().unwrap().join("templates");
    std::fs::create_dir(&templates).unwrap();
    let given = format!("GIVEN={GIVEN}");
    let engine = ["--demo", "--engine", "local"];
    let mut said = Vec::new();
    let mut keep = |ran: Ran| said.push(format!("{}{}", ran.stdout, ran.stderr));
    let mut up = vec![
        "up", &template, "--env", &given, "--grant", "OF_HOST", "--json",
    ];
    up.extend(engine);
    keep(operator.run(&up).exits(0));
    keep(operator.run(&["status", "--json"]).exits(0));
    let config = operator.file("orghost.toml", "[server]\ngrant = [\"OF_HOST\"]\n");
    let mut args = vec!["--config", config.to_str().unwrap()];
    args.extend(engine);
    let server = Server::start(&operator, &args);
    let env = json!({"GIVEN": GIVEN, "IN_FILE": IN_FILE});
    let bodies = [
        json!({"inline": org.replace("Acme", "Served"), "env": env, "grant": ["OF_HOST"]}),
        // Refused, invalid and impossible requests must not show their values in the answer.
        json!({"inline": "name: X\nworkspaces: [{name: A, tier: 4}]", "env": env}),
        json!({"inline": "name: [", "env": env}),
        json!({"inline": org, "env": {"GIVEN": GIVEN, "NOT A NAME": GIVEN}}),
        json!({"inline": org, "env": {"GIVEN": [GIVEN]}}),
    ];
    for body in bodies {
        for path in ["/v1/plans", "/v1/orgs?wait=60"] {
            let (_, answer) = server.ask(Method::POST, path, Some(body.clone())).await;
            said.push(answer.to_string());
        }
    }
    for path in [
        "/v1/orgs",
        "/v1/orgs/served",
        "/metrics",
        "/openapi.json",
        "/readyz",
    ] {
        let answer = server.request(Method::GET, path).send().await.unwrap();
        said.push(answer.text().await.unwrap());
    }
    let db = rusqlite::Connection::open(database(&operator)).unwrap();
    let newest: i64 = db
        .query_row("SELECT max(seq) FROM events", [], |row| row.get(0))
        .unwrap();
    drop(db);
    let events = server
        .request(Method::GET, "/v1/events?after=0")
        .send()
        .await
        .unwrap();
    said.push(events_until(events, newest).await);
    // While the server runs, the write-ahead log is searched too.
    is_nowhere(&operator, &said);
    assert_eq!(server.stop(), 0);
    let backup = operator.home.path().join("state.backup");
    operator.run(&["backup", backup.to_str().unwrap()]).exits(0);
    said.push(String::from_utf8_lossy(&std::fs::read(backup).unwrap()).into_owned());
    said.push(std::fs::read_to_string(operator.home.path().join("serve.log")).unwrap());
    is_nowhere(&operator, &said);
    // The workspaces did get the secrets, so a leak could be found.
    let local = files(&operator.state().join("local"));
    let has = |marker: &str| local.values().any(|bytes| holds(bytes, marker));
    assert!(has(GIVEN) && has(IN_FILE), "no workspace got the secrets");
    for (path, bytes) in &local {
        let is_config = path.file_name().is_some_and(|name| name == "config.yaml");
        for marker in [IN_FILE, GIVEN, OF_HOST] {
            assert!(!is_config || !holds(bytes, marker), "{path:?} has {marker}");
        }
    }
    for org in ["acme", "served"] {
        operator.run(&["down", org, "--volumes"]).exits(0);
    }
}

fn holds(bytes: &[u8], marker: &str) -> bool {
    bytes
        .windows(marker.len())
        .any(|window| window == marker.as_bytes())
}

#[track_caller]
fn is_nowhere(operator: &Operator, said: &[String]) {
    let local = operator.state().join("local");
    for marker in [IN_FILE, GIVEN, OF_HOST] {
        for (path, bytes) in files(&operator.state()) {
            let is_its_own = path.starts_with(&local);
            assert!(
                is_its_own || !holds(&bytes, marker),
                "{path:?} has {marker}"
            );
        }
        for text in said {
            assert!(!text.contains(marker), "{text}");
        }
    }
}

/// The text of an event stream up to an event.
async fn events_until(mut events: reqwest::Response, newest: i64) -> String {
    let mut text = String::new();
    while !text.contains(&format!("id: {newest}\n")) && !text.contains(&format!("id:{newest}\n")) {
        let chunk = events
            .chunk()
            .await
            .unwrap()
            .expect("the stream did not end");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

/// Order follows the sequence numbers, so a moved clock changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn event_order_does_not_depend_on_the_clock() {
    let fake = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    let args = ["--demo", "--engine", "docker"];
    let body = |workspaces: &str| json!({"inline": format!("name: Acme\ndefaults: {{runtime: x}}\nworkspaces: [{workspaces}]"), "prune": true});
    let server = Server::start(&operator, &args);
    let mut ids = Vec::new();
    for workspaces in ["{name: A}", "{name: A}, {name: B}"] {
        ids.push(
            server.import(body(workspaces)).await["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    server.kill();
    // As if the first operation had been accepted an hour after the second, with both still queued.
    let db = rusqlite::Connection::open(database(&operator)).unwrap();
    db.execute_batch("UPDATE operations SET state = 'queued', ended_ms = NULL, began_ms = began_ms - rowid * 3600000; UPDATE events SET at_ms = at_ms - seq * 60000").unwrap();
    drop(db);
    let server = Server::start(&operator, &args);
    let state = async |id: &String| {
        server.get(&format!("/v1/operations/{id}?wait=60")).await["state"].clone()
    };
    assert_eq!(
        (state(&ids[0]).await, state(&ids[1]).await),
        (json!("superseded"), json!("done"))
    );
    let db = rusqlite::Connection::open(database(&operator)).unwrap();
    let newest: i64 = db
        .query_row("SELECT max(seq) FROM events", [], |row| row.get(0))
        .unwrap();
    let events = server
        .request(Method::GET, "/v1/events?after=0")
        .send()
        .await
        .unwrap();
    let text = events_until(events, newest).await;
    let ids = text.lines().filter_map(|line| line.strip_prefix("id:"));
    let ids: Vec<i64> = ids.map(|id| id.trim().parse().unwrap()).collect();
    assert_eq!(ids, (1..=newest).collect::<Vec<_>>());
    let path = "/v1/orgs/acme?volumes=true&wait=60";
    assert_eq!(server.ask(Method::DELETE, path, None).await.0, 200);
    let _: Value = server.get("/v1/orgs").await;
    assert_eq!(server.stop(), 0);
}

//! The host is killed (SIGKILL) after every write to its journal, then run
//! again: the end is the same as without the kill, and nothing is left over.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

use serde_json::Value;

use crate::support::fake_docker::FakeDocker;
use crate::support::{Operator, Ran};

const ORG: &str =
    "name: Crash\ndefaults: {runtime: x}\nworkspaces: [{name: One, children: [{name: Two}]}]\n";

/// One `up` that is killed after some write and one that is not; the summary
/// of the second and what `status` then sees. `None` when the first one ended before that write.
fn killed_after(operator: &Operator, args: &[&str], write: u32) -> Option<Value> {
    let mut command = operator.command(args);
    command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
    let output = command.output().unwrap();
    let was_killed = output.status.signal() == Some(9);
    if !was_killed {
        assert!(
            write > 1,
            "the program is not built with fault-injection: use scripts/test, or --all-features"
        );
        Ran::of(output).exits(0);
        return None;
    }
    let summary = operator.run(args).exits(0).events().pop().unwrap();
    Some(summary)
}

fn is_whole(operator: &Operator, summary: &Value, write: u32) {
    let came = summary["up"].as_u64().unwrap() + summary["unchanged"].as_u64().unwrap();
    assert_eq!(came, 2, "after write {write}: {summary}");
    let status = operator.run(&["status", "--json"]).exits(0).json();
    let org = &status["orgs"][0];
    let states: Vec<_> = org["workspaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["state"].clone())
        .collect();
    assert_eq!(
        states,
        ["running", "running"],
        "after write {write}: {status}"
    );
    assert!(
        org.get("cut_off").is_none(),
        "after write {write}: {status}"
    );
}

/// Kills after the first, second, … write, until there is no such write.
fn after_every_write(engine: &str, is_clean: impl Fn(&Operator)) {
    for write in 1.. {
        if !recovers_after(engine, write, &is_clean) {
            // began; five steps and the end of each of two workspaces; ended
            assert_eq!(write, (1 + 2 * 6 + 1) + 1);
            return;
        }
    }
}

/// Kills after some write, and runs again; `false` when there was no such write.
pub(crate) fn recovers_after(engine: &str, write: u32, is_clean: impl Fn(&Operator)) -> bool {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let args = [
        "up",
        &template,
        "--demo",
        "--engine",
        engine,
        "--concurrency",
        "1",
        "--json",
    ];
    let summary = killed_after(&operator, &args, write);
    if let Some(summary) = &summary {
        is_whole(&operator, summary, write);
    }
    operator.run(&["down", "crash", "--volumes"]).exits(0);
    is_clean(&operator);
    summary.is_some()
}

#[test]
fn the_local_engine_recovers_from_every_write() {
    after_every_write("local", |operator| {
        let left: Vec<_> = std::fs::read_dir(operator.state().join("local"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn docker_recovers_from_every_write() {
    after_every_write("docker", |operator| {
        nothing_is_left(
            operator,
            &[
                &["ps", "--all", "--quiet"],
                &["volume", "ls", "--quiet"],
                &["network", "ls", "--quiet"],
            ],
        );
    });
}

/// Every one of these lists of the `docker` command has nothing of this host's.
pub(crate) fn nothing_is_left(operator: &Operator, lists: &[&[&str]]) {
    let label = format!("label=orghost.instance={}", instance(operator));
    for list in lists {
        let output = std::process::Command::new("docker")
            .args(*list)
            .args(["--filter", &label])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{list:?}");
    }
}

fn instance(operator: &Operator) -> String {
    let db = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    db.query_row(
        "SELECT value FROM meta WHERE name = 'instance'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

/// What a killed `up` began is taken down by `down`, without an `up` in between.
#[tokio::test(flavor = "multi_thread")]
async fn down_cleans_up_after_every_write() {
    let fake = FakeDocker::start();
    for write in 1..=14 {
        let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
        let template = operator.template(&[("org.yaml", ORG)]);
        let args = [
            "up",
            &template,
            "--demo",
            "--engine",
            "docker",
            "--concurrency",
            "1",
            "--json",
        ];
        let mut command = operator.command(&args);
        command.env("ORGHOST_KILL_AFTER_WRITES", write.to_string());
        assert_eq!(
            command.output().unwrap().status.signal(),
            Some(9),
            "write {write}"
        );
        let status = operator.run(&["status", "--json"]).exits(0).json();
        assert_eq!(
            status["orgs"][0]["cut_off"],
            serde_json::json!(["up"]),
            "write {write}: {status}"
        );
        let down = operator
            .run(&["down", "crash", "--volumes", "--json"])
            .exits(0);
        let resumed = down
            .events()
            .into_iter()
            .find(|event| event["event"] == "resumed");
        let steps: BTreeSet<_> = resumed.unwrap()["cut_off"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        assert!(steps.len() <= 1, "one workspace at a time: {steps:?}");
        let left = [fake.containers(), fake.volumes(), fake.networks()].concat();
        assert!(left.is_empty(), "write {write}: {left:?}");
    }
}

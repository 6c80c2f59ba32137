//! Runs the engine contract on the local engine, and whole orgs through the command line on every engine. `wire`,
//! `docker` and `swarm` run the same contract on the fake engine, a real Docker engine and a swarm.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::fake_docker::FakeDocker;
use crate::support::scenario::is_reachable_from_here;
use crate::support::world::World;
use crate::support::{Operator, root, scenario, shared_templates};

#[tokio::test]
async fn a_second_up_changes_nothing() {
    let world = World::local();
    scenario::a_second_up_changes_nothing(&world).await;
    world.down(true).await;
}

#[tokio::test]
async fn a_changed_workspace_is_replaced() {
    let world = World::local();
    scenario::a_changed_workspace_is_replaced(&world).await;
    world.down(true).await;
}

#[tokio::test]
async fn a_failed_replacement_is_rolled_back() {
    let mut world = World::local();
    scenario::a_failed_replacement_is_rolled_back(&mut world).await;
    world.down(true).await;
}

#[tokio::test]
async fn down_leaves_nothing() {
    scenario::down_leaves_nothing(&World::local()).await;
}

#[tokio::test]
async fn a_mount_that_leads_out_of_its_root_is_refused() {
    let mut world = World::local();
    scenario::a_mount_that_leads_out_of_its_root_is_refused(&mut world).await;
    world.down(true).await;
}

/// An org on an engine, made through the command line and taken down at the end, even when the test fails.
struct Org<'a> {
    operator: &'a Operator,
    slug: &'a str,
}

impl Drop for Org<'_> {
    fn drop(&mut self) {
        let ran = self.operator.run(&["down", self.slug, "--volumes"]);
        if !std::thread::panicking() {
            ran.exits(0);
            let status = self.operator.run(&["status", "--json"]).exits(0).json();
            assert_eq!(status["orgs"], Value::Array(vec![]));
        }
    }
}

/// Brings a template up, checks that every workspace runs and answers, that a second `up` changes nothing, and takes
/// the org down.
pub(crate) fn up_check_and_down(
    operator: &Operator,
    engine: &str,
    template: &str,
    slug: &str,
    flags: &[&str],
) {
    let up = |more: &[&str]| {
        let mut args = vec!["up", template, "--engine", engine, "--json"];
        args.extend(flags);
        args.extend(more);
        let ran = operator.run(&args).exits(0);
        ran.events().pop().unwrap()
    };
    let org = Org { operator, slug };
    let summary = up(&["--wait"]);
    let all = summary["workspaces"].as_array().unwrap().len() as u64;
    let external = summary["external"].as_u64().unwrap();
    assert_eq!(summary["up"].as_u64().unwrap() + external, all, "{summary}");
    for workspace in summary["workspaces"].as_array().unwrap() {
        if workspace["outcome"] == "up" {
            let url = workspace["url"].as_str().unwrap();
            let engine = serde_json::from_value(engine.into()).unwrap();
            assert!(is_reachable_from_here(engine, url), "{workspace}");
        }
    }
    let status = operator.run(&["status", slug, "--json"]).exits(0).json();
    let workspaces = status["orgs"][0]["workspaces"].as_array().unwrap();
    let running = workspaces
        .iter()
        .filter(|w| w["state"] == "running")
        .count() as u64;
    assert_eq!(running, all - external, "{status}");
    let key = workspaces[0]["key"].as_str().unwrap();
    let logs = operator.run(&["logs", key]).exits(0).stdout;
    assert!(logs.contains("listening on"), "{logs}");

    let again = up(&[]);
    assert_eq!(
        again["unchanged"].as_u64().unwrap() + external,
        all,
        "{again}"
    );
    drop(org);
}

pub(crate) fn forty() -> String {
    root()
        .join("tests/cases/forty/template")
        .display()
        .to_string()
}

pub(crate) const FORTY: [&str; 3] = ["--demo", "--env", "MODEL_KEY=x"];

#[test]
fn forty_workspaces_run_on_the_local_engine() {
    up_check_and_down(&Operator::new(), "local", &forty(), "forty", &FORTY);
}

#[test]
fn forty_workspaces_run_on_docker() {
    up_check_and_down(&Operator::new(), "docker", &forty(), "forty", &FORTY);
}

#[test]
fn a_real_template_runs_on_both_engines() {
    let flags = ["--demo", "--max-tier", "3", "--ignore-missing-env"];
    let mut real = shared_templates().into_iter();
    // Where the real template is missing, the example of the repository is used.
    let (template, org) = match real.find(|path| path.ends_with("molecule-dev")) {
        Some(template) => (template, "molecule-ai-dev-team"),
        None => (root().join("examples/studio"), "studio"),
    };
    let template = template.display().to_string();
    for engine in ["local", "docker"] {
        up_check_and_down(&Operator::new(), engine, &template, org, &flags);
    }
}

/// A family in which one member cannot start.
fn family(operator: &Operator) -> [String; 2] {
    let template = operator.template(&[(
        "org.yaml",
        "
name: Family
defaults: {runtime: good}
workspaces:
  - name: Root
    children:
      - name: Broken
        runtime: bad
        children:
          - name: Grandchild
      - name: Sibling
",
    )]);
    let program = env!("CARGO_BIN_EXE_orghost");
    let config = format!(
        "[runtimes.good]\nimage = 'orghost-demo:latest'\ncommand = ['{program}', 'demo-runtime']\nhealth = '/health'\n\
         [runtimes.bad]\nimage = 'localhost:1/absent'\ncommand = ['/nowhere/agent']\n"
    );
    let config = operator.file("orghost.toml", config).display().to_string();
    [template, config]
}

#[test]
fn a_failed_workspace_stops_only_its_descendants() {
    for engine in ["local", "docker"] {
        let operator = Operator::new();
        let [template, config] = family(&operator);
        let args = [
            "up", &template, "--engine", engine, "--config", &config, "--wait", "--json",
        ];
        let ran = operator.run(&args).exits(4);
        let _org = Org {
            operator: &operator,
            slug: "family",
        };
        let summary = ran.events().pop().unwrap();
        let outcome = |key: &str| {
            let all = summary["workspaces"].as_array().unwrap();
            all.iter().find(|w| w["key"] == key).unwrap().clone()
        };
        assert_eq!(outcome("root")["outcome"], "up", "{engine}: {summary}");
        assert_eq!(
            outcome("root/sibling")["outcome"],
            "up",
            "{engine}: {summary}"
        );
        assert_eq!(
            outcome("root/broken/grandchild")["outcome"],
            "skipped",
            "{engine}: {summary}"
        );
        let failure = &outcome("root/broken")["failure"];
        let (step, code) = match engine {
            "local" => ("create", "not-executable"),
            _ => ("create", "image-missing"),
        };
        assert_eq!(
            (&failure["step"], &failure["code"]),
            (&step.into(), &code.into()),
            "{failure}"
        );
        assert!(failure.get("left_behind").is_none(), "{failure}");
        // The human output has the same summary and exit code.
        let people = operator
            .run(&["up", &template, "--config", &config])
            .exits(4);
        assert!(
            people
                .stderr
                .contains(&format!("root/broken failed at {step}")),
            "{}",
            people.stderr
        );
        assert!(
            people.stdout.contains("2 unchanged, 1 failed, 1 skipped"),
            "{}",
            people.stdout
        );
    }
}

#[test]
fn an_interrupted_up_removes_unfinished_workspaces() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Slow\ndefaults: {runtime: deaf}\nworkspaces: [{name: One}, {name: Two}]\n",
    )]);
    let config = "[runtimes.deaf]\ncommand = ['/bin/sleep', '1000']\n";
    let config = operator.file("orghost.toml", config).display().to_string();
    let args = [
        "up", &template, "--engine", "local", "--config", &config, "--wait", "--json",
    ];
    let mut child = operator
        .command(&args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    lines
        .find(|line| line.contains("\"step\":\"ready\""))
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let summary: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        summary["workspaces"][0]["failure"]["code"], "cancelled",
        "{summary}"
    );
    let status = operator.run(&["status", "--json"]).exits(0).json();
    for workspace in status["orgs"][0]["workspaces"].as_array().unwrap() {
        assert_eq!(workspace["state"], "absent", "{status}");
    }
    operator.run(&["down", "slow", "--volumes"]).exits(0);
}

#[test]
fn down_keeps_the_work_and_can_be_repeated() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Keep\nworkspaces: [{name: One, runtime: x}]\n",
    )]);
    operator
        .run(&["up", &template, "--demo", "--engine", "local"])
        .exits(0);
    let removal = operator
        .run(&["down", "keep", "--json"])
        .exits(0)
        .events()
        .pop()
        .unwrap();
    assert_eq!(removal["kept"].as_array().unwrap().len(), 1, "{removal}");
    let status = operator.run(&["status", "keep", "--json"]).exits(0).json();
    assert_eq!(
        status["orgs"][0]["workspaces"][0]["state"], "absent",
        "{status}"
    );
    operator.run(&["down", "keep", "--volumes"]).exits(0);
    operator.run(&["down", "keep"]).exits(2);
}

#[test]
fn a_workspace_that_left_the_template_is_reported_and_removed_only_with_prune() {
    let operator = Operator::new();
    let org = |workspaces: &str| {
        let text = format!("name: Shrink\ndefaults: {{runtime: x}}\nworkspaces: [{workspaces}]\n");
        operator.template(&[("org.yaml", &text)])
    };
    let up = |template: &str, more: &[&str]| {
        let mut args = vec!["up", template, "--demo", "--engine", "local", "--json"];
        args.extend(more);
        operator.run(&args).exits(0).events().pop().unwrap()
    };
    up(&org("{name: One}, {name: Two}"), &[]);
    let _org = Org {
        operator: &operator,
        slug: "shrink",
    };
    let smaller = org("{name: One}");
    assert_eq!(up(&smaller, &[])["orphans"], serde_json::json!(["two"]));
    let states = || {
        let status = operator.run(&["status", "--json"]).exits(0).json();
        let workspaces = status["orgs"][0]["workspaces"].as_array().unwrap().clone();
        workspaces
            .iter()
            .map(|w| w["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), ["one", "two"]);
    assert_eq!(up(&smaller, &["--prune"])["orphans"], serde_json::json!([]));
    assert_eq!(states(), ["one"]);
}

#[test]
fn a_second_host_on_a_state_folder_is_refused() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Slow\nworkspaces: [{name: One, runtime: deaf}]\n",
    )]);
    let config = "[runtimes.deaf]\ncommand = ['/bin/sleep', '1000']\n";
    let config = operator.file("orghost.toml", config).display().to_string();
    let args = [
        "up", &template, "--engine", "local", "--config", &config, "--wait", "--json",
    ];
    let mut first = operator
        .command(&args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    lines
        .find(|line| line.contains("\"step\":\"ready\""))
        .unwrap();
    assert_eq!(operator.run(&args).exits(1).error_codes(), ["state-locked"]);
    assert_eq!(
        operator
            .run(&["down", "slow", "--json"])
            .exits(1)
            .error_codes(),
        ["state-locked"]
    );
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(lines.last().is_some());
    assert_eq!(first.wait().unwrap().code(), Some(143));
    operator.run(&["down", "slow", "--volumes"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn up_without_an_engine_fails_and_changes_nothing() {
    let operator = Operator::new().with_env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let template = operator.template(&[(
        "org.yaml",
        "name: Nowhere\nworkspaces: [{name: One, runtime: x}]\n",
    )]);
    let ran = operator
        .run(&["up", &template, "--demo", "--engine", "docker", "--json"])
        .exits(1);
    assert_eq!(ran.error_codes(), ["engine-away"]);
    let status = operator.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["orgs"], Value::Array(vec![]));
    // `DOCKER_HOST` chooses the Docker engine: without an answer there is no fallback.
    let ran = operator
        .run(&["up", &template, "--demo", "--json"])
        .exits(1);
    assert_eq!(ran.error_codes(), ["engine-away"]);
    // A Docker engine that answers is used.
    let fake = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    let summary = operator
        .run(&["up", &template, "--demo", "--json"])
        .exits(0)
        .events()
        .pop()
        .unwrap();
    assert_eq!(summary["engine"], "docker");
}

/// An org on the local engine whose runtimes are shell commands.
fn with_commands(operator: &Operator, org: &str, runtimes: &[(&str, &str)]) -> [String; 2] {
    let template = operator.template(&[("org.yaml", org)]);
    let mut config = String::new();
    for (name, command) in runtimes {
        config += &format!("[runtimes.{name}]\ncommand = ['/bin/sh', '-c', '{command}']\n");
    }
    let config = operator.file("orghost.toml", config).display().to_string();
    [template, config]
}

fn up(operator: &Operator, [template, config]: &[String; 2], more: &[&str], code: i32) -> Value {
    let mut args = vec![
        "up", template, "--engine", "local", "--config", config, "--json",
    ];
    args.extend(more);
    let ran = operator.run(&args).exits(code);
    ran.events().pop().unwrap()
}

fn states(operator: &Operator) -> Vec<(String, String)> {
    let status = operator.run(&["status", "--json"]).exits(0).json();
    let workspaces = status["orgs"][0]["workspaces"].as_array().unwrap().clone();
    let word = |w: &Value, name: &str| w[name].as_str().unwrap().to_owned();
    workspaces
        .iter()
        .map(|w| (word(w, "key"), word(w, "state")))
        .collect()
}

const PARENT_AND_CHILD: &str = "
name: Pair
workspaces:
  - {name: Parent, runtime: one, children: [{name: Child, runtime: two}]}
";

#[test]
fn prune_does_not_remove_skipped_workspaces() {
    let operator = Operator::new();
    let good = with_commands(
        &operator,
        PARENT_AND_CHILD,
        &[("one", "sleep 999"), ("two", "sleep 998")],
    );
    up(&operator, &good, &[], 0);
    let _org = Org {
        operator: &operator,
        slug: "pair",
    };
    let bad = with_commands(
        &operator,
        PARENT_AND_CHILD,
        &[("one", "exit 3"), ("two", "sleep 998")],
    );
    let summary = up(&operator, &bad, &["--prune", "--wait"], 4);
    assert_eq!(summary["orphans"], serde_json::json!([]), "{summary}");
    assert_eq!(
        summary["workspaces"][0]["failure"]["exit_code"], 3,
        "{summary}"
    );
    assert_eq!(
        states(&operator)[1],
        ("parent/child".to_owned(), "running".to_owned())
    );
}

#[test]
fn wait_includes_workspaces_that_already_run() {
    let operator = Operator::new();
    let org = "name: Deaf\nworkspaces: [{name: One, runtime: deaf}]\n";
    let deaf = with_commands(&operator, org, &[("deaf", "sleep 999")]);
    up(&operator, &deaf, &[], 0);
    let _org = Org {
        operator: &operator,
        slug: "deaf",
    };
    let summary = up(&operator, &deaf, &["--wait", "--timeout", "1"], 4);
    assert_eq!(
        summary["workspaces"][0]["failure"]["code"], "not-ready",
        "{summary}"
    );
    assert_eq!(
        states(&operator),
        [("one".to_owned(), "running".to_owned())]
    );
}

#[test]
fn a_workspace_that_exits_with_0_is_done() {
    let operator = Operator::new();
    let org = "name: Job\nworkspaces: [{name: One, runtime: job}]\n";
    let job = with_commands(&operator, org, &[("job", "true")]);
    let summary = up(&operator, &job, &["--wait", "--timeout", "20"], 0);
    assert_eq!(summary["up"], 1, "{summary}");
    operator.run(&["down", "job", "--volumes"]).exits(0);
}

#[test]
fn two_orgs_never_share_a_slug() {
    let operator = Operator::new();
    let named = |name: &str| {
        let org = format!("name: \"{name}\"\nworkspaces: [{{name: One, runtime: x}}]\n");
        with_commands(&operator, &org, &[("x", "sleep 999")])
    };
    let slug = |summary: Value| summary["org"].as_str().unwrap().to_owned();
    let first = slug(up(&operator, &named("研究所"), &[], 0));
    let second = slug(up(&operator, &named("東京"), &[], 0));
    assert_ne!(first, second);
    operator.run(&["down", "京都"]).exits(2);
    operator.run(&["down", "東京", "--volumes"]).exits(0);
    operator.run(&["down", &first, "--volumes"]).exits(0);

    up(&operator, &named("Acme"), &[], 0);
    let _org = Org {
        operator: &operator,
        slug: "acme",
    };
    let taken = up(&operator, &named("ACME!"), &[], 2);
    assert_eq!(taken["errors"][0]["code"], "org-name-taken", "{taken}");
}

#[test]
fn a_closed_output_does_not_stop_the_work() {
    let operator = Operator::new();
    let org = "name: Slow\nworkspaces: [{name: One, runtime: deaf}]\n";
    let [template, config] = with_commands(&operator, org, &[("deaf", "sleep 999")]);
    let args = [
        "up", &template, "--engine", "local", "--config", &config, "--wait",
    ];
    let mut command = operator.command(&args);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The standard error of the program is closed before the interrupt.
    drop(child.stderr.take());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !operator.state().join("orghost.db").exists() || states_or_none(&operator) != ["running"]
    {
        assert!(std::time::Instant::now() < deadline, "it never started");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(states_or_none(&operator), ["absent"]);
    operator.run(&["down", "slow", "--volumes"]).exits(0);
}

fn states_or_none(operator: &Operator) -> Vec<String> {
    let status = operator.run(&["status", "--json"]).exits(0).json();
    let workspaces = status["orgs"][0]["workspaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    workspaces
        .iter()
        .map(|w| w["state"].as_str().unwrap().to_owned())
        .collect()
}

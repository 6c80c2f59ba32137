//! Tests that slow plans do not delay other requests of a server, and that it gives known plans from memory.

use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::json;

use orghost::config::Config;
use orghost::model::env_map::EnvMap;
use orghost::planning::planner::{Giver, Loaded, PlanKey, PlanRequest, Planner};
use orghost::plugin::sandbox::{ORG_IMPORT, Sandbox};
use orghost::template::bundle::Bundle;
use orghost::template::directory::TemplateDir;

use crate::support::Operator;
use crate::support::component::of_wat;
use crate::support::server::Server;

/// A plugin that describes itself and then plans until its deadline.
const SLOW: &str = r#"
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "slow1.0.0")
  (data (i32.const 64) "\00\00\00\00\04\00\00\00\04\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) i32.const 64)
  (func (export "orghost:plugin/importer@0.1.0#import-org") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (loop $again br $again) unreachable
  ))
"#;

const ORG: &str = "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n";

/// A server with the plugin `slow`, whose plans take `deadline_ms` milliseconds.
fn server(deadline_ms: u32) -> (Operator, Server) {
    let operator = Operator::new();
    let plugin = operator.file("slow.wasm", of_wat(SLOW, "plugin"));
    let plugin = plugin.to_str().unwrap();
    operator
        .run(&["plugin", "add", plugin, "--name", "slow"])
        .exits(0);
    let config = format!(
        "[server]\nrequests_per_second = 10000\n[plugins.slow]\ndeadline_ms = {deadline_ms}\n"
    );
    let config = operator.file("orghost.toml", config);
    let config = config.to_str().unwrap();
    let server = Server::start(
        &operator,
        &["--demo", "--engine", "local", "--config", config],
    );
    (operator, server)
}

/// The value of one of the server's metrics.
async fn metric(server: &Server, name: &str) -> usize {
    let answer = server.request(Method::GET, "/metrics").send().await;
    let text = answer.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name}: {text}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_plans_do_not_delay_other_requests() {
    const PLANS: usize = 500;
    let (_operator, server) = server(600_000);
    let plan = || {
        let body = json!({"inline": ORG, "plugin": "slow"});
        let request = server.request(Method::POST, "/v1/plans").json(&body);
        request.send()
    };
    let mut plans: FuturesUnordered<_> = (0..PLANS).map(|_| plan()).collect();
    let look = async {
        loop {
            let waiting = metric(&server, "orghost_plans_waiting").await;
            let running = metric(&server, "orghost_plans_running").await;
            if waiting + running == PLANS {
                break;
            }
        }
        let mut times = Vec::new();
        for _ in 0..100 {
            let began = Instant::now();
            assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
            times.push(began.elapsed());
        }
        times.sort();
        eprintln!(
            "/v1/orgs beside {PLANS} waiting plans: {:?} at the median, {:?} at the most",
            times[50], times[99]
        );
        let waiting = metric(&server, "orghost_plans_waiting").await;
        let running = metric(&server, "orghost_plans_running").await;
        assert_eq!(waiting + running, PLANS, "not every plan waited");
        waiting
    };
    let waited = tokio::select! {
        waited = look => waited,
        ended = plans.next() => panic!("a plan ended: {ended:?}"),
    };
    assert!(waited > PLANS / 2, "{waited} plans waited");
    // A caller that disconnects leaves the queue.
    drop(plans);
    while metric(&server, "orghost_plans_waiting").await > 0 {
        tokio::task::yield_now().await;
    }
    server.kill();
}

/// One caller has many slow plans, the other a single quick one.
#[tokio::test(flavor = "multi_thread")]
async fn planning_is_fair_among_callers() {
    let (operator, server) = server(300);
    let token = |name: &str| {
        let made = operator.run(&["token", "new", name, "--scope", "plan", "--json"]);
        made.exits(0).json()["token"].as_str().unwrap().to_owned()
    };
    let (many, few) = (token("many"), token("few"));
    let plan = |token: &str, plugin: Option<&str>| {
        let body = json!({"inline": ORG, "plugin": plugin});
        let request = server.request(Method::POST, "/v1/plans").bearer_auth(token);
        request.json(&body).send()
    };
    let mut slow: FuturesUnordered<_> = (0..200).map(|_| plan(&many, Some("slow"))).collect();
    let first = slow.next().await.unwrap().unwrap();
    assert_eq!(
        first.status().as_u16(),
        422,
        "the slow plan failed after its deadline"
    );
    let mut ended = 1;
    let quick = plan(&few, None);
    tokio::pin!(quick);
    let answer = loop {
        tokio::select! {
            answer = &mut quick => break answer.unwrap(),
            Some(_) = slow.next() => ended += 1,
        }
    };
    assert_eq!(answer.status().as_u16(), 200);
    assert!(ended < 150, "{ended} of 200 slow plans ended first");
    drop(slow);
    server.kill();
}

/// How many plans came from memory, and how many a plugin had to make.
async fn looks(server: &Server) -> (usize, usize) {
    let of = async |result: &str| {
        let name = format!("orghost_plan_cache_total{{result=\"{result}\"}}");
        metric(server, &name).await
    };
    (of("hit").await, of("miss").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_plan_comes_from_memory_until_something_changes() {
    let operator = Operator::new();
    let install = |note: u8| {
        // An added custom section changes the file's digest and not the behaviour.
        let mut bytes = ORG_IMPORT.to_vec();
        bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', note]);
        let file = operator.file("acme.wasm", bytes);
        let file = file.to_str().unwrap();
        let add = ["plugin", "add", file, "--name", "acme"];
        operator.run(&add).exits(0);
    };
    install(1);
    let server = Server::start(&operator, &["--demo", "--engine", "local"]);
    assert_eq!(looks(&server).await, (0, 0));
    let plan = async |org: &str, token: &str| {
        let body = json!({"inline": org, "plugin": "acme", "env": {"TOKEN": token}});
        let (status, plan) = server.ask(Method::POST, "/v1/plans", Some(body)).await;
        assert_eq!(status, 200, "{plan}");
        plan
    };
    let first = plan(ORG, "one").await;
    assert_eq!(looks(&server).await, (0, 1));
    assert_eq!(plan(ORG, "one").await, first);
    assert_eq!(looks(&server).await, (1, 1));

    plan(ORG, "two").await;
    assert_eq!(looks(&server).await, (1, 2), "another value");
    let other = plan(&ORG.replace("One", "Other"), "one").await;
    assert_eq!(other["workspaces"][0]["name"], "Other");
    assert_eq!(looks(&server).await, (1, 3), "another template");
    install(2);
    let second = plan(ORG, "one").await;
    assert_ne!(second["planned_by"], first["planned_by"]);
    assert_eq!(looks(&server).await, (1, 4), "another plugin");
    plan(ORG, "one").await;
    assert_eq!(looks(&server).await, (2, 4));

    // What a plugin rejects is not kept.
    for _ in 0..2 {
        let body = json!({"inline": "name: [", "plugin": "acme"});
        let (status, _) = server.ask(Method::POST, "/v1/plans", Some(body)).await;
        assert_eq!(status, 422);
    }
    assert_eq!(looks(&server).await, (2, 6));
    server.kill();
}

/// A request and a configuration file, in which one thing differs.
#[test]
fn the_key_of_a_plan_differs_with_everything_that_a_plan_depends_on() {
    let bundle = Bundle::of_text(ORG);
    let key = |config: &str, request: &PlanRequest, bundle: &Bundle| -> PlanKey {
        let operator = Operator::new();
        let file = operator.file("orghost.toml", config);
        let config = Config::read(&file).unwrap();
        let planner = Planner::new(config.into(), Default::default(), &operator.state());
        let loaded = Loaded::new(Sandbox::new(None).unwrap());
        let template = TemplateDir::of_bundle(bundle.clone().into());
        let call = planner.call(&loaded, &template, request).unwrap();
        call.key(&bundle.digest(), request.giver)
    };
    let vars = |pairs: &[(&str, &str)]| -> EnvMap {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    };
    let plain = PlanRequest::default();
    let with = |vars| PlanRequest {
        vars,
        ..PlanRequest::default()
    };
    let by_operator = PlanRequest {
        giver: Giver::Operator,
        ..PlanRequest::default()
    };
    let skipping = PlanRequest {
        skip_external: true,
        ..PlanRequest::default()
    };
    let keys = [
        key("", &plain, &bundle),
        key("", &plain, &Bundle::of_text("name: Acme\n")),
        key("", &with(vars(&[("A", "1")])), &bundle),
        key("", &with(vars(&[("A", "2")])), &bundle),
        key("", &with(vars(&[("A", ""), ("B", "1")])), &bundle),
        key("", &with(vars(&[("A", "B"), ("B", "1")])), &bundle),
        key("", &by_operator, &bundle),
        key("", &skipping, &bundle),
        key("[plugins.org-import]\ndeadline_ms = 7\n", &plain, &bundle),
        key("[plugins.org-import]\nmemory_mib = 7\n", &plain, &bundle),
        key("[plugins.org-import]\nwasi = \"closed\"\n", &plain, &bundle),
    ];
    for (number, one) in keys.iter().enumerate() {
        let same = keys.iter().filter(|other| *other == one);
        assert_eq!(same.count(), 1, "key {number}");
    }
    assert_eq!(keys[0], key("", &plain, &bundle));
}

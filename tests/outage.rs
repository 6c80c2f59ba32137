//! Kills and restarts a real engine during imports, restarts and stops, sometimes with the host. At the end every
//! wanted workspace is up exactly once, and nothing else is there.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Operator;
use crate::support::engine::OwnEngine;
use crate::support::server::Server;
use crate::work::Dice;

const ARGS: [&str; 3] = ["--demo", "--engine", "docker"];
const ORGS: [&str; 2] = ["alpha", "beta"];
/// The number of outages in one run, which takes about a minute.
const OUTAGES: usize = 5;

/// An org with a root and two children. Another `edition` changes the seed.
fn template(org: &str, edition: usize) -> Value {
    let family = format!(
        "{{name: Root, role: Edition {edition}, children: [{{name: A, role: Edition {edition}}}, {{name: B}}]}}"
    );
    json!({"inline": format!("name: {org}\ndefaults: {{runtime: x}}\nworkspaces: [{family}]\n"), "prune": true})
}

/// The states of the containers on the engine, with the identity of their workspace.
fn containers(engine: &OwnEngine) -> Vec<String> {
    let format = "{{.Label \"orghost.id\"}} {{.State}}";
    engine.lines(&["ps", "--all", "--format", format])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_restart_loses_no_work() {
    let seed = crate::months::seed();
    eprintln!("ORGHOST_TEST_SEED={seed}");
    let mut dice = Dice::number(seed);
    let mut engine = OwnEngine::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &engine.endpoint());
    let mut server = Server::start(&operator, &ARGS);
    for org in ORGS {
        let done = server.import(template(org, 0)).await;
        assert_eq!(done["state"], "done", "{done}");
    }
    let mut accepted = Vec::new();
    for outage in 1..=OUTAGES {
        let (mut ids, mut waiting) = (Vec::new(), Vec::new());
        for org in ORGS {
            let shown = server.get(&format!("/v1/orgs/{org}")).await;
            let workspaces = shown["workspaces"].as_array().unwrap().iter();
            ids.extend(workspaces.map(|w| w["id"].as_str().unwrap().to_owned()));
        }
        let mut requests = vec![(
            Method::POST,
            "/v1/orgs".to_owned(),
            Some(template(ORGS[dice.below(2)], outage)),
        )];
        for action in ["restart", "stop", "start", "restart"] {
            let id = &ids[dice.below(ids.len())];
            requests.push((Method::POST, format!("/v1/workspaces/{id}/{action}"), None));
        }
        // Some requests come before the outage, some after it. Each is accepted or refused with a reason.
        let before = dice.below(requests.len() + 1);
        for (number, (method, path, body)) in requests.into_iter().enumerate() {
            if number == before {
                tokio::time::sleep(Duration::from_millis(dice.below(1_500) as u64)).await;
                engine.kill();
            }
            let is_workspace = body.is_none();
            let (status, answer) = server.ask(method, &path, body).await;
            if status == 202 {
                let id = answer["id"].as_str().unwrap().to_owned();
                if is_workspace && number >= before {
                    waiting.push(id.clone());
                }
                accepted.push(id);
            } else {
                assert!(answer["code"].is_string(), "seed {seed}: {status} {answer}");
            }
        }
        engine.kill();
        if dice.below(3) == 0 {
            server.kill();
            server = Server::start(&operator, &ARGS);
        }
        tokio::time::sleep(Duration::from_millis(dice.below(1_000) as u64)).await;
        engine.revive();
        // Requests made during the outage wait for the engine. The others run into the next outage.
        for id in waiting {
            let row = server.get(&format!("/v1/operations/{id}?wait=120")).await;
            let is_away = row["errors"][0]["code"] == "engine-away";
            let is_over = !["queued", "running"].contains(&row["state"].as_str().unwrap());
            assert!(is_over && !is_away, "seed {seed}: {row}");
        }
    }
    for id in &accepted {
        let row = server.get(&format!("/v1/operations/{id}?wait=120")).await;
        let state = row["state"].as_str().unwrap();
        assert!(
            ["done", "failed", "superseded"].contains(&state),
            "seed {seed}: {row}"
        );
    }
    eprintln!("{} operations were accepted", accepted.len());

    // After a last import without an outage, every org is complete.
    for org in ORGS {
        let done = server.import(template(org, 0)).await;
        assert_eq!(done["state"], "done", "seed {seed}: {done}");
    }
    let mut wanted = BTreeSet::new();
    for org in ORGS {
        let shown = server.get(&format!("/v1/orgs/{org}")).await;
        let workspaces = shown["workspaces"].as_array().unwrap();
        assert_eq!(workspaces.len(), 3, "seed {seed}: {shown}");
        for workspace in workspaces {
            assert_eq!(workspace["state"], "running", "seed {seed}: {shown}");
            wanted.insert(format!("{} running", workspace["id"].as_str().unwrap()));
        }
    }
    let running = containers(&engine);
    assert_eq!(running.len(), 6, "seed {seed}: {running:?}");
    assert_eq!(running.into_iter().collect::<BTreeSet<_>>(), wanted);
    for org in ORGS {
        let path = format!("/v1/orgs/{org}?volumes=true&wait=120");
        let (status, gone) = server.ask(Method::DELETE, &path, None).await;
        assert_eq!(
            (status, gone["state"].as_str()),
            (200, Some("done")),
            "seed {seed}: {gone}"
        );
    }
    assert_eq!(server.stop(), 0);
    let left = [
        containers(&engine),
        engine.lines(&["volume", "ls", "--quiet"]),
        engine.lines(&["network", "ls", "--quiet", "--filter", "type=custom"]),
    ];
    assert!(left.concat().is_empty(), "seed {seed}: {left:?}");
}

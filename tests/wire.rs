//! Tests of the calls to a Docker engine, one by one, and of the effect when any of them fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bollard::query_parameters::StartContainerOptions;
use orghost::limits;
use orghost::model::event::Operation;
use orghost::model::plan::Workspace;
use orghost::provision::concurrency::FairSemaphore;
use orghost::provision::engine::Engine as _;
use orghost::provision::engine::docker::Docker;
use orghost::provision::engine::error::EngineError;
use orghost::provision::generation::Generation;
use orghost::provision::workspace::volumes;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use crate::support::fake_docker::{FakeDocker, Fault, Files, When};
use crate::support::scenario;
use crate::support::tcp::OverTcp;
use crate::support::world::{World, workspace};

/// The calls of one workspace from nothing to running, after the three calls of the org.
const PROVISION: [&str; 8] = [
    "POST volumes/create ws-a-configs",
    "POST volumes/create ws-a-workspace",
    "POST containers/create ws-a",
    "PUT containers/ws-a/archive",
    "GET containers/ws-a/archive",
    "POST containers/ws-a/update",
    "POST containers/ws-a/start",
    "GET containers/ws-a/json",
];
const ORG: [&str; 3] = [
    "GET containers/json",
    "GET networks",
    "POST networks/create",
];

async fn world() -> (FakeDocker, World) {
    let fake = FakeDocker::start();
    let world = World::new(&fake.endpoint(), "agent:1").await;
    (fake, world)
}

fn pair() -> [Workspace; 2] {
    [workspace("a"), workspace("b")]
}

#[tokio::test]
async fn a_workspace_is_seeded_and_verified_before_it_starts() {
    let (fake, world) = world().await;
    assert!(world.up(&[workspace("a")]).await.is_up("a"));
    assert_eq!(fake.calls(), [&ORG[..], &PROVISION[..]].concat());
}

#[tokio::test]
async fn a_second_up_makes_one_call() {
    let (fake, world) = world().await;
    world.up(&pair()).await;
    fake.forget();
    let outcomes = world.up(&pair()).await;
    assert!(
        outcomes.is_unchanged("a") && outcomes.is_unchanged("b"),
        "{outcomes:?}"
    );
    assert_eq!(fake.calls(), ["GET containers/json"]);
}

#[tokio::test]
async fn parents_come_first_and_concurrency_is_limited() {
    let (fake, mut world) = world().await;
    world.permits = FairSemaphore::new(3);
    fake.fault(When::Always, Fault::Delay(Duration::from_millis(10)));
    let keys = ["a", "a/1", "a/2", "a/3", "a/4", "a/5", "b"];
    let outcomes = world.up(&keys.map(workspace)).await;
    assert!(keys.iter().all(|key| outcomes.is_up(key)), "{outcomes:?}");
    assert_eq!(fake.most_concurrent_calls(), 3);
    let calls = fake.calls();
    let at = |call: &str| calls.iter().position(|c| c == call).unwrap();
    for child in &keys[1..6] {
        let first = at(&format!("POST volumes/create ws-{child}-configs"));
        assert!(
            at("POST containers/ws-a/start") < first,
            "{child} before its parent"
        );
    }
}

/// Every call of a workspace fails in turn, in every way. Nothing unseeded starts (the fake engine checks that),
/// nothing half-made is left, and the sibling comes up.
#[tokio::test]
async fn a_failed_call_starts_nothing_unseeded_and_leaves_nothing_half_made() {
    let steps = [
        "volumes", "volumes", "create", "seed", "verify", "start", "start",
    ];
    let faults: [fn() -> Fault; 4] = [
        || Fault::Answer(500, "something is wrong"),
        || Fault::Answer(500, "write /x: no space left on device"),
        || Fault::CutBefore,
        || Fault::CutAfter,
    ];
    let codes = ["engine-refused", "no-space", "engine-away", "engine-away"];
    for (nth, step) in steps.iter().enumerate() {
        for (fault, code) in faults.iter().zip(codes) {
            let (fake, world) = world().await;
            let fault = fault();
            let performed = matches!(fault, Fault::CutAfter);
            fake.fault(When::Call(PROVISION[nth]), fault);
            let outcomes = world.up(&pair()).await;
            let case = format!(
                "{} fails with {code}, performed: {performed}",
                PROVISION[nth]
            );
            assert_eq!(outcomes.failure("a"), format!("{step} {code}"), "{case}");
            assert!(outcomes.is_up("b"), "{case}: {outcomes:?}");
            assert_eq!(fake.containers(), ["ws-b running"], "{case}");

            let calls = fake.calls();
            let removals = calls
                .iter()
                .filter(|call| *call == "DELETE containers/ws-a");
            let was_made = nth > 2 || (nth == 2 && performed);
            assert_eq!(
                removals.count(),
                usize::from(was_made),
                "{case}: {calls:#?}"
            );
            let started = calls
                .iter()
                .any(|call| call == "POST containers/ws-a/start");
            assert_eq!(started, nth >= 6, "{case}");

            let mut volumes = vec!["ws-b-configs", "ws-b-workspace"];
            if nth >= 5 && code == "engine-away" {
                // The container may have run, so its volume may hold work. It is kept and named.
                volumes.insert(0, "ws-a-workspace");
                assert_eq!(
                    outcomes.left_behind("a"),
                    ["the workspace volume of a"],
                    "{case}"
                );
            }
            assert_eq!(fake.volumes(), volumes, "{case}");

            // The next run repairs it.
            fake.forget();
            let again = world.up(&pair()).await;
            assert!(
                again.is_up("a") && again.is_unchanged("b"),
                "{case}: {again:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_failed_call_of_the_org_creates_no_workspace() {
    for call in ORG {
        for fault in [Fault::Answer(500, "no"), Fault::CutBefore, Fault::CutAfter] {
            let (fake, world) = world().await;
            fake.fault(When::Call(call), fault);
            world.try_up(&pair()).await.unwrap_err();
            assert!(
                fake.containers().is_empty() && fake.volumes().is_empty(),
                "{call}"
            );
            fake.forget();
            assert!(world.up(&pair()).await.is_up("a"), "{call}");
            assert_eq!(fake.networks().len(), 1);
        }
    }
}

/// A workspace without a known address still counts as up.
#[tokio::test]
async fn a_failed_inspect_after_the_start_is_no_failure() {
    let (fake, world) = world().await;
    fake.fault(
        When::Call("GET containers/ws-a/json"),
        Fault::Answer(500, "no"),
    );
    assert!(world.up(&[workspace("a")]).await.is_up("a"));
}

/// A 200 from the engine does not prove that the archive was stored.
#[tokio::test]
async fn an_incomplete_seed_is_detected_and_never_started() {
    let tears: [fn(&mut Files); 5] = [
        // Cut at a member boundary: the last member is also the last in the sorted order.
        |files| drop(files.pop_last()),
        |files| files.clear(),
        |files| {
            files.get_mut("config.yaml").unwrap().bytes = Some(b"name: A\nruntime: agent\n".into())
        },
        |files| files.get_mut("channels.yaml").unwrap().mode = 0o644,
        |files| {
            let stale = files["config.yaml"].clone();
            files.insert("stale.yaml".to_owned(), stale);
        },
    ];
    for tear in tears {
        let (fake, world) = world().await;
        fake.fault(When::Call("PUT containers/ws-a/archive"), Fault::Tear(tear));
        let outcomes = world.up(&pair()).await;
        assert_eq!(
            outcomes.failure("a"),
            "verify seed-mismatch",
            "{outcomes:?}"
        );
        assert!(outcomes.is_up("b"));
        assert_eq!(fake.containers(), ["ws-b running"]);
        assert_eq!(fake.volumes(), ["ws-b-configs", "ws-b-workspace"]);
        assert!(
            !fake
                .calls()
                .iter()
                .any(|call| call == "POST containers/ws-a/start")
        );
    }
}

/// Cancelled at any call: the running step ends, no further step begins, and nothing half-made is left.
#[tokio::test]
async fn a_cancelled_up_leaves_nothing_half_made() {
    for (nth, call) in PROVISION.iter().enumerate().take(5) {
        let (fake, world) = world().await;
        let cancel = world.cancel.clone();
        fake.fault(
            When::Call(call),
            Fault::Meanwhile(Box::new(move || cancel.cancel())),
        );
        let outcomes = world.up(&pair()).await;
        assert!(
            outcomes.failure("a").ends_with(" cancelled"),
            "{call}: {outcomes:?}"
        );
        assert!(
            fake.containers().is_empty() && fake.volumes().is_empty(),
            "{call}"
        );
        let removals = fake.calls();
        let removals = removals
            .iter()
            .filter(|call| *call == "DELETE containers/ws-a");
        assert_eq!(removals.count(), usize::from(nth >= 2), "{call}");
    }
}

/// The host is killed during any call, performed or not. The next run brings everything up once.
#[tokio::test]
async fn the_next_up_completes_the_work_of_a_killed_host() {
    let all = [&ORG[..], &PROVISION[..]].concat();
    for call in all {
        for performed in [false, true] {
            let (fake, world) = world().await;
            let gone = Arc::new(tokio::sync::Notify::new());
            let reached = gone.clone();
            fake.fault(
                When::Call(call),
                Fault::Meanwhile(Box::new(move || reached.notify_one())),
            );
            if !performed {
                fake.fault(When::Call(call), Fault::Hang);
            }
            let org = pair();
            tokio::select! {
                biased;
                () = gone.notified() => {}
                ended = world.try_up(&org) => panic!("{call} was not reached: {ended:?}"),
            }
            if performed {
                // The engine finishes the call although the host is gone.
                while !fake.is_idle() {
                    tokio::task::yield_now().await;
                }
            }
            fake.forget();
            let outcomes = world.up(&org).await;
            let good = |key| outcomes.is_up(key) || outcomes.is_unchanged(key);
            assert!(good("a") && good("b"), "{call}: {outcomes:?}");
            assert_eq!(fake.containers().len(), 2, "{call}");
            assert!(
                fake.containers().iter().all(|c| c.ends_with(" running")),
                "{call}"
            );
            assert_eq!(fake.volumes().len(), 4, "{call}");
        }
    }
}

/// A missing image and a foreign container are definite answers of the engine, so there is nothing to remove.
#[tokio::test]
async fn a_foreign_container_of_the_same_name_is_not_changed() {
    let (fake, world) = world().await;
    let id = world.spec(&workspace("a")).id.to_string();
    fake.insert_foreign_container(&format!("ws-{id}"), &json!({}));
    let outcomes = world.up(&pair()).await;
    assert_eq!(outcomes.failure("a"), "create name-in-use", "{outcomes:?}");
    assert!(outcomes.is_up("b"));
    assert_eq!(fake.containers(), ["ws-a running", "ws-b running"]);
    assert_eq!(fake.volumes(), ["ws-b-configs", "ws-b-workspace"]);
    // Without an answer, the container may belong to somebody else, so it is not removed either.
    fake.forget();
    fake.fault(When::Call("POST containers/create ws-a"), Fault::CutBefore);
    let outcomes = world.up(&pair()).await;
    assert_eq!(outcomes.failure("a"), "create engine-away");
    assert_eq!(fake.containers(), ["ws-a running", "ws-b running"]);
}

/// Checks the fake engine's own rule, because many of these tests rely on it.
#[tokio::test]
#[should_panic(expected = "unseeded start of ws-a")]
async fn the_fake_engine_catches_an_unseeded_start() {
    let (fake, world) = world().await;
    let spec = world.spec(&workspace("a"));
    let operation = world.store.begin("acme", Operation::Up).await.unwrap();
    let first = Generation::first(&spec.id);
    for volume in volumes(&spec, &first) {
        world
            .engine
            .create_volume(&spec, &volume, &operation)
            .await
            .unwrap();
    }
    let created = world.engine.create(&spec, &first, &operation, None);
    created.await.unwrap();
    let archive = spec.seed.archive().unwrap();
    world.engine.put_seed(&first, archive).await.unwrap();
    let endpoint = fake.endpoint();
    let client = bollard::Docker::connect_with_unix(&endpoint, 5, bollard::API_DEFAULT_VERSION);
    // The seed was put and not verified.
    let name = format!("ws-{}", spec.id);
    let started = client.unwrap();
    let started = started.start_container(&name, None::<StartContainerOptions>);
    started.await.unwrap();
}

#[tokio::test]
async fn a_container_with_copied_labels_is_not_changed() {
    let (fake, world) = world().await;
    world.up(&[workspace("a")]).await;
    fake.insert_foreign_container("copy", &fake.body("ws-a")["Labels"]);
    assert!(world.up(&[workspace("a")]).await.is_unchanged("a"));
    assert_eq!(world.down(true).await.removed, ["a"]);
    assert_eq!(fake.containers(), ["copy running"]);
}

#[tokio::test]
async fn a_volume_that_existed_before_survives_a_failure() {
    let (fake, world) = world().await;
    world.up(&[workspace("a")]).await;
    world.down(false).await;
    fake.forget();
    fake.fault(
        When::Call("PUT containers/ws-a/archive"),
        Fault::Answer(500, "no"),
    );
    assert_eq!(
        world.up(&[workspace("a")]).await.failure("a"),
        "seed engine-refused"
    );
    assert_eq!(fake.volumes(), ["ws-a-workspace"]);
}

/// When the removal fails too, the report names what is left.
#[tokio::test]
async fn a_failed_removal_is_reported() {
    let (fake, world) = world().await;
    fake.fault(
        When::Call("PUT containers/ws-a/archive"),
        Fault::Answer(500, "no"),
    );
    fake.fault(
        When::Call("DELETE containers/ws-a"),
        Fault::Answer(500, "busy"),
    );
    let outcomes = world.up(&pair()).await;
    assert_eq!(outcomes.failure("a"), "seed engine-refused");
    assert_eq!(
        outcomes.left_behind("a"),
        ["the container of a (the engine refused: busy)"]
    );
    assert!(outcomes.is_up("b"));
    fake.forget();
    assert!(
        world.up(&pair()).await.is_up("a"),
        "the next run removes and replaces it"
    );
}

#[tokio::test]
async fn a_missing_image_is_pulled_once() {
    let (fake, mut world) = world().await;
    world.image = "team/absent".to_owned();
    world.permits = FairSemaphore::new(3);
    let pulls = Arc::new(AtomicUsize::new(0));
    let counted = pulls.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    fake.fault(
        When::Call("POST images/create"),
        Fault::Meanwhile(Box::new(count)),
    );
    fake.fault(
        When::Call("POST images/create"),
        Fault::Delay(Duration::from_millis(200)),
    );
    let outcomes = world.up(&["a", "b", "c"].map(workspace)).await;
    for key in ["a", "b", "c"] {
        assert_eq!(outcomes.failure(key), "create image-missing");
    }
    assert_eq!(pulls.load(Ordering::SeqCst), 1);
    assert!(fake.volumes().is_empty());
}

#[tokio::test]
async fn a_broken_pull_is_an_error_although_its_status_was_200() {
    let (fake, mut world) = world().await;
    world.image = "team/present".to_owned();
    assert!(world.up(&[workspace("a")]).await.is_up("a"));
    let create = "POST containers/create ws-a";
    assert_eq!(fake.calls()[5..8], [create, "POST images/create", create]);

    world.image = "team/broken".to_owned();
    let outcomes = world.up(&[workspace("b")]).await;
    assert_eq!(outcomes.failure("b"), "create image-missing");
    assert!(
        format!("{outcomes:?}").contains("unexpected EOF"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn each_tier_sets_its_limits() {
    let (fake, world) = world().await;
    for tier in 1..=4 {
        let mut a = workspace("a");
        a.tier = tier;
        assert!(world.up(&[a]).await.is_up("a"));
        // Each tier replaces the previous generation.
        let body = fake.body(["ws-a", "ws-a-1", "ws-a-2", "ws-a-3"][usize::from(tier) - 1]);
        let host = &body["HostConfig"];
        let targets: Vec<_> = host["Mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["Target"].as_str().unwrap())
            .collect();
        let wanted: &[&str] = match tier {
            1 => &["/configs"],
            4 => &["/configs", "/workspace", "/var/run/docker.sock"],
            _ => &["/configs", "/workspace"],
        };
        assert_eq!(targets, wanted);
        assert_eq!(host["Privileged"] == true, tier >= 3);
        assert_eq!(host["PidMode"] == "host", tier >= 3);
        assert_eq!(host["NetworkMode"] == "host", tier == 4);
        assert_eq!(
            host["PortBindings"].is_null() && body["NetworkingConfig"].is_null(),
            tier == 4
        );
        assert_eq!(host["ReadonlyRootfs"] == true, tier == 1);
        assert_eq!(host["CapDrop"][0] == "ALL", tier == 1);
        assert_eq!(host["SecurityOpt"][0] == "no-new-privileges", tier <= 2);
        assert_eq!(body["User"] == "1000:1000", tier == 1);
        assert_eq!(
            host["RestartPolicy"]["Name"], "unless-stopped",
            "since the start"
        );
        // The fake engine has two processors.
        let (memory, cpus, pids) = [
            (256_i64, 500_i64, 128),
            (512, 1000, 512),
            (2048, 2000, 4096),
            (4096, 2000, 16_384),
        ][tier as usize - 1];
        assert_eq!(host["Memory"], memory << 20);
        assert_eq!(host["NanoCpus"], cpus * 1_000_000);
        assert_eq!(host["PidsLimit"], pids);
        let env = body["Env"].as_array().unwrap();
        assert!(
            env.contains(&"GREETING=hello=world".into())
                && env.contains(&format!("TIER={tier}").into())
        );
    }
}

/// The size of a read-back is limited, whatever the engine sends.
#[tokio::test]
async fn the_size_of_a_read_back_is_limited() {
    let (fake, world) = world().await;
    let flood = |files: &mut Files| {
        let mut flood = files["config.yaml"].clone();
        flood.bytes = Some(vec![b'x'; limits::SEED_ARCHIVE_BYTES as usize]);
        files.insert("flood".to_owned(), flood);
    };
    fake.fault(
        When::Call("PUT containers/ws-a/archive"),
        Fault::Tear(flood),
    );
    assert_eq!(
        world.up(&[workspace("a")]).await.failure("a"),
        "verify engine-refused"
    );
    assert!(fake.containers().is_empty() && fake.volumes().is_empty());
}

#[tokio::test]
async fn an_engine_over_tcp_works_like_a_local_one() {
    let fake = FakeDocker::start();
    let tcp = OverTcp::to(&fake.endpoint()).await;
    scenario::a_second_up_changes_nothing(&World::new(&tcp.endpoint, "agent:1").await).await;
}

#[tokio::test]
async fn an_unreachable_engine_is_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let endpoint = format!("unix://{}", path.display());
    let reason = async |endpoint: &str| match Docker::connect(Some(endpoint)).await {
        Err(EngineError::Away { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&endpoint).await, "there is no such socket");
    let silent = UnixListener::bind(&path).unwrap();
    assert_eq!(reason(&endpoint).await, "no answer within 2 seconds");
    drop(silent);
    assert!(reason(&endpoint).await.starts_with("Connection refused"));
    assert!(
        reason("tcp://127.0.0.1:1")
            .await
            .starts_with("Connection refused")
    );
    assert!(reason("ssh://host").await.contains("is not supported"));
    assert!(
        reason("/var/run/docker.sock")
            .await
            .contains("begins with unix://")
    );
}

#[tokio::test]
async fn a_second_up_changes_nothing() {
    scenario::a_second_up_changes_nothing(&world().await.1).await;
}

#[tokio::test]
async fn a_changed_workspace_is_replaced() {
    scenario::a_changed_workspace_is_replaced(&world().await.1).await;
}

#[tokio::test]
async fn down_leaves_nothing() {
    let (fake, world) = world().await;
    scenario::down_leaves_nothing(&world).await;
    assert!(
        fake.containers().is_empty() && fake.volumes().is_empty() && fake.networks().is_empty()
    );
}

#[tokio::test]
async fn a_missing_image_fails_only_its_workspace() {
    scenario::a_missing_image_fails_only_its_workspace(&mut world().await.1).await;
}

#[tokio::test]
async fn resources_of_others_are_not_changed() {
    let (fake, world) = world().await;
    scenario::resources_of_others_are_not_changed(&world, &fake.endpoint()).await;
}

#[tokio::test]
async fn a_mount_that_leads_out_of_its_root_is_refused() {
    scenario::a_mount_that_leads_out_of_its_root_is_refused(&mut world().await.1).await;
}

/// A workspace is asked itself whether it is ready, and its engine only now and then whether it still runs.
#[tokio::test]
async fn the_engine_is_not_asked_before_each_health_check() {
    let (fake, mut world) = world().await;
    world.options.wait = Some(Duration::from_secs(30));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fake.answer_at(listener.local_addr().unwrap().port());
    let checks = AtomicUsize::new(0);
    let answers = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let is_early = checks.fetch_add(1, Ordering::SeqCst) < 4;
            let status = if is_early { "503 not yet" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let workspaces = [workspace("a")];
    let outcomes = tokio::select! {
        outcomes = world.up(&workspaces) => outcomes,
        () = answers => unreachable!("it accepts for ever"),
    };
    assert!(outcomes.is_up("a"), "{outcomes:?}");
    let calls = fake.calls();
    let asked = calls
        .iter()
        .filter(|call| *call == "GET containers/ws-a/json");
    let (asked, checks) = (asked.count(), checks.load(Ordering::SeqCst));
    assert!(asked < checks, "{asked} times for {checks} checks");
}

/// The port of a container that has ended is free: what answers there now may be another workspace. The fake engine reports
/// the exit code 0, so the workspace counts as done, without an address.
#[tokio::test]
async fn a_workspace_that_ends_while_its_port_answers_has_no_address() {
    let (fake, mut world) = world().await;
    world.options.wait = Some(Duration::from_secs(30));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fake.answer_at(listener.local_addr().unwrap().port());
    let answers = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            fake.end("ws-a");
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    };
    let workspaces = [workspace("a")];
    let outcomes = tokio::select! {
        outcomes = world.up(&workspaces) => outcomes,
        () = answers => unreachable!("it accepts for ever"),
    };
    let outcomes = format!("{outcomes:?}");
    assert!(outcomes.contains("Up(None)"), "{outcomes}");
}

//! Tests of a replacement, call by call. Whatever fails, the old or the new generation runs and never both (the fake
//! engine checks that), and after the next run exactly one of them is left.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use orghost::model::event::Before;
use orghost::model::plan::{EnvVar, Origin, Workspace};
use orghost::provision::concurrency::FairSemaphore;
use orghost::provision::{Outcome, Prune};

use crate::support::fake_docker::{FakeDocker, Fault, When};
use crate::support::world::{World, workspace};

/// The calls of one replacement, after the org's own calls.
const REPLACE: [&str; 13] = [
    "POST volumes/create ws-a-1-configs",
    "POST volumes/create ws-a-workspace",
    "POST containers/create ws-a-1",
    "PUT containers/ws-a-1/archive",
    "GET containers/ws-a-1/archive",
    "POST containers/ws-a/stop",
    "POST containers/ws-a-1/update",
    "POST containers/ws-a-1/start",
    "GET containers/ws-a-1/json",
    "GET containers/ws-a/json",
    "DELETE containers/ws-a",
    "GET volumes/ws-a-configs",
    "DELETE volumes/ws-a-configs",
];
/// The step of each call. The ninth may fail without harm.
const STEPS: [&str; 13] = [
    "volumes", "volumes", "create", "seed", "verify", "stop", "start", "start", "", "remove",
    "remove", "remove", "remove",
];
/// From this call on, the new generation runs.
const STARTED: usize = 7;
const ORG: [&str; 2] = ["GET containers/json", "GET networks"];

/// Workspaces `a` and `b` run, and the recorded calls are cleared.
async fn running() -> (FakeDocker, World) {
    let fake = FakeDocker::start();
    let world = World::new(&fake.endpoint(), "agent:1").await;
    let outcomes = world.up(&[workspace("a"), workspace("b")]).await;
    assert!(outcomes.is_up("a") && outcomes.is_up("b"), "{outcomes:?}");
    fake.forget();
    (fake, world)
}

/// The same workspace with one more variable, so with another spec.
fn changed(key: &str) -> Workspace {
    let mut workspace = workspace(key);
    workspace.env.push(EnvVar {
        name: "CHANGED".to_owned(),
        value: "yes".to_owned(),
        secret: false,
        origin: Origin::Plugin,
    });
    workspace
}

/// `a` has changed, `b` has not.
fn change() -> [Workspace; 2] {
    [changed("a"), workspace("b")]
}

/// The running containers of `a`.
fn running_of_a(fake: &FakeDocker) -> Vec<String> {
    let containers = fake.containers().into_iter();
    let of_a = containers.filter(|c| c.starts_with("ws-a") && c.ends_with(" running"));
    of_a.collect()
}

/// Checks that exactly one generation of each workspace is left and runs.
fn one_generation_is_left(fake: &FakeDocker, case: &str) {
    let containers = fake.containers();
    let running = running_of_a(fake);
    assert_eq!(running.len(), 1, "{case}: {containers:?}");
    let name = running[0].trim_end_matches(" running");
    assert_eq!(containers, [&running[0], "ws-b running"], "{case}");
    let mut volumes = vec![format!("{name}-configs"), "ws-a-workspace".to_owned()];
    volumes.extend(["ws-b-configs", "ws-b-workspace"].map(str::to_owned));
    volumes.sort();
    assert_eq!(fake.volumes(), volumes, "{case}");
}

#[tokio::test]
async fn the_new_generation_is_verified_before_the_old_one_is_stopped() {
    let (fake, world) = running().await;
    let outcomes = world.up(&change()).await;
    assert!(
        outcomes.is_up("a") && outcomes.is_unchanged("b"),
        "{outcomes:?}"
    );
    assert_eq!(fake.calls(), [&ORG[..], &REPLACE[..]].concat());
    one_generation_is_left(&fake, "replaced");
    // Other workspaces reach it by the same name as before.
    let body = fake.body("ws-a-1");
    let network = &body["HostConfig"]["NetworkMode"];
    let endpoint = &body["NetworkingConfig"]["EndpointsConfig"][network.as_str().unwrap()];
    let id = body["Labels"]["orghost.id"].as_str().unwrap();
    assert_eq!(endpoint["Aliases"][0], format!("ws-{id}"));
}

/// A container of an older version without the generation label counts as the first generation.
#[tokio::test]
async fn a_container_without_a_generation_is_the_first_generation() {
    let (fake, mut world) = running().await;
    fake.drop_label("orghost.generation");
    let unchanged = world.up(&[workspace("a"), workspace("b")]).await;
    assert!(unchanged.is_unchanged("a"), "{unchanged:?}");
    world.options.wait = Some(Duration::from_millis(50));
    let outcomes = world.up(&[changed("a")]).await;
    assert_eq!(outcomes.failure("a"), "ready not-ready", "{outcomes:?}");
    assert_eq!(running_of_a(&fake), ["ws-a running"]);
    one_generation_is_left(&fake, "taken back");
    world.options.wait = None;
    assert!(world.up(&change()).await.is_up("a"));
    assert_eq!(running_of_a(&fake), ["ws-a-1 running"]);
    one_generation_is_left(&fake, "replaced");
}

#[tokio::test]
async fn generation_numbers_increase() {
    let (fake, world) = running().await;
    world.up(&change()).await;
    world.up(&[workspace("a"), workspace("b")]).await;
    assert_eq!(fake.containers(), ["ws-a-2 running", "ws-b running"]);
    one_generation_is_left(&fake, "twice replaced");
}

#[tokio::test]
async fn restart_replaces_in_the_same_order() {
    let (fake, world) = running().await;
    let restarted = world.restart(&workspace("a")).await;
    assert!(matches!(restarted, Outcome::Up(Some(_))), "{restarted:?}");
    let calls = fake.calls();
    assert_eq!(calls[calls.len() - REPLACE.len()..], REPLACE);
    one_generation_is_left(&fake, "restarted");
}

#[tokio::test]
async fn a_missing_image_does_not_stop_the_old_generation() {
    let (fake, mut world) = running().await;
    world.image = "team/absent".to_owned();
    let outcomes = world.up(&[workspace("a"), workspace("b")]).await;
    for key in ["a", "b"] {
        assert_eq!(outcomes.failure(key), "create image-missing");
        let before = outcomes.before(key);
        assert!(
            matches!(before, Some(Before::Runs { url: Some(_) })),
            "{before:?}"
        );
    }
    one_generation_is_left(&fake, "image missing");
    let stops = fake.calls().into_iter().filter(|c| c.ends_with("/stop"));
    assert_eq!(stops.count(), 0);
    // The store still knows the address.
    let rows = world.store.workspaces("acme").await.unwrap();
    assert!(rows.iter().all(|row| row.url.is_some()), "{rows:?}");
}

/// Every call fails in turn, in every way: one of the two generations runs, and the next run leaves exactly one.
#[tokio::test]
async fn a_replacement_survives_the_failure_of_any_call() {
    let faults: [fn() -> Fault; 4] = [
        || Fault::Answer(500, "something is wrong"),
        || Fault::Answer(500, "write /x: no space left on device"),
        || Fault::CutBefore,
        || Fault::CutAfter,
    ];
    let codes = ["engine-refused", "no-space", "engine-away", "engine-away"];
    for (nth, (call, step)) in REPLACE.iter().zip(STEPS).enumerate() {
        for (fault, code) in faults.iter().zip(codes) {
            let (fake, world) = running().await;
            let fault = fault();
            let case = format!(
                "{call} fails with {code}, performed: {}",
                matches!(fault, Fault::CutAfter)
            );
            fake.fault(When::Call(call), fault);
            let outcomes = world.up(&change()).await;
            assert!(outcomes.is_unchanged("b"), "{case}: {outcomes:?}");
            match step {
                "" => assert!(outcomes.is_up("a"), "{case}: {outcomes:?}"),
                step => assert_eq!(outcomes.failure("a"), format!("{step} {code}"), "{case}"),
            }
            let wanted = match nth <= STARTED {
                true => "ws-a running",
                false => "ws-a-1 running",
            };
            assert_eq!(running_of_a(&fake), [wanted], "{case}");
            if nth <= STARTED {
                one_generation_is_left(&fake, &case);
                let before = outcomes.before("a");
                assert!(
                    matches!(before, Some(Before::Runs { .. } | Before::RunsAgain { .. })),
                    "{case}: {before:?}"
                );
            }

            // The next run repairs it.
            fake.forget();
            let again = world.up(&change()).await;
            assert!(again.is_unchanged("b"), "{case}: {again:?}");
            assert!(
                again.is_up("a") || again.is_unchanged("a"),
                "{case}: {again:?}"
            );
            one_generation_is_left(&fake, &case);
            let current = world.current(&changed("a")).await.unwrap();
            assert_eq!(current.spec, world.spec(&changed("a")).digest, "{case}");
        }
    }
}

/// The host is killed during each call, performed or not: the two never run together, and the next run leaves exactly
/// one.
#[tokio::test]
async fn the_next_up_completes_a_replacement_of_a_killed_host() {
    for (nth, call) in REPLACE.iter().enumerate() {
        for performed in [false, true] {
            let case = format!("vanished at {call}, performed: {performed}");
            let (fake, world) = running().await;
            let gone = Arc::new(tokio::sync::Notify::new());
            let reached = gone.clone();
            fake.fault(
                When::Call(call),
                Fault::Meanwhile(Box::new(move || reached.notify_one())),
            );
            if !performed {
                fake.fault(When::Call(call), Fault::Hang);
            }
            let org = change();
            tokio::select! {
                biased;
                () = gone.notified() => {}
                ended = world.try_up(&org) => panic!("{case}: not reached: {ended:?}"),
            }
            if performed {
                // The engine finishes the call although the host is gone.
                while !fake.is_idle() {
                    tokio::task::yield_now().await;
                }
            }
            // Between the stop of the old generation and the start of the new one, none runs.
            let may_be_down = (5..=STARTED).contains(&nth);
            let at_least = usize::from(!may_be_down);
            assert!(running_of_a(&fake).len() >= at_least, "{case}");
            fake.forget();
            let outcomes = world.up(&org).await;
            let good = |key| outcomes.is_up(key) || outcomes.is_unchanged(key);
            assert!(good("a") && good("b"), "{case}: {outcomes:?}");
            one_generation_is_left(&fake, &case);
        }
    }
}

/// A host killed between the stop and the start leaves none running. When the next run fails too, the old one runs
/// again.
#[tokio::test]
async fn the_old_generation_runs_again_when_the_next_up_fails_too() {
    let (fake, world) = running().await;
    let gone = Arc::new(tokio::sync::Notify::new());
    let reached = gone.clone();
    let call = "POST containers/ws-a-1/update";
    fake.fault(
        When::Call(call),
        Fault::Meanwhile(Box::new(move || reached.notify_one())),
    );
    fake.fault(When::Call(call), Fault::Hang);
    let org = change();
    tokio::select! {
        biased;
        () = gone.notified() => {}
        ended = world.try_up(&org) => panic!("{ended:?}"),
    }
    assert!(running_of_a(&fake).is_empty());
    fake.forget();
    fake.fault(
        When::Call("PUT containers/ws-a-2/archive"),
        Fault::Answer(500, "no"),
    );
    let outcomes = world.up(&org).await;
    assert_eq!(outcomes.failure("a"), "seed engine-refused");
    assert!(matches!(
        outcomes.before("a"),
        Some(Before::RunsAgain { .. })
    ));
    assert_eq!(running_of_a(&fake), ["ws-a running"]);
    one_generation_is_left(&fake, "taken back");
}

/// A replacement that is cancelled at any call before the new generation started is rolled back to the old one.
#[tokio::test]
async fn a_cancelled_replacement_is_rolled_back() {
    for call in REPLACE.iter().take(STARTED) {
        let (fake, world) = running().await;
        let cancel = world.cancel.clone();
        fake.fault(
            When::Call(call),
            Fault::Meanwhile(Box::new(move || cancel.cancel())),
        );
        let outcomes = world.up(&change()).await;
        // The start is a single step: it finishes, and a cancellation after it does not undo it.
        let failed = outcomes.failure("a").ends_with(" cancelled");
        assert!(failed || outcomes.is_up("a"), "{call}: {outcomes:?}");
        assert_eq!(failed, !call.ends_with("/update"), "{call}");
        one_generation_is_left(&fake, call);
    }
}

#[tokio::test]
async fn a_replacement_that_is_not_ready_in_time_is_rolled_back() {
    let (fake, mut world) = running().await;
    world.options.wait = Some(Duration::from_millis(50));
    let outcomes = world.up(&[changed("a")]).await;
    assert_eq!(outcomes.failure("a"), "ready not-ready", "{outcomes:?}");
    assert!(matches!(
        outcomes.before("a"),
        Some(Before::RunsAgain { url: Some(_) })
    ));
    assert_eq!(running_of_a(&fake), ["ws-a running"]);
    one_generation_is_left(&fake, "not ready");
}

/// A host that is killed during the wait leaves the new generation running and unproven. The next run waits again and
/// rolls back when it does not become ready.
#[tokio::test]
async fn the_next_up_resumes_an_interrupted_wait() {
    for holds in [true, false] {
        let (fake, mut world) = running().await;
        let gone = Arc::new(tokio::sync::Notify::new());
        let reached = gone.clone();
        let call = "GET containers/ws-a-1/json";
        fake.fault(
            When::Call(call),
            Fault::Meanwhile(Box::new(move || reached.notify_one())),
        );
        fake.fault(When::Call(call), Fault::Hang);
        let org = change();
        tokio::select! {
            biased;
            () = gone.notified() => {}
            ended = world.try_up(&org) => panic!("{ended:?}"),
        }
        assert_eq!(
            fake.containers(),
            ["ws-a exited", "ws-a-1 running", "ws-b running"]
        );
        fake.forget();
        if !holds {
            world.options.wait = Some(Duration::from_millis(50));
        }
        let outcomes = world.up(&[changed("a")]).await;
        let wanted = match holds {
            true => "ws-a-1 running",
            false => "ws-a running",
        };
        assert_eq!(outcomes.is_up("a"), holds, "{outcomes:?}");
        assert_eq!(running_of_a(&fake), [wanted]);
        one_generation_is_left(&fake, wanted);
    }
}

#[tokio::test]
async fn keep_failed_keeps_a_failed_replacement_until_the_next_up() {
    let (fake, mut world) = running().await;
    world.keep_failed = true;
    world.options.wait = Some(Duration::from_millis(50));
    let outcomes = world.up(&[changed("a")]).await;
    assert_eq!(outcomes.failure("a"), "ready not-ready", "{outcomes:?}");
    assert_eq!(outcomes.left_behind("a"), ["the container of a"]);
    assert!(matches!(outcomes.before("a"), Some(Before::Stopped { .. })));
    assert_eq!(
        fake.containers(),
        ["ws-a exited", "ws-a-1 running", "ws-b running"]
    );
    // A repaired template replaces the kept container.
    world.keep_failed = false;
    world.options.wait = None;
    let outcomes = world.up(&[workspace("a")]).await;
    assert!(outcomes.is_up("a"), "{outcomes:?}");
    assert_eq!(running_of_a(&fake), ["ws-a-2 running"]);
    one_generation_is_left(&fake, "mended");
}

/// When the engine restarted the old generation by itself, for example after a reboot, the newer one is kept.
#[tokio::test]
async fn two_running_generations_become_one() {
    let (fake, world) = running().await;
    fake.fault(
        When::Call("DELETE containers/ws-a"),
        Fault::Answer(500, "busy"),
    );
    world.up(&change()).await;
    fake.forget();
    fake.start_again("ws-a");
    let outcomes = world.up(&change()).await;
    assert!(outcomes.is_up("a"), "{outcomes:?}");
    assert_eq!(running_of_a(&fake), ["ws-a-1 running"]);
    one_generation_is_left(&fake, "one of two");
}

#[tokio::test]
async fn down_and_prune_remove_every_generation() {
    for prune in [false, true] {
        let (fake, mut world) = running().await;
        fake.fault(
            When::Call("DELETE containers/ws-a"),
            Fault::Answer(500, "busy"),
        );
        world.up(&change()).await;
        fake.forget();
        assert_eq!(
            fake.containers(),
            ["ws-a exited", "ws-a-1 running", "ws-b running"]
        );
        if prune {
            world.options.prune = Prune::AtMostHalf;
            world.up(&[workspace("b")]).await;
            assert_eq!(fake.containers(), ["ws-b running"]);
        } else {
            let removal = world.down(true).await;
            assert_eq!(removal.removed.len(), 2, "{removal:?}");
            assert!(fake.containers().is_empty() && fake.volumes().is_empty());
        }
    }
}

fn three(of: fn(&str) -> Workspace) -> [Workspace; 3] {
    ["a", "b", "c"].map(of)
}

#[tokio::test]
async fn max_failures_stops_an_update_at_the_failed_canary() {
    let (fake, mut world) = running().await;
    world.up(&three(workspace)).await;
    fake.forget();
    world.options.max_failures = NonZeroUsize::new(1);
    world.permits = FairSemaphore::new(3);
    fake.fault(
        When::Call("PUT containers/ws-a-1/archive"),
        Fault::Answer(500, "no"),
    );
    let outcomes = world.up(&three(changed)).await;
    assert_eq!(outcomes.failure("a"), "seed engine-refused");
    for key in ["b", "c"] {
        let outcome = &outcomes.0[key];
        assert!(matches!(outcome, Outcome::Skipped(_)), "{outcome:?}");
    }
    let wanted = ["ws-a running", "ws-b running", "ws-c running"];
    assert_eq!(fake.containers(), wanted);
    let touched = |call: &String| call.contains("ws-b") || call.contains("ws-c");
    assert!(!fake.calls().iter().any(touched), "{:?}", fake.calls());

    // Without `--max-failures` the others are replaced.
    world.options.max_failures = None;
    let outcomes = world.up(&three(changed)).await;
    assert_eq!(outcomes.failure("a"), "seed engine-refused");
    assert!(outcomes.is_up("b") && outcomes.is_up("c"), "{outcomes:?}");
}

#[tokio::test]
async fn the_canary_is_replaced_before_the_others() {
    let (fake, mut world) = running().await;
    world.up(&three(workspace)).await;
    fake.forget();
    world.options.max_failures = NonZeroUsize::new(1);
    world.permits = FairSemaphore::new(3);
    let outcomes = world.up(&three(changed)).await;
    assert!(
        ["a", "b", "c"].iter().all(|key| outcomes.is_up(key)),
        "{outcomes:?}"
    );
    let calls = fake.calls();
    let at = |wanted: &str| calls.iter().position(|call| call == wanted).unwrap();
    let canary = at("DELETE volumes/ws-a-configs");
    for other in ["ws-b-1", "ws-c-1"] {
        assert!(
            canary < at(&format!("POST volumes/create {other}-configs")),
            "{calls:#?}"
        );
    }
}

#[tokio::test]
async fn prune_of_more_than_half_needs_confirmation() {
    let (fake, mut world) = running().await;
    world.up(&three(workspace)).await;
    fake.forget();
    let wanted = ["ws-a running", "ws-b running", "ws-c running"];
    world.options.prune = Prune::AtMostHalf;
    for left in [&three(workspace)[..0], &three(workspace)[..1]] {
        let refused = world.try_up(left).await.unwrap_err();
        let doomed = 3 - left.len();
        let words = format!("{doomed} of the 3 workspaces that run");
        assert!(refused.to_string().starts_with(&words), "{refused}");
        assert_eq!(fake.containers(), wanted);
    }
    let less = world.try_up(&three(workspace)[..2]).await.unwrap();
    assert_eq!(less.orphans, [""; 0]);
    assert_eq!(fake.containers(), wanted[..2]);
    world.options.prune = Prune::Any;
    world.try_up(&[]).await.unwrap();
    assert!(fake.containers().is_empty());
}

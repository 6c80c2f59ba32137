//! Tests on a real Docker engine with the image `orghost-demo:latest` (`scripts/docker-engine`, `scripts/demo-image`).
//! A test fails when either is missing.

use std::time::{Duration, Instant};

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, ListNetworksOptions,
    RestartContainerOptions, UploadToContainerOptionsBuilder,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use orghost::config::Environment;
use orghost::limits;
use orghost::model::event::Operation;
use orghost::model::ids::WorkspaceId;
use orghost::model::plan::{Content, SeedFile};
use orghost::provision::concurrency::FairSemaphore;
use orghost::provision::engine::Engine as _;
use orghost::provision::engine::docker::Docker;
use orghost::provision::engine::error::EngineError;
use orghost::provision::generation::Generation;
use orghost::provision::observed::{State, Volume};
use orghost::provision::seed::OWNER;

use crate::support::scenario;
use crate::support::tcp::OverTcp;
use crate::support::world::{World, workspace};

const IMAGE: &str = "orghost-demo:latest";

/// A world that takes its org down at the end, even when its test fails.
struct Real {
    endpoint: String,
    world: Option<World>,
}

impl Real {
    async fn new() -> Self {
        let endpoint = Environment::of_process();
        let endpoint = endpoint
            .text("DOCKER_HOST")
            .unwrap_or("unix:///var/run/docker.sock");
        Self {
            endpoint: endpoint.to_owned(),
            world: Some(World::new(endpoint, IMAGE).await),
        }
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap()
    }

    fn client(&self) -> bollard::Docker {
        bollard::Docker::connect_with_unix(&self.endpoint, 30, bollard::API_DEFAULT_VERSION)
            .unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // Uses its own thread and runtime, because a panicked test has no runtime to block on.
        let Some(mut world) = self.world.take() else {
            return;
        };
        let endpoint = self.endpoint.clone();
        let down = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                world.engine = Docker::connect(Some(&endpoint)).await.unwrap();
                world.down(true).await
            })
        });
        let removal = down.join();
        if !std::thread::panicking() {
            let removal = removal.unwrap();
            assert!(removal.failed.is_empty(), "{removal:?}");
        }
    }
}

#[tokio::test]
async fn a_second_up_changes_nothing() {
    scenario::a_second_up_changes_nothing(Real::new().await.world()).await;
}

#[tokio::test]
async fn a_changed_workspace_is_replaced() {
    scenario::a_changed_workspace_is_replaced(Real::new().await.world()).await;
}

/// The way of an engine on another machine.
#[tokio::test]
async fn seeds_are_archives_over_tcp() {
    let mut real = Real::new().await;
    let tcp = OverTcp::to(&real.endpoint).await;
    real.world().engine = Docker::connect(Some(&tcp.endpoint)).await.unwrap();
    scenario::a_second_up_changes_nothing(real.world()).await;
    scenario::a_changed_workspace_is_replaced(real.world()).await;
}

#[tokio::test]
async fn a_failed_replacement_is_rolled_back() {
    scenario::a_failed_replacement_is_rolled_back(Real::new().await.world()).await;
}

#[tokio::test]
async fn down_leaves_nothing() {
    let mut real = Real::new().await;
    scenario::down_leaves_nothing(real.world()).await;
    let own = format!(
        "orghost.instance={}",
        real.world().store.instance().as_str()
    );
    let networks = real
        .client()
        .list_networks(None::<ListNetworksOptions>)
        .await;
    let is_own = |label: (&String, &String)| format!("{}={}", label.0, label.1) == own;
    let left = networks
        .unwrap()
        .into_iter()
        .filter(|n| n.labels.iter().flatten().any(is_own));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_missing_image_fails_only_its_workspace() {
    scenario::a_missing_image_fails_only_its_workspace(Real::new().await.world()).await;
}

#[tokio::test]
async fn resources_of_others_are_not_changed() {
    let mut real = Real::new().await;
    let endpoint = real.endpoint.clone();
    scenario::resources_of_others_are_not_changed(real.world(), &endpoint).await;
}

#[tokio::test]
async fn a_mount_that_leads_out_of_its_root_is_refused() {
    scenario::a_mount_that_leads_out_of_its_root_is_refused(Real::new().await.world()).await;
}

/// The demonstration runtime reads its config first and answers only after that.
#[tokio::test]
async fn the_seed_is_there_before_the_runtime_starts() {
    let mut real = Real::new().await;
    let world = real.world();
    world.options.wait = Some(Duration::from_secs(30));
    world.permits = FairSemaphore::new(4);
    let keys = ["pm", "pm/a", "pm/b", "pm/c", "qa"];
    let outcomes = world.up(&keys.map(workspace)).await;
    assert!(keys.iter().all(|key| outcomes.is_up(key)), "{outcomes:?}");
    for seen in world.engine.observe(&world.org()).await.unwrap() {
        assert_eq!(seen.state, State::Running, "{seen:?}");
    }
    let id = Generation::first(&world.spec(&workspace("pm")).id);
    let lines = world.engine.last_lines(&id, 20).await.unwrap();
    assert!(!lines.is_empty(), "the log has a line of the start");
    let log = world.engine.logs(&id, None, false);
    let log: Vec<_> = log.try_collect().await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&log.concat()).lines().count(),
        lines.len()
    );
}

/// Files and folders belong to the user of the agent and have the modes of the manifest.
#[tokio::test]
async fn seeded_files_have_their_owner_and_modes() {
    let mut real = Real::new().await;
    real.world().up(&[workspace("pm")]).await;
    let id = real.world().spec(&workspace("pm")).id;
    let options = DownloadFromContainerOptionsBuilder::default();
    let client = real.client();
    let archive =
        client.download_from_container(&format!("ws-{id}"), Some(options.path("/configs").build()));
    let archive: Vec<u8> = archive.map(|chunk| chunk.unwrap().to_vec()).concat().await;
    let mut archive = tar::Archive::new(archive.as_slice());
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (OWNER, OWNER)
        );
        format!(
            "{} {:o}",
            entry.path().unwrap().display(),
            header.mode().unwrap() & 0o777
        )
    });
    let mut entries: Vec<String> = entries.collect();
    entries.sort();
    let wanted = [
        "configs/ 755",
        "configs/channels.yaml 600",
        "configs/config.yaml 644",
        "configs/prompts/ 755",
        "configs/prompts/deep/ 755",
        "configs/prompts/deep/role.md 644",
    ];
    assert_eq!(entries, wanted);
}

/// The largest seed that policy allows, as one large file and as many small ones.
#[tokio::test]
async fn the_largest_allowed_seeds_are_stored() {
    let mut real = Real::new().await;
    let file = |path: String, bytes: Vec<u8>| SeedFile {
        path,
        content: Content::Inline(bytes),
        secret: false,
    };
    let (mut one, mut many) = (workspace("one"), workspace("many"));
    let half = (limits::SEED_BYTES / 2) as usize;
    one.files.push(file("half".to_owned(), vec![b'x'; half]));
    one.files
        .push(file("rest".to_owned(), vec![b'y'; half - 4096]));
    for n in many.files.len()..limits::SEED_FILES {
        // This path is longer than the name field of a tar header.
        let folder = "a-rather-long-name-of-a-folder/".repeat(4);
        many.files.push(file(
            format!("{folder}{}/{n}", n % 7),
            n.to_string().into_bytes(),
        ));
    }
    let outcomes = real.world().up(&[one, many]).await;
    assert!(
        outcomes.is_up("one") && outcomes.is_up("many"),
        "{outcomes:?}"
    );
}

/// The engine accepts every limit of a tier. Nothing privileged is started, because some machines forbid it.
#[tokio::test]
async fn every_tiers_limits_reach_the_engine() {
    let mut real = Real::new().await;
    real.world().options.wait = Some(Duration::from_secs(30));
    for tier in 1..=4 {
        let mut pm = workspace("pm");
        pm.tier = tier;
        let spec = real.world().spec(&pm);
        if tier <= 2 {
            let outcomes = real.world().up(&[pm]).await;
            assert!(outcomes.is_up("pm"), "tier {tier}: {outcomes:?}");
        } else {
            let world = real.world();
            let operation = world.store.begin("acme", Operation::Up).await.unwrap();
            let first = Generation::first(&spec.id);
            world.engine.remove(&first).await.unwrap();
            let created = world.engine.create(&spec, &first, &operation, None);
            created.await.unwrap();
        }
        let name = match tier {
            2 => format!("ws-{}-1", spec.id),
            _ => format!("ws-{}", spec.id),
        };
        let seen = real
            .client()
            .inspect_container(&name, None::<InspectContainerOptions>)
            .await
            .unwrap();
        let host = seen.host_config.unwrap();
        assert_eq!(
            host.memory,
            Some([256, 512, 2048, 4096][usize::from(tier) - 1] << 20)
        );
        assert_eq!(
            host.pids_limit,
            Some([128, 512, 4096, 16_384][usize::from(tier) - 1])
        );
        assert_eq!(host.privileged, Some(tier >= 3));
        assert_eq!(host.pid_mode.as_deref() == Some("host"), tier >= 3);
        assert_eq!(host.readonly_rootfs, Some(tier == 1));
        assert_eq!(host.cap_drop.is_some(), tier == 1);
        assert_eq!(host.tmpfs.is_some(), tier == 1);
        assert_eq!(host.network_mode.as_deref() == Some("host"), tier == 4);
        let policy = if tier <= 2 { "unless-stopped" } else { "no" };
        assert_eq!(host.restart_policy.unwrap().name.unwrap().as_ref(), policy);
        let mut mounts: Vec<_> = host
            .mounts
            .unwrap()
            .into_iter()
            .map(|m| m.target.unwrap())
            .collect();
        mounts.sort();
        let wanted: &[&str] = match tier {
            1 => &["/configs"],
            4 => &["/configs", "/var/run/docker.sock", "/workspace"],
            _ => &["/configs", "/workspace"],
        };
        assert_eq!(mounts, wanted, "tier {tier}");
    }
}

/// The image runs as root without the capability to read files of other users.
#[tokio::test]
async fn a_tier_1_workspace_can_read_its_secrets() {
    let mut real = Real::new().await;
    real.world().options.wait = Some(Duration::from_secs(30));
    let mut pm = workspace("pm");
    pm.tier = 1;
    // The demonstration runtime exits when it cannot read this file.
    let config = pm.files.iter_mut().find(|file| file.path == "config.yaml");
    config.unwrap().secret = true;
    let outcomes = real.world().up(&[pm]).await;
    assert!(outcomes.is_up("pm"), "{outcomes:?}");
}

/// A workspace that crashes again and again is reported as such, and the next `up` replaces it.
#[tokio::test]
async fn a_crash_loop_is_detected_and_replaced_by_the_next_up() {
    let mut real = Real::new().await;
    let pm = workspace("pm");
    real.world().up(std::slice::from_ref(&pm)).await;
    let id = real.world().spec(&pm).id;
    let name = format!("ws-{id}");
    let id = Generation::first(&id);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    tar.append_data(&mut header, "config.yaml", std::io::empty())
        .unwrap();
    let body = bollard::body_full(tar.into_inner().unwrap().into());
    let options = UploadToContainerOptionsBuilder::default()
        .path("/configs")
        .build();
    let client = real.client();
    client
        .upload_to_container(&name, Some(options), body)
        .await
        .unwrap();
    client
        .restart_container(&name, None::<RestartContainerOptions>)
        .await
        .unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    let world = real.world();
    let docker = &world.engine;
    loop {
        let seen = docker.inspect(&id).await.unwrap().state;
        let listed = docker.observe(&world.org()).await.unwrap();
        let crash = |state| {
            matches!(
                state,
                State::Restarting {
                    exit_code: Some(78),
                    ..
                }
            )
        };
        let restarts = match seen {
            State::Restarting { restarts, .. } => restarts,
            _ => 0,
        };
        // The engine doubles its pause after each crash. Between the pauses it reports the container as running, and a
        // list request cannot see more.
        if crash(seen) && restarts > 3 && crash(listed[0].state) {
            break;
        }
        assert!(Instant::now() < deadline, "{seen:?} {listed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lines = docker.last_lines(&id, 1).await.unwrap();
    assert!(lines[0].contains("config.yaml"), "{lines:?}");
    let outcomes = real.world().up(&[pm]).await;
    assert!(outcomes.is_up("pm"), "{outcomes:?}");
    let seen = real.world().current(&workspace("pm")).await.unwrap();
    assert_eq!((seen.state, seen.generation.number), (State::Running, 1));
}

/// Removing, stopping and starting an absent resource is not an error.
#[tokio::test]
async fn removing_an_absent_resource_succeeds() {
    let mut real = Real::new().await;
    let docker = &real.world().engine;
    let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
    assert!(docker.find(&id).await.unwrap().is_empty());
    let id = Generation::first(&id);
    docker.stop(&id).await.unwrap();
    docker.remove(&id).await.unwrap();
    docker
        .remove_volume(&Volume::Configs(id.clone()))
        .await
        .unwrap();
    let not_found = docker.inspect(&id).await.unwrap_err();
    let name = format!("ws-{}", id.id);
    assert_eq!(not_found, EngineError::NotFound(name));
    assert_eq!(docker.last_lines(&id, 5).await.unwrap_err(), not_found);
}

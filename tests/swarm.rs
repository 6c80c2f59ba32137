//! Runs the engine contract and tests of swarm features on a real swarm of one node (`scripts/docker-swarm`) with the
//! image `orghost-demo:latest`. A test fails when either is missing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bollard::models::{
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{
    InspectContainerOptions, InspectServiceOptions, ListContainersOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use orghost::config::Environment;
use orghost::limits;
use orghost::model::event::Operation;
use orghost::model::ids::WorkspaceId;
use orghost::model::plan::{Content, SeedFile};
use orghost::provision::concurrency::FairSemaphore;
use orghost::provision::engine::Engine as _;
use orghost::provision::engine::error::EngineError;
use orghost::provision::engine::swarm::Swarm;
use orghost::provision::generation::Generation;
use orghost::provision::observed::{State, Volume};

use crate::crash::{nothing_is_left, recovers_after};
use crate::engines::{FORTY, forty, up_check_and_down};
use crate::support::fake_docker::FakeDocker;
use crate::support::world::{World, workspace};
use crate::support::{Operator, root, scenario};

const IMAGE: &str = "orghost-demo:latest";

/// All resources of an org on a swarm, as lists of the `docker` command.
const LISTS: [&[&str]; 6] = [
    &["service", "ls", "--quiet"],
    &["config", "ls", "--quiet"],
    &["secret", "ls", "--quiet"],
    &["network", "ls", "--quiet"],
    &["volume", "ls", "--quiet"],
    &["ps", "--all", "--quiet"],
];

/// A world that takes its org down at the end, even when its test fails.
struct Real {
    endpoint: String,
    world: Option<World<Swarm>>,
}

impl Real {
    async fn new() -> Self {
        let environment = Environment::of_process();
        let endpoint = environment
            .text("DOCKER_HOST")
            .unwrap_or("unix:///var/run/docker.sock");
        Self {
            endpoint: endpoint.to_owned(),
            world: Some(World::swarm(endpoint, IMAGE).await),
        }
    }

    fn world(&mut self) -> &mut World<Swarm> {
        self.world.as_mut().unwrap()
    }

    fn client(&self) -> bollard::Docker {
        bollard::Docker::connect_with_unix(&self.endpoint, 30, bollard::API_DEFAULT_VERSION)
            .unwrap()
    }

    /// The container of a workspace's running task.
    async fn container(&self, generation: &Generation) -> String {
        let label = format!("com.docker.swarm.service.name={}", name(generation));
        let filters = [("label", vec![label.as_str()])].into();
        let options = ListContainersOptionsBuilder::default().filters(&filters);
        let found = self.client().list_containers(Some(options.build())).await;
        found.unwrap().remove(0).id.unwrap()
    }

    async fn service(&self, generation: &Generation) -> ServiceSpec {
        let found = self
            .client()
            .inspect_service(&name(generation), None::<InspectServiceOptions>)
            .await;
        found.unwrap().spec.unwrap()
    }
}

fn name(Generation { id, number }: &Generation) -> String {
    match number {
        0 => format!("ws-{id}"),
        number => format!("ws-{id}-{number}"),
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
                world.engine = Swarm::connect(Some(&endpoint)).await.unwrap();
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

fn file(path: &str, bytes: Vec<u8>, secret: bool) -> SeedFile {
    SeedFile {
        path: path.to_owned(),
        content: Content::Inline(bytes),
        secret,
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

#[tokio::test]
async fn a_failed_replacement_is_rolled_back() {
    scenario::a_failed_replacement_is_rolled_back(Real::new().await.world()).await;
}

#[tokio::test]
async fn down_leaves_nothing() {
    scenario::down_leaves_nothing(Real::new().await.world()).await;
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

/// A service of somebody else with a workspace's name is not changed.
#[tokio::test]
async fn a_foreign_service_is_not_changed() {
    let mut real = Real::new().await;
    let client = real.client();
    let name = format!("ws-{}", real.world().spec(&workspace("pm")).id);
    let foreign = ServiceSpec {
        name: Some(name.clone()),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec {
                image: Some(IMAGE.to_owned()),
                ..TaskSpecContainerSpec::default()
            }),
            ..TaskSpec::default()
        }),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated { replicas: Some(0) }),
            ..ServiceSpecMode::default()
        }),
        ..ServiceSpec::default()
    };
    client.create_service(foreign, None).await.unwrap();
    let outcomes = real.world().up(&[workspace("pm")]).await;
    client
        .delete_service(&name)
        .await
        .expect("the foreign service is still there");
    assert_eq!(outcomes.failure("pm"), "create name-in-use", "{outcomes:?}");
}

/// The demonstration runtime reads its config first and answers only after that.
#[tokio::test]
async fn the_seed_is_there_before_the_runtime_starts() {
    let mut real = Real::new().await;
    let world = real.world();
    world.options.wait = Some(Duration::from_secs(60));
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

/// Every file, also an empty one, has its bytes, owner and mode inside the task. No port is published.
#[tokio::test]
async fn the_mounted_seed_has_its_bytes_owners_and_modes() {
    let mut real = Real::new().await;
    let mut pm = workspace("pm");
    pm.files.push(file("empty", Vec::new(), false));
    pm.files.push(file("deep/empty.key", Vec::new(), true));
    let large = vec![b'x'; limits::SWARM_CONFIG_BYTES];
    pm.files.push(file("deep/large", large, false));
    let outcomes = real.world().up(std::slice::from_ref(&pm)).await;
    assert!(outcomes.is_up("pm"), "{outcomes:?}");
    let id = Generation::first(&real.world().spec(&pm).id);
    let container = real.container(&id).await;
    let seen = real
        .client()
        .inspect_container(&container, None::<InspectContainerOptions>)
        .await
        .unwrap();
    // The engine's archives leave mounts out and the image has no shell, so the test reads `/proc` as root.
    let pid = seen.state.as_ref().unwrap().pid.unwrap();
    let configs = PathBuf::from(format!("/proc/{pid}/root/configs"));
    for (path, size, mode) in [
        ("config.yaml", 24, 0o644),
        ("channels.yaml", 14, 0o600),
        ("prompts/deep/role.md", 9, 0o644),
        ("empty", 0, 0o644),
        ("deep/empty.key", 0, 0o600),
        ("deep/large", limits::SWARM_CONFIG_BYTES as u64, 0o644),
    ] {
        let found = std::fs::metadata(configs.join(path)).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.size(), found.mode() & 0o777),
            (1000, 1000, size, mode),
            "{path}"
        );
    }
    let config = std::fs::read_to_string(configs.join("config.yaml")).unwrap();
    assert_eq!(config, "name: pm\nruntime: agent\n");
    let published = seen.network_settings.unwrap().ports.unwrap_or_default();
    assert!(published.values().all(Option::is_none), "{published:?}");
}

/// Before the start, a service has no replica and no label that says that it was started.
#[tokio::test]
async fn no_task_runs_before_its_seed_was_verified() {
    let mut real = Real::new().await;
    let spec = real.world().spec(&workspace("pm"));
    let world = real.world();
    let operation = world.store.begin("acme", Operation::Up).await.unwrap();
    world.engine.prepare(&world.org()).await.unwrap();
    let id = &Generation::first(&spec.id);
    let created = world.engine.create(&spec, id, &operation, None);
    created.await.unwrap();
    let replicas = |service: &ServiceSpec| {
        let mode = service.mode.as_ref().unwrap();
        mode.replicated.as_ref().unwrap().replicas
    };
    assert_eq!(replicas(&real.service(id).await), Some(0));
    let archive = spec.seed.archive().unwrap();
    let engine = &real.world().engine;
    engine.put_seed(id, archive).await.unwrap();
    let seen = engine.inspect(id).await.unwrap();
    assert_eq!(seen.state, State::Created);
    let read = engine.read_seed(id).await.unwrap();
    let verified = spec.seed.manifest().verify(&read, id).unwrap();
    let before = real.service(id).await;
    assert_eq!(replicas(&before), Some(0));
    let engine = &real.world().engine;
    engine.start(verified).await.unwrap();
    // A new seed below a running task would restart it unverified, so it is refused.
    let archive = spec.seed.archive().unwrap();
    engine.put_seed(id, archive).await.unwrap_err();
    let after = real.service(id).await;
    assert_eq!(replicas(&after), Some(1));
    assert_eq!(
        after.task_template, before.task_template,
        "the running seed is the verified one"
    );
}

/// A service that refers to other configs than the seed fails the verification.
#[tokio::test]
async fn a_service_with_another_seed_is_not_started() {
    let mut real = Real::new().await;
    let (pm, mut other) = (workspace("pm"), workspace("pm"));
    other.files[0] = file("channels.yaml", b"token: other\n".to_vec(), true);
    let [spec, other] = [pm, other].map(|w| real.world().spec(&w));
    let world = real.world();
    let operation = world.store.begin("acme", Operation::Up).await.unwrap();
    world.engine.prepare(&world.org()).await.unwrap();
    let id = Generation::first(&spec.id);
    let created = world.engine.create(&spec, &id, &operation, None);
    created.await.unwrap();
    let archive = other.seed.archive().unwrap();
    world.engine.put_seed(&id, archive).await.unwrap();
    let read = world.engine.read_seed(&id).await.unwrap();
    let mismatch = spec.seed.manifest().verify(&read, &id).unwrap_err();
    assert!(mismatch.to_string().contains("channels.yaml"), "{mismatch}");
    // A new seed passes, and configs without a reference are removed.
    let archive = spec.seed.archive().unwrap();
    world.engine.put_seed(&id, archive).await.unwrap();
    let read = world.engine.read_seed(&id).await.unwrap();
    spec.seed.manifest().verify(&read, &id).unwrap();
    let client = real.client();
    let secrets = client
        .list_secrets(None)
        .await
        .unwrap()
        .into_iter()
        .filter(|secret| {
            let labels = secret.spec.as_ref().unwrap().labels.as_ref();
            labels.is_some_and(|labels| labels.get("orghost.id") == Some(&spec.id.to_string()))
        });
    assert_eq!(secrets.count(), 1);
}

/// A workspace that a swarm cannot hold or serve is refused with the reason and leaves nothing behind.
#[tokio::test]
async fn what_a_swarm_cannot_do_is_refused_with_the_reason() {
    let mut real = Real::new().await;
    let world = real.world();
    let with = |path: &str, size: usize, secret: bool| {
        let mut pm = workspace("pm");
        pm.files.push(file(path, vec![b'x'; size], secret));
        pm
    };
    let many = {
        let mut pm = workspace("pm");
        for n in pm.files.len()..=limits::SWARM_FILES {
            pm.files.push(file(&format!("many/{n}"), vec![b'x'], false));
        }
        pm
    };
    let tier = |tier| {
        let mut pm = workspace("pm");
        pm.tier = tier;
        pm
    };
    let cases = [
        (
            with("a/large", limits::SWARM_CONFIG_BYTES + 1, false),
            "seed file-too-large",
            "a/large has 1024000 bytes, and a swarm's config holds at most 1023999",
        ),
        (
            with("a/key", limits::SWARM_SECRET_BYTES + 1, true),
            "seed file-too-large",
            "a/key has 512000 bytes, and a swarm's secret holds at most 511999",
        ),
        (
            many,
            "seed too-many-files",
            "the seed has 2001 files, and a swarm's service holds at most 2000",
        ),
        (
            tier(3),
            "create tier-unsuited",
            "tier 3 needs privileges that the swarm engine cannot give",
        ),
        (
            tier(4),
            "create tier-unsuited",
            "tier 4 needs privileges that the swarm engine cannot give",
        ),
    ];
    for (pm, failure, reason) in cases {
        let outcomes = world.up(&[pm]).await;
        assert_eq!(outcomes.failure("pm"), failure, "{outcomes:?}");
        assert!(format!("{outcomes:?}").contains(reason), "{outcomes:?}");
        assert!(world.engine.observe(&world.org()).await.unwrap().is_empty());
        assert!(world.engine.volumes(&world.org()).await.unwrap().is_empty());
    }
}

/// The largest seed that policy allows: many files and large ones.
#[tokio::test]
async fn the_largest_allowed_seeds_are_stored() {
    let mut real = Real::new().await;
    let (mut large, mut many) = (workspace("large"), workspace("many"));
    let pieces = limits::SEED_BYTES as usize / limits::SWARM_CONFIG_BYTES;
    for n in 0..pieces {
        let bytes = vec![b'a' + (n % 26) as u8; limits::SWARM_CONFIG_BYTES];
        large.files.push(file(&format!("piece/{n}"), bytes, false));
    }
    let folder = "a-rather-long-name-of-a-folder/".repeat(3);
    for n in many.files.len()..limits::SWARM_FILES {
        let bytes = n.to_string().into_bytes();
        many.files
            .push(file(&format!("{folder}{}/{n}", n % 7), bytes, false));
    }
    let outcomes = real.world().up(&[large, many]).await;
    assert!(
        outcomes.is_up("large") && outcomes.is_up("many"),
        "{outcomes:?}"
    );
}

/// The engine accepts every limit of a tier.
#[tokio::test]
async fn every_tiers_limits_reach_the_engine() {
    let mut real = Real::new().await;
    real.world().options.wait = Some(Duration::from_secs(60));
    for tier in [1, 2] {
        let mut pm = workspace("pm");
        pm.tier = tier;
        let outcomes = real.world().up(std::slice::from_ref(&pm)).await;
        assert!(outcomes.is_up("pm"), "tier {tier}: {outcomes:?}");
        // Each tier replaces the previous generation.
        let generation = real.world().current(&pm).await.unwrap().generation;
        let container = real.container(&generation).await;
        let seen = real
            .client()
            .inspect_container(&container, None::<InspectContainerOptions>)
            .await
            .unwrap();
        let host = seen.host_config.unwrap();
        let [memory, pids, cpus] = [
            [256 << 20, 128, 500_000_000],
            [512 << 20, 512, 1_000_000_000],
        ][usize::from(tier) - 1];
        assert_eq!(host.memory, Some(memory));
        assert_eq!(host.pids_limit, Some(pids));
        assert_eq!(host.nano_cpus, Some(cpus));
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.readonly_rootfs, Some(tier == 1));
        assert_eq!(host.cap_drop.is_some(), tier == 1);
        let placement = real
            .service(&generation)
            .await
            .task_template
            .unwrap()
            .placement;
        let constraints = placement
            .unwrap_or_default()
            .constraints
            .unwrap_or_default();
        assert_eq!(
            constraints.len(),
            usize::from(tier == 2),
            "a volume stays where it is"
        );
    }
}

/// A crash is reported with its exit code and last lines, and the next `up` replaces the workspace.
#[tokio::test]
async fn a_crash_is_detected_and_replaced_by_the_next_up() {
    let mut real = Real::new().await;
    real.world().options.wait = Some(Duration::from_secs(60));
    let mut pm = workspace("pm");
    // The demonstration runtime exits with 78 for an invalid config.
    let config = pm.files.iter_mut().find(|file| file.path == "config.yaml");
    config.unwrap().content = Content::Inline(b" ".to_vec());
    let outcomes = real.world().up(std::slice::from_ref(&pm)).await;
    assert_eq!(outcomes.failure("pm"), "ready ended", "{outcomes:?}");
    let text = format!("{outcomes:?}");
    assert!(text.contains("exit_code: Some(78)"), "{text}");
    assert!(text.contains("config.yaml"), "its last words: {text}");
    let outcomes = real.world().up(&[workspace("pm")]).await;
    assert!(outcomes.is_up("pm"), "{outcomes:?}");
}

/// The swarm restarts a killed task with its seed. A stopped service stays stopped.
#[tokio::test]
async fn a_killed_task_restarts_and_a_stopped_one_does_not() {
    let mut real = Real::new().await;
    real.world().options.wait = Some(Duration::from_secs(60));
    let pm = workspace("pm");
    real.world().up(std::slice::from_ref(&pm)).await;
    let id = Generation::first(&real.world().spec(&pm).id);
    let container = real.container(&id).await;
    real.client()
        .kill_container(&container, None)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let engine = &real.world().engine;
    let mut was_down = false;
    loop {
        let state = engine.inspect(&id).await.map(|seen| seen.state);
        match state {
            Ok(State::Running) if was_down => break,
            Ok(State::Restarting { .. }) => was_down = true,
            _ => {}
        }
        assert!(Instant::now() < deadline, "{state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let outcomes = real.world().up(std::slice::from_ref(&pm)).await;
    assert!(outcomes.is_unchanged("pm"), "{outcomes:?}");
    let engine = &real.world().engine;
    let log = engine.logs(&id, None, true);
    let (log, stopped) = tokio::join!(log.try_collect::<Vec<_>>(), engine.stop(&id));
    stopped.unwrap();
    assert!(
        !log.unwrap().is_empty(),
        "the followed log ends with the service"
    );
    let seen = engine.inspect(&id).await.unwrap();
    assert!(matches!(seen.state, State::Exited { .. }), "{seen:?}");
    assert_eq!(seen.url, None);
}

/// Removing and stopping an absent service is not an error.
#[tokio::test]
async fn removing_an_absent_resource_succeeds() {
    let mut real = Real::new().await;
    let swarm = &real.world().engine;
    let id = WorkspaceId::parse(&"0".repeat(32)).unwrap();
    assert!(swarm.find(&id).await.unwrap().is_empty());
    let id = Generation::first(&id);
    swarm.stop(&id).await.unwrap();
    swarm.remove(&id).await.unwrap();
    for volume in [
        Volume::Configs(id.clone()),
        Volume::Workspace(id.id.clone()),
    ] {
        swarm.remove_volume(&volume).await.unwrap();
    }
    let not_found = swarm.inspect(&id).await.unwrap_err();
    assert_eq!(not_found, EngineError::NotFound(name(&id)));
    assert_eq!(swarm.last_lines(&id, 5).await.unwrap_err(), not_found);
}

/// An engine outside a swarm is refused and not changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_no_swarm_is_refused() {
    let fake = FakeDocker::start();
    let operator = Operator::new().with_env("DOCKER_HOST", &fake.endpoint());
    let template = operator.template(&[(
        "org.yaml",
        "name: None\nworkspaces: [{name: One, runtime: x}]\n",
    )]);
    let ran = operator
        .run(&["up", &template, "--demo", "--engine", "swarm", "--json"])
        .exits(1);
    assert_eq!(ran.error_codes(), ["no-swarm"], "{}", ran.stdout);
    assert!(ran.stdout.contains("docker swarm init"), "{}", ran.stdout);
    let changed = fake.calls();
    let changed = changed.iter().filter(|call| !call.starts_with("GET"));
    assert_eq!(changed.count(), 0);
}

#[test]
fn the_studio_example_runs_on_a_swarm() {
    let operator = Operator::new();
    let template = root().join("examples/studio").display().to_string();
    up_check_and_down(&operator, "swarm", &template, "studio", &["--demo"]);
    nothing_is_left(&operator, &LISTS);
}

#[test]
fn forty_workspaces_run_on_a_swarm() {
    let operator = Operator::new();
    up_check_and_down(&operator, "swarm", &forty(), "forty", &FORTY);
    nothing_is_left(&operator, &LISTS);
}

/// Kills after every step of the first workspace and in the middle of the second. Ending a task takes seconds on a
/// swarm, so the kills do not follow every write as on the other engines; the code between the writes is the same for
/// all.
#[test]
fn a_swarm_recovers_from_a_kill() {
    // began, volumes, create, seed, verify, start, up; and the same again
    for write in [2, 3, 4, 5, 6, 7, 11] {
        let reached = recovers_after("swarm", write, |operator| {
            nothing_is_left(operator, &LISTS);
        });
        assert!(reached, "write {write}");
    }
}

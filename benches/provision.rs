//! Measures provisioning of an org of thirty workspaces: by orghost, in this process and as the command `orghost up`; by
//! `docker compose`, which mounts the files and verifies nothing; by the requests of a seed that is sent and read back as an
//! archive; and by only creating and starting containers whose files are ready.
//!
//! `ORGHOST_BENCH_ENGINES` names the endpoints of one or more engines, separated by spaces; by default it is the engine of
//! `DOCKER_HOST`. `ORGHOST_BENCH_COMPOSE` is the path of the compose program; without it, compose is left out. Each engine
//! needs the demonstration image. `ORGHOST_BENCH_CPU` is the file with the processor time of a control group that holds the
//! engines and this benchmark; on a machine with other load, it says more than the time. `scripts/bench-provision` starts
//! an old and a new engine and sets the variables. The benchmark removes everything that it created, also when it fails or is
//! interrupted.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    reason = "a benchmark has no users, and its tasks end with it"
)]

mod table;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HostConfig, Mount, MountType,
    MountVolumeOptions, NetworkCreateRequest, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions,
    UploadToContainerOptionsBuilder,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use orghost::config::{Environment, Runtime};
use orghost::limits;
use orghost::model::engine_kind::EngineKind;
use orghost::model::ids::OrgId;
use orghost::model::plugin::PluginLimits;
use orghost::planning::policy::Policy;
use orghost::plugin::sandbox::{ORG_IMPORT, PluginInput, Sandbox};
use orghost::provision::engine::backend;
use orghost::provision::engine::docker::Docker;
use orghost::provision::engine::process_env;
use orghost::provision::observed::VolumeKind;
use orghost::provision::run::Run;
use orghost::provision::spec::Spec;
use orghost::provision::{self, Job, Options, Work};
use orghost::service::admission::identify;
use orghost::state::store::{OrgRow, Start, Store, WorkspaceRow};
use orghost::template::directory::TemplateDir;
use serde_json::json;
use table::{Row, Target};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const WORKSPACES: usize = 30;
const ROUNDS: usize = 5;
const CONCURRENCY: usize = 4;
const IMAGE: &str = "orghost-demo:latest";
const PORT: u16 = 8000;

/// A way to provision the org.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Only creates and starts containers whose files are ready.
    Floor,
    /// Only sends the engine the requests of a seed that is an archive.
    Archive,
    /// Runs orghost's own provisioning in this process.
    Orghost,
    /// Runs `orghost up`.
    Command,
    /// Runs `docker compose up`.
    Compose,
}

const SIDES: [Side; 5] = [
    Side::Floor,
    Side::Archive,
    Side::Orghost,
    Side::Command,
    Side::Compose,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_filter = |argument: &&String| !argument.starts_with('-');
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let mut filters = arguments.iter().filter(is_filter).peekable();
    let wanted = filters.peek().is_none() || filters.any(|filter| "provision".contains(&**filter));
    // `cargo test` runs this program without --bench; there is nothing to test.
    if !is_bench || !wanted {
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(bench()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("provision: {error}");
    ExitCode::FAILURE
}

async fn bench() -> Result<()> {
    let environment = Environment::of_process();
    let engines = environment.text("ORGHOST_BENCH_ENGINES");
    let engines = engines.or(environment.text("DOCKER_HOST"));
    let engines = engines.unwrap_or("unix:///var/run/docker.sock").split(' ');
    let compose = environment.text("ORGHOST_BENCH_COMPOSE").map(Path::new);
    let mut worlds = Vec::new();
    for endpoint in engines {
        worlds.push(World::new(endpoint, compose).await?);
    }
    let measured = tokio::select! {
        measured = rounds(&worlds, environment.text("ORGHOST_BENCH_CPU").map(Path::new)) => measured,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    if measured.is_err() {
        // The engine may still be working on the last requests.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    for world in &worlds {
        world.sweep().await?;
    }
    for (world, [floor, archive, orghost, command, compose]) in worlds.iter().zip(measured?) {
        let kinds: [(&str, Samples); 2] = [
            ("time", |taken| &taken.time),
            ("processor time", |taken| &taken.processor),
        ];
        for (kind, of) in kinds {
            let what = format!("{kind}, Docker {}", world.version);
            let own = "orghost: make, seed, compare, start";
            table::print(
                &what,
                &rows(&[
                    (
                        "create and start, the files are ready",
                        of(&floor),
                        Target::Open,
                    ),
                    ("the requests of an archive", of(&archive), Target::Open),
                    (own, of(&orghost), Target::Ratio(1.05)),
                ]),
            );
            table::print(
                &what,
                &rows(&[
                    ("docker compose up", of(&compose), Target::Open),
                    ("orghost up", of(&command), Target::Ratio(0.83)),
                ]),
            );
        }
        let calls = world.count_calls().await? as f64 / WORKSPACES as f64;
        println!("  calls to the engine for each workspace: {calls:.1}\n");
    }
    Ok(())
}

/// Runs every side once per round and engine, in a different order each time, so that other load does not affect only one
/// side.
async fn rounds(worlds: &[World], counted: Option<&Path>) -> Result<Vec<Rounds>> {
    let mut measured = vec![Rounds::default(); worlds.len()];
    for round in 0..ROUNDS {
        for (world, taken) in worlds.iter().zip(&mut measured) {
            let mut order: Vec<_> = SIDES.into_iter().zip(&mut *taken).collect();
            order.rotate_left(round % SIDES.len());
            for (side, taken) in order {
                if side == Side::Compose && world.compose.is_none() {
                    continue;
                }
                let before = processor_time(counted)?;
                let start = Instant::now();
                match side {
                    Side::Floor => world.requests(false).await?,
                    Side::Archive => world.requests(true).await?,
                    Side::Orghost => world.orghost(&world.engine).await?,
                    Side::Command => world.command().await?,
                    Side::Compose => world.compose_up().await?,
                }
                taken.time.push(start.elapsed().as_secs_f64());
                if let (Some(before), Some(after)) = (before, processor_time(counted)?) {
                    taken.processor.push(after - before);
                }
                world.all_run().await?;
                world.sweep().await?;
            }
            let last: Vec<_> = taken.iter().filter_map(|side| side.time.last()).collect();
            let (round, version) = (round + 1, &world.version);
            eprintln!("provision: Docker {version}, round {round} of {ROUNDS}: {last:.2?} s");
        }
    }
    Ok(measured)
}

/// What each round took, for each side.
type Rounds = [Taken; SIDES.len()];

/// Gives the samples of one kind.
type Samples = fn(&Taken) -> &[f64];

/// What each round of one side took (seconds).
#[derive(Clone, Default)]
struct Taken {
    time: Vec<f64>,
    /// The processor time of the engine, its containers and this process, where it is counted.
    processor: Vec<f64>,
}

/// The processor time so far (seconds), from the file of a control group. `None`: it is not counted.
fn processor_time(file: Option<&Path>) -> Result<Option<f64>> {
    let Some(file) = file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file)?;
    let first = text.lines().next().unwrap_or_default();
    let seconds = match first.strip_prefix("usage_usec ") {
        Some(microseconds) => microseconds.parse::<f64>()? / 1e6,
        None => first.parse::<f64>()? / 1e9,
    };
    Ok(Some(seconds))
}

/// Makes table rows. Each ratio compares two times of the same round.
fn rows(sides: &[(&'static str, &[f64], Target)]) -> Vec<Row> {
    let first = sides.first().map(|(_, first, _)| *first);
    let row = |(name, seconds, target): &(&'static str, &[f64], Target)| {
        let ratios = seconds.iter().zip(first?).map(|(own, first)| own / first);
        Some(Row {
            name,
            ratio: table::median(ratios.collect())?,
            seconds: table::median(seconds.to_vec())?,
            target: *target,
        })
    };
    sides.iter().filter_map(row).collect()
}

struct World {
    endpoint: String,
    version: String,
    client: bollard::Docker,
    engine: Docker,
    compose: Option<PathBuf>,
    store: Store,
    org: OrgId,
    rows: Vec<WorkspaceRow>,
    jobs: Vec<Job>,
    /// The instances of this process and of the command, whose labels are on everything that is created.
    instances: [String; 2],
    /// Holds the template, the state folders and the files for [`Side::Floor`] and [`Side::Compose`].
    dir: TempDir,
}

impl World {
    async fn new(endpoint: &str, compose: Option<&Path>) -> Result<Self> {
        let engine = Docker::connect(Some(endpoint))
            .await
            .map_err(|error| format!("{error}; scripts/docker-engine starts one"))?;
        let client = bollard::Docker::connect_with_host(endpoint)?;
        let client = client.negotiate_version().await?;
        if let Err(error) = client.inspect_image(IMAGE).await {
            return Err(format!("{IMAGE}: {error}; scripts/demo-image makes it").into());
        }
        let version = client.version().await?.version.unwrap_or_default();

        let dir = tempfile::tempdir()?;
        let ready = dir.path().join("ready");
        std::fs::create_dir(&ready)?;
        std::fs::write(ready.join("config.yaml"), "name: floor\n")?;
        let folder = dir.path().join("template");
        std::fs::create_dir(&folder)?;
        let mut org = "name: Bench\ndefaults: {runtime: agent}\nworkspaces:\n".to_owned();
        for number in 1..=WORKSPACES {
            writeln!(org, "  - name: Agent {number}")?;
            writeln!(org, "    role: one of many")?;
            writeln!(org, "    initial_prompt: Read your configuration.")?;
        }
        std::fs::write(folder.join("org.yaml"), org)?;
        let template = TemplateDir::open(&folder)?;
        let plan = Sandbox::new(None)?
            .load(ORG_IMPORT, &PluginLimits::default())?
            .plan(&template, &PluginInput::default())?;
        let policy = Policy {
            runtimes: ["agent".to_owned()].into(),
            ..Policy::default()
        };
        let approved = policy
            .judge(plan, &backend::target(EngineKind::Docker))
            .map_err(|rejected| format!("{:?}", rejected.violations))?;
        let runtime = Runtime {
            image: Some(IMAGE.to_owned()),
            port: PORT,
            health: Some("/health".to_owned()),
            ..Runtime::default()
        };
        let store = Store::open(&dir.path().join("state"))?;
        let org = OrgId::new(store.instance().clone(), "Bench");
        let identities =
            identify(&approved, &org, &[]).map_err(|problem| format!("{problem:?}"))?;
        let jobs = provision::jobs(&approved, &org, &identities, |_| runtime.clone(), &template)?;
        let of_command = Store::open(&dir.path().join("command"))?;
        let instances = [&store, &of_command].map(|store| store.instance().as_str().to_owned());
        let world = Self {
            endpoint: endpoint.to_owned(),
            version,
            client,
            engine,
            compose: compose.map(Path::to_owned),
            instances,
            store,
            org,
            rows: provision::rows(&approved, &identities),
            jobs,
            dir,
        };
        // The first run of the command compiles the plugin.
        world.command().await?;
        world.sweep().await?;
        Ok(world)
    }

    async fn orghost(&self, engine: &Docker) -> Result<()> {
        let row = OrgRow {
            slug: self.org.slug().to_owned(),
            name: "Bench".to_owned(),
            engine: EngineKind::Docker,
            template: "bench".to_owned(),
        };
        let store = &self.store;
        let operation = store
            .accept(row, self.rows.clone(), None, Start::AtOnce)
            .await?;
        let run = Run {
            engine,
            store: &self.store,
            operation,
            cancel: CancellationToken::new(),
            observer: &|_| {},
            permits: &provision::concurrency::FairSemaphore::new(CONCURRENCY),
            keep_failed: false,
        };
        let options = Options {
            wait: None,
            prune: provision::Prune::No,
            max_failures: None,
        };
        let up = provision::apply(&run, &self.org, &self.jobs, &options).await?;
        match up.failed() {
            0 => Ok(()),
            _ => Err(format!("{:?}", up.outcomes).into()),
        }
    }

    async fn command(&self) -> Result<()> {
        let mut up = Command::new(env!("CARGO_BIN_EXE_orghost"));
        up.args(["up", "--demo", "--engine", "docker", "--concurrency"]);
        up.arg(CONCURRENCY.to_string());
        up.arg(self.dir.path().join("template"));
        up.env_clear().env("HOME", self.dir.path());
        up.env("ORGHOST_STATE", self.dir.path().join("command"));
        up.env("DOCKER_HOST", &self.endpoint);
        run(up).await
    }

    async fn compose_up(&self) -> Result<()> {
        let Some(program) = &self.compose else {
            return Ok(());
        };
        let file = self.dir.path().join("compose.yaml");
        if !file.exists() {
            std::fs::write(&file, self.compose_file()?)?;
        }
        let mut up = Command::new(program);
        up.arg("--file").arg(file).args(["up", "--detach"]);
        up.env_clear().env("HOME", self.dir.path());
        up.env("DOCKER_HOST", &self.endpoint);
        run(up).await
    }

    /// The same containers for compose, with their files in folders of this machine.
    fn compose_file(&self) -> Result<String> {
        let (mut services, mut volumes) = (HashMap::new(), HashMap::new());
        for spec in self.specs() {
            let name = container(spec);
            let folder = self.dir.path().join("compose").join(&name);
            for file in spec.seed.files() {
                let (path, bytes, _) = file?;
                let path = folder.join(path);
                std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
                std::fs::write(path, bytes)?;
            }
            let service = json!({
                "image": IMAGE, "pull_policy": "never", "restart": "unless-stopped",
                "hostname": spec.key.slug(), "labels": self.labels(),
                "environment": process_env(spec, "/configs", "0.0.0.0", PORT),
                "mem_limit": limits::TIER_2.memory, "pids_limit": limits::TIER_2.pids,
                "cpus": limits::TIER_2.nano_cpus / 1_000_000_000,
                "security_opt": ["no-new-privileges"], "ports": [format!("127.0.0.1::{PORT}")],
                "volumes": [
                    {"type": "bind", "source": folder, "target": "/configs"},
                    {"type": "volume", "source": name, "target": "/workspace",
                     "volume": {"nocopy": true}},
                ],
            });
            services.insert(name.clone(), service);
            volumes.insert(name, json!({"labels": self.labels()}));
        }
        let network = json!({"default": {"labels": self.labels()}});
        let all = json!({"name": format!("bench-{}", self.network()), "services": services,
                         "volumes": volumes, "networks": network});
        Ok(all.to_string())
    }

    /// The requests that the engine gets from orghost for the whole org, once it is known where it keeps its volumes.
    async fn count_calls(&self) -> Result<usize> {
        let Some(socket) = self.endpoint.strip_prefix("unix://") else {
            return Err("only calls over a Unix socket are counted".into());
        };
        let calls = Arc::new(AtomicUsize::new(0));
        let path = self.dir.path().join("counted.sock");
        let proxy = UnixListener::bind(&path)?;
        let (socket, counted) = (socket.to_owned(), calls.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut going = JoinSet::new();
            while let Ok((client, _)) = proxy.accept().await {
                going.spawn(forward(client, socket.clone(), counted.clone()));
            }
        });
        let engine = Docker::connect(Some(&format!("unix://{}", path.display()))).await?;
        self.orghost(&engine).await?;
        self.sweep().await?;
        calls.store(0, Ordering::SeqCst);
        self.orghost(&engine).await?;
        let calls = calls.load(Ordering::SeqCst);
        self.sweep().await?;
        Ok(calls)
    }

    async fn requests(&self, seed: bool) -> Result<()> {
        let network = NetworkCreateRequest {
            name: self.network(),
            driver: Some("bridge".to_owned()),
            labels: Some(self.labels()),
            ..NetworkCreateRequest::default()
        };
        self.client.create_network(network).await?;
        self.each(async |spec| {
            let name = container(spec);
            if seed {
                for (volume, _) in volumes(spec) {
                    let volume = VolumeCreateRequest {
                        name: Some(volume),
                        labels: Some(self.labels()),
                        ..VolumeCreateRequest::default()
                    };
                    self.client.create_volume(volume).await?;
                }
            }
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let body = self.body(spec, seed);
            self.client.create_container(Some(options), body).await?;
            if seed {
                let put = UploadToContainerOptionsBuilder::default().path("/configs");
                let archive = bollard::body_full(spec.seed.archive()?.into());
                self.client
                    .upload_to_container(&name, Some(put.build()), archive)
                    .await?;
                let get = DownloadFromContainerOptionsBuilder::default().path("/configs");
                self.client
                    .download_from_container(&name, Some(get.build()))
                    .try_for_each(|_| std::future::ready(Ok(())))
                    .await?;
                let policy = ContainerUpdateBody {
                    restart_policy: Some(RestartPolicy {
                        name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                        maximum_retry_count: None,
                    }),
                    ..ContainerUpdateBody::default()
                };
                self.client.update_container(&name, policy).await?;
            }
            self.client
                .start_container(&name, None::<StartContainerOptions>)
                .await?;
            if seed {
                let inspected = self
                    .client
                    .inspect_container(&name, None::<InspectContainerOptions>);
                inspected.await?;
            }
            Ok(())
        })
        .await
    }

    /// The same container as orghost's. Without a seed, its files come from a folder of this machine, because a runtime
    /// without a configuration ends at once, which would cost the engine time.
    fn body(&self, spec: &Spec, seed: bool) -> ContainerCreateBody {
        let wanted = volumes(spec).into_iter();
        let wanted = wanted.filter(|(_, target)| seed || *target != "/configs");
        let mut mounts: Vec<Mount> = wanted
            .map(|(name, target)| Mount {
                typ: Some(MountType::VOLUME),
                source: Some(name),
                target: Some(target.to_owned()),
                volume_options: Some(MountVolumeOptions {
                    no_copy: Some(true),
                    labels: Some(self.labels()),
                    ..MountVolumeOptions::default()
                }),
                ..Mount::default()
            })
            .collect();
        if !seed {
            mounts.push(Mount {
                typ: Some(MountType::BIND),
                source: Some(self.dir.path().join("ready").display().to_string()),
                target: Some("/configs".to_owned()),
                read_only: Some(true),
                ..Mount::default()
            });
        }
        let port = format!("{PORT}/tcp");
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(String::new()),
        };
        let endpoint = EndpointSettings {
            aliases: Some(vec![container(spec)]),
            ..EndpointSettings::default()
        };
        let env = process_env(spec, "/configs", "0.0.0.0", PORT);
        ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            hostname: Some(spec.key.slug().to_owned()),
            env: Some(env.iter().map(|(n, v)| format!("{n}={v}")).collect()),
            exposed_ports: Some(vec![port.clone()]),
            labels: Some(self.labels()),
            host_config: Some(HostConfig {
                mounts: Some(mounts),
                memory: Some(limits::TIER_2.memory),
                nano_cpus: Some(limits::TIER_2.nano_cpus),
                pids_limit: Some(limits::TIER_2.pids),
                restart_policy: Some(RestartPolicy {
                    name: Some(match seed {
                        true => RestartPolicyNameEnum::NO,
                        false => RestartPolicyNameEnum::UNLESS_STOPPED,
                    }),
                    maximum_retry_count: None,
                }),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                network_mode: Some(self.network()),
                port_bindings: Some(HashMap::from([(port, Some(vec![binding]))])),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.jobs.iter().filter_map(|job| match &job.work {
            Work::Provision(spec) => Some(&**spec),
            Work::External(_) => None,
        })
    }

    async fn each(&self, work: impl AsyncFn(&Spec) -> Result<()>) -> Result<()> {
        futures_util::stream::iter(self.specs())
            .map(|spec| work(spec))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    fn network(&self) -> String {
        let instance = self.org.instance().as_str();
        format!("orghost-{instance}-{}", self.org.slug())
    }

    /// The label that all sides put on what they create; orghost adds more labels.
    fn labels(&self) -> HashMap<String, String> {
        let instance = self.org.instance().as_str().to_owned();
        HashMap::from([("orghost.instance".to_owned(), instance)])
    }

    fn filters(&self) -> [HashMap<String, Vec<String>>; 2] {
        let label = |instance: &String| vec![format!("orghost.instance={instance}")];
        let filter = |instance| HashMap::from([("label".to_owned(), label(instance))]);
        self.instances.each_ref().map(filter)
    }

    /// Checks that all containers run, so that no side is faster by doing less.
    async fn all_run(&self) -> Result<()> {
        let mut running = 0;
        for filter in self.filters() {
            let listing = ListContainersOptionsBuilder::default().filters(&filter);
            running += self
                .client
                .list_containers(Some(listing.build()))
                .await?
                .len();
        }
        match running {
            WORKSPACES => Ok(()),
            others => Err(format!("{others} of {WORKSPACES} containers run").into()),
        }
    }

    /// Removes everything that carries a label of this run.
    async fn sweep(&self) -> Result<()> {
        for filter in self.filters() {
            let listing = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filter);
            let containers = self.client.list_containers(Some(listing.build())).await?;
            let ids = containers.into_iter().filter_map(|found| found.id);
            futures_util::stream::iter(ids)
                .map(async |id| {
                    let options = RemoveContainerOptionsBuilder::default().force(true).build();
                    self.client.remove_container(&id, Some(options)).await
                })
                .buffer_unordered(CONCURRENCY)
                .try_collect::<()>()
                .await?;
            let listing = ListVolumesOptionsBuilder::default().filters(&filter);
            let volumes = self.client.list_volumes(Some(listing.build())).await?;
            for volume in volumes.volumes.into_iter().flatten() {
                self.client
                    .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                    .await?;
            }
            let listing = ListNetworksOptionsBuilder::default().filters(&filter);
            let networks = self.client.list_networks(Some(listing.build())).await?;
            for id in networks.into_iter().filter_map(|network| network.id) {
                // An engine takes a moment to see that a container that it removed by force has left the network.
                let mut tries = 0..20;
                while let Err(error) = self.client.remove_network(&id).await {
                    tries.next().ok_or(error)?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    }
}

fn container(spec: &Spec) -> String {
    format!("ws-{}", spec.id.as_str())
}

/// The name and the mount point of each volume.
fn volumes(spec: &Spec) -> [(String, &'static str); 2] {
    [
        (VolumeKind::Configs, "/configs"),
        (VolumeKind::Workspace, "/workspace"),
    ]
    .map(|(kind, target)| (format!("{}-{kind}", container(spec)), target))
}

/// Forwards a connection to the engine, and counts its requests.
async fn forward(client: UnixStream, engine: String, calls: Arc<AtomicUsize>) -> io::Result<()> {
    const REQUEST: &[u8] = b" HTTP/1.1\r\n";
    let (mut from_engine, mut to_engine) = UnixStream::connect(engine).await?.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let requests = async move {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_client.read(&mut buffer).await?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            let lines = bytes.windows(REQUEST.len()).filter(|part| *part == REQUEST);
            calls.fetch_add(lines.count(), Ordering::SeqCst);
            to_engine.write_all(bytes).await?;
        }
    };
    let answers = async move {
        tokio::io::copy(&mut from_engine, &mut to_client).await?;
        Ok(())
    };
    tokio::try_join!(requests, answers).map(drop)
}

/// Runs a program and waits for its end.
async fn run(mut command: Command) -> Result<()> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!("{:?}: {}", command.as_std(), errors.trim()).into())
        }
    }
}

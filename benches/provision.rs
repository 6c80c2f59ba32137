//! Measures provisioning of an org of thirty workspaces in four ways, at the same concurrency: by orghost; by the `docker`
//! command line doing the same work; by sending the engine the same requests as orghost; and by only creating and starting
//! containers.
//!
//! It needs a Docker engine (`scripts/docker-engine`) and the demonstration image (`scripts/demo-image`), and reports an
//! error when one of them is missing. It removes everything that it created, also when it fails or is interrupted.
#![allow(missing_docs, reason = "a benchmark has no users")]

mod table;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HostConfig, Mount, MountType,
    MountVolumeOptions, NetworkCreateRequest, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
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
use table::{Row, Target};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const WORKSPACES: usize = 30;
const ROUNDS: usize = 5;
const CONCURRENCY: usize = 4;
const IMAGE: &str = "orghost-demo:latest";
const PORT: u16 = 8000;

/// Compares a seed with the archive that was read back, as a careful script around the `docker` command line would do.
fn compare(spec: &Spec, archive: &[u8]) -> Result<()> {
    let mut found = HashMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        found.insert(path, bytes);
    }
    for file in spec.seed.files() {
        let (path, bytes, _) = file?;
        if found.get(&format!("configs/{path}")) != Some(&bytes) {
            return Err(format!("{path} differs from the seed or is missing").into());
        }
    }
    Ok(())
}

/// A way to provision the org.
#[derive(Clone, Copy)]
enum Side {
    /// Only creates and starts containers.
    Floor,
    /// Only sends the engine the same requests as orghost.
    Requests,
    /// Runs orghost's own provisioning.
    Orghost,
    /// Runs the `docker` command line.
    CommandLine,
}

const SIDES: [Side; 4] = [
    Side::Floor,
    Side::Requests,
    Side::Orghost,
    Side::CommandLine,
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
    let world = World::new(environment.text("DOCKER_HOST")).await?;
    let measured = tokio::select! {
        measured = world.rounds() => measured,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    if measured.is_err() {
        // The engine may still be working on the last requests.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let swept = world.sweep().await;
    let [floor, requests, orghost, command_line] = measured?;
    swept?;

    let own = "orghost: make, seed, compare, start";
    let engine_comparison = [
        ("the engine's own create and start", &floor, Target::Open),
        (
            "the engine alone, the same requests",
            &requests,
            Target::Open,
        ),
        (own, &orghost, Target::Ratio(1.1)),
    ];
    let command_line_comparison = [
        ("docker command line", &command_line, Target::Open),
        (own, &orghost, Target::Ratio(1.0)),
    ];
    let what = format!("provision: {WORKSPACES} workspaces, {CONCURRENCY} at a time");
    table::print(&what, &rows(&engine_comparison));
    table::print(&what, &rows(&command_line_comparison));
    Ok(())
}

/// The time of each round (seconds), for each side.
type Seconds = [Vec<f64>; SIDES.len()];

/// Makes table rows. Each ratio compares two times of the same round.
fn rows(sides: &[(&'static str, &Vec<f64>, Target)]) -> Vec<Row> {
    let first = sides.first().map(|(_, first, _)| *first);
    let row = |(name, seconds, target): &(&'static str, &Vec<f64>, Target)| {
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
    client: bollard::Docker,
    engine: Docker,
    store: Store,
    org: OrgId,
    rows: Vec<WorkspaceRow>,
    jobs: Vec<Job>,
    /// Holds the template, the state folder and the configuration for [`Side::Floor`].
    dir: TempDir,
}

impl World {
    async fn new(endpoint: Option<&str>) -> Result<Self> {
        let engine = Docker::connect(endpoint)
            .await
            .map_err(|error| format!("{error}; scripts/docker-engine starts one"))?;
        let client = match endpoint {
            None => bollard::Docker::connect_with_defaults(),
            Some(endpoint) => bollard::Docker::connect_with_host(endpoint),
        }?;
        let client = client.negotiate_version().await?;
        if let Err(error) = client.inspect_image(IMAGE).await {
            return Err(format!("{IMAGE}: {error}; scripts/demo-image makes it").into());
        }
        docker(&["version".to_owned()], None).await?;

        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("config.yaml"), "name: floor\n")?;
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
        Ok(Self {
            client,
            engine,
            store,
            org,
            rows: provision::rows(&approved, &identities),
            jobs,
            dir,
        })
    }

    /// Runs every side once per round, in a different order each time, so that other load does not affect only one side.
    async fn rounds(&self) -> Result<Seconds> {
        let mut seconds = Seconds::default();
        for round in 0..ROUNDS {
            let mut order: Vec<_> = SIDES.into_iter().zip(&mut seconds).collect();
            order.rotate_left(round % SIDES.len());
            for (side, seconds) in order {
                let start = Instant::now();
                match side {
                    Side::Floor => self.requests(false).await?,
                    Side::Requests => self.requests(true).await?,
                    Side::Orghost => self.orghost().await?,
                    Side::CommandLine => self.command_line().await?,
                }
                seconds.push(start.elapsed().as_secs_f64());
                self.all_run().await?;
                self.sweep().await?;
            }
            let last: Vec<_> = seconds.iter().filter_map(|s| s.last()).collect();
            eprintln!("provision: round {} of {ROUNDS}: {last:.2?} s", round + 1);
        }
        Ok(seconds)
    }

    async fn orghost(&self) -> Result<()> {
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
            engine: &self.engine,
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
            Ok(())
        })
        .await
    }

    /// The same container as orghost's. Without a seed, the configuration comes from a folder of this machine, because a
    /// runtime without a configuration ends at once, which would cost the engine time.
    fn body(&self, spec: &Spec, seed: bool) -> ContainerCreateBody {
        let mut mounts: Vec<Mount> = volumes(spec)
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
            .into();
        mounts.push(Mount {
            typ: Some(MountType::BIND),
            source: Some(self.dir.path().display().to_string()),
            target: Some("/floor".to_owned()),
            read_only: Some(true),
            ..Mount::default()
        });
        let port = format!("{PORT}/tcp");
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(String::new()),
        };
        let endpoint = EndpointSettings {
            aliases: Some(vec![container(spec)]),
            ..EndpointSettings::default()
        };
        let env = process_env(
            spec,
            if seed { "/configs" } else { "/floor" },
            "0.0.0.0",
            PORT,
        );
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

    async fn command_line(&self) -> Result<()> {
        let mut network = arguments("network create --driver bridge");
        network.extend(self.label_flags());
        network.push(self.network());
        docker(&network, None).await?;
        self.each(async |spec| {
            let name = container(spec);
            for (volume, _) in volumes(spec) {
                let mut create = arguments("volume create");
                create.extend(self.label_flags());
                create.push(volume);
                docker(&create, None).await?;
            }
            let mut create =
                arguments("create --security-opt no-new-privileges --restart unless-stopped");
            create.extend(self.label_flags());
            create.push(format!("--name={name}"));
            create.push(format!("--hostname={}", spec.key.slug()));
            create.push(format!("--network={}", self.network()));
            create.push(format!("--network-alias={name}"));
            create.push(format!("--memory={}", limits::TIER_2.memory));
            create.push(format!(
                "--cpus={}",
                limits::TIER_2.nano_cpus / 1_000_000_000
            ));
            create.push(format!("--publish=127.0.0.1::{PORT}"));
            for (volume, target) in volumes(spec) {
                let mount = format!("type=volume,source={volume},target={target},volume-nocopy");
                create.push(format!("--mount={mount}"));
            }
            for (variable, value) in process_env(spec, "/configs", "0.0.0.0", PORT) {
                create.push(format!("--env={variable}={value}"));
            }
            create.push(IMAGE.to_owned());
            docker(&create, None).await?;

            let folder = format!("{name}:/configs");
            let archive = spec.seed.archive()?;
            let put = ["cp".to_owned(), "-".to_owned(), folder.clone()];
            docker(&put, Some(&archive)).await?;
            let get = ["cp".to_owned(), folder, "-".to_owned()];
            let found = docker(&get, None).await?.stdout;
            compare(spec, &found)?;

            docker(&["start".to_owned(), name], None).await?;
            Ok(())
        })
        .await
    }

    async fn each(&self, work: impl AsyncFn(&Spec) -> Result<()>) -> Result<()> {
        let specs = self.jobs.iter().filter_map(|job| match &job.work {
            Work::Provision(spec) => Some(&**spec),
            Work::External(_) => None,
        });
        futures_util::stream::iter(specs)
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

    fn label_flags(&self) -> impl Iterator<Item = String> {
        let labels = self.labels().into_iter();
        labels.map(|(name, value)| format!("--label={name}={value}"))
    }

    fn filter(&self) -> HashMap<String, Vec<String>> {
        let labels = self.labels().into_iter();
        let labels = labels.map(|(name, value)| format!("{name}={value}"));
        HashMap::from([("label".to_owned(), labels.collect())])
    }

    /// Checks that all containers run, so that no side is faster by doing less.
    async fn all_run(&self) -> Result<()> {
        let listing = ListContainersOptionsBuilder::default().filters(&self.filter());
        let running = self.client.list_containers(Some(listing.build())).await?;
        match running.len() {
            WORKSPACES => Ok(()),
            others => Err(format!("{others} of {WORKSPACES} containers run").into()),
        }
    }

    /// Removes everything that carries this run's label.
    async fn sweep(&self) -> Result<()> {
        let listing = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&self.filter());
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
        let listing = ListVolumesOptionsBuilder::default().filters(&self.filter());
        let volumes = self.client.list_volumes(Some(listing.build())).await?;
        for volume in volumes.volumes.into_iter().flatten() {
            self.client
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                .await?;
        }
        let listing = ListNetworksOptionsBuilder::default().filters(&self.filter());
        let networks = self.client.list_networks(Some(listing.build())).await?;
        for id in networks.into_iter().filter_map(|network| network.id) {
            self.client.remove_network(&id).await?;
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

fn arguments(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Runs `docker` with these arguments and waits for its end.
async fn docker(args: &[String], input: Option<&[u8]>) -> Result<Output> {
    let mut child = tokio::process::Command::new("docker")
        .args(args)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("docker cannot be run: {error}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("docker {}: {}", args.join(" "), errors.trim()).into());
    }
    Ok(output)
}

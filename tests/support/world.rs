//! One host: a state folder, a template folder and an engine.

use std::collections::BTreeMap;

use orghost::config::Runtime;
use orghost::model::event::{Before, Operation};
use orghost::model::ids::{OperationId, OrgId};
use orghost::model::names::NamePath;
use orghost::model::plan::{
    Access, Canvas, Content, EnvVar, Org, Origin, Plan, SeedFile, Workspace, WorkspaceKey,
};
use orghost::planning::policy::{Policy, Tier};
use orghost::provision::concurrency::FairSemaphore;
use orghost::provision::engine::Engine;
use orghost::provision::engine::backend;
use orghost::provision::engine::docker::Docker;
use orghost::provision::engine::local::Local;
use orghost::provision::engine::swarm::Swarm;
use orghost::provision::generations::Generations;
use orghost::provision::observed::Observed;
use orghost::provision::run::Run;
use orghost::provision::spec::Spec;
use orghost::provision::{
    self, Job, Options, Outcome, ProvisionError, Prune, Removal, Summary, Work,
};
use orghost::service::admission::identify;
use orghost::state::store::{OrgRow, Start, Store, WorkspaceRow};
use orghost::template::directory::TemplateDir;
use tokio_util::sync::CancellationToken;

pub struct World<E = Docker> {
    dir: tempfile::TempDir,
    pub engine: E,
    pub store: Store,
    pub image: String,
    pub policy: Policy,
    pub options: Options,
    pub cancel: CancellationToken,
    pub keep_failed: bool,
    /// How many workspaces are provisioned at the same time.
    pub permits: std::sync::Arc<FairSemaphore>,
}

impl World {
    /// A world on a Docker engine.
    pub async fn new(endpoint: &str, image: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::on(Docker::connect(Some(endpoint)).await.unwrap(), dir, image)
    }
}

impl World<Swarm> {
    /// A world on a swarm.
    pub async fn swarm(endpoint: &str, image: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::on(Swarm::connect(Some(endpoint)).await.unwrap(), dir, image)
    }
}

impl World<Local> {
    /// A world on the local engine, with the demonstration as its runtime.
    pub fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_orghost").into();
        let mut engine = Local::new(dir.path().join("local"), program);
        engine = engine.with_grace(std::time::Duration::from_secs(5));
        Self::on(engine, dir, "no image")
    }
}

impl<E: Engine> World<E> {
    /// By default it does not wait for readiness and has a concurrency of one.
    fn on(engine: E, dir: tempfile::TempDir, image: &str) -> Self {
        std::fs::create_dir(dir.path().join("template")).unwrap();
        Self {
            engine,
            store: Store::open(&dir.path().join("state")).unwrap(),
            dir,
            image: image.to_owned(),
            policy: Policy {
                max_tier: Tier::Four,
                runtimes: ["agent".to_owned()].into(),
                ..Policy::default()
            },
            options: Options {
                wait: None,
                prune: Prune::No,
                max_failures: None,
            },
            cancel: CancellationToken::new(),
            keep_failed: false,
            permits: FairSemaphore::new(1),
        }
    }

    pub fn org(&self) -> OrgId {
        OrgId::new(self.store.instance().clone(), "Acme")
    }

    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Writes a file of the template.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join("template").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn jobs(&self, workspaces: &[Workspace]) -> Vec<Job> {
        self.approve(workspaces).1
    }

    pub fn spec(&self, wanted: &Workspace) -> Box<Spec> {
        let slashes = wanted.key.as_str().match_indices('/');
        let above = slashes.map(|(end, _)| workspace(&wanted.key.as_str()[..end]));
        let org: Vec<Workspace> = above.chain([wanted.clone()]).collect();
        match self.jobs(&org).pop().unwrap().work {
            Work::Provision(spec) => spec,
            Work::External(_) => panic!("it is external"),
        }
    }

    /// The current generation of a workspace.
    pub async fn current(&self, workspace: &Workspace) -> Option<Observed> {
        let id = self.spec(workspace).id;
        Generations::of(self.engine.find(&id).await.unwrap()).current
    }

    fn approve(&self, workspaces: &[Workspace]) -> (Vec<WorkspaceRow>, Vec<Job>) {
        let plan = Plan {
            org: Org {
                name: "Acme".to_owned(),
                description: String::new(),
            },
            workspaces: workspaces.to_vec(),
            required_env: Vec::new(),
            recommended_env: Vec::new(),
            warnings: Vec::new(),
        };
        let target = backend::target(self.engine.kind());
        let approved = match self.policy.judge(plan, &target) {
            Ok(approved) => approved,
            Err(rejected) => panic!("{:?}", rejected.violations),
        };
        let template = TemplateDir::open(&self.dir.path().join("template")).unwrap();
        let runtime = Runtime {
            image: Some(self.image.clone()),
            command: Some(vec![
                env!("CARGO_BIN_EXE_orghost").to_owned(),
                "demo-runtime".to_owned(),
            ]),
            health: Some("/health".to_owned()),
            ..Runtime::default()
        };
        let org = self.org();
        let ids = identify(&approved, &org, &[]).unwrap();
        let jobs = provision::jobs(&approved, &org, &ids, |_| runtime.clone(), &template).unwrap();
        (provision::rows(&approved, &ids), jobs)
    }

    async fn run(&self, operation: Operation) -> Run<'_, E> {
        self.run_of(self.store.begin("acme", operation).await.unwrap())
    }

    fn run_of(&self, operation: OperationId) -> Run<'_, E> {
        Run {
            engine: &self.engine,
            store: &self.store,
            operation,
            cancel: self.cancel.clone(),
            observer: &|_| {},
            permits: &self.permits,
            keep_failed: self.keep_failed,
        }
    }

    /// Restarts one workspace.
    pub async fn restart(&self, workspace: &Workspace) -> Outcome {
        let job = self.jobs(std::slice::from_ref(workspace)).remove(0);
        let run = self.run(Operation::Restart).await;
        let org = self.org();
        let restarted = provision::single::renew(&run, &org, &job, &self.options, true);
        restarted.await.unwrap()
    }

    pub async fn try_up(&self, workspaces: &[Workspace]) -> Result<Summary, ProvisionError> {
        let (rows, jobs) = self.approve(workspaces);
        let row = OrgRow {
            slug: "acme".to_owned(),
            name: "Acme".to_owned(),
            engine: self.engine.kind(),
            template: "template".to_owned(),
        };
        let accepted = self.store.accept(row, rows, None, Start::AtOnce).await?;
        let run = self.run_of(accepted);
        provision::apply(&run, &self.org(), &jobs, &self.options).await
    }

    pub async fn up(&self, workspaces: &[Workspace]) -> Outcomes {
        let summary = self.try_up(workspaces).await.unwrap();
        let outcomes = summary.outcomes.into_iter();
        Outcomes(
            outcomes
                .map(|(key, outcome)| (key.as_str().to_owned(), outcome))
                .collect(),
        )
    }

    pub async fn down(&self, volumes: bool) -> Removal {
        let run = self.run(Operation::Down).await;
        provision::destroy(&run, &self.org(), volumes)
            .await
            .unwrap()
    }
}

/// The outcome of an `up`, by key.
#[derive(Debug)]
pub struct Outcomes(pub BTreeMap<String, Outcome>);

impl Outcomes {
    pub fn is_up(&self, key: &str) -> bool {
        matches!(self.0[key], Outcome::Up(_))
    }

    pub fn is_unchanged(&self, key: &str) -> bool {
        matches!(self.0[key], Outcome::Unchanged(_))
    }

    /// The step and code of a failure, such as `create image-missing`.
    pub fn failure(&self, key: &str) -> String {
        match &self.0[key] {
            Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) => {
                format!("{} {}", failure.step.as_str(), failure.code)
            }
            other => format!("{other:?}"),
        }
    }

    /// What happened to the previous generation after a failure.
    pub fn before(&self, key: &str) -> Option<&Before> {
        match &self.0[key] {
            Outcome::Failed(failure) => failure.before.as_ref(),
            _ => None,
        }
    }

    pub fn left_behind(&self, key: &str) -> Vec<String> {
        match &self.0[key] {
            Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) => {
                failure.left_behind.clone()
            }
            _ => Vec::new(),
        }
    }
}

/// The identity of a workspace in a plan that a test made; its names equal the slugs of its key.
pub fn path(key: &WorkspaceKey) -> NamePath {
    let names: Vec<String> = key.as_str().split('/').map(str::to_owned).collect();
    NamePath::try_from(names).unwrap()
}

/// A workspace of tier 2 with a config, a secret and a file in a folder.
pub fn workspace(key: &str) -> Workspace {
    let key = WorkspaceKey::new(key).unwrap();
    let file = |path: &str, bytes: &[u8], secret| SeedFile {
        path: path.to_owned(),
        content: Content::Inline(bytes.to_vec()),
        secret,
    };
    let config = format!("name: {}\nruntime: agent\n", key.slug());
    Workspace {
        path: path(&key),
        name: key.slug().to_owned(),
        role: String::new(),
        parent: key
            .parent()
            .map(|parent| WorkspaceKey::new(parent).unwrap()),
        runtime: "agent".to_owned(),
        model: None,
        tier: 2,
        external: false,
        renamed_from: Vec::new(),
        url: None,
        workspace_dir: None,
        workspace_access: Access::None,
        plugins: Vec::new(),
        files: vec![
            file("channels.yaml", b"token: secret\n", true),
            file("config.yaml", config.as_bytes(), false),
            file("prompts/deep/role.md", b"Be good.\n", false),
        ],
        env: vec![EnvVar {
            name: "GREETING".to_owned(),
            value: "hello=world".to_owned(),
            secret: true,
            origin: Origin::Plugin,
        }],
        schedules: Vec::new(),
        channels: Vec::new(),
        skipped_channels: Vec::new(),
        memories: Vec::new(),
        max_concurrent_tasks: 1,
        canvas: Canvas { x: 0.0, y: 0.0 },
        key,
    }
}

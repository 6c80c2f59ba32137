//! Tests of the local engine through `orghost up` and `orghost down`: real processes and folders. Programs are shell
//! scripts; where one must listen, the demonstration runtime of the program itself is the agent (see [`listening`]).

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use orghost::config::Runtime;
use orghost::model::engine_kind::EngineKind;
use orghost::model::event::{Failure, Operation, Step};
use orghost::model::ids::{OperationId, OrgId, WorkspaceId};
use orghost::model::plan::{
    Access, Canvas, Content, EnvVar, Org, Origin, Plan, SeedFile, Workspace, WorkspaceKey,
};
use orghost::planning::policy::{Policy, RESERVED_ENV, Tier};
use orghost::provision::engine::Engine;
use orghost::provision::engine::backend;
use orghost::provision::engine::error::EngineError;
use orghost::provision::engine::local::Local;
use orghost::provision::generation::Generation;
use orghost::provision::generations::Generations;
use orghost::provision::observed::{State, Volume};
use orghost::provision::run::Run;
use orghost::provision::spec::Spec;
use orghost::provision::workspace::volumes;
use orghost::provision::{self, Options, Outcome, Prune, Removal, Summary, Work};
use orghost::service::admission::identify;
use orghost::state::store::{OrgRow, Start, Store, WorkspaceRow};
use orghost::template::directory::TemplateDir;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::world::path;

/// The longest wait for a condition.
const SOON: Duration = Duration::from_secs(20);

/// A state folder, a template, and an engine on them.
struct World {
    root: tempfile::TempDir,
    store: Store,
    local: Local,
    org: OrgId,
    command: Vec<String>,
    executable_seed: bool,
    wait: Option<Duration>,
    permits: std::sync::Arc<provision::concurrency::FairSemaphore>,
}

impl World {
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("state")).unwrap();
        let local = Local::new(root.path().join("state/local"), orghost());
        Self::on(root, store, local, script)
    }

    fn on(root: tempfile::TempDir, store: Store, local: Local, script: &str) -> Self {
        fs::create_dir_all(root.path().join("template")).unwrap();
        Self {
            org: OrgId::new(store.instance().clone(), "Acme"),
            root,
            store,
            local,
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            executable_seed: false,
            wait: None,
            permits: provision::concurrency::FairSemaphore::new(4),
        }
    }

    fn grace(mut self, grace: Duration) -> Self {
        self.local = self.local.clone().with_grace(grace);
        self
    }

    fn run(&self, operation: OperationId) -> Run<'_, Local> {
        Run {
            engine: &self.local,
            store: &self.store,
            operation,
            cancel: CancellationToken::new(),
            observer: &|_| {},
            permits: &self.permits,
            keep_failed: false,
        }
    }

    fn jobs(&self, workspaces: &[Workspace]) -> (Vec<WorkspaceRow>, Vec<provision::Job>) {
        let policy = Policy {
            max_tier: Tier::Two,
            allow_mount: vec![self.root.path().join("allowed")],
            runtimes: BTreeSet::from(["shell".to_owned()]),
            ..Policy::default()
        };
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
        let judged = policy.judge(plan, &backend::target(EngineKind::Local));
        let approved = judged.map_err(|r| r.violations).unwrap();
        let template = TemplateDir::open(&self.root.path().join("template")).unwrap();
        let runtime = Runtime {
            command: Some(self.command.clone()),
            env: orghost::model::env_map::EnvMap::from([(
                "FROM_RUNTIME".to_owned(),
                "1".to_owned(),
            )]),
            executable_seed: self.executable_seed,
            ..Runtime::default()
        };
        let org = &self.org;
        let ids = identify(&approved, org, &[]).unwrap();
        let jobs = provision::jobs(&approved, org, &ids, |_| runtime.clone(), &template).unwrap();
        (provision::rows(&approved, &ids), jobs)
    }

    async fn up(&self, workspaces: &[Workspace]) -> Summary {
        let (rows, jobs) = self.jobs(workspaces);
        let row = OrgRow {
            slug: self.org.slug().to_owned(),
            name: "Acme".to_owned(),
            engine: EngineKind::Local,
            template: self.root.path().display().to_string(),
        };
        let options = Options {
            wait: self.wait,
            prune: Prune::No,
            max_failures: None,
        };
        let accepted = self.store.accept(row, rows, None, Start::AtOnce).await;
        let run = self.run(accepted.unwrap());
        provision::apply(&run, &self.org, &jobs, &options)
            .await
            .unwrap()
    }

    async fn down(&self, volumes: bool) -> Removal {
        let operation = self.store.begin(self.org.slug(), Operation::Down).await;
        let run = self.run(operation.unwrap());
        let removal = provision::destroy(&run, &self.org, volumes).await.unwrap();
        assert!(removal.failed.is_empty(), "{:?}", removal.failed);
        removal
    }

    /// Brings one workspace up and expects success.
    async fn up_one(&self, workspace: &Workspace) -> Outcome {
        let summary = self.up(std::slice::from_ref(workspace)).await;
        let [(_, outcome)] = summary.outcomes.as_slice() else {
            panic!("{summary:?}");
        };
        outcome.clone()
    }

    async fn fail_one(&self, workspace: &Workspace) -> Failure {
        match self.up_one(workspace).await {
            Outcome::Failed(failure) => *failure,
            other => panic!("{other:?}"),
        }
    }

    fn id(&self, key: &str) -> WorkspaceId {
        WorkspaceId::of(&self.org, &path(&WorkspaceKey::new(key).unwrap()), 0)
    }

    fn first(&self, key: &str) -> Generation {
        Generation::first(&self.id(key))
    }

    /// The current generation of a workspace.
    async fn current(&self, key: &str) -> Generation {
        let found = self.local.find(&self.id(key)).await.unwrap();
        Generations::of(found).shown().unwrap().generation.clone()
    }

    fn engine_folder(&self) -> PathBuf {
        self.root.path().join("state/local")
    }

    fn folder(&self, key: &str) -> PathBuf {
        self.engine_folder().join(self.id(key).as_str())
    }

    fn run_state(&self, key: &str) -> Value {
        let text = fs::read_to_string(self.folder(key).join("run.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn pid(&self, key: &str, which: &str) -> Pid {
        let pid = self.run_state(key)[which].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    async fn state(&self, key: &str) -> State {
        let generation = self.current(key).await;
        self.local.inspect(&generation).await.unwrap().state
    }

    /// The text of a file that the program writes, once the file is complete: it ends with a newline.
    async fn said(&self, key: &str, file: &str) -> String {
        let path = self.folder(key).join("workspace").join(file);
        let read = || fs::read_to_string(&path).ok().filter(|t| t.ends_with('\n'));
        eventually(file, || read().is_some()).await;
        read().unwrap()
    }

    async fn said_pid(&self, key: &str, file: &str) -> Pid {
        let text = self.said(key, file).await;
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

/// A failed test leaves no process behind.
impl Drop for World {
    fn drop(&mut self) {
        let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten();
        let homes = entries(self.engine_folder()).map(|entry| entry.unwrap().path());
        let all = homes.flat_map(|home| {
            let below = entries(home.clone()).map(|entry| entry.unwrap().path());
            std::iter::once(home).chain(below).collect::<Vec<_>>()
        });
        for generation in all {
            let Ok(text) = fs::read_to_string(generation.join("run.json")) else {
                continue;
            };
            let run_state: Value = serde_json::from_str(&text).unwrap();
            let pid = run_state["supervisor"]
                .as_i64()
                .and_then(|p| i32::try_from(p).ok());
            if run_state["phase"] != "ended"
                && let Some(pid) = pid.and_then(Pid::from_raw)
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn orghost() -> PathBuf {
    env!("CARGO_BIN_EXE_orghost").into()
}

fn file(path: &str, text: &str) -> SeedFile {
    SeedFile {
        path: path.to_owned(),
        content: Content::Inline(text.as_bytes().to_vec()),
        secret: false,
    }
}

fn workspace(key: &str) -> Workspace {
    let key = WorkspaceKey::new(key).unwrap();
    Workspace {
        path: path(&key),
        name: key.slug().to_owned(),
        role: String::new(),
        parent: key
            .parent()
            .map(|parent| WorkspaceKey::new(parent).unwrap()),
        runtime: "shell".to_owned(),
        model: None,
        tier: 2,
        renamed_from: Vec::new(),
        external: false,
        url: None,
        workspace_dir: None,
        workspace_access: Access::None,
        plugins: Vec::new(),
        files: vec![file("config.yaml", &format!("name: {key}\n"))],
        env: Vec::new(),
        schedules: Vec::new(),
        channels: Vec::new(),
        skipped_channels: Vec::new(),
        memories: Vec::new(),
        max_concurrent_tasks: 1,
        canvas: Canvas { x: 0.0, y: 0.0 },
        key,
    }
}

fn is_alive(pid: Pid) -> bool {
    // A zombie has ended; its parent has not collected it yet.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    let is_zombie = stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z'));
    test_kill_process(pid).is_ok() && !is_zombie
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} within the time limit");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the demonstration runtime the program of the workspaces.
fn listening(world: &mut World) {
    world.command = vec![orghost().display().to_string(), "demo-runtime".to_owned()];
    world.wait = Some(SOON);
}

#[tokio::test]
async fn a_program_starts_with_its_seed_and_only_its_own_environment() {
    let mut world = World::new(
        "cp -r \"$WORKSPACE_CONFIG_PATH\" seen || exit 78; pwd > where; env > env.new; mv env.new env; exec sleep 1000",
    );
    let script = world.root.path().join("template/run.sh");
    fs::write(&script, "#!/bin/sh\r\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut pm = workspace("pm");
    pm.files.push(file("skills/deep/down.md", "deep"));
    pm.files.push(SeedFile {
        secret: true,
        ..file("channels.yaml", "token: x")
    });
    pm.files.push(SeedFile {
        path: "run.sh".to_owned(),
        content: Content::Template {
            path: "run.sh".to_owned(),
            text: true,
        },
        secret: false,
    });
    pm.env.push(EnvVar {
        name: "TOKEN".to_owned(),
        value: "two\nlines $HOME".to_owned(),
        secret: true,
        origin: Origin::Plugin,
    });
    world.executable_seed = true;
    let Outcome::Up(Some(url)) = world.up_one(&pm).await else {
        panic!()
    };

    let env = world.said("pm", "env").await;
    let folder = world.folder("pm");
    for (path, text, mode) in [
        ("config.yaml", "name: pm\n", 0o644),
        ("skills/deep/down.md", "deep", 0o644),
        ("channels.yaml", "token: x", 0o600),
        ("run.sh", "#!/bin/sh\n", 0o755),
    ] {
        assert_eq!(
            fs::read_to_string(folder.join("workspace/seen").join(path)).unwrap(),
            text
        );
        let metadata = fs::metadata(folder.join("configs").join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
    }
    assert_eq!(
        world.said("pm", "where").await.trim(),
        folder.join("workspace").to_str().unwrap()
    );

    // The shell adds these variables.
    let added = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names: BTreeSet<&str> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .filter(|name| !added.contains(name))
        .collect();
    let expected = BTreeSet::from([
        "FROM_RUNTIME",
        "HOME",
        "HOST",
        "ORGHOST_ORG",
        "PATH",
        "PORT",
        "TIER",
        "TMPDIR",
        "TOKEN",
        "WORKSPACE_ACCESS",
        "WORKSPACE_CONFIG_PATH",
        "WORKSPACE_DIR",
        "WORKSPACE_ID",
        "WORKSPACE_KEY",
    ]);
    assert_eq!(names, expected);
    assert!(env.contains("TOKEN=two\nlines $HOME\n"), "{env}");
    assert!(env.contains(&format!("PORT={}\n", url.rsplit(':').next().unwrap())));

    // No other user can read any of these.
    for path in [&folder, &folder.join("container.json"), &folder.join("log")] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o077,
            0,
            "{path:?}"
        );
    }
    // The supervisor's environment is empty too.
    let supervisor = world.pid("pm", "supervisor").as_raw_pid();
    assert_eq!(
        fs::read(format!("/proc/{supervisor}/environ")).unwrap(),
        b""
    );
    world.down(true).await;
}

/// Every variable that the host sets is reserved for templates.
#[tokio::test]
async fn variables_that_the_host_sets_are_reserved() {
    let world = World::new("exec sleep 1000");
    world.up(&[workspace("pm"), workspace("pm/dev")]).await;
    let container = fs::read(world.folder("pm/dev").join("container.json")).unwrap();
    let container: Value = serde_json::from_slice(&container).unwrap();
    let mut names: BTreeSet<&str> = container["env"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    // The port is chosen at the start.
    names.insert("PORT");
    // These come from the runtime, with defaults of the engine.
    for name in ["FROM_RUNTIME", "HOME", "PATH", "TMPDIR"] {
        assert!(names.remove(name), "{name}");
    }
    assert_eq!(names, BTreeSet::from(RESERVED_ENV));
    world.down(true).await;
}

#[tokio::test]
async fn a_listening_workspace_becomes_ready_and_a_second_up_changes_nothing() {
    let mut world = World::new("");
    listening(&mut world);
    let org = [workspace("pm"), workspace("pm/dev"), workspace("pm/qa")];
    let first = world.up(&org).await;
    assert_eq!(first.failed(), 0, "{first:?}");
    let mut urls = BTreeSet::new();
    for (_, outcome) in &first.outcomes {
        let Outcome::Up(Some(url)) = outcome else {
            panic!("{outcome:?}")
        };
        let mut said = String::new();
        let address = url.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        connection
            .write_all(b"GET /health HTTP/1.0\r\n\r\n")
            .unwrap();
        connection.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.0 200"), "{said}");
        assert!(urls.insert(url.clone()), "two workspaces share a port");
    }
    let pids = org.each_ref().map(|w| world.pid(w.key.as_str(), "child"));
    let second = world.up(&org).await;
    for ((_, first), (_, second)) in first.outcomes.iter().zip(&second.outcomes) {
        let (Outcome::Up(first), Outcome::Unchanged(second)) = (first, second) else {
            panic!("{second:?}")
        };
        assert_eq!(first, second);
    }
    assert_eq!(
        pids,
        org.each_ref().map(|w| world.pid(w.key.as_str(), "child"))
    );
    world.down(true).await;
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_crash_loop_fails_with_the_last_lines_and_leaves_no_container() {
    let mut world = World::new("echo boom; echo again >&2; exit 3");
    world.wait = Some(SOON);
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!((failure.step, &*failure.code), (Step::Ready, "ended"));
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.last_lines[..2], ["boom", "again"]);
    assert!(world.local.observe(&world.org).await.unwrap().is_empty());
    // The program ran, so its volume may hold work; the report names it.
    assert_eq!(failure.left_behind, ["the workspace volume of pm"]);
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let mut world = World::new("");
    world.command = vec!["no-such-agent".to_owned()];
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(
        (failure.step, &*failure.code),
        (Step::Create, "not-executable")
    );
    for words in ["no-such-agent", "in none of", "/usr/local/bin"] {
        assert!(failure.reason.contains(words), "{}", failure.reason);
    }

    world.command = vec!["/no/such/agent".to_owned()];
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(failure.step, Step::Create);
    assert!(
        failure.reason.contains("No such file"),
        "{}",
        failure.reason
    );

    // Programs are not searched in folders that a workspace can write.
    world.command = vec!["../configs/agent".to_owned()];
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(failure.step, Step::Create);
    assert!(
        failure.reason.contains("not absolute"),
        "{}",
        failure.reason
    );
    assert!(world.local.observe(&world.org).await.unwrap().is_empty());

    world.command = vec!["/etc/passwd".to_owned()];
    let failure = world.fail_one(&workspace("pm")).await;
    assert!(
        failure.reason.contains("Permission denied"),
        "{}",
        failure.reason
    );

    world.command = Vec::new();
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(
        (failure.step, &*failure.code),
        (Step::Create, "runtime-unsuited")
    );
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn stop_sends_term_first() {
    let world = World::new(
        "trap 'echo bye > bye; exit 0' TERM; echo $$ > up; while :; do sleep 0.01; done",
    );
    world.up_one(&workspace("pm")).await;
    world.said("pm", "up").await;
    let id = world.first("pm");
    world.local.stop(&id).await.unwrap();
    assert_eq!(world.said("pm", "bye").await, "bye\n");
    assert_eq!(
        world.state("pm").await,
        State::Exited { exit_code: Some(0) }
    );
    // Stopping and removing an absent container succeeds.
    world.local.stop(&id).await.unwrap();
    world.down(true).await;
    world.local.remove(&id).await.unwrap();
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_with_its_children() {
    const GRACE: Duration = Duration::from_millis(300);
    let world = World::new(
        "trap '' TERM; sleep 1000 & echo $! > child; setsid sleep 1000 & echo $! > escaped; echo $$ > up; wait; sleep 1000",
    )
    .grace(GRACE);
    world.up_one(&workspace("pm")).await;
    let mut pids = Vec::new();
    for file in ["child", "escaped", "up"] {
        pids.push(world.said_pid("pm", file).await);
    }
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let began = Instant::now();
    world.local.stop(&world.first("pm")).await.unwrap();
    assert!(began.elapsed() >= GRACE);
    assert_eq!(world.state("pm").await, State::Exited { exit_code: None });
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    world.down(true).await;
}

#[tokio::test]
async fn remove_kills_without_a_grace_period() {
    let world = World::new("trap '' TERM; echo $$ > up; while :; do sleep 1000; done")
        .grace(Duration::from_secs(1000));
    world.up_one(&workspace("pm")).await;
    let pid = world.said_pid("pm", "up").await;
    world.local.remove(&world.first("pm")).await.unwrap();
    assert!(!is_alive(pid));
    let left: BTreeSet<_> = fs::read_dir(world.folder("pm"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        left,
        ["configs", "configs.json", "workspace", "workspace.json"]
            .map(str::to_owned)
            .into()
    );
    world.down(true).await;
}

#[tokio::test]
async fn a_killed_program_restarts_at_the_same_address() {
    let mut world = World::new("");
    listening(&mut world);
    let Outcome::Up(url) = world.up_one(&workspace("pm")).await else {
        panic!()
    };
    let (supervisor, before) = (world.pid("pm", "supervisor"), world.pid("pm", "child"));
    kill_process(before, Signal::KILL).unwrap();
    eventually("a second life", || {
        world.run_state("pm")["restarts"] == 1 && world.run_state("pm")["phase"] == "running"
    })
    .await;
    let seen = world.local.inspect(&world.first("pm")).await.unwrap();
    assert_eq!((seen.state, &seen.url), (State::Running, &url));
    assert_ne!(world.pid("pm", "child"), before);
    assert_eq!(world.pid("pm", "supervisor"), supervisor);
    world.down(true).await;
}

#[tokio::test]
async fn processes_of_a_killed_supervisor_are_ended_before_the_next_start() {
    let world = World::new("sleep 1000 & echo $! > child; echo $$ > up; wait");
    let pm = workspace("pm");
    world.up_one(&pm).await;
    let (program, child) = (
        world.said_pid("pm", "up").await,
        world.said_pid("pm", "child").await,
    );
    kill_process(world.pid("pm", "supervisor"), Signal::KILL).unwrap();
    eventually("the kernel kills the program", || !is_alive(program)).await;
    assert_eq!(world.state("pm").await, State::Exited { exit_code: None });
    assert!(is_alive(child));
    let Outcome::Up(_) = world.up_one(&pm).await else {
        panic!()
    };
    assert!(!is_alive(child));
    assert_eq!(world.state("pm").await, State::Running);
    world.down(true).await;
}

#[tokio::test]
async fn a_replaced_workspace_keeps_its_work() {
    let world = World::new("date >> work; echo $$ > up; exec sleep 1000");
    let mut pm = workspace("pm");
    pm.files.push(file("old/notes.md", "old"));
    world.up_one(&pm).await;
    let before = world.said_pid("pm", "up").await;
    let old = world.folder("pm").join("configs");
    fs::write(old.join("written-by-the-agent"), "x").unwrap();

    pm.files.pop();
    let Outcome::Up(_) = world.up_one(&pm).await else {
        panic!()
    };
    assert!(!is_alive(before));
    eventually("a second line", || {
        world
            .folder("pm")
            .join("workspace/work")
            .metadata()
            .is_ok_and(|m| m.len() > 40)
    })
    .await;
    assert!(!old.exists());
    let configs = world.folder("pm").join("1/configs");
    let names: Vec<_> = fs::read_dir(&configs)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["config.yaml"]);
    world.down(true).await;
}

#[tokio::test]
async fn down_keeps_the_work_without_erase() {
    let world =
        World::new("echo line >> work; cp work seen.new; mv seen.new seen; exec sleep 1000");
    let pm = workspace("pm");
    world.up_one(&pm).await;
    world.said("pm", "seen").await;
    let kept = world.down(false).await.kept;
    let folder = world.folder("pm").join("workspace");
    assert_eq!(kept, [folder.display().to_string()]);
    assert!(!world.folder("pm").join("configs").exists());
    assert!(world.local.observe(&world.org).await.unwrap().is_empty());

    fs::remove_file(folder.join("seen")).unwrap();
    // A read-only folder, as a package manager's cache has it.
    fs::create_dir(folder.join("cache")).unwrap();
    fs::write(folder.join("cache/x"), "").unwrap();
    fs::set_permissions(folder.join("cache"), fs::Permissions::from_mode(0o555)).unwrap();
    world.up_one(&pm).await;
    assert_eq!(world.said("pm", "seen").await, "line\nline\n");
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_mounted_directory_cannot_leave_the_allowed_root_through_a_link() {
    let world = World::new(
        "(pwd; echo \"$WORKSPACE_ACCESS $HOME\") > \"$TMPDIR/where\"; echo x > \"$WORKSPACE_DIR/made\" || cp made.before \"$TMPDIR/refused\"; exec sleep 1000",
    );
    let allowed = world.root.path().join("allowed");
    let outside = world.root.path().join("outside");
    for folder in [&outside, &allowed.join("code")] {
        fs::create_dir_all(folder).unwrap();
    }
    symlink(&outside, allowed.join("link")).unwrap();
    let code = allowed.join("code").canonicalize().unwrap();
    fs::write(code.join("made.before"), "").unwrap();
    let mut pm = workspace("pm");
    pm.workspace_dir = Some(allowed.join("code").display().to_string());
    // The second run makes a new generation with its own folder.
    for (access, word, may_write, scratch) in [
        (Access::ReadOnly, "read_only", false, "scratch"),
        (Access::ReadWrite, "read_write", true, "1/scratch"),
    ] {
        pm.workspace_access = access;
        world.up_one(&pm).await;
        let scratch = world.folder("pm").join(scratch);
        let where_it_is = scratch.join("where");
        let said = || fs::read_to_string(&where_it_is).unwrap_or_default();
        eventually("two lines", || said().lines().count() == 2).await;
        assert_eq!(
            said(),
            format!("{}\n{word} {}\n", code.display(), scratch.display())
        );
        // The kernel enforces the access.
        let (made, refused) = (code.join("made"), scratch.join("refused"));
        eventually("an end of the attempt", || {
            made.exists() || refused.exists()
        })
        .await;
        assert_eq!((made.exists(), refused.exists()), (may_write, !may_write));
        assert!(!world.folder("pm").join("workspace").exists());
    }
    world.down(true).await;
    assert!(code.join("made").exists());

    for (source, words) in [
        ("link", "outside the allowed root"),
        ("nothing", "No such file"),
        ("code/made", "not a directory"),
    ] {
        pm.workspace_dir = Some(allowed.join(source).display().to_string());
        let failure = world.fail_one(&pm).await;
        assert_eq!((failure.step, &*failure.code), (Step::Create, "mount"));
        assert!(failure.reason.contains(words), "{}", failure.reason);
    }
    assert!(!world.folder("pm").exists());
}

/// Another workspace that can write beside a granted directory cannot redirect the grant.
#[tokio::test]
async fn a_link_that_replaces_a_granted_directory_is_not_followed() {
    let world = World::new("echo x > \"$WORKSPACE_DIR/ran\"; exec sleep 1000");
    let allowed = world.root.path().canonicalize().unwrap().join("allowed");
    let (code, outside) = (allowed.join("code"), world.root.path().join("outside"));
    for folder in [&outside, &code] {
        fs::create_dir_all(folder).unwrap();
    }
    let mut pm = workspace("pm");
    pm.workspace_dir = Some(world.root.path().join("allowed/code").display().to_string());
    pm.workspace_access = Access::ReadWrite;
    world.up_one(&pm).await;
    eventually("the first life", || code.join("ran").exists()).await;
    fs::rename(&code, allowed.join("before")).unwrap();
    symlink(&outside, &code).unwrap();
    kill_process(world.pid("pm", "child"), Signal::KILL).unwrap();
    let log = world.folder("pm").join("log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually("a refusal", || said().contains("cannot be granted")).await;
    assert!(!outside.join("ran").exists());
    world.down(true).await;
}

#[tokio::test]
async fn a_tier_1_workspace_has_no_workspace_folder() {
    let world = World::new("echo \"$TIER ${WORKSPACE_DIR-none} $HOME\"; pwd; exec sleep 1000");
    let mut pm = workspace("pm");
    pm.tier = 1;
    world.up_one(&pm).await;
    let id = world.first("pm");
    let scratch = world.folder("pm").join("scratch").display().to_string();
    let deadline = Instant::now() + SOON;
    let lines = loop {
        let lines = world.local.last_lines(&id, 5).await.unwrap();
        if lines.len() == 2 || Instant::now() > deadline {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(lines, [format!("1 none {scratch}"), scratch]);
    assert!(!world.folder("pm").join("workspace").exists());
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_followed_log_begins_at_its_tail_and_ends_with_the_workspace() {
    let world = World::new(
        "echo one; echo two; printf three; echo $$ > up; trap 'echo; echo four; exit 0' TERM; while :; do sleep 0.01; done",
    );
    world.up_one(&workspace("pm")).await;
    world.said("pm", "up").await;
    let id = world.first("pm");
    let read = async |tail, follow| {
        let mut text = Vec::new();
        let mut stream = std::pin::pin!(world.local.logs(&id, tail, follow));
        while let Some(bytes) = stream.next().await {
            text.extend(bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    };
    let mut all = String::new();
    let deadline = Instant::now() + SOON;
    while all.len() < 13 && Instant::now() < deadline {
        all = read(None, false).await;
    }
    assert_eq!(all, "one\ntwo\nthree");
    assert_eq!(read(Some(2), false).await, "two\nthree");
    assert_eq!(read(Some(0), false).await, "");
    assert_eq!(
        world.local.last_lines(&id, 2).await.unwrap(),
        ["two", "three"]
    );
    let (followed, stopped) = tokio::join!(read(Some(1), true), world.local.stop(&id));
    stopped.unwrap();
    // Between the two lines, the shell may report the end of its sleep.
    assert!(
        followed.starts_with("three") && followed.ends_with("\nfour\n"),
        "{followed}"
    );
    world.down(true).await;
    let mut of_nobody = std::pin::pin!(world.local.logs(&id, None, true));
    let first = of_nobody.next().await;
    assert!(
        matches!(first, Some(Err(EngineError::NotFound(_)))),
        "{first:?}"
    );
}

#[tokio::test]
async fn an_endless_log_is_bounded_and_its_program_can_be_stopped() {
    let world = World::new("exec yes");
    world.up_one(&workspace("pm")).await;
    let size = |file| fs::metadata(world.folder("pm").join(file)).map_or(0, |m| m.len());
    eventually("a second file", || size("log.1") > 0).await;
    assert!(size("log.1") <= orghost::limits::LOG_BYTES);
    world.local.stop(&world.first("pm")).await.unwrap();
    assert!(size("log") <= orghost::limits::LOG_BYTES);
    let lines = world.local.last_lines(&world.first("pm"), 2).await.unwrap();
    assert_eq!(lines[0], "y");
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

/// A container that was made and not seeded, and its spec.
async fn unseeded(world: &World) -> Box<Spec> {
    let (_, jobs) = world.jobs(&[workspace("pm")]);
    let Work::Provision(spec) = jobs.into_iter().next().unwrap().work else {
        panic!()
    };
    let operation = world
        .store
        .begin(world.org.slug(), Operation::Up)
        .await
        .unwrap();
    world.local.prepare(&world.org).await.unwrap();
    let first = Generation::first(&spec.id);
    for volume in volumes(&spec, &first) {
        let made = world.local.create_volume(&spec, &volume, &operation);
        made.await.unwrap();
    }
    let created = world.local.create(&spec, &first, &operation, None);
    created.await.unwrap();
    spec
}

/// A start either starts the program or reports why not, for as long as the lock is held.
#[tokio::test]
async fn a_start_without_the_lock_fails_with_the_reason() {
    let world = World::new("exec sleep 1000");
    let spec = unseeded(&world).await;
    let archive = spec.seed.archive().unwrap();
    world
        .local
        .put_seed(&world.first("pm"), archive)
        .await
        .unwrap();
    let verified = async || {
        let first = world.first("pm");
        let read_back = world.local.read_seed(&first).await.unwrap();
        spec.seed.manifest().verify(&read_back, &first).unwrap()
    };
    let reader = fs::File::create(world.folder("pm").join("lock")).unwrap();
    reader.lock_shared().unwrap();
    let refused = world.local.start(verified().await).await.unwrap_err();
    assert!(
        refused.to_string().contains("does not release it"),
        "{refused}"
    );
    assert_eq!(world.state("pm").await, State::Created);

    let released = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(reader);
    };
    let (started, ()) = tokio::join!(world.local.start(verified().await), released);
    started.unwrap();
    assert_eq!(world.state("pm").await, State::Running);

    // The program runs already: a second start succeeds and changes nothing.
    let supervisor = world.pid("pm", "supervisor");
    world.local.start(verified().await).await.unwrap();
    assert_eq!(world.pid("pm", "supervisor"), supervisor);
    world.down(true).await;
}

#[tokio::test]
async fn a_hostile_archive_is_refused_and_reaches_nothing() {
    let world = World::new("exit 0");
    unseeded(&world).await;
    let outside = world.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let configs = world.folder("pm").join("configs");
    symlink(&outside, configs.join("planted")).unwrap();
    symlink(outside.join("made"), configs.join("planted-file")).unwrap();

    let archive = |entries: &[(&str, tar::EntryType)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind) in entries {
            let mut header = tar::Header::new_ustar();
            // The builder's own methods refuse some of these paths.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4777);
            header.set_size(0);
            header.set_link_name_literal("../../../outside").unwrap();
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        }
        tar.into_inner().unwrap()
    };
    use tar::EntryType as Kind;
    for entries in [
        &[("link", Kind::Symlink), ("link/made", Kind::Regular)][..],
        &[("link", Kind::Link)],
        &[("fifo", Kind::Fifo)],
        &[("device", Kind::Char)],
        &[("../made", Kind::Regular)],
        &[("a/../../made", Kind::Regular)],
        &[("../made", Kind::Directory)],
        &[("/tmp/made", Kind::Regular)],
        &[("planted", Kind::Directory)],
        &[("planted/made", Kind::Regular)],
        &[("planted/made", Kind::Directory)],
        &[("planted-file", Kind::Regular)],
    ] {
        let first = world.first("pm");
        let refused = world.local.put_seed(&first, archive(entries)).await;
        assert!(
            matches!(refused, Err(EngineError::Folder { .. })),
            "{entries:?}: {refused:?}"
        );
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!configs.join("../made").exists() && !Path::new("/tmp/made").exists());
    // Reading the seed back finds the link too.
    assert!(world.local.read_seed(&world.first("pm")).await.is_err());

    fs::remove_file(configs.join("planted")).unwrap();
    fs::remove_file(configs.join("planted-file")).unwrap();
    world
        .local
        .put_seed(&world.first("pm"), archive(&[("plain", Kind::Regular)]))
        .await
        .unwrap();
    let mode = fs::metadata(configs.join("plain"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o777, "set-user-id is not taken over");
    // A second seed over an existing one is refused.
    assert!(
        world
            .local
            .put_seed(&world.first("pm"), archive(&[("plain", Kind::Regular)]))
            .await
            .is_err()
    );
    world.down(true).await;
    assert!(outside.exists());
}

#[tokio::test]
async fn half_made_workspaces_are_listed_and_removed() {
    let world = World::new("exec sleep 1000");
    let spec = unseeded(&world).await;
    assert_eq!(world.state("pm").await, State::Created);
    fs::write(world.folder("pm").join("container.json.new"), "{").unwrap();
    let operation = world
        .store
        .begin(world.org.slug(), Operation::Up)
        .await
        .unwrap();
    let first = world.first("pm");
    let again = world.local.create(&spec, &first, &operation, None).await;
    assert!(matches!(again, Err(EngineError::Refused(_))), "{again:?}");
    let Outcome::Up(_) = world.up_one(&workspace("pm")).await else {
        panic!()
    };
    world.down(true).await;

    // Only a volume is left, and the facts of a removed container.
    unseeded(&world).await;
    fs::remove_file(world.folder("pm").join("container.json")).unwrap();
    fs::remove_dir(world.folder("pm").join("workspace")).unwrap();
    let volumes = world.local.volumes(&world.org).await.unwrap();
    assert_eq!(
        volumes.iter().map(|v| &v.volume).collect::<Vec<_>>(),
        [&Volume::Configs(world.first("pm"))]
    );
    world.down(true).await;
    assert!(!world.engine_folder().exists());
}

#[tokio::test]
async fn a_workspace_outlives_the_host_that_started_it() {
    let world = World::new("exec sleep 1000");
    let spec = unseeded(&world).await;
    let archive = spec.seed.archive().unwrap();
    world
        .local
        .put_seed(&world.first("pm"), archive)
        .await
        .unwrap();
    // A host that is killed before it reads the supervisor's report closes the pipe in this way.
    let lock = fs::File::create(world.folder("pm").join("lock")).unwrap();
    lock.lock().unwrap();
    let (nobody, report) = std::io::pipe().unwrap();
    drop(nobody);
    let mut supervisor = std::process::Command::new(orghost())
        .arg("supervise")
        .arg(world.folder("pm"))
        .env_clear()
        .stdin(lock)
        .stdout(report)
        .spawn()
        .unwrap();
    let file = world.folder("pm").join("run.json");
    eventually("it runs", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.contains("\"running\"")
    })
    .await;
    let Outcome::Unchanged(Some(_)) = world.up_one(&workspace("pm")).await else {
        panic!()
    };
    assert!(supervisor.try_wait().unwrap().is_none());
    world.down(true).await;
    assert!(supervisor.wait().unwrap().success());
}

#[tokio::test]
async fn two_hosts_do_not_see_each_other() {
    let world = World::new("exec sleep 1000");
    world.up_one(&workspace("pm")).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let store = Store::open(&elsewhere.path().join("state")).unwrap();
    // The worst case: both hosts use the same folder.
    let other = World::on(elsewhere, store, world.local.clone(), "exec sleep 1000");
    assert!(other.local.observe(&other.org).await.unwrap().is_empty());
    assert!(other.local.volumes(&other.org).await.unwrap().is_empty());
    other.down(true).await;
    assert_eq!(world.state("pm").await, State::Running);

    // A folder with the right name and another owner is not touched.
    let mine = world.folder("pm").join("container.json");
    let theirs = fs::read_to_string(&mine)
        .unwrap()
        .replace(world.org.instance().as_str(), "somebody");
    fs::write(&mine, theirs).unwrap();
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(
        (failure.step, &*failure.code),
        (Step::Create, "name-in-use")
    );
    assert!(is_alive(world.pid("pm", "child")));
}

#[tokio::test]
async fn an_unusable_folder_is_named_in_the_error() {
    let mut world = World::new("exec sleep 1000");
    let blocked = world.root.path().join("blocked");
    fs::write(&blocked, "a file").unwrap();
    world.local = Local::new(blocked.join("local"), orghost());
    let error = world.local.prepare(&world.org).await.unwrap_err();
    assert_eq!(error.code(), "folder");
    assert!(error.to_string().contains("blocked/local"), "{error}");

    world.local = Local::new(world.engine_folder(), "/no/such/orghost".into());
    let failure = world.fail_one(&workspace("pm")).await;
    assert_eq!(
        (failure.step, &*failure.code),
        (Step::Start, "not-executable")
    );
    assert!(
        failure.reason.contains("/no/such/orghost"),
        "{}",
        failure.reason
    );
    assert!(world.local.observe(&world.org).await.unwrap().is_empty());
}

#[test]
fn the_supervisor_command_refuses_to_run_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut supervisor = std::process::Command::new(orghost());
    let called = supervisor
        .arg("supervise")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!called.status.success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

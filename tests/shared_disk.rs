//! Tests of seeds that are written straight into the volumes of a Docker engine, when it keeps them on this machine's disk:
//! when that happens, each call, and the effect when anything fails. Needs root, because the files get another owner.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orghost::model::plan::Workspace;
use orghost::provision::seed::OWNER;

use crate::support::disk::SmallDisk;
use crate::support::engine::OwnEngine;
use crate::support::fake_docker::{FakeDocker, Fault, Files, When};
use crate::support::scenario;
use crate::support::tcp::OverTcp;
use crate::support::world::{World, workspace};

/// The calls of the first workspace: its seed is written after its container shows that the engine sees this disk.
const FIRST: [&str; 9] = [
    "POST volumes/create ws-a-configs",
    "POST volumes/create ws-a-workspace",
    "POST containers/create ws-a",
    "GET info",
    "GET containers/ws-a/archive",
    "GET containers/ws-a/archive",
    "POST containers/ws-a/update",
    "POST containers/ws-a/start",
    "GET containers/ws-a/json",
];
/// The calls of every other workspace.
const NEXT: [&str; 5] = [
    "POST volumes/create ws-b-configs",
    "POST volumes/create ws-b-workspace",
    "POST containers/create ws-b",
    "POST containers/ws-b/start",
    "GET containers/ws-b/json",
];
const ORG: [&str; 3] = [
    "GET containers/json",
    "GET networks",
    "POST networks/create",
];

/// What is done before the first workspace is provisioned.
type Prepare<'a> = &'a dyn Fn(&Shared);
/// What is done to the content of a volume.
type Change = fn(&Path);
/// What happens during a call.
type Happens = Arc<dyn Fn() + Send + Sync>;

/// An engine that keeps its volumes in a folder of this machine.
struct Shared {
    fake: FakeDocker,
    world: World,
    volumes: PathBuf,
    _dir: tempfile::TempDir,
}

impl Shared {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir.path().join("volumes"), dir).await
    }

    async fn at(volumes: PathBuf, dir: tempfile::TempDir) -> Self {
        fs::create_dir_all(&volumes).unwrap();
        let fake = FakeDocker::on_disk(&volumes);
        let world = World::new(&fake.endpoint(), "agent:1").await;
        Self {
            fake,
            world,
            volumes,
            _dir: dir,
        }
    }

    /// Workspace `a` runs, so that it is known that the disk is shared. The recorded calls are cleared.
    async fn known() -> Self {
        let shared = Self::new().await;
        shared.make_known().await;
        shared
    }

    async fn make_known(&self) {
        let outcomes = self.world.up(&[workspace("a")]).await;
        assert!(outcomes.is_up("a"), "{outcomes:?}");
        self.fake.forget();
    }

    /// The content of a workspace's seed.
    fn seed(&self, key: &str) -> PathBuf {
        let id = self.world.spec(&workspace(key)).id;
        self.volumes.join(format!("ws-{id}-configs/_data"))
    }

    fn has_called(&self, call: &str) -> bool {
        self.fake.calls().iter().any(|made| made == call)
    }
}

fn pair() -> [Workspace; 2] {
    [workspace("a"), workspace("b")]
}

#[tokio::test]
async fn the_first_workspace_shows_that_the_disk_is_shared() {
    let shared = Shared::new().await;
    let outcomes = shared.world.up(&pair()).await;
    assert!(outcomes.is_up("a") && outcomes.is_up("b"), "{outcomes:?}");
    assert_eq!(
        shared.fake.calls(),
        [&ORG[..], &FIRST[..], &NEXT[..]].concat()
    );
    for name in ["ws-a", "ws-b"] {
        let policy = &shared.fake.body(name)["HostConfig"]["RestartPolicy"]["Name"];
        assert_eq!(policy, "unless-stopped", "{name}");
    }
    for key in ["a", "b"] {
        let seed = shared.seed(key);
        let facts = |path: &str| {
            let found = seed.join(path).symlink_metadata().unwrap();
            assert_eq!(u64::from(found.uid()), OWNER, "{path}");
            assert_eq!(u64::from(found.gid()), OWNER, "{path}");
            found.permissions().mode() & 0o7777
        };
        assert_eq!(facts(""), 0o755);
        assert_eq!(facts("prompts/deep"), 0o755);
        assert_eq!(facts("prompts/deep/role.md"), 0o644);
        assert_eq!(facts("channels.yaml"), 0o600);
        // The file that was written to find out is gone.
        assert_eq!(fs::read_dir(&seed).unwrap().count(), 3);
    }
}

/// The engine's own archive is read once in each operation, so that its word is not older than that.
#[tokio::test]
async fn each_operation_reads_one_seed_back_as_an_archive() {
    let shared = Shared::known().await;
    let keys = ["a", "b", "c", "d"];
    let outcomes = shared.world.up(&keys.map(workspace)).await;
    assert!(keys[1..].iter().all(|key| outcomes.is_up(key)));
    let calls = shared.fake.calls();
    let archives = calls.iter().filter(|call| call.ends_with("/archive"));
    assert_eq!(
        archives.collect::<Vec<_>>(),
        ["GET containers/ws-b/archive"]
    );
    // Two volumes, the container, its start and its address.
    let of = |name: &str| calls.iter().filter(|call| call.contains(name)).count();
    assert_eq!((of("ws-c"), of("ws-d")), (NEXT.len(), NEXT.len()));
}

#[tokio::test]
async fn a_second_up_makes_one_call() {
    let shared = Shared::new().await;
    shared.world.up(&pair()).await;
    shared.fake.forget();
    let outcomes = shared.world.up(&pair()).await;
    assert!(outcomes.is_unchanged("a") && outcomes.is_unchanged("b"));
    assert_eq!(shared.fake.calls(), ["GET containers/json"]);
}

#[tokio::test]
async fn the_contract_of_engines_holds() {
    scenario::a_second_up_changes_nothing(&Shared::known().await.world).await;
    scenario::a_changed_workspace_is_replaced(&Shared::known().await.world).await;
    scenario::a_missing_image_fails_only_its_workspace(&mut Shared::new().await.world).await;
    let shared = Shared::new().await;
    scenario::down_leaves_nothing(&shared.world).await;
    assert_eq!(fs::read_dir(&shared.volumes).unwrap().count(), 0);
}

/// An archive has no times, so a file with one was written by this machine.
#[tokio::test]
async fn a_real_engine_of_this_machine_shares_its_disk() {
    let engine = OwnEngine::start();
    let world = World::new(&engine.endpoint(), "orghost-demo:latest").await;
    let outcomes = world.up(&pair()).await;
    assert!(outcomes.is_up("a") && outcomes.is_up("b"), "{outcomes:?}");
    for key in ["a", "b"] {
        let name = format!("ws-{}-configs", world.spec(&workspace(key)).id);
        let folder = engine.lines(&["volume", "inspect", "--format={{.Mountpoint}}", &name]);
        let config = Path::new(&folder[0]).join("config.yaml");
        assert_ne!(config.metadata().unwrap().mtime(), 0, "{key}");
    }
    world.down(true).await;
}

/// The engine is sent an archive when it does not see what this machine writes, or not as this machine wrote it.
#[tokio::test]
async fn an_engine_that_does_not_share_the_disk_is_sent_archives() {
    let other = tempfile::tempdir().unwrap();
    let cases: [(&str, Prepare); 7] = [
        ("it has another folder of the same name", &|shared| {
            shared.fake.claim(other.path());
            for key in ["a", "b"] {
                let folder = shared.seed(key);
                let folder = folder.strip_prefix(&shared.volumes).unwrap();
                fs::create_dir_all(other.path().join(folder)).unwrap();
            }
        }),
        ("its folder is not on this machine", &|shared| {
            shared.fake.claim(Path::new("/absent"));
        }),
        ("its users are not those of this machine", &|shared| {
            shared.fake.map_owners(100_000);
        }),
        ("it says that it runs without root", &|shared| {
            shared.fake.report_security_option("name=rootless");
        }),
        ("it says that it maps users", &|shared| {
            shared.fake.report_security_option("name=userns");
        }),
        ("it may not be asked about itself", &|shared| {
            let refused = Fault::Answer(403, "Forbidden");
            shared.fake.fault(When::Call("GET info"), refused);
        }),
        ("it labels files", &|shared| {
            shared.fake.report_security_option("name=selinux");
        }),
    ];
    for (case, prepare) in cases {
        let shared = Shared::new().await;
        prepare(&shared);
        let outcomes = shared.world.up(&pair()).await;
        assert!(
            outcomes.is_up("a") && outcomes.is_up("b"),
            "{case}: {outcomes:?}"
        );
        for name in ["ws-a", "ws-b"] {
            assert!(
                shared.has_called(&format!("PUT containers/{name}/archive")),
                "{case}"
            );
        }
    }
    // What was written to find out is gone from the folder that was not the engine's.
    for entry in fs::read_dir(other.path()).unwrap() {
        let data = entry.unwrap().path().join("_data");
        assert_eq!(fs::read_dir(data).unwrap().count(), 0);
    }
}

/// An engine on another machine must not choose where this machine writes, so it is not even tried.
#[tokio::test]
async fn an_engine_over_tcp_is_sent_archives() {
    let shared = Shared::new().await;
    let tcp = OverTcp::to(&shared.fake.endpoint()).await;
    let world = World::new(&tcp.endpoint, "agent:1").await;
    assert!(world.up(&[workspace("a")]).await.is_up("a"));
    assert!(shared.has_called("PUT containers/ws-a/archive"));
    assert!(!shared.has_called("GET info"));
}

/// Every call fails in turn, in every way. Nothing unseeded starts (the fake engine checks that), nothing half-made is left,
/// and the next run repairs it.
#[tokio::test]
async fn a_failed_call_starts_nothing_unseeded_and_leaves_nothing_half_made() {
    let steps = ["volumes", "volumes", "create", "start"];
    let faults: [fn() -> Fault; 3] = [
        || Fault::Answer(500, "something is wrong"),
        || Fault::CutBefore,
        || Fault::CutAfter,
    ];
    for (nth, step) in steps.iter().enumerate() {
        for fault in faults {
            let shared = Shared::known().await;
            let fault = fault();
            let performed = matches!(fault, Fault::CutAfter);
            let code = match fault {
                Fault::Answer(..) => "engine-refused",
                _ => "engine-away",
            };
            shared.fake.fault(When::Call(NEXT[nth]), fault);
            let outcomes = shared.world.up(&pair()).await;
            let case = format!("{} fails with {code}, performed: {performed}", NEXT[nth]);
            assert_eq!(outcomes.failure("b"), format!("{step} {code}"), "{case}");
            assert_eq!(shared.fake.containers(), ["ws-a running"], "{case}");
            assert!(!shared.seed("b").exists(), "{case}");
            shared.fake.forget();
            let again = shared.world.up(&pair()).await;
            assert!(
                again.is_up("b") && again.is_unchanged("a"),
                "{case}: {again:?}"
            );
        }
    }
}

/// The engine fails while it is found out whether the disk is shared.
#[tokio::test]
async fn a_failed_call_of_the_first_workspace_is_repaired_by_the_next_run() {
    for call in FIRST.iter().take(8) {
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            let shared = Shared::new().await;
            shared.fake.fault(When::Call(call), fault);
            let outcomes = shared.world.up(&[workspace("a")]).await;
            let failure = outcomes.failure("a");
            assert!(failure.ends_with(" engine-away"), "{call}: {failure}");
            assert!(shared.fake.containers().is_empty(), "{call}");
            shared.fake.forget();
            assert!(shared.world.up(&pair()).await.is_up("a"), "{call}");
        }
    }
}

/// What is in the volume before the seed is written is not followed and not replaced.
#[tokio::test]
async fn a_link_in_the_volume_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "mine").unwrap();
    for planted in ["config.yaml", "prompts", "channels.yaml"] {
        let shared = Shared::known().await;
        let link = shared.seed("b").join(planted);
        let to = match planted {
            "prompts" => outside.path().to_owned(),
            "config.yaml" => target.clone(),
            _ => outside.path().join("made"),
        };
        shared.fake.fault(
            When::Call("POST volumes/create ws-b-workspace"),
            Fault::Meanwhile(Box::new(move || symlink(&to, &link).unwrap())),
        );
        let outcomes = shared.world.up(&pair()).await;
        assert_eq!(outcomes.failure("b"), "seed folder", "{outcomes:?}");
        assert!(!shared.has_called("POST containers/create ws-b"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert!(!shared.seed("b").exists(), "the volume is removed");
    }
}

/// The folder of a volume is a link, and what it leads to is not written to.
#[tokio::test]
async fn a_volume_that_is_a_link_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let shared = Shared::known().await;
    let (data, to) = (shared.seed("b"), outside.path().to_owned());
    let plant = move || {
        fs::remove_dir(&data).unwrap();
        symlink(&to, &data).unwrap();
    };
    shared.fake.fault(
        When::Call("POST volumes/create ws-b-workspace"),
        Fault::Meanwhile(Box::new(plant)),
    );
    let outcomes = shared.world.up(&pair()).await;
    assert_eq!(outcomes.failure("b"), "seed folder", "{outcomes:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// The seed is compared again after the container was made, whatever happened to it since it was written.
#[tokio::test]
async fn a_seed_that_changes_before_the_start_is_never_started() {
    let changes: [(&str, Change); 8] = [
        ("seed-mismatch", |seed| {
            fs::write(seed.join("config.yaml"), "name: d\nruntime: agent\n").unwrap();
        }),
        ("seed-mismatch", |seed| {
            fs::write(seed.join("config.yaml"), "").unwrap();
        }),
        ("seed-mismatch", |seed| {
            fs::remove_file(seed.join("prompts/deep/role.md")).unwrap();
        }),
        ("seed-mismatch", |seed| {
            fs::write(seed.join("stale.yaml"), "old").unwrap();
        }),
        ("seed-mismatch", |seed| {
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(seed.join("channels.yaml"), mode).unwrap();
        }),
        ("folder", |seed| {
            fs::remove_file(seed.join("config.yaml")).unwrap();
            symlink("/etc/hostname", seed.join("config.yaml")).unwrap();
        }),
        // The volume was removed and made again, as an old request to the engine may do.
        ("seed-mismatch", |seed| {
            fs::remove_dir_all(seed).unwrap();
            fs::create_dir(seed).unwrap();
        }),
        ("folder", |seed| fs::remove_dir_all(seed).unwrap()),
    ];
    for (code, change) in changes {
        let shared = Shared::known().await;
        let pair = [workspace("b"), workspace("c")];
        // Of `b`, the engine's archive is read; of `c`, the disk.
        let seed = shared.seed("c");
        shared.fake.fault(
            When::Call("POST containers/create ws-c"),
            Fault::After(Arc::new(move || change(&seed))),
        );
        let outcomes = shared.world.up(&pair).await;
        assert_eq!(outcomes.failure("c"), format!("verify {code}"));
        assert!(shared.has_called("DELETE containers/ws-c"), "{code}");
        assert!(!shared.has_called("POST containers/ws-c/start"), "{code}");
        assert_eq!(shared.fake.containers(), ["ws-a running", "ws-b running"]);
    }
}

/// The engine's own archive counts, not what this machine finds in the folder. From then on, archives are sent.
#[tokio::test]
async fn a_seed_that_the_engine_does_not_see_is_never_started() {
    let shared = Shared::known().await;
    let lose: fn(&mut Files) = |files| drop(files.remove("channels.yaml"));
    shared
        .fake
        .fault(When::Call("GET containers/ws-b/archive"), Fault::Tear(lose));
    let outcomes = shared
        .world
        .up(&[workspace("a"), workspace("b"), workspace("c")])
        .await;
    assert_eq!(
        outcomes.failure("b"),
        "verify seed-mismatch",
        "{outcomes:?}"
    );
    assert!(outcomes.is_up("c"), "{outcomes:?}");
    assert!(!shared.has_called("POST containers/ws-b/start"));
    assert!(shared.has_called("PUT containers/ws-c/archive"));
}

#[tokio::test]
async fn a_seed_that_cannot_be_written_is_never_started() {
    let disk = SmallDisk::new(256);
    let dir = tempfile::tempdir().unwrap();
    let shared = Shared::at(disk.path().join("volumes"), dir).await;
    shared.make_known().await;
    let disk = Arc::new(disk);
    let (full, read_only) = (disk.clone(), disk.clone());
    let faults: [(&str, Happens); 2] = [
        ("seed no-space", Arc::new(move || drop(full.fill()))),
        ("seed folder", Arc::new(move || read_only.make_read_only())),
    ];
    for (failure, fault) in faults {
        shared.fake.fault(
            When::Call("POST volumes/create ws-b-workspace"),
            Fault::After(fault),
        );
        let outcomes = shared.world.up(&pair()).await;
        assert_eq!(outcomes.failure("b"), failure, "{outcomes:?}");
        assert!(!shared.has_called("POST containers/create ws-b"));
        assert_eq!(shared.fake.containers(), ["ws-a running"]);
        shared.fake.forget();
        // Space is free again.
        let _ = fs::remove_file(disk.path().join("filler"));
    }
}

/// The host is killed during any call, performed or not. The next run brings everything up once.
#[tokio::test]
async fn the_next_up_completes_the_work_of_a_killed_host() {
    for call in FIRST.iter().chain(&NEXT) {
        for performed in [false, true] {
            let shared = Shared::new().await;
            let gone = Arc::new(tokio::sync::Notify::new());
            let reached = gone.clone();
            shared.fake.fault(
                When::Call(call),
                Fault::Meanwhile(Box::new(move || reached.notify_one())),
            );
            if !performed {
                shared.fake.fault(When::Call(call), Fault::Hang);
            }
            let org = pair();
            tokio::select! {
                biased;
                () = gone.notified() => {}
                ended = shared.world.try_up(&org) => panic!("{call} was not reached: {ended:?}"),
            }
            if performed {
                while !shared.fake.is_idle() {
                    tokio::task::yield_now().await;
                }
            }
            shared.fake.forget();
            // The next run is another process, which has to find out again.
            let Shared {
                fake,
                mut world,
                volumes,
                _dir,
            } = shared;
            world.engine =
                orghost::provision::engine::docker::Docker::connect(Some(&fake.endpoint()))
                    .await
                    .unwrap();
            let outcomes = world.up(&org).await;
            let good = |key| outcomes.is_up(key) || outcomes.is_unchanged(key);
            assert!(good("a") && good("b"), "{call}: {outcomes:?}");
            let containers = fake.containers();
            let running = containers.iter().filter(|c| c.ends_with(" running"));
            assert_eq!((running.count(), containers.len()), (2, 2), "{call}");
            assert_eq!(fs::read_dir(volumes).unwrap().count(), 4, "{call}");
        }
    }
}

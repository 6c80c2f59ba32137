//! Tests of the local engine's confinement. The workspaces are probes: they try what a template's program must not do,
//! and write down what succeeded.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orghost::model::isolation::{Barrier, Isolation};
use orghost::provision::engine::local;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::{Value, json};

use crate::support::{Operator, Ran};

const ORG: &str = "name: Cage\ndefaults: {runtime: probe}\nworkspaces: [{name: A, files_dir: r}, {name: B, files_dir: r}]\n";

/// The attempts of a probe. `try WORD COMMAND…` writes WORD when the command succeeds.
const PROBE: &str = r#"
try() { word=$1; shift; if "$@" >/dev/null 2>&1; then echo "$word" >> "$TMPDIR/could"; fi; }
read_it() { /bin/cat "$1"; }
write_it() { echo x > "$1"; }
me=${WORKSPACE_CONFIG_PATH%/configs}
try own-seed read_it "$WORKSPACE_CONFIG_PATH/config.yaml"
try beside-the-seed write_it "$WORKSPACE_CONFIG_PATH/new"
try own-work write_it "$HOME/work"
try own-program /bin/sh -c 'cp /bin/true "$HOME/tool" && "$HOME/tool"'
try own-move /bin/sh -c 'mkdir "$HOME/folder" && mv "$HOME/work" "$HOME/folder/work"'
try the-null-device /bin/sh -c 'echo x > /dev/null && head -c 1 /dev/urandom'
try granted-to-read read_it "$EXTRA_READ/text"
try granted-to-write write_it "$EXTRA_WRITE/text"
try run-the-seed "$WORKSPACE_CONFIG_PATH/run.sh"
try write-what-may-be-read write_it "$EXTRA_READ/text"
try read-the-store read_it "$STATE/orghost.db"
try read-the-key read_it "$STATE/secret.key"
try list-the-state /bin/ls "$STATE"
try write-the-state write_it "$STATE/new"
try read-its-own-container read_it "$me/container.json"
until [ -e "$EXTRA_READ/workspaces" ]; do /bin/sleep 0.05; done
for other in $(/bin/cat "$EXTRA_READ/workspaces"); do
  case $other in "$me") continue;; esac
  try read-another read_it "$other/configs/config.yaml"
  try write-another write_it "$other/configs/config.yaml"
  try list-another /bin/ls "$other/workspace"
done
try read-the-home read_it "$OPERATOR_HOME/private"
try write-the-home write_it "$OPERATOR_HOME/new"
try write-shared-folders write_it "/tmp/orghost-probe-$WORKSPACE_ID"
try write-shared-memory write_it "/dev/shm/orghost-probe-$WORKSPACE_ID"
try read-the-host-secrets read_it /etc/shadow
try link-out /bin/ln "$OPERATOR_HOME/private" "$HOME/link"
try spy-the-supervisor read_it "/proc/$PPID/environ"
try signal-the-supervisor /bin/kill -0 "$PPID"
try speak-to-a-socket /usr/bin/perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) && connect(S, pack_sockaddr_un($ARGV[0])) || exit 1' "$OPERATOR_HOME/socket"
try gain-privileges /bin/grep -q "NoNewPrivs:.*0" /proc/self/status
try keep-capabilities /bin/grep -q "CapEff:.*[1-9a-f]" /proc/self/status
try dump-cores /bin/sh -c '[ "$(ulimit -c)" != 0 ]'
echo end >> "$TMPDIR/could"; mv "$TMPDIR/could" "$TMPDIR/did"
exec /bin/sleep 1000
"#;

/// The attempts that must succeed.
const OWN: [&str; 8] = [
    "beside-the-seed",
    "granted-to-read",
    "granted-to-write",
    "own-move",
    "own-program",
    "own-seed",
    "own-work",
    "the-null-device",
];

/// An operator with files worth protecting in the home folder, and two probes.
fn cage(operator: &Operator) -> [String; 2] {
    let home = operator.home.path();
    // The listener runs until the test ends.
    let listener = std::os::unix::net::UnixListener::bind(home.join("socket")).unwrap();
    std::mem::forget(listener);
    for folder in ["read", "write", "state"] {
        fs::create_dir_all(home.join(folder)).unwrap();
    }
    operator.file("read/text", "x");
    operator.file("private", "the operator's own");
    operator.file("probe.sh", PROBE);
    let template = operator.template(&[("org.yaml", ORG), ("r/run.sh", "#!/bin/sh\n")]);
    let script = home.join("template/r/run.sh");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let [home, state] = [home.to_path_buf(), operator.state()].map(|p| p.display().to_string());
    let config = format!(
        "[runtimes.probe]\ncommand = ['/bin/sh', '{home}/probe.sh']\nread = ['read', 'probe.sh']\nwrite = ['write']\n\
         [runtimes.probe.env]\nOPERATOR_HOME = '{home}'\nSTATE = '{state}'\nEXTRA_READ = '{home}/read'\nEXTRA_WRITE = '{home}/write'\n"
    );
    let config = operator.file("orghost.toml", config).display().to_string();
    [template, config]
}

/// The folders of the workspaces. Each probe gets the list, because it cannot look for the other one.
fn folders(operator: &Operator) -> Vec<PathBuf> {
    let entries = fs::read_dir(operator.state().join("local")).unwrap();
    let folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 2);
    let names: Vec<_> = folders.iter().map(|f| f.to_str().unwrap()).collect();
    let list = operator.file("list", names.join("\n"));
    fs::rename(list, operator.home.path().join("read/workspaces")).unwrap();
    folders
}

/// The attempts that succeeded, sorted.
fn succeeded(folder: &Path) -> Vec<String> {
    let file = folder.join("scratch/did");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "the probe wrote nothing: {log}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = fs::read_to_string(file).unwrap();
    let mut words: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(words.pop().as_deref(), Some("end"));
    words.sort();
    words.dedup();
    words
}

/// The barriers of this kernel. A kernel without any fails the test.
fn barriers() -> Vec<Barrier> {
    match local::isolation() {
        Isolation::Confined { from } => from,
        other => panic!("these tests need a kernel with Landlock: {other}"),
    }
}

fn expected() -> Vec<String> {
    let mut expected: Vec<_> = OWN.map(str::to_owned).to_vec();
    for (barrier, word) in [
        (Barrier::Signals, "signal-the-supervisor"),
        (Barrier::Sockets, "speak-to-a-socket"),
    ] {
        if !barriers().contains(&barrier) {
            expected.push(word.to_owned());
        }
    }
    expected.sort();
    expected
}

#[test]
fn a_workspace_reaches_only_its_own_folders() {
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    let args = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&args).exits(0);
    for folder in folders(&operator) {
        assert_eq!(succeeded(&folder), expected());
    }
    assert!(!operator.home.path().join("new").exists());
    operator.run(&["down", "cage", "--volumes"]).exits(0);
}

/// Runs as an ordinary user: root loses its capabilities, so a result for root may hold for root alone.
#[test]
fn workspaces_are_confined_without_root_too() {
    const NOBODY: u32 = 65_534;
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    let home = operator.home.path();
    let program = home.join("orghost");
    fs::copy(env!("CARGO_BIN_EXE_orghost"), &program).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command
            .args(args)
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin");
        command
            .env("ORGHOST_STATE", operator.state())
            .env("ORGHOST_CACHE", home.join("cache"));
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ran::of(command.output().unwrap())
    };
    if is_root {
        let mut folders = vec![home.to_path_buf()];
        while let Some(folder) = folders.pop() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
            if folder.is_dir() {
                folders.extend(
                    fs::read_dir(folder)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        }
    }
    run(&["up", &template, "--engine", "local", "--config", &config]).exits(0);
    for folder in folders(&operator) {
        assert_eq!(succeeded(&folder), expected());
    }
    run(&["down", "cage", "--volumes"]).exits(0);
}

#[test]
fn a_runtimes_configuration_can_open_more_paths() {
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    let text = fs::read_to_string(&config).unwrap();
    let opened = "[runtimes.probe]\nexecutable_seed = true\nunix_sockets = true\n";
    let text = text.replace("[runtimes.probe]\n", opened);
    fs::write(&config, text).unwrap();
    let args = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&args).exits(0);
    for folder in folders(&operator) {
        let mut expected = expected();
        expected.extend(["run-the-seed", "speak-to-a-socket"].map(str::to_owned));
        expected.sort();
        assert_eq!(succeeded(&folder), expected);
    }
    operator.run(&["down", "cage", "--volumes"]).exits(0);
}

/// A program can read its own folder, but the operator's home does not count as a program's folder.
#[test]
fn a_program_can_read_its_own_folder_but_not_the_home_around_it() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Own\nworkspaces: [{name: A, runtime: a}, {name: B, runtime: b}]\n",
    )]);
    let script = "#!/bin/sh\ncat \"${0%/*}/beside\" > \"$TMPDIR/read.new\"; mv \"$TMPDIR/read.new\" \"$TMPDIR/did\"; exec sleep 1000\n";
    for folder in ["agent", "."] {
        let program = operator.file(&format!("{folder}/run"), script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        operator.file(&format!("{folder}/beside"), "beside");
    }
    let config = operator.file(
        "orghost.toml",
        "[runtimes.a]\ncommand = ['agent/run']\n[runtimes.b]\ncommand = ['./run']\n",
    );
    let config = config.display().to_string();
    let args = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&args).exits(0);
    let status = operator.run(&["status", "own", "--json"]).exits(0).json();
    for (workspace, read) in [(0, "beside"), (1, "")] {
        let id = status["orgs"][0]["workspaces"][workspace]["id"]
            .as_str()
            .unwrap();
        let file = operator.state().join("local").join(id).join("scratch/did");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            assert!(Instant::now() < deadline, "never: {}", file.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(fs::read_to_string(file).unwrap(), read);
    }
    operator.run(&["down", "own", "--volumes"]).exits(0);
}

#[test]
fn plan_and_status_show_the_confinement() {
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    let at = ["--engine", "local", "--config", &config];
    let isolation = json!(local::isolation());
    assert_eq!(isolation["kind"], "confined");
    let run = |args: &[&str]| operator.run(args).exits(0);

    let plan = run(&[&["plan", &template, "--json"][..], &at].concat()).json();
    assert_eq!(
        (&plan["engine"], &plan["isolation"]),
        (&json!("local"), &isolation)
    );
    let told = run(&[&["plan", &template][..], &at].concat()).stdout;
    assert!(
        told.contains("for the engine local (isolated: files"),
        "{told}"
    );
    assert!(
        !operator.state().join("orghost.db").exists(),
        "plan creates no store"
    );

    run(&[&["up", &template, "--require-isolation"][..], &at].concat());
    let status = run(&["status", "--json"]).json();
    assert_eq!(status["orgs"][0]["isolation"], isolation);
    assert!(run(&["status"]).stdout.contains("isolated: files"));
    // The org stays on its engine, and a plan is judged for that engine.
    let plan = run(&["plan", &template, "--config", &config, "--json"]).json();
    assert_eq!(plan["engine"], "local");

    // A container file of an older orghost has no confinement.
    let folder = folders(&operator).remove(0);
    let file = folder.join("container.json");
    let mut container: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    container
        .as_object_mut()
        .unwrap()
        .remove("confinement")
        .unwrap();
    fs::write(&file, container.to_string()).unwrap();
    let status = run(&["status", "--json"]).json();
    assert_eq!(
        status["orgs"][0]["isolation"],
        json!({"kind": "none", "reason": "made-earlier"})
    );
    run(&["down", "cage", "--volumes"]);
}

/// A container file lists its barriers. A program does not start on a kernel that lacks one of them.
#[test]
fn a_program_that_cannot_be_confined_does_not_start() {
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    fs::remove_dir(operator.home.path().join("write")).unwrap();
    let args = [
        "up", &template, "--engine", "local", "--config", &config, "--json",
    ];
    let summary = operator.run(&args).exits(4).events().pop().unwrap();
    let failure = &summary["workspaces"][0]["failure"];
    assert_eq!(
        (&failure["step"], &failure["code"]),
        (&json!("start"), &json!("not-executable"))
    );
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.contains("/write cannot be granted to it"),
        "{reason}"
    );
    operator.run(&["down", "cage", "--volumes"]).exits(0);
}

/// Runs work whose processes have no Landlock, as on an older kernel.
fn without_landlock<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let refuse = || {
        let calls = [(libc::SYS_landlock_create_ruleset, Vec::new())].into();
        let filter = SeccompFilter::new(
            calls,
            SeccompAction::Allow,
            SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap()),
            TargetArch::try_from(std::env::consts::ARCH).unwrap(),
        );
        let filter = BpfProgram::try_from(filter.unwrap()).unwrap();
        seccompiler::apply_filter(&filter).unwrap();
        work()
    };
    // The filter holds for this thread and the processes that it starts.
    std::thread::scope(|scope| scope.spawn(refuse).join().unwrap())
}

#[test]
fn a_kernel_without_landlock_is_reported_and_can_be_refused() {
    let operator = Operator::new();
    let [template, config] = cage(&operator);
    let text = fs::read_to_string(&config).unwrap();
    let strict = format!("[policy]\nrequire_isolation = true\n{text}");
    let strict = operator.file("strict.toml", strict).display().to_string();
    without_landlock(|| {
        let up = |more: &[&str]| {
            let up = ["up", &template, "--engine", "local", "--json", "--config"];
            operator.run(&[&up[..], more].concat())
        };
        for ran in [up(&[&config, "--require-isolation"]), up(&[&strict])] {
            assert_eq!(ran.exits(3).json()["violations"][0]["code"], "not-isolated");
        }
        let told = operator.run(&["plan", &template, "--engine", "local", "--config", &config]);
        let told = told.exits(0).stdout;
        assert!(
            told.contains("not isolated: this kernel has no Landlock"),
            "{told}"
        );

        up(&[&config]).exits(0);
        let status = operator.run(&["status", "--json"]).exits(0).json();
        let none = json!({"kind": "none", "reason": "no-landlock"});
        assert_eq!(status["orgs"][0]["isolation"], none);
        // Barriers that need no Landlock still hold.
        for folder in folders(&operator) {
            let could = succeeded(&folder);
            for word in [
                "gain-privileges",
                "keep-capabilities",
                "dump-cores",
                "run-the-seed",
            ] {
                assert!(!could.contains(&word.to_owned()), "{word}");
            }
        }
        operator.run(&["down", "cage", "--volumes"]).exits(0);
    });
}

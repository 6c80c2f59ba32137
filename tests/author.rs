//! Tests of the plugin author's commands: new projects, builds in other languages, `plugin inspect`, and `plugin dev`.
//! `scripts/component-tools` installs the languages' tools; a test that needs them fails without them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::support::{Operator, Ran, root};

/// Generous, because the first call of a plugin compiles an interpreter.
const PATIENCE: Duration = Duration::from_secs(300);

/// The folder with the component tools, which are installed once.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let ran = Command::new(root().join("scripts/component-tools"))
            .output()
            .unwrap();
        let ran = Ran::of(ran).exits(0);
        PathBuf::from(ran.stdout.trim_end())
    })
}

/// An operator whose PATH has the component tools.
fn author() -> Operator {
    let tools = tools().display();
    let path = format!("{tools}/venv/bin:{tools}/node_modules/.bin:/usr/bin:/bin");
    Operator::new().with_env("PATH", &path)
}

/// The component of an example. It is built once for each state of its sources, the contract and the builder.
fn example(language: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap();
    let folder = root().join("guest/examples").join(language);
    let mut digest = Sha256::new();
    let mut sources = vec![
        root().join("wit/v0.1.0/plugin.wit"),
        root().join("guest/build/src/script.rs"),
        root().join("guest/build/src/metadata.rs"),
        root().join("scripts/component-tools"),
    ];
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.extension().unwrap_or_default();
        if ["py", "js", "toml", "json"]
            .iter()
            .any(|known| kind == *known)
        {
            sources.push(path);
        }
    }
    sources.sort();
    for source in sources {
        digest.update(std::fs::read(source).unwrap());
    }
    let digest: String = digest
        .finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
    let cache = root().join("target/examples").join(digest);
    let file = cache.join(format!("{language}.wasm"));
    if !file.is_file() {
        std::fs::create_dir_all(&cache).unwrap();
        // Another process may build the same example; both results are equal, so the last one stays.
        let draft = cache.join(format!("{language}-{}.wasm", std::process::id()));
        let (source, output) = (folder.display().to_string(), draft.display().to_string());
        author()
            .run(&["plugin", "build", &source, "--output", &output])
            .exits(0);
        std::fs::rename(&draft, &file).unwrap();
    }
    file
}

#[test]
fn plugin_new_needs_a_valid_name_and_an_empty_folder() {
    let operator = Operator::new();
    let place = operator.home.path().join("p").display().to_string();
    let new = |name: &str| {
        operator.run(&[
            "plugin", "new", name, "--lang", "js", "--folder", &place, "--json",
        ])
    };
    let long = "a".repeat(64);
    for name in [
        "Acme",
        "a--b",
        "a-",
        "../up",
        "",
        "1abc",
        "0",
        &long,
        "orghost-plugin",
        "org-import",
    ] {
        assert_eq!(new(name).exits(2).error_codes(), ["plugin-name"], "{name}");
    }
    let said = new("1abc").json()["errors"][0]["message"].to_string();
    assert!(said.contains("begins with a letter"), "{said}");
    assert!(!Path::new(&place).exists());
    let file = operator.file("p/notes.txt", "mine");
    assert_eq!(new("acme").exits(2).error_codes(), ["folder-not-empty"]);
    let there: Vec<_> = std::fs::read_dir(&place).unwrap().collect();
    assert_eq!(there.len(), 1, "nothing was added");
    std::fs::remove_file(file).unwrap();
    new("acme").exits(0);
    let manifest = std::fs::read_to_string(Path::new(&place).join("package.json")).unwrap();
    assert!(manifest.contains("\"name\": \"acme\""), "{manifest}");
    let left: Vec<_> = std::fs::read_dir(operator.home.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    // Neither PATH nor the project has the tools.
    let operator = Operator::new().with_env("PATH", "/nonexistent");
    for (language, install) in [
        ("js", "npm install"),
        ("python", "pip install componentize-py"),
    ] {
        let place = operator.home.path().join(language).display().to_string();
        operator
            .run(&[
                "plugin", "new", "acme", "--lang", language, "--folder", &place,
            ])
            .exits(0);
        let ran = operator
            .run(&["plugin", "build", &place, "--json"])
            .exits(1);
        assert_eq!(ran.error_codes(), ["plugin-tool"]);
        let said = ran.json()["errors"][0]["message"].to_string();
        assert!(said.contains(install), "{said}");
    }
    let empty = operator.file("empty/x.txt", "");
    let empty = empty.parent().unwrap().display().to_string();
    let ran = operator.run(&["plugin", "build", &empty, "--wit", &empty, "--json"]);
    assert_eq!(ran.exits(2).error_codes(), ["plugin-project"]);
}

#[test]
fn a_manifest_error_names_the_line() {
    let operator = Operator::new();
    operator.file("p/wit/plugin.wit", "");
    let place = operator.home.path().join("p").display().to_string();
    for (name, text, said) in [
        ("pyproject.toml", "[project]\nname = 1\n", "line 2"),
        (
            "pyproject.toml",
            "[tool.orghost]\nwasi = \"open\"\n",
            "line 2",
        ),
    ] {
        operator.file(&format!("p/{name}"), text);
        let ran = operator
            .run(&["plugin", "build", &place, "--json"])
            .exits(2);
        assert_eq!(ran.error_codes(), ["plugin-project"]);
        let message = ran.json()["errors"][0]["message"].to_string();
        assert!(
            message.contains(name) && message.contains(said),
            "{message}"
        );
    }
}

#[test]
fn the_python_example_passes_its_cases() {
    cases("python", "team-csv");
}

#[test]
fn the_js_example_passes_its_cases() {
    cases("js", "outline");
}

/// Checks the metadata and all cases of an example.
fn cases(language: &str, name: &str) {
    let file = example(language).display().to_string();
    let operator = Operator::new();
    let facts = operator
        .run(&["plugin", "inspect", &file, "--json"])
        .exits(0)
        .json();
    assert_eq!(facts["metadata"]["name"], name);
    assert_eq!(
        facts["metadata"]["version"],
        facts["description"]["version"]
    );
    assert_eq!(facts["metadata"]["licenses"], "Apache-2.0");
    assert_eq!(
        facts["imports"],
        serde_json::json!(["orghost:plugin/template-files@0.1.0"])
    );
    assert_eq!(facts["wasi"], "none");
    let cases = root().join("guest/examples").join(language).join("cases");
    let cases = cases.display().to_string();
    let ran = operator.run(&["plugin", "test", &file, "--cases", &cases, "--json"]);
    let parts = ran.exits(0).json()["certificate"]["parts"].clone();
    assert!(parts["contract"]["passed"].as_u64() > Some(50), "{parts}");
    assert!(parts["own"]["passed"].as_u64() >= Some(2), "{parts}");
}

/// Follows the README: new, build, test. Then a changed rule makes a case fail.
#[test]
fn a_new_rust_project_passes_its_tests_until_a_rule_changes() {
    let rustc = Command::new(root().join("scripts/wasm-rustc")).output();
    let rustc = Ran::of(rustc.unwrap()).exits(0).stdout;
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or(format!("{home}/.cargo"));
    let operator = Operator::new()
        .with_env("RUSTC", rustc.trim())
        .with_env("CARGO", env!("CARGO"))
        .with_env("CARGO_HOME", &cargo_home)
        .with_env("PATH", &std::env::var("PATH").unwrap());
    let project = operator.home.path().join("demo").display().to_string();
    let plugin = format!("{project}/demo.wasm");
    operator
        .run(&["plugin", "new", "demo", "--folder", &project])
        .exits(0);
    assert!(Path::new(&project).join(".gitignore").is_file());
    let build = || operator.run(&["plugin", "build", &project]).exits(0);
    let test = || operator.run(&["plugin", "test", &plugin]);
    let said = build().stdout;
    assert!(said.contains("orghost:plugin 0.1.0"), "{said}");
    let said = test().exits(0).stdout;
    assert!(said.contains("own ✓ 1"), "{said}");
    let facts = operator
        .run(&["plugin", "inspect", &plugin, "--json"])
        .exits(0)
        .json();
    assert_eq!(facts["metadata"]["name"], "demo", "{facts}");

    let source = std::fs::read_to_string(format!("{project}/src/lib.rs")).unwrap();
    let changed = source.replace(
        "// The rule:",
        "settings.model = Some(\"acme-1\".to_owned());\n        // The rule:",
    );
    assert_ne!(source, changed);
    operator.file("demo/src/lib.rs", changed);
    build();
    let ran = test().exits(2);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("own/first"), "{said}");
    assert!(said.contains("+      \"model\": \"acme-1\""), "{said}");

    // The same project works with the next version of the contract, which adds a log.
    let template = format!("{project}/cases/first/template");
    let plan = || operator.run(&["plan", &template, "--plugin", &plugin, "--demo", "--json"]);
    let before = plan().exits(3);
    let source = std::fs::read_to_string(format!("{project}/src/lib.rs")).unwrap();
    let source = source
        .replace("export!(House)", "export!(House, \"0.2.0-dev\")")
        .replace(
            "// The rule:",
            "orghost_plugin::log(\"hello\");\n        // The rule:",
        );
    operator.file("demo/src/lib.rs", source);
    let said = build().stdout;
    assert!(said.contains("orghost:plugin 0.2.0-dev"), "{said}");
    let after = plan().exits(3);
    assert_eq!(after.stdout, before.stdout);
    assert!(after.stderr.contains("plugin: hello"), "{}", after.stderr);
}

/// The plugin uses the clock, randomness and output of a closed WASI.
#[test]
fn a_python_plugin_with_a_closed_wasi_gives_the_same_plan_every_time() {
    let operator = author();
    let project = operator.home.path().join("acme");
    let folder = project.display().to_string();
    operator
        .run(&[
            "plugin", "new", "acme", "--lang", "python", "--folder", &folder,
        ])
        .exits(0);
    let read = |name: &str| std::fs::read_to_string(project.join(name)).unwrap();
    let manifest = read("pyproject.toml") + "\n[tool.orghost]\nwasi = \"closed\"\n";
    operator.file("acme/pyproject.toml", manifest);
    let source = read("app.py").replace(
        "        problems = Problems()\n",
        "        problems = Problems()\n        import os, random, time\n        \
         print('it is', int(time.time()), random.random(), dict(os.environ))\n",
    );
    assert!(source.contains("random.random()"));
    operator.file("acme/app.py", source);
    operator.run(&["plugin", "build", &folder]).exits(0);

    let plugin = format!("{folder}/acme.wasm");
    let template = format!("{folder}/cases/first/template");
    let plan = ["plan", &template, "--plugin", &plugin, "--json", "--demo"];
    let strict = operator.run(&plan).exits(2);
    assert_eq!(strict.error_codes(), ["plugin-contract"]);
    assert!(strict.stdout.contains("--wasi closed"), "{}", strict.stdout);
    let closed = || {
        let mut arguments = plan.to_vec();
        arguments.extend(["--wasi", "closed"]);
        let ran = operator.run(&arguments).exits(0);
        (ran.stdout, ran.stderr)
    };
    let first = closed();
    assert_eq!(closed(), first);
    // The clock of a closed WASI stands at the first second of 2020, and the environment is empty.
    assert!(
        first.1.contains("plugin: it is 1577836800 0."),
        "{}",
        first.1
    );
    assert!(first.1.contains(" {}"), "{}", first.1);
}

#[test]
fn plugin_bench_counts_every_call() {
    let operator = Operator::new();
    let template = root().join("examples/studio").display().to_string();
    let bench = [
        "plugin",
        "bench",
        "--template",
        &template,
        "--calls",
        "7",
        "--callers",
        "3",
        "--json",
    ];
    let said = operator.run(&bench).exits(0).json();
    assert_eq!(said["calls"], 7);
    let time = |name: &str| said["call_us"][name].as_f64().unwrap();
    assert!(time("min") > 0.0 && time("min") <= time("p50") && time("p99") <= time("max"));
    assert!(said["memory_bytes"].as_u64().unwrap() > 64 << 10);
    // A template that cannot be planned has no measurements.
    let broken = operator.template(&[("org.yaml", "name: [")]);
    operator
        .run(&["plugin", "bench", "--template", &broken])
        .exits(2);
}

/// A running `plugin dev`.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Dev {
    fn start(operator: &Operator, project: &str, template: &str) -> Self {
        // Both streams share one pipe, so that their lines arrive in order.
        let (reader, writer) = std::io::pipe().unwrap();
        let child = operator
            .command(&["plugin", "dev", project, "--template", template])
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Reads output up to the first line that contains this text.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    writeln!(seen, "{line}").unwrap();
                    if line.contains(text) {
                        return seen;
                    }
                }
                Err(error) => panic!("no {text:?} ({error}) in:\n{seen}"),
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn plugin_dev_shows_how_the_plan_changes() {
    let operator = author();
    let project = operator.home.path().join("acme").display().to_string();
    operator
        .run(&[
            "plugin", "new", "acme", "--lang", "js", "--folder", &project,
        ])
        .exits(0);
    let template = format!("{project}/cases/first/template");
    let mut dev = Dev::start(&operator, &project, &template);
    dev.until("writer");
    dev.until("watching");
    // Change the template.
    operator.file(
        "acme/cases/first/template/team.txt",
        "Writer: Writes the atlas\n",
    );
    let seen = dev.until("watching");
    assert!(
        seen.contains("+      \"role\": \"Writes the atlas\""),
        "{seen}"
    );
    assert!(
        seen.contains("-      \"role\": \"Writes the handbook\""),
        "{seen}"
    );
    // Break the sources and repair them. The difference is shown against the last good plan.
    let source = std::fs::read_to_string(format!("{project}/app.js")).unwrap();
    operator.file("acme/app.js", "this is no JavaScript");
    dev.until("compared with the previous one");
    dev.until("watching");
    operator.file(
        "acme/app.js",
        source.replace("request, { role:", "request, { tier: 1, role:"),
    );
    let seen = dev.until("watching");
    assert!(
        seen.contains("+      \"tier\": 1") && seen.contains("-      \"tier\": 2"),
        "{seen}"
    );
    let id = rustix::process::Pid::from_child(&dev.child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(dev.child.wait().unwrap().code(), Some(0));
}

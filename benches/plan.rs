//! Measures planning: the default plugin as a component and as a native crate, both reading through the host's
//! `TemplateDir`, and a Go program that only parses the same YAML. Also measures what a call stands on, and large orgs.
//!
//! `ORGHOST_BENCH_TEMPLATE` names another template than the repository's own. `scripts/plan-go` builds the Go program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

#[path = "../tests/support/native.rs"]
mod native;
mod sides;
mod table;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use orghost::model::env_map::EnvMap;
use orghost::model::plan::Plan;
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, Plugin, PluginInput, Sandbox};
use orghost::template::bundle::Bundle;
use orghost::template::directory::TemplateDir;
use sides::Sides;
use table::Target;

const SHORT: Duration = Duration::from_secs(3);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A template, and what both forms of the plugin get with it.
struct Case {
    folder: PathBuf,
    template: TemplateDir,
    input: PluginInput,
}

impl Case {
    fn open() -> Self {
        let own = root().join("tests/cases/forty");
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark is told in this way what to measure"
        )]
        let other = std::env::var_os("ORGHOST_BENCH_TEMPLATE").map(PathBuf::from);
        let variables = match &other {
            Some(_) => String::new(),
            None => std::fs::read_to_string(own.join("env")).unwrap(),
        };
        let pairs = variables.lines().filter_map(|line| line.split_once('='));
        let vars: EnvMap = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let folder = other.unwrap_or_else(|| own.join("template"));
        Self {
            template: TemplateDir::open(&folder).unwrap(),
            input: PluginInput {
                vars,
                ..PluginInput::default()
            },
            folder,
        }
    }

    fn plan(&self, plugin: &Plugin) -> Plan {
        plugin.plan(&self.template, &self.input).unwrap()
    }

    fn plan_natively(&self) -> org_import::Plan {
        plan_natively(&self.template, &self.input)
    }
}

fn plan_natively(template: &TemplateDir, input: &PluginInput) -> org_import::Plan {
    let files = native::Files(template.clone());
    match org_import::import_org(&files, &native::request(&input.vars)) {
        Ok(plan) => plan,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The Go program, which times itself.
struct Go {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Go {
    /// `None` when the program was not built.
    fn start(folder: &Path, mode: &str) -> Option<Self> {
        // The folder of the benchmark's own program is `target/release/deps`.
        let here = std::env::current_exe().unwrap();
        let program = here.ancestors().nth(3)?.join("plan-go");
        if !program.is_file() {
            println!("\nGo is left out: `scripts/plan-go` builds its program\n");
            return None;
        }
        let mut child = Command::new(program)
            .arg(folder)
            .arg(mode)
            // One processor, as a plan has. Its garbage is then collected in the time that is measured.
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self {
            child,
            asked,
            answers,
        })
    }

    fn run(&mut self, times: u64) -> Duration {
        writeln!(self.asked, "{times}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        Duration::from_nanos(answer.trim().parse().unwrap())
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plan(criterion: &mut Criterion) {
    let case = Case::open();
    let cache = tempfile::tempdir().unwrap();
    let load = || {
        let sandbox = Sandbox::new(Some(cache.path())).unwrap();
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    };
    // The first load fills the cache.
    let (sandbox, plugin) = load();
    let workspaces = case.plan(&plugin).workspaces.len();
    assert_eq!(case.plan_natively().workspaces.len(), workspaces);
    let name = case.folder.file_name().unwrap_or_default();
    println!("{}: {workspaces} workspaces", name.display());

    let mut sides = Sides::new(criterion, "plan: one template", 100, SHORT)
        .side("native crate", Target::Open, || case.plan_natively())
        .side(
            "component, a fresh instance each",
            Target::Ratio(1.2),
            || case.plan(&plugin),
        );
    for (name, mode) in [
        ("Go: parses the YAML", "parse"),
        ("Go: also reads every file", "read"),
    ] {
        if let Some(mut go) = Go::start(&case.folder, mode) {
            sides = sides.timed(name, Target::Open, move |times| go.run(times));
        }
    }
    sides.print();

    Sides::new(criterion, "plan: what a call stands on", 100, SHORT)
        .side(
            "instantiation and a trivial call",
            Target::Time(Duration::from_micros(20)),
            || plugin.describe().unwrap(),
        )
        .print();

    Sides::new(
        criterion,
        "plan: the engine and the loaded plugin",
        10,
        SHORT,
    )
    .side("from the cache", Target::Open, load)
    .side(
        "the plugin alone, from the cache",
        Target::Time(Duration::from_millis(1)),
        || sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap(),
    )
    .side("compiled anew", Target::Open, || {
        let sandbox = Sandbox::new(None).unwrap();
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    })
    .print();

    large(criterion, &plugin);
}

/// The time for each workspace of orgs of different sizes, up to the largest that the importer accepts. It stays the same
/// when planning is linear.
fn large(criterion: &mut Criterion, plugin: &Plugin) {
    let input = PluginInput::default();
    for (title, native) in [
        ("plan: each workspace, component", false),
        ("plan: each workspace, native crate", true),
    ] {
        let mut sides = Sides::new(criterion, title, 10, SHORT);
        for (name, count) in [
            ("of 1 000", 1_000),
            ("of 5 000", 5_000),
            ("of 10 000", 10_000),
        ] {
            let template = TemplateDir::of_bundle(Arc::new(Bundle::of_text(&org(count))));
            let input = &input;
            sides = sides.timed(name, Target::Ratio(1.2), move |times| {
                let began = Instant::now();
                for _ in 0..times {
                    let planned = if native {
                        plan_natively(&template, input).workspaces.len()
                    } else {
                        plugin.plan(&template, input).unwrap().workspaces.len()
                    };
                    assert_eq!(planned, count as usize);
                }
                began.elapsed() / count
            });
        }
        sides.print();
    }
}

/// An org of teams of a hundred, each with a lead above the others.
fn org(workspaces: u32) -> String {
    let mut text = "name: Large\ndefaults: {runtime: claude-code}\nworkspaces:\n".to_owned();
    for number in 0..workspaces {
        let (indentation, children) = match number % 100 {
            0 => ("", "\n  children:"),
            _ => ("  ", ""),
        };
        writeln!(
            text,
            "{indentation}- name: Worker {number}\n{indentation}  role: the work of number {number}{children}"
        )
        .unwrap();
    }
    text
}

criterion_group!(benches, plan);
criterion_main!(benches);

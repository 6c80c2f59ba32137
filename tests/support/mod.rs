//! Runs the program with its own state, cache and environment for each test.

pub mod browser;
pub mod component;
pub mod disk;
pub mod engine;
pub mod fake_docker;
pub mod native;
pub mod registry;
pub mod scenario;
pub mod scripted;
pub mod server;
pub mod service;
pub mod tcp;
pub mod terminal;
pub mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// One operator with their own machine.
pub struct Operator {
    pub home: TempDir,
    pub env: Vec<(String, String)>,
    /// The program, which can also be another build.
    pub program: PathBuf,
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Operator {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            env: Vec::new(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_orghost")),
        }
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The program, not yet started, with a cleared environment except for what it needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("ORGHOST_STATE", self.state())
            // Tests share the compiled plugins: compiling takes seconds, and the cache does not change results.
            .env("ORGHOST_CACHE", shared_cache())
            // The engine that scripts/docker-engine found.
            .envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Writes a file below the home folder and returns its path.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The number of supervisors of the local engine that run this operator's workspaces, one for each.
    pub fn supervisors(&self) -> usize {
        let state = self.state().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let words = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        words
            .filter(|line| line.contains("supervise") && line.contains(&state))
            .count()
    }

    /// Writes a template of `org.yaml` and other files.
    pub fn template(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            self.file(&format!("template/{name}"), text);
        }
        self.home.path().join("template").display().to_string()
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            // A process without a code was ended by a signal.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test unless the program exited with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// The lines of a stream of JSON documents.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The codes of `{"errors": […]}`.
    #[track_caller]
    pub fn error_codes(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("no errors: {json}"));
        errors
            .iter()
            .map(|error| error["code"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The real templates beside the repository, where they exist.
pub fn shared_templates() -> Vec<PathBuf> {
    let folder = root().join("../shared/templates");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!(
            "no {}: only the repository's own templates are planned",
            folder.display()
        );
        return Vec::new();
    };
    let mut templates: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    templates.retain(|path| path.join("org.yaml").is_file());
    templates.sort();
    templates
}

/// Every template of the repository.
pub fn own_templates() -> Vec<PathBuf> {
    let mut templates = vec![root().join("examples/studio")];
    for entry in std::fs::read_dir(root().join("tests/cases")).unwrap() {
        templates.push(entry.unwrap().path().join("template"));
    }
    templates.sort();
    templates
}

fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

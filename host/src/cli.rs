//! The command line: parses arguments, runs commands, prints results and turns errors into exit codes.

mod address;
mod args;
mod commands;
mod exit;
mod interrupt;
mod render;
mod request;
mod server;
mod timings;
mod tls;
#[cfg(feature = "otel")]
mod traces;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};

use crate::config::{Config, ConfigError, Environment, Folders};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::planning::planner::Planner;
use crate::plugin::sandbox::Sandbox;
use crate::problem::{Class, Problem};
use crate::provision::engine::backend::Engines;
use crate::provision::engine::local;
use crate::state::store::Store;
use args::{Cli, Command, PluginCommand};
use commands::{
    down, expand, logs, plan, plugin, serve, state, status, sweep, token, up, workspace,
};
use exit::Exit;
use interrupt::Interrupts;
use render::{report, text};
use timings::Recorder;

/// What every command uses: the environment, the configuration and the planner.
struct Host {
    environment: Arc<Environment>,
    folders: Folders,
    config: Arc<Config>,
    planner: Planner,
    /// The URL of `--server`, if it was given.
    server: Option<String>,
    /// Whether `--json` was given.
    json: bool,
    interrupts: Interrupts,
}

/// Runs the program; see `orghost --help` for its exit codes.
pub fn main(environment: Environment) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let json = cli.global.json;
    let timings = cli.command.timings();
    let recorder = timings.as_ref().map(|_| Recorder::start());
    let mut result = run(cli, environment);
    if let (Some(recorder), Some(file)) = (recorder, timings) {
        let shown = render::timings::show(&recorder, json, file.as_deref());
        result = result.and_then(|exit| shown.map(|()| exit));
    }
    match result {
        Ok(_) if text::is_lost() => {
            text::note("standard output could not be written");
            Exit::Failed.into()
        }
        Ok(exit) => exit.into(),
        Err(problem) => {
            report::print_problem(&problem, json);
            Exit::from(problem.class).into()
        }
    }
}

fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // clap prints the help and the version on standard output; they are not errors.
    if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
        let message = error.to_string();
        let message = message.trim_start_matches("error: ").trim_end();
        let problem = Problem::one(Class::Invalid, Diagnostic::new("usage", message));
        report::print_problem(&problem, true);
    } else {
        let _ = error.print();
    }
    if error.use_stderr() {
        Exit::Invalid.into()
    } else {
        Exit::Done.into()
    }
}

fn run(cli: Cli, environment: Environment) -> Result<Exit, Problem> {
    // These commands need neither folders nor a configuration.
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "orghost",
                &mut std::io::stdout(),
            );
            return Ok(Exit::Done);
        }
        Command::Man { folder } => return man(&folder),
        Command::Compile { folder } => {
            Sandbox::ship(&folder)?;
            return Ok(Exit::Done);
        }
        Command::Openapi => {
            text::write(crate::http::document_text().as_bytes());
            return Ok(Exit::Done);
        }
        Command::DemoRuntime => return Ok(Exit::Other(orghost_demo::run(demo_env(&environment)))),
        Command::Supervise { folder } => return Ok(Exit::Other(local::supervise(&folder))),
        Command::ExecChild { arguments } => {
            return Ok(Exit::Other(local::exec_child(&arguments)));
        }
        _ => {}
    }
    let host = Host::new(environment, &cli.global)?;
    // These two commands handle interrupts themselves: an interrupt is how they normally end.
    if !matches!(
        cli.command,
        Command::Serve(_) | Command::Plugin(PluginCommand::Dev(_))
    ) {
        host.interrupts.watch();
    }
    // A local command ignores ORGHOST_SERVER: the variable may be set on the machine of the server, too.
    let server = match is_only_for_this_machine(&cli.command) {
        true if host.server.is_some() => return Err(not_with_server()),
        true => None,
        false => host.server()?,
    };
    let server = server.as_ref();
    match cli.command {
        Command::Plan(command) => block_on(plan::plan(&host, server, &command)),
        Command::Expand(command) => expand::expand(&host, server, &command),
        Command::Plugin(command) => plugin::run(&host, server, &command),
        Command::Up(command) => block_on(up::up(&host, server, &command)),
        Command::Down(command) => block_on(down::down(&host, server, &command)),
        Command::Status { org } => block_on(status::status(&host, server, org.as_deref())),
        Command::Logs(command) => block_on(logs::logs(&host, server, &command)),
        Command::Serve(command) => serve::serve(&host, &command),
        Command::Token(command) => block_on(token::token(&host, &command)),
        Command::Restart(at) => block_on(workspace::act(&host, server, &at, Operation::Restart)),
        Command::Stop(at) => block_on(workspace::act(&host, server, &at, Operation::Stop)),
        Command::Start(at) => block_on(workspace::act(&host, server, &at, Operation::Start)),
        Command::Backup { file } => block_on(state::backup(&host, &file)),
        Command::Restore { file } => block_on(state::restore(&host, &file)),
        Command::RotateKey => block_on(state::rotate_key(&host)),
        Command::Sweep { remove } => block_on(sweep::sweep(&host, remove)),
        _ => Ok(Exit::Done),
    }
}

/// Whether a command works on the state folder of this machine. A server cannot do that for its callers.
fn is_only_for_this_machine(command: &Command) -> bool {
    matches!(
        command,
        Command::Serve(_)
            | Command::Token(_)
            | Command::Backup { .. }
            | Command::Restore { .. }
            | Command::RotateKey
            | Command::Sweep { .. }
    )
}

fn not_with_server() -> Problem {
    let message = "this command works on the state folder of this machine and cannot use a server";
    let diagnostic = Diagnostic::new("not-with-server", message)
        .help("run it on the server's machine, without --server");
    Problem::one(Class::Invalid, diagnostic)
}

impl Host {
    fn new(environment: Environment, global: &args::Global) -> Result<Self, Problem> {
        let _span = tracing::info_span!("read the configuration").entered();
        let config = match environment.config_file(global.config.as_deref()) {
            Some(file) => Config::read(&file)?,
            None => Config::default(),
        };
        let mut folders = environment.folders()?;
        if let Some(state) = &global.state {
            folders.state.clone_from(state);
        }
        let (config, environment) = (Arc::new(config), Arc::new(environment));
        Ok(Self {
            planner: Planner::new(config.clone(), environment.clone(), &folders.state),
            environment,
            folders,
            config,
            server: global.server.clone(),
            json: global.json,
            interrupts: Interrupts::new(global.json),
        })
    }

    /// Makes a sandbox that keeps compiled plugins in the cache folder.
    fn sandbox(&self) -> Result<Sandbox, Problem> {
        let sandbox = Sandbox::new(Some(&self.folders.cache))?;
        Ok(sandbox.with_shipped(shipped_code(&own_program()?)))
    }

    fn store(&self) -> Result<Store, Problem> {
        Ok(Store::open(&self.folders.state)?)
    }

    /// Opens the store if there is one. Commands that only read must not create a store.
    fn existing_store(&self) -> Result<Option<Store>, Problem> {
        match Store::is_in(&self.folders.state) {
            true => self.store().map(Some),
            false => Ok(None),
        }
    }

    fn engines(&self) -> Result<Engines, Problem> {
        let docker_host = self.environment.text("DOCKER_HOST").map(str::to_owned);
        // The local engine runs this program again, as a supervisor.
        let local = self.folders.state.join("local");
        Ok(Engines::new(docker_host, local, own_program()?)
            .with_home(self.environment.path("HOME")))
    }
}

/// The folder with the compiled code of the built-in plugin that a release has: `lib/orghost` beside the folder `bin` of the
/// program, or beside the program in an unpacked archive.
fn shipped_code(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let prefix = match folder.ends_with("bin") {
        true => folder.parent()?,
        false => folder,
    };
    Some(prefix.join("lib/orghost"))
}

fn own_program() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| {
        let message = format!("orghost cannot find its own program: {error}");
        Problem::one(Class::Failed, Diagnostic::new("no-program", message))
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::one(Class::Failed, Diagnostic::new("runtime", e.to_string())))?;
    runtime.block_on(work)
}

fn man(folder: &Path) -> Result<Exit, Problem> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| {
        let message = format!(
            "the manual pages cannot be written to {}: {error}",
            folder.display()
        );
        Problem::one(Class::Failed, Diagnostic::new("write", message))
    })?;
    Ok(Exit::Done)
}

fn demo_env(environment: &Environment) -> orghost_demo::Env {
    let text = |name| environment.text(name).map(str::to_owned);
    orghost_demo::Env {
        config_path: text("WORKSPACE_CONFIG_PATH"),
        port: text("PORT"),
        host: text("HOST"),
        workspace_id: text("WORKSPACE_ID"),
    }
}

/// Prints one JSON document, or one line of a stream of them.
fn print_json(value: &impl serde::Serialize) -> Result<(), Problem> {
    let json = serde_json::to_string(value).map_err(|e| {
        Problem::one(
            Class::Failed,
            Diagnostic::new("json", format!("the result cannot be written as JSON: {e}")),
        )
    })?;
    text::print_line(&json);
    Ok(())
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        let diagnostic = match error {
            ConfigError::Invalid(diagnostic) => *diagnostic,
            ConfigError::Unreadable { file, .. } => {
                Diagnostic::new("config-unreadable", message).file(file.display().to_string())
            }
            ConfigError::NoHome(_) => Diagnostic::new("no-home", message)
                .help("set HOME, or ORGHOST_STATE and ORGHOST_CACHE"),
        };
        Self::one(Class::Invalid, diagnostic)
    }
}

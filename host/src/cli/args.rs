//! Arguments of the command line, and their help.

pub mod plugin;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueHint};

use crate::model::engine_kind::EngineKind;
pub use plugin::{PluginCommand, WasiArgs};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed: the engine, the store, the machine
  2  usage, or an invalid template or plugin
  3  refused by policy: nothing was created
  4  some workspaces failed; the others are up
  130, 143  interrupted (INT, TERM): `up` and `down` end in order, a second one ends them at once";

/// Turns org templates into running AI-agent workspaces.
///
/// A template's `org.yaml` is planned by a sandboxed WebAssembly plugin, the plan is judged against your policy,
/// and only then does orghost act: volumes, container, seed /configs, verify the seed, start.
#[derive(Debug, Parser)]
#[command(name = "orghost", version, styles = STYLES, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Print JSON on standard output, errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// The configuration file; else ORGHOST_CONFIG, $XDG_CONFIG_HOME/orghost/orghost.toml, /etc/orghost/orghost.toml.
    /// Never one in the template or the current folder
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The state folder; else ORGHOST_STATE, $XDG_STATE_HOME/orghost
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Ask a server (`orghost serve`) instead of working on this machine; else ORGHOST_SERVER. Its token is taken from
    /// ORGHOST_TOKEN
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a template would become; changes nothing
    ///
    /// Runs the plugin and the policy. The exit code is 3 when policy refuses; `--json` then holds the plan and,
    /// beside it, the violations.
    #[command(after_help = EXIT_CODES)]
    Plan(PlanCommand),
    /// Bring an org up, or bring it up to date
    ///
    /// Workspaces that are there and equal are left alone, changed ones are replaced, missing ones are made. A
    /// replacement is made and seeded while the one before runs, and takes its place only then. When it fails, it is
    /// removed and the one before runs again; its siblings go on, and the exit code is 4. Run it again to go on.
    #[command(after_help = EXIT_CODES)]
    Up(UpCommand),
    /// Show orgs and how their workspaces are
    Status {
        /// Only this org
        org: Option<String>,
    },
    /// Show what a workspace printed
    Logs(LogsCommand),
    /// Stop and remove an org's workspaces
    ///
    /// The agents' own work (/workspace) is kept unless --volumes is given.
    #[command(after_help = EXIT_CODES)]
    Down(DownCommand),
    /// Restart one workspace, seeded anew
    ///
    /// The new container is made and seeded while the one before runs, and takes its place only then.
    Restart(WorkspaceArgs),
    /// Stop one workspace, and leave it stopped
    Stop(WorkspaceArgs),
    /// Start a stopped workspace, seeded anew
    Start(WorkspaceArgs),
    /// Run a host for many callers: an API, a page, and workspaces that are kept alive
    ///
    /// Accepts orgs over HTTP, provisions them in the background, and goes on where it was after it was stopped or
    /// killed. Without a token it listens on the loopback only. TERM and INT stop it: what runs is finished or taken up
    /// again by the next start.
    Serve(ServeCommand),
    /// Let callers in: make, list and revoke the tokens of a server
    #[command(subcommand)]
    Token(TokenCommand),
    /// Copy the state to one file, also while a server runs
    ///
    /// The file has the store, the templates that orgs were made from, and the installed plugins. It does not have the
    /// secret key, without which nobody opens its secrets, nor the folders in which workspaces of the local engine work.
    Backup {
        /// The file; it must not exist
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make an empty state folder from a backup
    ///
    /// The folder then is the one that was copied: what runs of it on an engine is recognised. Put its secret key there
    /// too, and never let both folders work on the same engine.
    Restore {
        /// The backup
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Seal all secrets with a new secret key
    ///
    /// The new key becomes the first line of the key file, everything is sealed anew, and then the old key is dropped.
    /// When it is killed in between, both keys are there and it can be run again. No server may be running.
    RotateKey,
    /// Find what carries this host's labels and belongs to no org
    Sweep {
        /// Remove it
        #[arg(long)]
        remove: bool,
    },
    /// Expand the references in a text, as templates do
    ///
    /// $NAME and ${NAME} expand from --env only; a granted name only where the whole text is one reference.
    /// Everything else stays as it is.
    Expand(ExpandCommand),
    /// Write, prove, ship and install plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages
    Man {
        /// Where to write them
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print the OpenAPI document of the server
    #[command(hide = true)]
    Openapi,
    /// The demonstration runtime
    #[command(hide = true)]
    DemoRuntime,
    /// Supervises one workspace of the local engine
    #[command(hide = true)]
    Supervise { folder: PathBuf },
    /// Becomes a workspace's program
    #[command(hide = true)]
    ExecChild {
        #[arg(required = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// What planning takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The template's folder
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub template: PathBuf,
    #[command(flatten)]
    pub plugin: PluginArgs,
    #[command(flatten)]
    pub env: EnvArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Show the values of secrets
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Debug, Args)]
pub struct PluginArgs {
    /// The plugin: a file (`./acme.wasm`), or the name of an installed one (`acme`); else the one that the template's
    /// `plugin:` names, else the built-in org-import
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    #[command(flatten)]
    pub wasi: WasiArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Environment")]
pub struct EnvArgs {
    /// Set a variable: for expansion, and in every workspace
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Set the variables of a file of NAME=VALUE lines; --env wins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: Vec<PathBuf>,
    /// Let the template use one variable of orghost's own environment, where a whole value is a reference to it
    #[arg(long, value_name = "NAME")]
    pub grant: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// The highest tier that may run: 3 and 4 are root on this machine [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub max_tier: Option<u8>,
    /// Let workspaces mount this directory and those below it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub allow_mount: Vec<PathBuf>,
    /// Go on although required variables are missing
    #[arg(long)]
    pub ignore_missing_env: bool,
    /// Leave out parts that come from other repositories (!external) instead of failing
    #[arg(long)]
    pub skip_external: bool,
    /// Run the built-in demonstration runtime in the place of every runtime that is not configured
    #[arg(long)]
    pub demo: bool,
    /// Only where workspaces are kept from the rest of the machine: in containers, or confined by the kernel
    #[arg(long)]
    pub require_isolation: bool,
}

#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Write what each workspace would find in /configs to OUT/<key>/
    #[arg(long, value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub render: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UpCommand {
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Workspaces that are provisioned at the same time [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
    /// Wait until each workspace answers
    #[arg(long)]
    pub wait: bool,
    /// With --wait: how long to wait for each workspace
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "wait",
        default_value_t = crate::limits::READY.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub timeout: u64,
    /// Remove workspaces that are in the org and no longer in the template
    #[arg(long)]
    pub prune: bool,
    /// With --prune: also when that removes more than half of what runs
    #[arg(long, requires = "prune")]
    pub yes: bool,
    /// Bring the org up although it came from another folder, which this one replaces
    #[arg(long)]
    pub take_over: bool,
    /// Stop once N workspaces failed, and leave the others as they are; until one has come up, they are tried one at a
    /// time. With --wait, one that is not ready counts as failed
    #[arg(long, value_name = "N")]
    pub max_failures: Option<NonZeroUsize>,
    /// Keep a failed container for diagnosis, if it was seeded, instead of starting again what it replaced
    #[arg(long, alias = "keep-failed")]
    pub no_rollback: bool,
}

#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What runs the workspaces; else what runs the org now, else the configuration file, else Docker where it answers, else local
    #[arg(long, value_enum)]
    pub engine: Option<EngineKind>,
}

#[derive(Debug, Args)]
pub struct LogsCommand {
    #[command(flatten)]
    pub at: WorkspaceArgs,
    /// Go on until it ends
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub tail: Option<usize>,
    /// On a terminal too, pass everything on: also control sequences, which may move the cursor, set its title, or make it
    /// answer as if you had typed
    #[arg(long)]
    pub raw: bool,
}

/// One workspace.
#[derive(Debug, Args)]
pub struct WorkspaceArgs {
    /// Its key, such as pm/dev-lead; or its exact name, or its identity
    pub workspace: String,
    /// Its org, when several have such a workspace
    #[arg(long)]
    pub org: Option<String>,
}

#[derive(Debug, Args)]
pub struct ServeCommand {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// The folder whose folders are the templates that callers may name
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub templates: Option<PathBuf>,
    /// The certificate chain for TLS, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Workspaces that are provisioned at the same time, of all orgs [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown once
    New {
        /// Whose it is, or what for
        name: String,
        /// What it may do: `read` looks, `plan` also plans, `write` also changes orgs, `admin` also plugins and tokens
        #[arg(long, value_enum)]
        scope: crate::state::token::Scope,
        /// Days until it does not count any more; without it it counts until it is revoked
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
        expires: Option<u32>,
    },
    /// Show all tokens, never their text
    List,
    /// Revoke a token
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct DownCommand {
    /// The org, as `orghost status` shows it
    pub org: String,
    /// Remove the agents' own work too
    #[arg(long)]
    pub volumes: bool,
}

#[derive(Debug, Args)]
pub struct ExpandCommand {
    /// The text
    #[arg(allow_hyphen_values = true)]
    pub text: String,
    #[command(flatten)]
    pub plugin: PluginArgs,
    #[command(flatten)]
    pub env: EnvArgs,
}

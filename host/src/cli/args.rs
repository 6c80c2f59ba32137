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
  1  failed: an error of the engine, the store or this machine
  2  usage, or an invalid template or plugin
  3  refused by policy: nothing was created
  4  some workspaces failed; the others are up
  130, 143  interrupted by INT or TERM; `up` and `down` stop in order, at once on a second signal";

/// Turns org templates into running AI-agent workspaces.
///
/// A sandboxed WebAssembly plugin makes a plan from a template's `org.yaml`. orghost checks the plan against your policy
/// before it creates anything. Each workspace then gets its volumes and its container; orghost seeds /configs, verifies
/// the seed, and starts the workspace.
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
    /// Print JSON on standard output, including errors
    #[arg(long, global = true)]
    pub json: bool,
    /// The configuration file [default: ORGHOST_CONFIG, else $XDG_CONFIG_HOME/orghost/orghost.toml, else
    /// /etc/orghost/orghost.toml]. A file in the template or the current folder is never used
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The state folder [default: ORGHOST_STATE, else $XDG_STATE_HOME/orghost]
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Use a server (`orghost serve`) instead of this machine [default: ORGHOST_SERVER]. The token is read from
    /// ORGHOST_TOKEN
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a template would become; changes nothing
    ///
    /// Runs the plugin and checks the plan against the policy. If the policy refuses the plan, the exit code is 3, and
    /// `--json` prints the plan with its violations.
    #[command(after_help = EXIT_CODES)]
    Plan(PlanCommand),
    /// Bring an org up, or bring it up to date
    ///
    /// Unchanged workspaces are left alone, changed ones are replaced, and missing ones are created. A replacement is
    /// created and seeded while the old container still runs, and takes its place only then. If a replacement fails, it
    /// is removed and the old container runs again. The other workspaces are still provisioned, and the exit code is 4.
    /// Run the command again to retry the workspaces that failed.
    #[command(after_help = EXIT_CODES)]
    Up(UpCommand),
    /// Show orgs and the state of their workspaces
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
    /// Seed one workspace again and restart it
    ///
    /// The new container is created and seeded while the old one still runs, and takes its place only then.
    Restart(WorkspaceArgs),
    /// Stop one workspace and leave it stopped
    Stop(WorkspaceArgs),
    /// Seed a stopped workspace again and start it
    Start(WorkspaceArgs),
    /// Run a server: an HTTP API, a web page, and workspaces that are kept running
    ///
    /// The server accepts orgs over HTTP and provisions them in the background. If it is stopped or killed, the next start
    /// resumes its operations. Without a token it listens on the loopback interface only. TERM and INT stop it in order:
    /// operations that run are finished, or resumed by the next start.
    Serve(ServeCommand),
    /// Make, list and revoke the tokens of a server
    #[command(subcommand)]
    Token(TokenCommand),
    /// Copy the state folder to one file, even while a server runs
    ///
    /// The file holds the store, the templates that orgs were made from, and the installed plugins. It does not hold the
    /// encryption key, without which its secrets cannot be decrypted, nor the folders in which workspaces of the local
    /// engine work.
    Backup {
        /// The file to write; it must not exist
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Restore a backup into an empty state folder
    ///
    /// The folder gets the identity of the one that was copied, so orghost recognises that folder's workspaces on an
    /// engine. Put the encryption key there too, and never let both folders work on the same engine.
    Restore {
        /// The file that `orghost backup` wrote
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Encrypt all secrets with a new encryption key
    ///
    /// The new key becomes the first line of the key file, all secrets are encrypted again, and then the old key is
    /// removed. If the command is killed in between, the file holds both keys; run the command again. No server may be
    /// running.
    RotateKey,
    /// Find resources with this host's labels that belong to no org
    Sweep {
        /// Remove them
        #[arg(long)]
        remove: bool,
    },
    /// Expand the references in a text, as templates do
    ///
    /// $NAME and ${NAME} are replaced by the values of --env and --env-file. A granted name is replaced only if the whole
    /// text is one reference to it. Everything else is left unchanged.
    Expand(ExpandCommand),
    /// Write, test, publish and install plugins
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
    /// Compile the built-in plugin for a package
    #[command(hide = true)]
    Compile {
        /// Where to write the code: a package installs it in `lib/orghost` beside the program's folder
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print the OpenAPI document of the server
    #[command(hide = true)]
    Openapi,
    /// Run the demonstration runtime
    #[command(hide = true)]
    DemoRuntime,
    /// Supervise one workspace of the local engine
    #[command(hide = true)]
    Supervise { folder: PathBuf },
    /// Replace this process with a workspace's program
    #[command(hide = true)]
    ExecChild {
        #[arg(required = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

impl Command {
    /// The `--timings` of the command: the file of the trace, if one is to be written.
    pub fn timings(&self) -> Option<Option<PathBuf>> {
        match self {
            Self::Plan(command) => command.plan.timings.clone(),
            Self::Up(command) => command.plan.timings.clone(),
            _ => None,
        }
    }
}

/// The arguments of commands that plan a template.
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
    /// Show where the time went. With a file, also write a trace that Perfetto and chrome://tracing open
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        value_hint = ValueHint::FilePath
    )]
    pub timings: Option<Option<PathBuf>>,
}

#[derive(Debug, Args)]
pub struct PluginArgs {
    /// The plugin: a file (`./acme.wasm`) or the name of an installed one (`acme`) [default: the one that the template's
    /// `plugin:` names, else the built-in org-import]
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub plugin: Option<String>,
    #[command(flatten)]
    pub wasi: WasiArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Environment")]
pub struct EnvArgs {
    /// Set a variable for expansion and in every workspace
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Set the variables in a file of NAME=VALUE lines; --env overrides them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: Vec<PathBuf>,
    /// Let the template use one variable of orghost's own environment, where a whole value is one reference to it
    #[arg(long, value_name = "NAME")]
    pub grant: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// The highest tier that may run; tiers 3 and 4 are root on this machine [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub max_tier: Option<u8>,
    /// Let workspaces mount this directory and those below it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub allow_mount: Vec<PathBuf>,
    /// Continue even if required variables are missing
    #[arg(long)]
    pub ignore_missing_env: bool,
    /// Leave out parts that come from other repositories (!external) instead of failing
    #[arg(long)]
    pub skip_external: bool,
    /// Use the built-in demonstration runtime in place of every runtime that is not configured
    #[arg(long)]
    pub demo: bool,
    /// Refuse to run workspaces that are not isolated from the machine, by containers or by the kernel
    #[arg(long)]
    pub require_isolation: bool,
}

#[derive(Debug, Args)]
pub struct PlanCommand {
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Write the files that each workspace would find in /configs to OUT/<key>/
    #[arg(long, value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub render: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UpCommand {
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// How many workspaces are provisioned at the same time [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
    /// Wait until each workspace is ready
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
    /// Remove workspaces that are no longer in the template
    #[arg(long)]
    pub prune: bool,
    /// With --prune: remove workspaces even if they are more than half of those that run
    #[arg(long, requires = "prune")]
    pub yes: bool,
    /// Bring the org up even if it came from another folder, which this one then replaces
    #[arg(long)]
    pub take_over: bool,
    /// Stop after N workspaces have failed and leave the others as they are. Workspaces are tried one at a time until one
    /// is up. With --wait, a workspace that is not ready in time counts as failed
    #[arg(long, value_name = "N")]
    pub max_failures: Option<NonZeroUsize>,
    /// Keep a failed container for diagnosis, if it was seeded, instead of restarting the one it replaced
    #[arg(long, alias = "keep-failed")]
    pub no_rollback: bool,
}

#[derive(Debug, Args)]
pub struct EngineArgs {
    /// The engine that runs the workspaces [default: the org's current engine, else that of the configuration file, else
    /// docker if Docker answers, else local]
    #[arg(long, value_enum)]
    pub engine: Option<EngineKind>,
}

#[derive(Debug, Args)]
pub struct LogsCommand {
    #[command(flatten)]
    pub at: WorkspaceArgs,
    /// Continue until the workspace ends
    #[arg(long, short)]
    pub follow: bool,
    /// Show only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub tail: Option<usize>,
    /// Show control sequences on a terminal too. They can move the cursor, set the terminal's title, or make it send input
    /// as if you had typed
    #[arg(long)]
    pub raw: bool,
}

/// Arguments that name one workspace.
#[derive(Debug, Args)]
pub struct WorkspaceArgs {
    /// The workspace's key, such as pm/dev-lead, or its exact name, or its identity
    pub workspace: String,
    /// The workspace's org, if several orgs have such a workspace
    #[arg(long)]
    pub org: Option<String>,
}

#[derive(Debug, Args)]
pub struct ServeCommand {
    /// The address to listen on; port 0 chooses a free port [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// The folder that holds the templates that callers can name, each in its own folder [default: `templates` in the
    /// state folder]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub templates: Option<PathBuf>,
    /// The certificate chain for TLS, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// How many workspaces of all orgs are provisioned at the same time [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: Option<u16>,
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and show it once
    New {
        /// Who or what the token is for
        name: String,
        /// What the token allows: `read` only reads, `plan` also plans, `write` also changes orgs, `admin` also manages
        /// plugins and tokens
        #[arg(long, value_enum)]
        scope: crate::state::token::Scope,
        /// Days until the token expires [default: it does not expire]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
        expires: Option<u32>,
    },
    /// Show all tokens, but not their text
    List,
    /// Revoke a token
    Revoke {
        /// The token's id, as `token list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct DownCommand {
    /// The org's name or slug, as `orghost status` shows it
    pub org: String,
    /// Remove the agents' own work (/workspace) too
    #[arg(long)]
    pub volumes: bool,
}

#[derive(Debug, Args)]
pub struct ExpandCommand {
    /// The text to expand
    #[arg(allow_hyphen_values = true)]
    pub text: String,
    #[command(flatten)]
    pub plugin: PluginArgs,
    #[command(flatten)]
    pub env: EnvArgs,
}

//! Every limit of the host, with its unit and its reason, in one place.
//! Nothing here is enforced: the modules that name a limit enforce it.

use std::time::Duration;

/// Wall clock for one call into a plugin, unless the operator's terms say otherwise. A plan of 10 000 workspaces takes well under a second.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// How often the epoch advances, and with it the precision of [`CALL_DEADLINE`].
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Linear memory of one call, in bytes, all its memories together, unless the operator's terms say otherwise.
pub const PLUGIN_MEMORY: usize = 256 << 20;

/// Bytes of a slot's memory that stay resident between calls, so that a fresh
/// instance need not fault them in again. More than an ordinary plan touches.
pub const PLUGIN_MEMORY_KEPT: usize = 16 << 20;

/// Elements of one table; `org-import` has a few hundred, an interpreter some ten thousand.
pub const PLUGIN_TABLE_ELEMENTS: usize = 100_000;

/// Core instances that one component may have, and tables: a Rust plugin has 4; one that brings an interpreter as
/// linked libraries (Python) has 14 modules, and instances of imports beside them.
pub const PLUGIN_INSTANCES: usize = 128;

/// Memories that one component may have; compilers make one. Each slot sets 4 GiB of address space aside.
pub const PLUGIN_MEMORIES: usize = 4;

/// Bytes of the log lines of one call: enough to debug with, not enough to flood a terminal.
pub const PLUGIN_LOG_BYTES: usize = 64 << 10;

/// Handles of the closed WASI that one call may hold at once; an interpreter holds a dozen.
pub const WASI_RESOURCES: usize = 1_000;

/// Bytes of randomness that a plugin may ask for at once.
pub const WASI_RANDOM_BYTES: u64 = 64 << 10;

/// Calls that may run at the same time in one process, others wait: slots of the pooling allocator.
pub const CONCURRENT_CALLS: u32 = 64;

/// Native stack of a call, in bytes. Recursion past it is a trap.
pub const PLUGIN_STACK: usize = 1 << 20;

/// Stack of a thread that runs one call, in bytes: [`PLUGIN_STACK`] and what the host's own functions need.
pub const PLUGIN_THREAD_STACK: usize = PLUGIN_STACK + (1 << 20);

/// Bytes that a call may hand to the host: the plan, and the paths that it asks for.
pub const PLAN_BYTES: usize = 64 << 20;

/// A plugin file larger than this is refused before it is read.
pub const PLUGIN_FILE_BYTES: u64 = 64 << 20;

/// The longest deadline that an operator can grant a plugin, in milliseconds: ten minutes.
pub const LONGEST_DEADLINE_MS: u32 = 600_000;

/// Bytes of a plugin's signature; minisign's have about 300.
pub const SIGNATURE_BYTES: usize = 4 << 10;

/// Bytes of the lock of installed plugins: thousands of them.
pub const PLUGIN_LOCK_BYTES: u64 = 4 << 20;

/// From nothing to a connection with a registry.
pub const REGISTRY_CONNECT: Duration = Duration::from_secs(10);

/// Between two pieces of a registry's answer.
pub const REGISTRY_READ: Duration = Duration::from_secs(30);

/// A whole push or pull: [`PLUGIN_FILE_BYTES`] over a slow line.
pub const REGISTRY_TRANSFER: Duration = Duration::from_secs(600);

/// Bytes of `org.yaml` that are looked at to find a template's `plugin:`. The host has no deadline for that, as plugins
/// have: the worst text that was found took the parser 8 s for 8 MiB on a busy machine, and its work is linear.
pub const TEMPLATE_HEAD: usize = 1 << 20;

/// YAML events that are looked at to find a template's `plugin:`; forty workspaces have a few thousand.
pub const TEMPLATE_EVENTS: usize = 500_000;
/// Nesting of YAML that is looked into for it; see [`TEMPLATE_EVENTS`].
pub const TEMPLATE_DEPTH: usize = 100;

/// One file of a template, in bytes.
pub const TEMPLATE_FILE_BYTES: u64 = 8 << 20;

/// Everything that one call reads from a template, in bytes.
pub const TEMPLATE_BYTES: u64 = 64 << 20;

/// Files of a template that is kept or uploaded: as many as a call may ask for.
pub const TEMPLATE_FILES: usize = TEMPLATE_CALLS as usize;

/// Requests for files and folders that one call may make.
pub const TEMPLATE_CALLS: u32 = 20_000;

/// Entries of one folder of a template.
pub const TEMPLATE_ENTRIES: usize = 10_000;

/// Workspaces of one plan.
pub const WORKSPACES: usize = 1_000;

/// Bytes of a workspace's key.
pub const KEY_BYTES: usize = 1024;

/// Bytes of the configuration of one agent plugin, as JSON: parsed, it takes many times that in memory.
pub const AGENT_PLUGIN_CONFIG: usize = 256 << 10;

/// Violations that are reported of one plan; nobody reads more.
pub const VIOLATIONS: usize = 1_000;

/// Seeded files of one workspace.
pub const SEED_FILES: usize = 5_000;

/// Seeded bytes of one workspace: its archive is held in memory while it travels.
pub const SEED_BYTES: u64 = 32 << 20;

/// Variables of one workspace, and the bytes of one value (Linux: `MAX_ARG_STRLEN`, 128 KiB).
pub const ENV_VARS: usize = 1_000;
/// See [`ENV_VARS`].
pub const ENV_VALUE_BYTES: usize = 128 * 1024 - 1;

/// Workspaces that are provisioned at the same time. Measured on two cores: an engine's throughput levels off here.
pub const CONCURRENCY: usize = 4;

/// One request to an engine. An engine that is slower than this is reported as away.
pub const ENGINE_CALL: Duration = Duration::from_secs(60);

/// Removing what a failed start left behind has its own time, so that it also happens after a cancellation.
pub const CLEANUP: Duration = Duration::from_secs(30);

/// From started to ready, with `--wait`.
pub const READY: Duration = Duration::from_secs(60);

/// Between TERM and KILL.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Lines of a container's output that a failure report carries.
pub const LAST_LINES: usize = 20;

/// Bytes of such lines that a server holds in memory, of all operations: a hundred failures at their longest, or a day's.
pub const LAST_LINES_HELD: usize = 4 << 20;

/// Pulling one image. Agent images have a few gigabytes.
pub const PULL: Duration = Duration::from_secs(600);

/// From nothing to an engine's first answer: who has no engine should know at once.
pub const CONNECT: Duration = Duration::from_secs(2);

/// Bytes of an archive that is read back: the seed, and a tar header, its
/// padding and a long name for each file and folder.
pub const SEED_ARCHIVE_BYTES: u64 = SEED_BYTES + SEED_FILES as u64 * 8192;

/// Bytes of one line of a container's output in a failure report.
pub const LINE_BYTES: usize = 2_000;

/// Bytes of one config of a swarm: its engine wants strictly less than 1 024 000, and more than none.
pub const SWARM_CONFIG_BYTES: usize = 1_024_000 - 1;

/// Bytes of one secret of a swarm: strictly less than 512 000.
pub const SWARM_SECRET_BYTES: usize = 512_000 - 1;

/// Configs and secrets of one service. The managers tell each other of a service, and of what it was before, in one
/// message of at most 4 MiB. Measured, with paths of a hundred letters: 2 000 are taken, 5 000 are not.
pub const SWARM_FILES: usize = 2_000;

/// A swarm starts a program that ended again after this time, always the same.
pub const SWARM_RESTART: Duration = Duration::from_secs(2);

/// What a container of a tier may use of its machine (`spec/provisioning.md` §4).
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Bytes.
    pub memory: i64,
    /// A processor has 10⁹.
    pub nano_cpus: i64,
    /// Processes and threads.
    pub pids: i64,
}

/// Sealed (tier 1): enough to answer, not enough to be a nuisance.
pub const TIER_1: Share = share(256, 500, 128);
/// Ordinary.
pub const TIER_2: Share = share(512, 1_000, 512);
/// Builds and browsers.
pub const TIER_3: Share = share(2_048, 2_000, 4_096);
/// As much as is sane.
pub const TIER_4: Share = share(4_096, 4_000, 16_384);

const fn share(mebibytes: i64, milli_cpus: i64, pids: i64) -> Share {
    Share {
        memory: mebibytes << 20,
        nano_cpus: milli_cpus * 1_000_000,
        pids,
    }
}

/// Processes and threads that the user of a workspace of the local engine may have, all of them together, for the workspace
/// to start another: the kernel counts by user. Many for a desktop, few for a fork bomb.
pub const LOCAL_PROCESSES: u64 = 16_384;

/// Files that a process of the local engine may have open: more than a busy server needs.
pub const LOCAL_OPEN_FILES: u64 = 65_536;

/// The local engine keeps this much of a workspace's output, and once more what came before it.
pub const LOG_BYTES: u64 = 10 << 20;

/// The local engine starts a program that ended again after this time, which
/// doubles up to [`RESTART_SLOWEST`] and begins anew after a life of [`RESTART_SETTLED`].
pub const RESTART_FIRST: Duration = Duration::from_millis(100);
/// See [`RESTART_FIRST`].
pub const RESTART_SLOWEST: Duration = Duration::from_secs(30);
/// See [`RESTART_FIRST`].
pub const RESTART_SETTLED: Duration = Duration::from_secs(10);

/// From a supervisor's start to its first word; it only has to start one program.
pub const SUPERVISOR_START: Duration = Duration::from_secs(20);

/// From a signal to the end of a supervisor, beyond the grace that it gives its program.
pub const SUPERVISOR_END: Duration = Duration::from_secs(5);

/// Operations that a server accepts and has not ended, of all orgs: each holds its plan in memory, some hundred kilobytes.
pub const OPERATIONS: usize = 512;

/// The same, of one org: whoever asks faster than it can be done is told so.
pub const OPERATIONS_OF_ORG: usize = 16;

/// Bytes of templates of accepted operations that are in memory at a time.
pub const TEMPLATES_HELD: usize = 512 << 20;

/// Whoever wants a template loaded waits so long for room for it.
pub const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// Plans that wait for their turn, of all callers: each holds its template, and its caller may go away meanwhile.
pub const PLANS_WAITING: usize = 1_024;

/// What is done to a workspace waits so long for an engine that is being started again.
pub const ENGINE_AWAY: Duration = Duration::from_secs(60);

/// Between two looks for what is kept no longer.
pub const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Storing what was accepted: a template and a few rows, behind as many others as wait for the disk.
pub const ACCEPT: Duration = Duration::from_secs(60);

/// What a host goes on with after its start waits so long for an engine that does not answer yet.
pub const ENGINE_BACK: Duration = Duration::from_secs(600);

/// A whole operation of an org in the background.
pub const OPERATION: Duration = Duration::from_secs(6 * 3600);

/// From nothing to a connection with an orghost server, for commands that ask one.
pub const SERVER_CONNECT: Duration = Duration::from_secs(10);

/// The first pause before such a command asks a server again; the next ones grow to [`SERVER_PAUSE_LONGEST`].
pub const SERVER_PAUSE: Duration = Duration::from_millis(500);
/// See [`SERVER_PAUSE`].
pub const SERVER_PAUSE_LONGEST: Duration = Duration::from_secs(10);

/// How long, in total, one request is asked again while its server says "later": a few large imports end in it.
pub const SERVER_BUSY: Duration = Duration::from_secs(600);

/// The same for a server that answered before and does not any more: it ends its work, restarts, and is back.
pub const SERVER_BACK: Duration = Duration::from_secs(60);

/// Bytes of a request's body that is not an upload: an `org.yaml` of [`TEMPLATE_FILE_BYTES`] as JSON text, with room to spare.
pub const BODY_BYTES: u64 = 2 * TEMPLATE_FILE_BYTES;

/// Bytes of an upload (a template's archive as it travels, a plugin), and some for the rest of the form.
pub const UPLOAD_BYTES: u64 = TEMPLATE_BYTES + (1 << 20);

/// A body of more bytes than this counts among [`LARGE_BODIES`].
pub const LARGE_BODY: u64 = 1 << 20;

/// Large bodies that are held in memory at the same time, of all callers; others are told to come back.
pub const LARGE_BODIES: usize = 8;

/// Bytes of an uploaded archive after it is decompressed: the files, and for each a header, its padding and a long name.
pub const ARCHIVE_BYTES: u64 = TEMPLATE_BYTES + TEMPLATE_FILES as u64 * 2048;

/// Bytes of a path in an uploaded archive, and of each part of it (Linux: `PATH_MAX`, `NAME_MAX`).
pub const ARCHIVE_PATH: usize = 1024;
/// See [`ARCHIVE_PATH`].
pub const ARCHIVE_NAME: usize = 255;

/// From a request's head to its answer's, unless it waits for an operation: a plan takes seconds, an engine's call a minute.
pub const REQUEST: Duration = Duration::from_secs(120);

/// The same for what uploads or fetches something large.
pub const REQUEST_LARGE: Duration = Duration::from_secs(660);

/// Between two pieces of a request's body.
pub const BODY_READ: Duration = Duration::from_secs(30);

/// A change goes on for so long after its caller has gone: enough to store it, not enough to wait for its end.
pub const AFTER_HANGUP: Duration = Duration::from_secs(30);

/// From nothing to the end of a TLS handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// From the first byte of a request, or the end of the one before, to the end of its head.
pub const HEAD_READ: Duration = Duration::from_secs(30);

/// Connections that a server holds; more are closed at once. Each event stream is one.
pub const CONNECTIONS: usize = 2_048;

/// The longest wait for an operation that a request may ask for, in seconds.
pub const WAIT_SECONDS: u64 = 3_600;

/// How long an answer to a request with an idempotency key is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Such answers of one caller; the oldest go first.
pub const ANSWERS_OF_CALLER: i64 = 1_000;

/// Bytes of such an answer.
pub const ANSWER_BYTES: usize = 4 << 20;

/// Rows of the audit, and those among them that tell of refused requests.
pub const AUDIT: i64 = 1_000_000;
/// See [`AUDIT`].
pub const AUDIT_REFUSED: i64 = 10_000;

/// Requests at the same time on one connection (HTTP/2).
pub const STREAMS: u32 = 128;

/// From the signal that a restart is pending to the workspace's acknowledgement.
pub const RESTART_SIGNAL: Duration = Duration::from_secs(10);

/// What a workspace may ask for to finish what it does before it is restarted.
pub const RESTART_DRAIN: Duration = Duration::from_secs(20);

/// How often a workspace that asked for time is asked whether it still needs it.
pub const RESTART_LOOK: Duration = Duration::from_millis(500);

/// Bytes of an acknowledgement.
pub const RESTART_ANSWER: usize = 64 << 10;

/// Whether a workspace lives, asked of its engine: whoever waits for it waits for a person's request.
pub const LIVENESS: Duration = Duration::from_secs(10);

/// Bytes of a request from agent to agent.
pub const A2A_BODY: usize = 16 << 20;

/// From nothing to a connection with an agent.
pub const A2A_CONNECT: Duration = Duration::from_secs(10);

/// An agent that says nothing for this long has ended, as far as its caller goes; models think for minutes.
pub const A2A_IDLE: Duration = Duration::from_secs(5 * 60);

/// A whole request from agent to agent, its stream too.
pub const A2A_TOTAL: Duration = Duration::from_secs(30 * 60);

/// Between two sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// One sweep, of all engines.
pub const SWEEP: Duration = Duration::from_secs(30);

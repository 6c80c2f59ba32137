//! All limits of the host, with their units and reasons. The modules that use a limit enforce it.

use std::time::Duration;

/// Wall clock for one call into a plugin, unless the configuration file sets `deadline_ms`. A plan of 10 000 workspaces
/// takes well under a second.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The interval between two epochs of wasmtime. It is also the precision of [`CALL_DEADLINE`].
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Bytes of linear memory for one call, over all its memories, unless the configuration file sets `memory_mib`.
pub const PLUGIN_MEMORY: usize = 256 << 20;

/// Bytes of a slot's memory that stay resident between calls, so that a fresh instance does not fault them in again. An
/// ordinary plan touches less.
pub const PLUGIN_MEMORY_KEPT: usize = 16 << 20;

/// Elements of one table. `org-import` has a few hundred, an interpreter about ten thousand.
pub const PLUGIN_TABLE_ELEMENTS: usize = 100_000;

/// Core instances of one component, and also its tables. A Rust plugin has 4. A Python plugin, which contains an
/// interpreter as linked libraries, has 14 modules and further instances for their imports.
pub const PLUGIN_INSTANCES: usize = 128;

/// Memories of one component. Compilers create one. Each slot reserves 4 GiB of address space.
pub const PLUGIN_MEMORIES: usize = 4;

/// Bytes of the log lines of one call: enough for debugging, too few to flood a terminal.
pub const PLUGIN_LOG_BYTES: usize = 64 << 10;

/// Handles of the closed WASI that one call can hold at the same time. An interpreter holds about a dozen.
pub const WASI_RESOURCES: usize = 1_000;

/// Random bytes that a plugin can request in one call of the closed WASI.
pub const WASI_RANDOM_BYTES: u64 = 64 << 10;

/// Calls that run at the same time in one process, one per slot of the pooling allocator. Further calls wait.
pub const CONCURRENT_CALLS: u32 = 64;

/// Bytes of native stack for a call. A deeper recursion traps.
pub const PLUGIN_STACK: usize = 1 << 20;

/// Bytes of stack of a thread that runs one call: [`PLUGIN_STACK`], and 1 MiB for the host's own functions.
pub const PLUGIN_THREAD_STACK: usize = PLUGIN_STACK + (1 << 20);

/// Bytes that a call can pass to the host: the plan, and the paths that it reads.
pub const PLAN_BYTES: usize = 64 << 20;

/// Bytes of a plugin file. A larger file is refused before it is read.
pub const PLUGIN_FILE_BYTES: u64 = 64 << 20;

/// The longest `deadline_ms` of the configuration file, in milliseconds: ten minutes.
pub const LONGEST_DEADLINE_MS: u32 = 600_000;

/// Bytes of a plugin's signature. A minisign signature has about 300.
pub const SIGNATURE_BYTES: usize = 4 << 10;

/// Bytes of the lock of installed plugins, enough for thousands of plugins.
pub const PLUGIN_LOCK_BYTES: u64 = 4 << 20;

/// Time to connect to a registry.
pub const REGISTRY_CONNECT: Duration = Duration::from_secs(10);

/// Time between two pieces of a registry's answer.
pub const REGISTRY_READ: Duration = Duration::from_secs(30);

/// Time for a whole push or pull: [`PLUGIN_FILE_BYTES`] over a slow connection.
pub const REGISTRY_TRANSFER: Duration = Duration::from_secs(600);

/// Bytes of `org.yaml` that the host parses to find a template's `plugin:`. This parsing has no deadline, unlike a call
/// into a plugin: the worst known text took the parser 8 s for 8 MiB on a busy machine, and its work is linear.
pub const TEMPLATE_HEAD: usize = 1 << 20;

/// YAML events that the host parses to find a template's `plugin:`. Forty workspaces have a few thousand.
pub const TEMPLATE_EVENTS: usize = 500_000;
/// Levels of YAML nesting that the host parses to find a template's `plugin:`.
pub const TEMPLATE_DEPTH: usize = 100;

/// Bytes of one file of a template.
pub const TEMPLATE_FILE_BYTES: u64 = 8 << 20;

/// Bytes that one call can read from a template, and bytes of a template that is kept or uploaded.
pub const TEMPLATE_BYTES: u64 = 64 << 20;

/// Files of a template that is kept or uploaded: as many as one call can read.
pub const TEMPLATE_FILES: usize = TEMPLATE_CALLS as usize;

/// Files and folders that one call can read or list.
pub const TEMPLATE_CALLS: u32 = 20_000;

/// Entries of one folder of a template.
pub const TEMPLATE_ENTRIES: usize = 10_000;

/// Workspaces of one plan.
pub const WORKSPACES: usize = 1_000;

/// Bytes of a workspace's key.
pub const KEY_BYTES: usize = 1024;

/// Bytes of the configuration of one agent plugin, as JSON. The parsed form needs many times that in memory.
pub const AGENT_PLUGIN_CONFIG: usize = 256 << 10;

/// Violations that are reported for one plan, so that a report stays readable.
pub const VIOLATIONS: usize = 1_000;

/// Seeded files of one workspace.
pub const SEED_FILES: usize = 5_000;

/// Seeded bytes of one workspace. The archive is held in memory while it is sent to the engine.
pub const SEED_BYTES: u64 = 32 << 20;

/// Variables of one workspace.
pub const ENV_VARS: usize = 1_000;
/// Bytes of one variable's value. Linux allows less than 128 KiB (`MAX_ARG_STRLEN`).
pub const ENV_VALUE_BYTES: usize = 128 * 1024 - 1;

/// Workspaces that are provisioned at the same time, unless the configuration file sets `concurrency`. On two cores the
/// measured throughput of an engine does not grow beyond it.
pub const CONCURRENCY: usize = 4;

/// Time for one request to an engine. A slower engine is reported as unreachable.
pub const ENGINE_CALL: Duration = Duration::from_secs(60);

/// Time to remove what a failed start created. It is separate from other limits, so that the removal also happens after a
/// cancellation.
pub const CLEANUP: Duration = Duration::from_secs(30);

/// Time from started to ready, with `--wait`.
pub const READY: Duration = Duration::from_secs(60);

/// Time between SIGTERM and SIGKILL.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Lines of a workspace's output in a failure report.
pub const LAST_LINES: usize = 20;

/// Bytes of such lines that a server holds in memory for all operations: a hundred failures with the longest lines, or the
/// failures of about a day.
pub const LAST_LINES_HELD: usize = 4 << 20;

/// Time to pull one image. Agent images have a few gigabytes.
pub const PULL: Duration = Duration::from_secs(600);

/// Time to connect to an engine. It is short, so that a machine without an engine is reported at once.
pub const CONNECT: Duration = Duration::from_secs(2);

/// Bytes of a seed archive that is read back: the seed, and a tar header, padding and a long name for each file and folder.
pub const SEED_ARCHIVE_BYTES: u64 = SEED_BYTES + SEED_FILES as u64 * 8192;

/// Bytes of one line of a workspace's output in a failure report.
pub const LINE_BYTES: usize = 2_000;

/// Bytes of one swarm config. The engine requires less than 1 024 000, and at least one.
pub const SWARM_CONFIG_BYTES: usize = 1_024_000 - 1;

/// Bytes of one swarm secret. The engine requires less than 512 000.
pub const SWARM_SECRET_BYTES: usize = 512_000 - 1;

/// Configs and secrets of one swarm service. The managers send a service, together with its previous version, in one
/// message of at most 4 MiB. In a test with paths of a hundred letters the engine accepted 2 000 and refused 5 000.
pub const SWARM_FILES: usize = 2_000;

/// Time after which a swarm starts a program again that has ended. It does not grow.
pub const SWARM_RESTART: Duration = Duration::from_secs(2);

/// The part of the machine that a container of one tier can use (`spec/provisioning.md` §4).
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Memory, in bytes.
    pub memory: i64,
    /// Processor time, in billionths of one processor.
    pub nano_cpus: i64,
    /// The number of processes and threads.
    pub pids: i64,
}

/// Tier 1 (sealed): 256 MiB, half a processor, 128 processes. Enough to answer requests.
pub const TIER_1: Share = share(256, 500, 128);
/// Tier 2: 512 MiB, one processor, 512 processes. For ordinary agents.
pub const TIER_2: Share = share(512, 1_000, 512);
/// Tier 3: 2 GiB, two processors, 4 096 processes. For builds and browsers.
pub const TIER_3: Share = share(2_048, 2_000, 4_096);
/// Tier 4: 4 GiB, four processors, 16 384 processes.
pub const TIER_4: Share = share(4_096, 4_000, 16_384);

const fn share(mebibytes: i64, milli_cpus: i64, pids: i64) -> Share {
    Share {
        memory: mebibytes << 20,
        nano_cpus: milli_cpus * 1_000_000,
        pids,
    }
}

/// Processes and threads of the user that runs a workspace of the local engine. The kernel counts all of the user's
/// processes together. A desktop has fewer, a fork bomb more.
pub const LOCAL_PROCESSES: u64 = 16_384;

/// Files that a process of the local engine can have open. A busy server needs fewer.
pub const LOCAL_OPEN_FILES: u64 = 65_536;

/// Bytes of a workspace's output in one log file of the local engine. It keeps this file and the previous one.
pub const LOG_BYTES: u64 = 10 << 20;

/// The first backoff before the local engine starts a program again that has ended. It doubles with each start.
pub const RESTART_FIRST: Duration = Duration::from_millis(100);
/// The longest such backoff.
pub const RESTART_SLOWEST: Duration = Duration::from_secs(30);
/// How long a program must have run for its next backoff to be [`RESTART_FIRST`] again.
pub const RESTART_SETTLED: Duration = Duration::from_secs(10);

/// Time from a supervisor's start to its first message. It only has to start one program.
pub const SUPERVISOR_START: Duration = Duration::from_secs(20);

/// Time from a signal to the end of a supervisor, in addition to the grace period of its program.
pub const SUPERVISOR_END: Duration = Duration::from_secs(5);

/// Operations of all orgs that a server has accepted and not ended. Each holds its plan in memory, a few hundred kilobytes.
pub const OPERATIONS: usize = 512;

/// Operations of one org that a server has accepted and not ended. A further request is refused as busy.
pub const OPERATIONS_OF_ORG: usize = 16;

/// Bytes of templates of accepted operations that are in memory at the same time.
pub const TEMPLATES_HELD: usize = 512 << 20;

/// Time that a request waits for room in memory for its template.
pub const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// Planning requests of all callers that wait in the queue. Each holds its template, even when its caller disconnects.
pub const PLANS_WAITING: usize = 1_024;

/// Plans that a server keeps in memory to give them again. Each has its own template, plugin or variables.
pub const PLANS_KEPT: usize = 128;

/// Bytes of these plans together: about fifty plans of forty workspaces. A plan that takes more than an eighth is not kept.
pub const PLANS_KEPT_BYTES: usize = 16 << 20;

/// Time that a change of a workspace waits for an engine that is restarting.
pub const ENGINE_AWAY: Duration = Duration::from_secs(60);

/// Interval between two deletions of old events and operations.
pub const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Time to store an accepted operation: a template and a few rows, after others that wait for the disk.
pub const ACCEPT: Duration = Duration::from_secs(60);

/// Time that an operation, resumed after the host's start, waits for an engine that does not answer yet.
pub const ENGINE_BACK: Duration = Duration::from_secs(600);

/// Time for a whole operation of an org in the background.
pub const OPERATION: Duration = Duration::from_secs(6 * 3600);

/// Time for a command to connect to an orghost server.
pub const SERVER_CONNECT: Duration = Duration::from_secs(10);

/// The first backoff of a command before it sends a request to a server again. It grows with each attempt.
pub const SERVER_PAUSE: Duration = Duration::from_millis(500);
/// The longest such backoff.
pub const SERVER_PAUSE_LONGEST: Duration = Duration::from_secs(10);

/// Total time in which a command repeats a request while the server answers that it is busy. A few large imports end in
/// that time.
pub const SERVER_BUSY: Duration = Duration::from_secs(600);

/// Total time in which a command repeats a request to a server that answered before and no longer does. A server drains and
/// restarts in that time.
pub const SERVER_BACK: Duration = Duration::from_secs(60);

/// Bytes of a request body that is not an upload: an `org.yaml` of [`TEMPLATE_FILE_BYTES`] as JSON text, with room to spare.
pub const BODY_BYTES: u64 = 2 * TEMPLATE_FILE_BYTES;

/// Bytes of an upload: a compressed template archive or a plugin, and 1 MiB for the rest of the form.
pub const UPLOAD_BYTES: u64 = TEMPLATE_BYTES + (1 << 20);

/// Bytes above which a request body counts as large.
pub const LARGE_BODY: u64 = 1 << 20;

/// Large request bodies of all callers in memory at the same time. Further ones are refused as busy.
pub const LARGE_BODIES: usize = 8;

/// Bytes of an uploaded archive after decompression: the files, and for each a header, padding and a long name.
pub const ARCHIVE_BYTES: u64 = TEMPLATE_BYTES + TEMPLATE_FILES as u64 * 2048;

/// Bytes of a path in an uploaded archive. Linux allows 4096 (`PATH_MAX`).
pub const ARCHIVE_PATH: usize = 1024;
/// Bytes of one component of a path in an uploaded archive. Linux allows 255 (`NAME_MAX`).
pub const ARCHIVE_NAME: usize = 255;

/// Time from a request's head to its answer's head, unless the request waits for an operation. A plan takes seconds, a
/// request to an engine up to a minute.
pub const REQUEST: Duration = Duration::from_secs(120);

/// The same for requests that upload or fetch something large.
pub const REQUEST_LARGE: Duration = Duration::from_secs(660);

/// Time between two pieces of a request body.
pub const BODY_READ: Duration = Duration::from_secs(30);

/// Time that a change continues after its caller has disconnected: enough to store it, not enough to wait for its end.
pub const AFTER_HANGUP: Duration = Duration::from_secs(30);

/// Time from the connection to the end of the TLS handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Time to read the head of a request, counted from its first byte or from the end of the previous request.
pub const HEAD_READ: Duration = Duration::from_secs(30);

/// Connections of a server, including one for each event stream. Further connections are closed at once.
pub const CONNECTIONS: usize = 2_048;

/// Files that a server asks the system to let it open: one for each of [`CONNECTIONS`], and as many for engines, agents,
/// templates and the store.
pub const OPEN_FILES: u64 = 2 * CONNECTIONS as u64;

/// The longest wait for an operation that a request can ask for, in seconds.
pub const WAIT_SECONDS: u64 = 3_600;

/// Time that the answer to a request with an idempotency key is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Kept answers of one caller. The oldest are deleted first.
pub const ANSWERS_OF_CALLER: i64 = 1_000;

/// Bytes of one kept answer.
pub const ANSWER_BYTES: usize = 4 << 20;

/// Rows of the audit log.
pub const AUDIT: i64 = 1_000_000;
/// Rows of the audit log for refused requests.
pub const AUDIT_REFUSED: i64 = 10_000;

/// Requests at the same time on one HTTP/2 connection.
pub const STREAMS: u32 = 128;

/// Time from the signal that a restart is pending to the workspace's acknowledgement.
pub const RESTART_SIGNAL: Duration = Duration::from_secs(10);

/// The longest time that a workspace can ask for to finish its work before it is restarted.
pub const RESTART_DRAIN: Duration = Duration::from_secs(20);

/// Interval at which the host asks a workspace whether it still needs that time.
pub const RESTART_LOOK: Duration = Duration::from_millis(500);

/// Bytes of an acknowledgement.
pub const RESTART_ANSWER: usize = 64 << 10;

/// Time for an engine to say whether a workspace is alive. It is short, because a person's request waits for the answer.
pub const LIVENESS: Duration = Duration::from_secs(10);

/// Bytes of a request from one agent to another.
pub const A2A_BODY: usize = 16 << 20;

/// Time to connect to an agent.
pub const A2A_CONNECT: Duration = Duration::from_secs(10);

/// Time without data after which the host ends a request to an agent. Models can think for minutes.
pub const A2A_IDLE: Duration = Duration::from_secs(5 * 60);

/// Time for a whole request from one agent to another, including its stream.
pub const A2A_TOTAL: Duration = Duration::from_secs(30 * 60);

/// Interval between two sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Time for one sweep over all engines.
pub const SWEEP: Duration = Duration::from_secs(30);

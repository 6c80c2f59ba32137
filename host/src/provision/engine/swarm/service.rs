//! Translates a [`Spec`] into a swarm service, and the tasks of a service into the state of a workspace. Pure.
//!
//! A service has at most one replica, and none before its seed is verified.

use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, Limit, Mount, MountTmpfsOptions, MountType,
    NetworkAttachmentConfig, Service, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
    Task, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecPrivileges, TaskSpecPlacement,
    TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum, TaskState,
};

use crate::limits;
use crate::model::ids::OperationId;
use crate::planning::policy::Tier;
use crate::provision::engine::docker::body::{self, CONFIGS, WORKSPACE};
use crate::provision::engine::docker::names;
use crate::provision::engine::mount::Bind;
use crate::provision::engine::process_env;
use crate::provision::generation::Generation;
use crate::provision::observed::{State, Volume};
use crate::provision::seed::OWNER;
use crate::provision::spec::Spec;
use crate::provision::workspace::volumes;

/// The label with the port that the task listens on.
pub(super) const PORT: &str = "orghost.port";
/// The label of a service that was started at least once. A service without it is not completely made.
pub(super) const STARTED: &str = "orghost.started";

/// The most bytes that a workspace can write beside its seed. They count as its memory.
const CONFIGS_BYTES: i64 = 64 << 20;

/// What a service needs besides its [`Spec`].
pub(super) struct Context<'a> {
    pub(super) generation: &'a Generation,
    pub(super) image: &'a str,
    pub(super) operation: &'a OperationId,
    /// The operator's directory to mount.
    pub(super) bind: Option<Bind>,
    /// The identity of the node with the volumes and directories.
    pub(super) node: &'a str,
}

/// The service, without a replica.
pub(super) fn body(spec: &Spec, context: &Context<'_>) -> ServiceSpec {
    let mut labels = names::of_generation(spec, context.generation, context.operation);
    labels.insert(names::SPEC.to_owned(), spec.digest.clone());
    labels.insert(PORT.to_owned(), spec.runtime.port.to_string());
    ServiceSpec {
        name: Some(names::container(context.generation)),
        labels: Some(labels),
        mode: Some(replicas(0)),
        // The name of the service resolves to its only task: there is no load to balance.
        endpoint_spec: Some(EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: None,
        }),
        task_template: Some(task(spec, context)),
        ..ServiceSpec::default()
    }
}

/// The mode of a service with so many replicas.
pub(super) fn replicas(count: i64) -> ServiceSpecMode {
    ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(count),
        }),
        ..ServiceSpecMode::default()
    }
}

fn task(spec: &Spec, context: &Context<'_>) -> TaskSpec {
    let share = body::share(spec.tier);
    let mounts = mounts(spec, context);
    // What is mounted from the disk of one node is only there.
    let is_bound_to_node = mounts.iter().any(|mount| mount.source.is_some());
    TaskSpec {
        container_spec: Some(container(spec, context.image, mounts)),
        // The same limits as for a container. Nothing is reserved, so that more workspaces can run than would get their full
        // share at once.
        resources: Some(TaskSpecResources {
            limits: Some(Limit {
                nano_cpus: Some(share.nano_cpus),
                memory_bytes: Some(share.memory),
                pids: Some(share.pids),
            }),
            ..TaskSpecResources::default()
        }),
        restart_policy: Some(TaskSpecRestartPolicy {
            condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
            delay: Some(nanoseconds(limits::SWARM_RESTART)),
            ..TaskSpecRestartPolicy::default()
        }),
        placement: is_bound_to_node.then(|| TaskSpecPlacement {
            constraints: Some(vec![format!("node.id=={}", context.node)]),
            ..TaskSpecPlacement::default()
        }),
        networks: Some(vec![NetworkAttachmentConfig {
            target: Some(names::network(&spec.org)),
            aliases: Some(vec![names::alias(&spec.id)]),
            ..NetworkAttachmentConfig::default()
        }]),
        ..TaskSpec::default()
    }
}

/// The container of a task, by the tiers that a swarm can have (`spec/provisioning.md` §4).
fn container(spec: &Spec, image: &str, mounts: Vec<Mount>) -> TaskSpecContainerSpec {
    let env = process_env(spec, CONFIGS, "0.0.0.0", spec.runtime.port);
    let env = env.iter().map(|(name, value)| format!("{name}={value}"));
    let mut container = TaskSpecContainerSpec {
        image: Some(image.to_owned()),
        hostname: Some(spec.key.slug().to_owned()),
        env: Some(env.collect()),
        mounts: Some(mounts),
        stop_grace_period: Some(nanoseconds(limits::STOP_GRACE)),
        // Engines before version 25 ignore this.
        privileges: Some(TaskSpecContainerSpecPrivileges {
            no_new_privileges: Some(true),
            ..TaskSpecContainerSpecPrivileges::default()
        }),
        ..TaskSpecContainerSpec::default()
    };
    if spec.tier == Tier::One {
        container.user = Some(format!("{OWNER}:{OWNER}"));
        container.read_only = Some(true);
        container.capability_drop = Some(vec!["ALL".to_owned()]);
    }
    container
}

fn mounts(spec: &Spec, context: &Context<'_>) -> Vec<Mount> {
    // The files of the seed are mounted into this folder. The workspace's user may write beside them.
    let mut mounts = vec![tmpfs(CONFIGS, CONFIGS_BYTES, 0o1777)];
    let work = |of: &Volume| matches!(of, Volume::Workspace(_));
    let work = volumes(spec, context.generation).filter(work);
    mounts.extend(work.map(|of| body::volume(spec, &of, context.operation)));
    if let Some(Bind { source, writable }) = &context.bind {
        mounts.push(body::bind(source, WORKSPACE, *writable));
    }
    if spec.tier == Tier::One {
        mounts.push(tmpfs("/tmp", 64 << 20, 0o1777));
    }
    mounts
}

fn tmpfs(target: &str, size: i64, mode: i64) -> Mount {
    Mount {
        typ: Some(MountType::TMPFS),
        target: Some(target.to_owned()),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: Some(size),
            mode: Some(mode),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    }
}

fn nanoseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The state of a workspace, from its service and the tasks of that service.
pub(super) fn state(service: &Service, tasks: &[&Task]) -> State {
    let is_started = service
        .spec
        .as_ref()
        .and_then(|spec| spec.labels.as_ref())
        .is_some_and(|labels| labels.contains_key(STARTED));
    if !is_started {
        return State::Created;
    }
    if running(tasks).is_some() {
        return State::Running;
    }
    let mut ended: Vec<&&Task> = tasks.iter().filter(|task| has_run(task)).collect();
    ended.sort_by_key(|task| task.version.as_ref().and_then(|version| version.index));
    let exit_code = ended.last().and_then(|task| {
        let status = task.status.as_ref()?.container_status.as_ref()?;
        i32::try_from(status.exit_code?).ok()
    });
    match wanted(service) {
        0 => State::Exited { exit_code },
        _ => State::Restarting {
            restarts: u32::try_from(ended.len()).unwrap_or(u32::MAX),
            exit_code,
        },
    }
}

/// The number of tasks that the service should have.
pub(super) fn wanted(service: &Service) -> i64 {
    let mode = service.spec.as_ref().and_then(|spec| spec.mode.as_ref());
    let replicated = mode.and_then(|mode| mode.replicated.as_ref());
    replicated.and_then(|mode| mode.replicas).unwrap_or(0)
}

/// The task that runs, if any.
pub(super) fn running<'a>(tasks: &[&'a Task]) -> Option<&'a Task> {
    let mut running = tasks
        .iter()
        .filter(|task| status(task) == Some(TaskState::RUNNING));
    running
        .find(|task| task.desired_state == Some(TaskState::RUNNING))
        .copied()
}

/// Whether the task ran and ended by itself.
pub(super) fn has_run(task: &Task) -> bool {
    matches!(
        status(task),
        Some(TaskState::COMPLETE | TaskState::FAILED | TaskState::ORPHANED)
    )
}

/// Whether the task has ended, or never began.
pub(super) fn is_over(task: &Task) -> bool {
    has_run(task)
        || matches!(
            status(task),
            Some(TaskState::SHUTDOWN | TaskState::REJECTED)
        )
}

/// The state of a task.
pub(super) fn status(task: &Task) -> Option<TaskState> {
    task.status.as_ref()?.state
}

/// The message of the swarm about a task that it cannot run or cannot place on a node.
pub(super) fn complaint(task: &Task) -> Option<&str> {
    let message = task.status.as_ref()?.err.as_deref()?;
    (!message.is_empty()).then_some(message)
}

//! What a service is made from, a [`Spec`] in a swarm's words, and what its tasks say about it. Pure.
//!
//! Never more than one replica, and none before its seed is verified.

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

/// The port that its task listens on.
pub(super) const PORT: &str = "orghost.port";
/// It was started once. Without it a service is half-made, whatever else is known of it.
pub(super) const STARTED: &str = "orghost.started";

/// Bytes of what a workspace writes beside its seed; they count as its memory.
const BESIDE: i64 = 64 << 20;

/// What [`Spec`] does not say.
pub(super) struct Around<'a> {
    pub(super) generation: &'a Generation,
    pub(super) image: &'a str,
    pub(super) operation: &'a OperationId,
    /// The operator's directory.
    pub(super) bind: Option<Bind>,
    /// The node that holds volumes and directories.
    pub(super) node: &'a str,
}

pub(super) fn body(spec: &Spec, around: &Around<'_>) -> ServiceSpec {
    let mut labels = names::of_generation(spec, around.generation, around.operation);
    labels.insert(names::SPEC.to_owned(), spec.digest.clone());
    labels.insert(PORT.to_owned(), spec.runtime.port.to_string());
    ServiceSpec {
        name: Some(names::container(around.generation)),
        labels: Some(labels),
        mode: Some(replicas(0)),
        // Its name is its one task's address: there is nothing to balance.
        endpoint_spec: Some(EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: None,
        }),
        task_template: Some(task(spec, around)),
        ..ServiceSpec::default()
    }
}

pub(super) fn replicas(count: i64) -> ServiceSpecMode {
    ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(count),
        }),
        ..ServiceSpecMode::default()
    }
}

fn task(spec: &Spec, around: &Around<'_>) -> TaskSpec {
    let share = body::share(spec.tier);
    let mounts = mounts(spec, around);
    // What is on one node's disk is there only.
    let stays = mounts.iter().any(|mount| mount.source.is_some());
    TaskSpec {
        container_spec: Some(container(spec, around.image, mounts)),
        // Limits as a container's. Nothing is reserved: more may be brought up than runs at full speed at once.
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
        placement: stays.then(|| TaskSpecPlacement {
            constraints: Some(vec![format!("node.id=={}", around.node)]),
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

/// The tiers (`spec/provisioning.md` §4), as far as a swarm has them.
fn container(spec: &Spec, image: &str, mounts: Vec<Mount>) -> TaskSpecContainerSpec {
    let env = process_env(spec, CONFIGS, "0.0.0.0", spec.runtime.port);
    let env = env.iter().map(|(name, value)| format!("{name}={value}"));
    let mut container = TaskSpecContainerSpec {
        image: Some(image.to_owned()),
        hostname: Some(spec.key.slug().to_owned()),
        env: Some(env.collect()),
        mounts: Some(mounts),
        stop_grace_period: Some(nanoseconds(limits::STOP_GRACE)),
        // Engines before 25 do not know it, and start the task without.
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

fn mounts(spec: &Spec, around: &Around<'_>) -> Vec<Mount> {
    // The seed is mounted over it file by file. The workspace's user may write beside it.
    let mut mounts = vec![tmpfs(CONFIGS, BESIDE, 0o1777)];
    let work = |of: &Volume| matches!(of, Volume::Workspace(_));
    let work = volumes(spec, around.generation).filter(work);
    mounts.extend(work.map(|of| body::volume(spec, &of, around.operation)));
    if let Some(Bind { source, writable }) = &around.bind {
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

/// How a workspace is. `tasks`: the service's own.
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

/// How many tasks the service should have.
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

/// It ran, and has ended by itself.
pub(super) fn has_run(task: &Task) -> bool {
    matches!(
        status(task),
        Some(TaskState::COMPLETE | TaskState::FAILED | TaskState::ORPHANED)
    )
}

/// It is over, or never began.
pub(super) fn is_over(task: &Task) -> bool {
    has_run(task)
        || matches!(
            status(task),
            Some(TaskState::SHUTDOWN | TaskState::REJECTED)
        )
}

pub(super) fn status(task: &Task) -> Option<TaskState> {
    task.status.as_ref()?.state
}

/// What the swarm says about a task that it cannot run, or cannot place.
pub(super) fn complaint(task: &Task) -> Option<&str> {
    let words = task.status.as_ref()?.err.as_deref()?;
    (!words.is_empty()).then_some(words)
}

//! Translates a [`Spec`] into the request that makes a container. Pure.
//!
//! The restart policy is `no` unless the seed was verified before. Bind mounts are never given as text (`source:target`),
//! because the engine then makes a missing source.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, Mount, MountBindOptions, MountType,
    MountVolumeOptions, NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::names;
use crate::limits;
use crate::model::ids::OperationId;
use crate::planning::policy::Tier;
use crate::provision::engine::mount::Bind;
use crate::provision::engine::process_env;
use crate::provision::generation::Generation;
use crate::provision::observed::{Volume, VolumeKind};
use crate::provision::seed::OWNER;
use crate::provision::spec::Spec;
use crate::provision::workspace::volumes;

/// The folder of the seed in a container.
pub(in crate::provision) const CONFIGS: &str = "/configs";
/// The folder of the agent's own work in a container.
pub(in crate::provision) const WORKSPACE: &str = "/workspace";
const SOCKET: &str = "/var/run/docker.sock";

/// What a container needs besides its [`Spec`].
pub(super) struct Context<'a> {
    /// The generation that it belongs to.
    pub(super) generation: &'a Generation,
    /// The reference of the image.
    pub(super) image: &'a str,
    /// The operation that makes it.
    pub(super) operation: &'a OperationId,
    /// The operator's directory to mount.
    pub(super) bind: Option<Bind>,
    /// The path of the engine's own socket on its machine.
    pub(super) socket: &'a str,
    /// The number of the engine's processors, which it does not let a container exceed.
    pub(super) cpus: Option<i64>,
    /// Whether its seed was verified, so that it gets its restart policy.
    pub(super) restarts: bool,
}

/// The request that makes a container.
pub(super) fn body(spec: &Spec, context: &Context<'_>) -> ContainerCreateBody {
    let port = format!("{}/tcp", spec.runtime.port);
    let env = process_env(spec, CONFIGS, "0.0.0.0", spec.runtime.port);
    let mut labels = names::of_generation(spec, context.generation, context.operation);
    labels.insert(names::SPEC.to_owned(), spec.digest.clone());
    if spec.tier == Tier::Four {
        labels.insert(names::HOST_PORT.to_owned(), spec.runtime.port.to_string());
    }
    // A container on the host's network can have neither another network nor published ports.
    let endpoint = EndpointSettings {
        aliases: Some(vec![names::alias(&spec.id)]),
        ..EndpointSettings::default()
    };
    let endpoints = HashMap::from([(names::network(&spec.org), endpoint)]);
    ContainerCreateBody {
        image: Some(context.image.to_owned()),
        hostname: Some(spec.key.slug().to_owned()),
        env: Some(
            env.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        exposed_ports: Some(vec![port.clone()]),
        labels: Some(labels),
        // The seed belongs to OWNER, and without capabilities not even root can read its secret files.
        user: (spec.tier == Tier::One).then(|| format!("{OWNER}:{OWNER}")),
        host_config: Some(host_config(spec, context, port)),
        networking_config: (spec.tier != Tier::Four).then_some(NetworkingConfig {
            endpoints_config: Some(endpoints),
        }),
        ..ContainerCreateBody::default()
    }
}

/// The part of the request that depends on the tier (`spec/provisioning.md` §4).
fn host_config(spec: &Spec, context: &Context<'_>, port: String) -> HostConfig {
    let share = share(spec.tier);
    let cpus = context
        .cpus
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000);
    let mut config = HostConfig {
        mounts: Some(mounts(spec, context)),
        memory: Some(share.memory),
        nano_cpus: Some(share.nano_cpus.min(cpus)),
        pids_limit: Some(share.pids),
        restart_policy: Some(restart_policy(context.restarts)),
        ..HostConfig::default()
    };
    match spec.tier {
        Tier::One | Tier::Two => config.security_opt = Some(vec!["no-new-privileges".to_owned()]),
        Tier::Three | Tier::Four => {
            config.privileged = Some(true);
            config.pid_mode = Some("host".to_owned());
        }
    }
    if spec.tier == Tier::One {
        config.readonly_rootfs = Some(true);
        config.cap_drop = Some(vec!["ALL".to_owned()]);
        let tmp = ("/tmp".to_owned(), "rw,noexec,nosuid,size=64m".to_owned());
        config.tmpfs = Some(HashMap::from([tmp]));
    }
    if spec.tier == Tier::Four {
        config.network_mode = Some("host".to_owned());
    } else {
        config.network_mode = Some(names::network(&spec.org));
        // A free port of this machine, reachable only from it.
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(String::new()),
        };
        config.port_bindings = Some(HashMap::from([(port, Some(vec![binding]))]));
    }
    config
}

/// The restart policy of a container whose seed was verified, or was not.
pub(super) fn restart_policy(is_verified: bool) -> RestartPolicy {
    RestartPolicy {
        name: Some(match is_verified {
            true => RestartPolicyNameEnum::UNLESS_STOPPED,
            false => RestartPolicyNameEnum::NO,
        }),
        maximum_retry_count: None,
    }
}

/// The share of the machine that a tier gets.
pub(in crate::provision) fn share(tier: Tier) -> limits::Share {
    match tier {
        Tier::One => limits::TIER_1,
        Tier::Two => limits::TIER_2,
        Tier::Three => limits::TIER_3,
        Tier::Four => limits::TIER_4,
    }
}

fn mounts(spec: &Spec, context: &Context<'_>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = volumes(spec, context.generation)
        .map(|of| volume(spec, &of, context.operation))
        .collect();
    if let Some(Bind { source, writable }) = &context.bind {
        mounts.push(bind(source, WORKSPACE, *writable));
    }
    if spec.tier == Tier::Four {
        mounts.push(bind(context.socket, SOCKET, true));
    }
    mounts
}

/// The mount of a volume.
pub(in crate::provision) fn volume(spec: &Spec, volume: &Volume, operation: &OperationId) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(names::volume(volume)),
        target: Some(
            match volume.kind() {
                VolumeKind::Configs => CONFIGS,
                VolumeKind::Workspace => WORKSPACE,
            }
            .to_owned(),
        ),
        volume_options: Some(MountVolumeOptions {
            // What the image has in this folder is not a part of the seed.
            no_copy: Some(true),
            // Another process may remove the volume at this moment, and then the engine makes it again, with these labels.
            labels: Some(volume_labels(spec, volume, operation)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// The labels of a volume.
pub(super) fn volume_labels(
    spec: &Spec,
    volume: &Volume,
    operation: &OperationId,
) -> names::Labels {
    let mut labels = match volume {
        Volume::Configs(generation) => names::of_generation(spec, generation, operation),
        Volume::Workspace(_) => names::of_workspace(spec, operation),
    };
    labels.insert(names::VOLUME.to_owned(), volume.kind().to_string());
    labels
}

/// The mount of a directory or file of the engine's machine.
pub(in crate::provision) fn bind(source: &str, target: &str, writable: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(!writable),
        bind_options: Some(MountBindOptions::default()),
        ..Mount::default()
    }
}

//! The names and labels of resources on an engine, and how this host recognises its own. Pure.
//!
//! The labels decide whose a resource is; a name alone proves nothing.

use std::collections::HashMap;

use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::provision::generation::Generation;
use crate::provision::observed::{Resource, ResourceKind, Volume, VolumeKind};
use crate::provision::spec::Spec;

/// Labels as the engine stores them.
pub(in crate::provision) type Labels = HashMap<String, String>;

pub(in crate::provision) const INSTANCE: &str = "orghost.instance";
pub(in crate::provision) const ORG: &str = "orghost.org";
pub(in crate::provision) const WORKSPACE: &str = "orghost.workspace";
pub(in crate::provision) const ID: &str = "orghost.id";
pub(in crate::provision) const GENERATION: &str = "orghost.generation";
pub(in crate::provision) const SPEC: &str = "orghost.spec";
pub(in crate::provision) const VOLUME: &str = "orghost.volume";
pub(in crate::provision) const OPERATION: &str = "orghost.operation";
/// The port of a workspace on the host's network, where no port is published.
pub(in crate::provision) const HOST_PORT: &str = "orghost.host-port";
const MANAGED: &str = "orghost.managed";

/// The host name of a workspace in the network of its org. All its generations have the same one.
pub(in crate::provision) fn alias(id: &WorkspaceId) -> String {
    format!("ws-{id}")
}

/// The name of a generation's container.
pub(in crate::provision) fn container(generation: &Generation) -> String {
    let name = alias(&generation.id);
    match generation.number {
        0 => name,
        number => format!("{name}-{number}"),
    }
}

/// The name of a volume.
pub(in crate::provision) fn volume(volume: &Volume) -> String {
    let of = match volume {
        Volume::Configs(generation) => container(generation),
        Volume::Workspace(id) => alias(id),
    };
    format!("{of}-{}", volume.kind())
}

/// The name of an org's network.
pub(in crate::provision) fn network(org: &OrgId) -> String {
    format!("orghost-{}-{}", org.instance().as_str(), org.slug())
}

/// The labels of every resource of an org.
pub(in crate::provision) fn of_org(org: &OrgId) -> Labels {
    let labels = [
        (MANAGED, "true"),
        (INSTANCE, org.instance().as_str()),
        (ORG, org.slug()),
    ];
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The labels of a generation's container and of its seed.
pub(in crate::provision) fn of_generation(
    spec: &Spec,
    generation: &Generation,
    operation: &OperationId,
) -> Labels {
    let mut labels = of_workspace(spec, operation);
    labels.insert(GENERATION.to_owned(), generation.number.to_string());
    labels
}

/// The labels of a workspace's volumes.
pub(in crate::provision) fn of_workspace(spec: &Spec, operation: &OperationId) -> Labels {
    let mut labels = of_org(&spec.org);
    let own = [
        (WORKSPACE, spec.key.as_str()),
        (ID, spec.id.as_str()),
        (OPERATION, operation.as_str()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels
}

/// The filter for an org's resources. Callers check the answer again with [`is_of_org`].
pub(in crate::provision) fn filter(org: &OrgId) -> HashMap<String, Vec<String>> {
    filter_by(&of_org(org))
}

/// The filter for resources with these labels. Callers check the answer again with [`carries`].
pub(in crate::provision) fn filter_by(labels: &Labels) -> HashMap<String, Vec<String>> {
    let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
    HashMap::from([("label".to_owned(), labels.collect())])
}

/// The labels of every resource of this host.
pub(in crate::provision) fn of_instance(instance: &InstanceId) -> Labels {
    let labels = [(MANAGED, "true"), (INSTANCE, instance.as_str())];
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The resource with these labels. `None`: it is not this host's.
pub(in crate::provision) fn resource(
    labels: &Labels,
    instance: &InstanceId,
    kind: ResourceKind,
) -> Option<Resource> {
    let is_own = labels.get(INSTANCE).map(String::as_str) == Some(instance.as_str());
    let name = match &kind {
        ResourceKind::Container(generation) => container(generation),
        ResourceKind::Volume(of) => volume(of),
    };
    (is_own && is_of_workspace(labels, kind.id())).then_some(Resource {
        org: labels.get(ORG)?.clone(),
        thing: kind,
        name,
    })
}

/// Whether all the wanted labels are among those that were found.
pub(in crate::provision) fn carries(found: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(name, value)| found.get(name) == Some(value))
}

/// Whether a resource with these labels belongs to this org.
pub(in crate::provision) fn is_of_org(labels: &Labels, org: &OrgId) -> bool {
    carries(labels, &of_org(org))
}

/// The labels of every resource of one workspace.
pub(in crate::provision) fn of_id(id: &WorkspaceId) -> Labels {
    let labels = [(MANAGED, "true"), (ID, id.as_str())];
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Whether a resource with these labels belongs to this workspace. An identity is derived from the instance and the org, so
/// these need not be compared.
pub(in crate::provision) fn is_of_workspace(labels: &Labels, id: &WorkspaceId) -> bool {
    carries(labels, &of_id(id))
}

/// The identity of the workspace in these labels.
pub(in crate::provision) fn id(labels: &Labels) -> Option<WorkspaceId> {
    WorkspaceId::parse(labels.get(ID)?)
}

/// The generation in these labels. Versions of orghost without generations set no label, which means the first one.
pub(in crate::provision) fn generation(labels: &Labels) -> Option<Generation> {
    let number = match labels.get(GENERATION) {
        Some(number) => number.parse().ok()?,
        None => 0,
    };
    Some(Generation {
        id: id(labels)?,
        number,
    })
}

/// The volume in these labels.
pub(in crate::provision) fn volume_of(labels: &Labels) -> Option<Volume> {
    let kinds = [VolumeKind::Configs, VolumeKind::Workspace];
    let found = labels.get(VOLUME)?;
    Some(
        match kinds.into_iter().find(|kind| kind.to_string() == *found)? {
            VolumeKind::Configs => Volume::Configs(generation(labels)?),
            VolumeKind::Workspace => Volume::Workspace(id(labels)?),
        },
    )
}

/// Whether a resource with these labels belongs to this generation.
pub(in crate::provision) fn is_of_generation(labels: &Labels, wanted: &Generation) -> bool {
    is_of_workspace(labels, &wanted.id) && generation(labels).as_ref() == Some(wanted)
}

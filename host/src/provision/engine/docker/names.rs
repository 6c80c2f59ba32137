//! What things are called on an engine, and how this host knows its own.
//! Pure; a name alone proves nothing, the labels decide.

use std::collections::HashMap;

use crate::model::ids::{InstanceId, OperationId, OrgId, WorkspaceId};
use crate::provision::generation::Generation;
use crate::provision::observed::{Resource, ResourceKind, Volume, VolumeKind};
use crate::provision::spec::Spec;

/// As the engine stores them.
pub(in crate::provision) type Labels = HashMap<String, String>;

pub(in crate::provision) const INSTANCE: &str = "orghost.instance";
pub(in crate::provision) const ORG: &str = "orghost.org";
pub(in crate::provision) const WORKSPACE: &str = "orghost.workspace";
pub(in crate::provision) const ID: &str = "orghost.id";
pub(in crate::provision) const GENERATION: &str = "orghost.generation";
pub(in crate::provision) const SPEC: &str = "orghost.spec";
pub(in crate::provision) const VOLUME: &str = "orghost.volume";
pub(in crate::provision) const OPERATION: &str = "orghost.operation";
/// The port of a workspace on the host's own network: nothing is published there.
pub(in crate::provision) const HOST_PORT: &str = "orghost.host-port";
const MANAGED: &str = "orghost.managed";

/// The name by which the others of its org reach a workspace, whichever of its generations runs.
pub(in crate::provision) fn alias(id: &WorkspaceId) -> String {
    format!("ws-{id}")
}

pub(in crate::provision) fn container(generation: &Generation) -> String {
    let name = alias(&generation.id);
    match generation.number {
        0 => name,
        number => format!("{name}-{number}"),
    }
}

pub(in crate::provision) fn volume(volume: &Volume) -> String {
    let of = match volume {
        Volume::Configs(generation) => container(generation),
        Volume::Workspace(id) => alias(id),
    };
    format!("{of}-{}", volume.kind())
}

pub(in crate::provision) fn network(org: &OrgId) -> String {
    format!("orghost-{}-{}", org.instance().as_str(), org.slug())
}

/// What everything of an org carries.
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

/// What a generation's container and its seed carry.
pub(in crate::provision) fn of_generation(
    spec: &Spec,
    generation: &Generation,
    operation: &OperationId,
) -> Labels {
    let mut labels = of_workspace(spec, operation);
    labels.insert(GENERATION.to_owned(), generation.number.to_string());
    labels
}

/// What the volumes of a workspace carry.
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

/// Asks an engine for what is this org's. The answer is checked again with [`is_of_org`].
pub(in crate::provision) fn filter(org: &OrgId) -> HashMap<String, Vec<String>> {
    filter_by(&of_org(org))
}

/// Asks an engine for what carries these labels. The answer is checked again with [`carries`].
pub(in crate::provision) fn filter_by(labels: &Labels) -> HashMap<String, Vec<String>> {
    let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
    HashMap::from([("label".to_owned(), labels.collect())])
}

/// What everything of a host carries.
pub(in crate::provision) fn of_instance(instance: &InstanceId) -> Labels {
    let labels = [(MANAGED, "true"), (INSTANCE, instance.as_str())];
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// What carries these labels, when they are this host's.
pub(in crate::provision) fn resource(
    labels: &Labels,
    instance: &InstanceId,
    thing: ResourceKind,
) -> Option<Resource> {
    let is_own = labels.get(INSTANCE).map(String::as_str) == Some(instance.as_str());
    let name = match &thing {
        ResourceKind::Container(generation) => container(generation),
        ResourceKind::Volume(of) => volume(of),
    };
    (is_own && is_of_workspace(labels, thing.id())).then_some(Resource {
        org: labels.get(ORG)?.clone(),
        thing,
        name,
    })
}

pub(in crate::provision) fn carries(found: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(name, value)| found.get(name) == Some(value))
}

pub(in crate::provision) fn is_of_org(labels: &Labels, org: &OrgId) -> bool {
    carries(labels, &of_org(org))
}

/// What everything of one workspace carries.
pub(in crate::provision) fn of_id(id: &WorkspaceId) -> Labels {
    let labels = [(MANAGED, "true"), (ID, id.as_str())];
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// An identity is made from the instance, the org and the key, so it stands for all three.
pub(in crate::provision) fn is_of_workspace(labels: &Labels, id: &WorkspaceId) -> bool {
    carries(labels, &of_id(id))
}

pub(in crate::provision) fn id(labels: &Labels) -> Option<WorkspaceId> {
    WorkspaceId::parse(labels.get(ID)?)
}

/// Which generation it is of. What a version made that knew none has no label, and is the first.
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

/// Which volume it is.
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

/// Whether it is of this very generation.
pub(in crate::provision) fn is_of_generation(labels: &Labels, wanted: &Generation) -> bool {
    is_of_workspace(labels, &wanted.id) && generation(labels).as_ref() == Some(wanted)
}

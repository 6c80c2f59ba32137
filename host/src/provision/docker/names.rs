//! What things are called on an engine, and how this host knows its own.
//! Pure; a name alone proves nothing, the labels decide.

use std::collections::HashMap;

use crate::provision::engine::{Sighting, Thing, VolumeKind};
use crate::provision::spec::{InstanceId, OperationId, OrgId, Spec, WorkspaceId};

/// As the engine stores them.
pub(in crate::provision) type Labels = HashMap<String, String>;

pub(in crate::provision) const INSTANCE: &str = "orghost.instance";
pub(in crate::provision) const ORG: &str = "orghost.org";
pub(in crate::provision) const WORKSPACE: &str = "orghost.workspace";
pub(in crate::provision) const ID: &str = "orghost.id";
pub(in crate::provision) const SPEC: &str = "orghost.spec";
pub(in crate::provision) const VOLUME: &str = "orghost.volume";
pub(in crate::provision) const OPERATION: &str = "orghost.operation";
/// The port of a workspace on the host's own network: nothing is published there.
pub(in crate::provision) const HOST_PORT: &str = "orghost.host-port";
const MANAGED: &str = "orghost.managed";

pub(in crate::provision) fn container(id: &WorkspaceId) -> String {
    format!("ws-{id}")
}

pub(in crate::provision) fn volume(id: &WorkspaceId, kind: VolumeKind) -> String {
    format!("ws-{id}-{kind}")
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

/// What the containers and volumes of a workspace carry.
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
pub(in crate::provision) fn sighting(
    labels: &Labels,
    instance: &InstanceId,
    thing: Thing,
) -> Option<Sighting> {
    let id = id(labels)?;
    let is_own = labels.get(INSTANCE).map(String::as_str) == Some(instance.as_str());
    let name = match thing {
        Thing::Container => container(&id),
        Thing::Volume(kind) => volume(&id, kind),
    };
    (is_own && is_of_workspace(labels, &id)).then_some(Sighting {
        org: labels.get(ORG)?.clone(),
        id,
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

pub(in crate::provision) fn kind(labels: &Labels) -> Option<VolumeKind> {
    let kinds = [VolumeKind::Configs, VolumeKind::Workspace];
    let found = labels.get(VOLUME)?;
    kinds.into_iter().find(|kind| kind.to_string() == *found)
}

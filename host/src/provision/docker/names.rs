//! What things are called on an engine, and how this host knows its own.
//! Pure; a name alone proves nothing, the labels decide.

use std::collections::HashMap;

use crate::provision::engine::{Sighting, Thing, VolumeKind};
use crate::provision::spec::{InstanceId, OperationId, OrgId, Spec, WorkspaceId};

/// As the engine stores them.
pub(super) type Labels = HashMap<String, String>;

pub(super) const INSTANCE: &str = "orghost.instance";
pub(super) const ORG: &str = "orghost.org";
pub(super) const WORKSPACE: &str = "orghost.workspace";
pub(super) const ID: &str = "orghost.id";
pub(super) const SPEC: &str = "orghost.spec";
pub(super) const VOLUME: &str = "orghost.volume";
pub(super) const OPERATION: &str = "orghost.operation";
/// The port of a workspace on the host's own network: nothing is published there.
pub(super) const HOST_PORT: &str = "orghost.host-port";
const MANAGED: &str = "orghost.managed";

pub(super) fn container(id: &WorkspaceId) -> String {
    format!("ws-{id}")
}

pub(super) fn volume(id: &WorkspaceId, kind: VolumeKind) -> String {
    format!("ws-{id}-{kind}")
}

pub(super) fn network(org: &OrgId) -> String {
    format!("orghost-{}-{}", org.instance().as_str(), org.slug())
}

/// What everything of an org carries.
pub(super) fn of_org(org: &OrgId) -> Labels {
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
pub(super) fn of_workspace(spec: &Spec, operation: &OperationId) -> Labels {
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
pub(super) fn filter(org: &OrgId) -> HashMap<String, Vec<String>> {
    let labels = of_org(org)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    HashMap::from([("label".to_owned(), labels.collect())])
}

/// Asks an engine for what is this host's. The answer is checked again by [`sighting`].
pub(super) fn filter_all(instance: &InstanceId) -> HashMap<String, Vec<String>> {
    let labels = [(MANAGED, "true"), (INSTANCE, instance.as_str())];
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    HashMap::from([("label".to_owned(), labels.to_vec())])
}

/// What carries these labels, when they are this host's.
pub(super) fn sighting(labels: &Labels, instance: &InstanceId, thing: Thing) -> Option<Sighting> {
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

pub(super) fn is_of_org(labels: &Labels, org: &OrgId) -> bool {
    of_org(org)
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
}

/// An identity is made from the instance, the org and the key, so it stands for all three.
pub(super) fn is_of_workspace(labels: &Labels, id: &WorkspaceId) -> bool {
    labels.get(MANAGED).is_some_and(|managed| managed == "true")
        && labels.get(ID).is_some_and(|found| found == id.as_str())
}

pub(super) fn id(labels: &Labels) -> Option<WorkspaceId> {
    WorkspaceId::parse(labels.get(ID)?)
}

pub(super) fn kind(labels: &Labels) -> Option<VolumeKind> {
    let kinds = [VolumeKind::Configs, VolumeKind::Workspace];
    let found = labels.get(VOLUME)?;
    kinds.into_iter().find(|kind| kind.to_string() == *found)
}

//! Assigns identities to the workspaces of a plan by their paths of names. The order of workspaces, and adding or removing
//! others, never changes an identity. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{OrgId, WorkspaceId};
use super::names::NamePath;
use super::plan::Former;

/// The names of a workspace of a plan, now and before.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its path of names.
    pub path: &'a NamePath,
    /// Its former names, newest first (`renamed_from`).
    pub former: &'a [Former],
}

/// An identity that the host has assigned before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The workspace's path of names at that time.
    pub path: NamePath,
    /// The identity.
    pub id: WorkspaceId,
    /// Whether the workspace still exists.
    pub presence: Presence,
}

/// Whether a known workspace still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is in its org's template.
    Planned,
    /// It left its org's template and was not removed.
    Left,
    /// It was removed. Its volumes may still exist.
    Gone,
}

/// The identities of a plan's workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identities {
    ids: BTreeMap<NamePath, WorkspaceId>,
    moved: BTreeMap<NamePath, NamePath>,
    added: BTreeSet<NamePath>,
}

/// Why the identity of a workspace is ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Two workspaces name the same former workspace.
    #[error("{first} and {second} were both renamed from {former}")]
    TwoClaims {
        /// One workspace.
        first: NamePath,
        /// The other workspace.
        second: NamePath,
        /// The former workspace.
        former: NamePath,
    },
    /// A workspace names a former workspace that is still in the template.
    #[error("{claim} was renamed from {former}, which is still in the template")]
    StillThere {
        /// The workspace that was renamed.
        claim: NamePath,
        /// The workspace that it names.
        former: NamePath,
    },
}

impl Identities {
    /// The identity of a workspace of the plan.
    pub fn id(&self, path: &NamePath) -> Option<&WorkspaceId> {
        self.ids.get(path)
    }

    /// Whether all workspaces have the same identities as in `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        self.ids == other.ids
    }

    /// Every workspace of the plan with its identity.
    pub fn iter(&self) -> impl Iterator<Item = (&NamePath, &WorkspaceId)> {
        self.ids.iter()
    }

    /// The workspaces whose identity was known at another path, with that former path.
    pub fn moved(&self) -> &BTreeMap<NamePath, NamePath> {
        &self.moved
    }

    /// The workspaces that have a new identity.
    pub fn added(&self) -> &BTreeSet<NamePath> {
        &self.added
    }

    /// Assigns each workspace of a plan its identity: the one that is known at its path; else the one that is known at its
    /// path below its parent's former path, or at its own former path; else a new one. Identities of planned workspaces are
    /// assigned first, then those of workspaces that left, then those of removed ones. A former path counts before a
    /// workspace that left at the same path. The order of `claims` and `known` does not matter.
    ///
    /// # Errors
    /// [`Unclear`] when former paths are ambiguous. The host asks, so that it never gives one workspace's work to another.
    pub fn assign(org: &OrgId, claims: &[Claim<'_>], known: &[Known]) -> Result<Self, Unclear> {
        use Presence::{Gone, Left, Planned};
        let mut claims = claims.to_vec();
        claims.sort_by_key(|claim| (claim.path.depth(), claim.path));
        // Parents before children, because a child can follow its parent's move.
        let levels = || claims.chunk_by(|a, b| a.path.depth() == b.path.depth());
        let mut assignment = Assignment {
            by_path: known.iter().map(|known| (&known.path, known)).collect(),
            assigned: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for (presence, former_presences) in [
            (Planned, &[Planned, Left][..]),
            (Left, &[]),
            (Gone, &[Gone]),
        ] {
            for claim in &claims {
                assignment.assign_at(claim.path, claim.path, presence);
            }
            for level in levels() {
                for claim in level {
                    let parent = assignment.former_parent(claim.path);
                    let before = NamePath::below(parent.as_ref(), claim.path.name());
                    assignment.assign_at(claim.path, &before, presence);
                }
                assignment.assign_by_former(level, former_presences)?;
            }
        }
        Ok(assignment.complete(org, &claims, known))
    }
}

struct Assignment<'a> {
    /// The known identities by their paths.
    by_path: BTreeMap<&'a NamePath, &'a Known>,
    /// The identities that workspaces of the plan have got so far, by the workspaces' paths.
    assigned: BTreeMap<&'a NamePath, &'a Known>,
    /// The identities in `assigned`.
    taken: BTreeSet<&'a WorkspaceId>,
}

impl<'a> Assignment<'a> {
    /// Assigns the identity that is known at a path, unless it is taken or the workspace already has one.
    fn assign_at(&mut self, to: &'a NamePath, at: &NamePath, presence: Presence) {
        let known = self.by_path.get(at).copied();
        let free =
            known.filter(|known| known.presence == presence && !self.taken.contains(&known.id));
        if let (false, Some(known)) = (self.assigned.contains_key(to), free) {
            self.assigned.insert(to, known);
            self.taken.insert(&known.id);
        }
    }

    /// The former path of the parent.
    fn former_parent(&self, path: &NamePath) -> Option<NamePath> {
        let parent = path.parent()?;
        let known = self.assigned.get(&parent);
        Some(known.map_or(parent, |known| known.path.clone()))
    }

    /// Assigns identities by the former names of workspaces.
    fn assign_by_former(
        &mut self,
        level: &[Claim<'a>],
        presences: &[Presence],
    ) -> Result<(), Unclear> {
        let mut found: BTreeMap<&'a NamePath, (&'a NamePath, &'a Known)> = BTreeMap::new();
        for claim in level {
            if self.assigned.contains_key(claim.path) {
                continue;
            }
            let Some(known) = self.former(claim, presences)? else {
                continue;
            };
            if let Some((first, _)) = found.insert(&known.path, (claim.path, known)) {
                return Err(Unclear::TwoClaims {
                    first: first.clone(),
                    second: claim.path.clone(),
                    former: known.path.clone(),
                });
            }
        }
        for (path, known) in found.into_values() {
            self.assigned.insert(path, known);
            self.taken.insert(&known.id);
        }
        Ok(())
    }

    /// The known identity at the newest former path of a workspace.
    fn former(
        &self,
        claim: &Claim<'a>,
        presences: &[Presence],
    ) -> Result<Option<&'a Known>, Unclear> {
        for former in claim.former {
            let paths = match former {
                Former::Path(names) => NamePath::try_from(names.clone()).into_iter().collect(),
                Former::Name(name) => vec![
                    NamePath::below(self.former_parent(claim.path).as_ref(), name),
                    NamePath::below(claim.path.parent().as_ref(), name),
                ],
            };
            for path in paths {
                let Some(known) = self.by_path.get(&path).copied() else {
                    continue;
                };
                if !presences.contains(&known.presence) {
                    continue;
                }
                if !self.taken.contains(&known.id) {
                    return Ok(Some(known));
                }
                let stays = self
                    .assigned
                    .get(&path)
                    .is_some_and(|assigned| assigned.id == known.id);
                if stays && !self.by_path.contains_key(claim.path) {
                    return Err(Unclear::StillThere {
                        claim: claim.path.clone(),
                        former: path,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Assigns new identities to the other workspaces. An identity that this org ever used is never used for another
    /// workspace, which would then get the old workspace's volumes.
    fn complete(self, org: &OrgId, claims: &[Claim<'_>], known: &[Known]) -> Identities {
        let used: BTreeSet<&WorkspaceId> = known.iter().map(|known| &known.id).collect();
        let new = |path: &NamePath| {
            let mut ids = (0..).map(|number| WorkspaceId::of(org, path, number));
            ids.find(|id| !used.contains(id))
        };
        let mut identities = Identities::default();
        for claim in claims {
            let path = claim.path;
            let known = self.assigned.get(path).map(|known| {
                if known.path != *path {
                    identities.moved.insert(path.clone(), known.path.clone());
                }
                known.id.clone()
            });
            let id = known.or_else(|| {
                identities.added.insert(path.clone());
                new(path)
            });
            if let Some(id) = id {
                identities.ids.insert(path.clone(), id);
            }
        }
        identities
    }
}

//! Who a workspace is: the exact names from its org down to it. Keys and identities are made of names alone, so that
//! neither order nor insertion nor removal ever turns one workspace into another. Pure: reads and stores nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{OrgId, WorkspaceId};
use super::names::NamePath;
use super::plan::Former;

/// A workspace of a plan, as far as its identity goes.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its names.
    pub path: &'a NamePath,
    /// What it was called before, newest first.
    pub former: &'a [Former],
}

/// An identity that a host has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The names that it has.
    pub path: NamePath,
    /// The identity.
    pub id: WorkspaceId,
    /// What the host keeps of it.
    pub presence: Presence,
}

/// What a host keeps of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is in its org's template.
    Planned,
    /// It was left alone when its org's template changed.
    Left,
    /// At most its work.
    Gone,
}

/// The identities of a plan's workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identities {
    ids: BTreeMap<NamePath, WorkspaceId>,
    moved: BTreeMap<NamePath, NamePath>,
    added: BTreeSet<NamePath>,
}

/// Why nobody can tell who a workspace is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Two workspaces say that they were the same one.
    #[error("{first} and {second} both say that they were {former}")]
    TwoClaims {
        /// The one.
        first: NamePath,
        /// The other.
        second: NamePath,
        /// What both were.
        former: NamePath,
    },
    /// A workspace says that it was one that is still in the template.
    #[error("{claim} says that it was {former}, which is still in the template")]
    StillThere {
        /// Who says so.
        claim: NamePath,
        /// Who it says it was.
        former: NamePath,
    },
}

impl Identities {
    /// The identity of a workspace of the plan.
    pub fn id(&self, path: &NamePath) -> Option<&WorkspaceId> {
        self.ids.get(path)
    }

    /// Whether everybody is the same as in `other`, known before or not.
    pub fn is_same(&self, other: &Self) -> bool {
        self.ids == other.ids
    }

    /// Every workspace of the plan, and its identity.
    pub fn iter(&self) -> impl Iterator<Item = (&NamePath, &WorkspaceId)> {
        self.ids.iter()
    }

    /// Workspaces that were known by another path, and that path.
    pub fn moved(&self) -> &BTreeMap<NamePath, NamePath> {
        &self.moved
    }

    /// Workspaces that were not known.
    pub fn added(&self) -> &BTreeSet<NamePath> {
        &self.added
    }

    /// Gives each workspace of a plan its identity: the one that is known by its path; else the one that its parent's
    /// move brings along, or that it says it was; else a new one. What it says goes before what was left at its path, and
    /// what is there goes before what is gone. Neither the order of the claims nor that of the known ones matters.
    ///
    /// # Errors
    /// [`Unclear`]: giving one workspace's work to another is worse than asking.
    pub fn assign(org: &OrgId, claims: &[Claim<'_>], known: &[Known]) -> Result<Self, Unclear> {
        use Presence::{Gone, Left, Planned};
        let mut claims = claims.to_vec();
        claims.sort_by_key(|claim| (claim.path.depth(), claim.path));
        let generations = || claims.chunk_by(|a, b| a.path.depth() == b.path.depth());
        let mut assignment = Assignment {
            by_path: known.iter().map(|known| (&known.path, known)).collect(),
            given: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for (present, believed) in [
            (Planned, &[Planned, Left][..]),
            (Left, &[]),
            (Gone, &[Gone]),
        ] {
            for claim in &claims {
                assignment.give(claim.path, claim.path, present);
            }
            for generation in generations() {
                for claim in generation {
                    let before = assignment.former_parent(claim.path);
                    let before = NamePath::below(before.as_ref(), claim.path.name());
                    assignment.give(claim.path, &before, present);
                }
                assignment.believe(generation, believed)?;
            }
        }
        Ok(assignment.complete(org, &claims, known))
    }
}

struct Assignment<'a> {
    by_path: BTreeMap<&'a NamePath, &'a Known>,
    given: BTreeMap<&'a NamePath, &'a Known>,
    taken: BTreeSet<&'a WorkspaceId>,
}

impl<'a> Assignment<'a> {
    /// Gives the identity that is known at a path, unless somebody has it.
    fn give(&mut self, to: &'a NamePath, at: &NamePath, presence: Presence) {
        let known = self.by_path.get(at).copied();
        let free =
            known.filter(|known| known.presence == presence && !self.taken.contains(&known.id));
        if let (false, Some(known)) = (self.given.contains_key(to), free) {
            self.given.insert(to, known);
            self.taken.insert(&known.id);
        }
    }

    /// Where the parent of a path was before.
    fn former_parent(&self, path: &NamePath) -> Option<NamePath> {
        let parent = path.parent()?;
        let known = self.given.get(&parent);
        Some(known.map_or(parent, |known| known.path.clone()))
    }

    /// Gives identities by what workspaces say that they were.
    fn believe(&mut self, generation: &[Claim<'a>], believed: &[Presence]) -> Result<(), Unclear> {
        let mut found: BTreeMap<&'a NamePath, (&'a NamePath, &'a Known)> = BTreeMap::new();
        for claim in generation {
            if self.given.contains_key(claim.path) {
                continue;
            }
            let Some(known) = self.former(claim, believed)? else {
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
            self.given.insert(path, known);
            self.taken.insert(&known.id);
        }
        Ok(())
    }

    /// The newest of those that a workspace says that it was, and that is known.
    fn former(
        &self,
        claim: &Claim<'a>,
        believed: &[Presence],
    ) -> Result<Option<&'a Known>, Unclear> {
        for former in claim.former {
            let places = match former {
                Former::Path(names) => NamePath::try_from(names.clone()).into_iter().collect(),
                Former::Name(name) => vec![
                    NamePath::below(self.former_parent(claim.path).as_ref(), name),
                    NamePath::below(claim.path.parent().as_ref(), name),
                ],
            };
            for place in places {
                let Some(known) = self.by_path.get(&place).copied() else {
                    continue;
                };
                if !believed.contains(&known.presence) {
                    continue;
                }
                if !self.taken.contains(&known.id) {
                    return Ok(Some(known));
                }
                let stays = self
                    .given
                    .get(&place)
                    .is_some_and(|given| given.id == known.id);
                if stays && !self.by_path.contains_key(claim.path) {
                    return Err(Unclear::StillThere {
                        claim: claim.path.clone(),
                        former: place,
                    });
                }
            }
        }
        Ok(None)
    }

    /// New identities for the rest. A new one is never one that was ever given in this org: its work would be another's.
    fn complete(self, org: &OrgId, claims: &[Claim<'_>], known: &[Known]) -> Identities {
        let ever: BTreeSet<&WorkspaceId> = known.iter().map(|known| &known.id).collect();
        let new = |path: &NamePath| {
            let mut generations = (0..).map(|generation| WorkspaceId::of(org, path, generation));
            generations.find(|id| !ever.contains(id))
        };
        let mut made = Identities::default();
        for claim in claims {
            let path = claim.path;
            let known = self.given.get(path).map(|known| {
                if known.path != *path {
                    made.moved.insert(path.clone(), known.path.clone());
                }
                known.id.clone()
            });
            let id = known.or_else(|| {
                made.added.insert(path.clone());
                new(path)
            });
            if let Some(id) = id {
                made.ids.insert(path.clone(), id);
            }
        }
        made
    }
}

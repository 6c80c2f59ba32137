//! Who a workspace is: the exact names from its org down to it. Keys and identities are made of names alone, so that
//! neither order nor insertion nor removal ever turns one workspace into another. Pure: reads and stores nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use deunicode::deunicode_with_tofu;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use crate::digest::hex;
use crate::ids::{OrgId, WorkspaceId};
use crate::plan::{Former, WorkspaceKey};

/// The names of a workspace's ancestors from the org down, then its own; never empty. Each name is in Unicode's
/// normalisation form C (UAX #15), so that two spellings of one name are one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct NamePath(Vec<String>);

/// A path without any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a workspace's path has at least one name")]
pub struct EmptyPath;

impl NamePath {
    /// The path of a workspace without a parent.
    pub fn root(name: &str) -> Self {
        Self(vec![name.nfc().collect()])
    }

    /// The path of a child of this workspace.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.nfc().collect());
        Self(names)
    }

    /// The path of a child of `parent`, or of a workspace without one.
    pub fn below(parent: Option<&Self>, name: &str) -> Self {
        parent.map_or_else(|| Self::root(name), |parent| parent.child(name))
    }

    /// The path of the parent, when there is one.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| Self(above.to_vec()))
    }

    /// Whether it is a descendant of `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.len() > ancestor.0.len() && self.0.starts_with(&ancestor.0)
    }

    fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The workspace's own name.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// How many ancestors it has.
    pub fn depth(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// All names, the outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for NamePath {
    type Error = EmptyPath;

    fn try_from(names: Vec<String>) -> Result<Self, EmptyPath> {
        let names: Vec<String> = names.iter().map(|name| name.nfc().collect()).collect();
        if names.is_empty() {
            return Err(EmptyPath);
        }
        Ok(Self(names))
    }
}

impl From<NamePath> for Vec<String> {
    fn from(path: NamePath) -> Self {
        path.0
    }
}

impl fmt::Display for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" / "))
    }
}

/// The longest slug in bytes (RFC 1123's length of a label).
const SLUG_BYTES: usize = 63;

/// Digits of a name's digest that tell it from its siblings.
const SUFFIX_DIGITS: usize = 8;

/// The keys by which people address workspaces, in the order of `paths`. `left` are workspaces beside them that are no
/// longer in the template: where a key would be equal, those give way. Every parent of a path is a path itself.
///
/// A slug is the name in ASCII's lower-case letters and digits, transliterated, cut to 63 bytes. Siblings whose slugs
/// would be equal each get a suffix of their own name's sha-256. The result also has the parents of those that are left.
pub fn keys(paths: &[&NamePath], left: &[&NamePath]) -> BTreeMap<NamePath, WorkspaceKey> {
    // Somebody who is left may have had a parent who is not.
    let gone: Vec<NamePath> = left.iter().flat_map(|path| path.ancestors()).collect();
    let left: Vec<&NamePath> = left.iter().copied().chain(&gone).collect();
    let mut families: BTreeMap<Option<NamePath>, Family<'_>> = BTreeMap::new();
    for path in paths {
        let family = families.entry(path.parent()).or_default();
        family.here.insert(path.name());
    }
    for path in &left {
        let family = families.entry(path.parent()).or_default();
        family.left.insert(path.name());
    }
    let slugs: BTreeMap<&Option<NamePath>, BTreeMap<&str, String>> = families
        .iter()
        .map(|(parent, family)| (parent, family.slugs()))
        .collect();
    let mut all: Vec<&NamePath> = paths.iter().chain(&left).copied().collect();
    all.sort_by_key(|path| path.depth());
    let mut keys: BTreeMap<NamePath, WorkspaceKey> = BTreeMap::new();
    for path in all {
        let parent = path.parent();
        let slug = slugs
            .get(&parent)
            .and_then(|family| family.get(path.name()));
        let above = parent.as_ref().and_then(|parent| keys.get(parent));
        if let Some(slug) = slug {
            keys.insert(path.clone(), WorkspaceKey::below(above, slug));
        }
    }
    keys
}

/// The names of siblings.
#[derive(Default)]
struct Family<'a> {
    here: BTreeSet<&'a str>,
    left: BTreeSet<&'a str>,
}

impl<'a> Family<'a> {
    fn slugs(&self) -> BTreeMap<&'a str, String> {
        let mut slugs = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for names in [&self.here, &self.left] {
            let fresh: BTreeSet<&str> = names
                .iter()
                .copied()
                .filter(|name| !slugs.contains_key(name))
                .collect();
            let made = distinct(&fresh, &taken);
            taken.extend(made.values().cloned());
            slugs.extend(made);
        }
        slugs
    }
}

/// Slugs that differ from each other and from those that are `taken`; each depends on the set of names, not on an order.
fn distinct<'a>(names: &BTreeSet<&'a str>, taken: &BTreeSet<String>) -> BTreeMap<&'a str, String> {
    // By name: how many digits of its digest its slug ends in.
    let mut digits: BTreeMap<&str, usize> = names.iter().map(|name| (*name, 0)).collect();
    loop {
        let slugs: BTreeMap<&str, String> = digits
            .iter()
            .map(|(name, digits)| (*name, slug(name, *digits)))
            .collect();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for slug in slugs.values() {
            *count.entry(slug).or_default() += 1;
        }
        let is_equal = |slug: &String| {
            taken.contains(slug) || count.get(slug.as_str()).is_some_and(|count| *count > 1)
        };
        let equal: Vec<&str> = slugs
            .iter()
            .filter(|(_, slug)| is_equal(slug))
            .map(|(name, _)| *name)
            .collect();
        // 48 digits: two names with one digest of so many do not exist.
        if equal.is_empty() || digits.values().any(|digits| *digits >= 48) {
            return slugs;
        }
        for name in equal {
            if let Some(digits) = digits.get_mut(name) {
                *digits += SUFFIX_DIGITS;
            }
        }
    }
}

/// A name's slug, which ends in so many digits of the name's digest.
fn slug(name: &str, digits: usize) -> String {
    let digest = hex(&Sha256::digest(name));
    let suffix = digest.get(..digits).unwrap_or(&digest);
    let readable = readable(name).unwrap_or_else(|| "workspace".to_owned());
    if suffix.is_empty() {
        return cut(&readable, SLUG_BYTES).to_owned();
    }
    let stem = cut(&readable, SLUG_BYTES - suffix.len() - 1);
    if stem.is_empty() {
        return suffix.to_owned();
    }
    format!("{stem}-{suffix}")
}

/// A name in ASCII's letters and digits, transliterated, in lower case, with `-` for whatever stands between them. `None`
/// when there are none.
pub fn readable(name: &str) -> Option<String> {
    let ascii = deunicode_with_tofu(name, " ");
    let words = ascii
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    (!slug.is_empty()).then_some(slug)
}

fn cut(slug: &str, bytes: usize) -> &str {
    slug.get(..bytes).unwrap_or(slug).trim_end_matches('-')
}

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

//! Who the workspaces of a template are, and were: siblings have different names, and nobody claims what another one is
//! or claims. It gives nobody a key.
//!
//! A workspace is recognised by the names from the org down to it. `renamed_from` says what they were before:
//!
//! ```yaml
//! - name: Research
//!   renamed_from:
//!     - Analysis                  # a name that it had below the same parent
//!     - [Lead, Old Team, Studies] # the names from the org down to it, where its place was another one
//! ```
//!
//! A single name may stand there without a list.

use std::collections::BTreeMap;

use super::name::{Identity, Name};
use super::problems::{At, Problems, quoted};
use super::schema::Workspace;
use crate::{Diagnostic, Former};

/// Reports siblings of one name, and former names that are not clear.
pub(crate) fn check(roots: &[Workspace], problems: &mut Problems) {
    let mut known = Known::default();
    known.siblings(roots, Identity::ORG, true, problems);
    let Known { present, claims } = known;
    let mut claimed: BTreeMap<Identity, &Claim<'_>> = BTreeMap::new();
    for claim in &claims {
        if claim.former == claim.own {
            let message = "this is the name that the workspace has, and says nothing";
            problems.warn(Diagnostic::new("renamed-from-itself", message).about(claim.at));
            continue;
        }
        if let Some(at) = present.get(&claim.former) {
            let message = format!(
                "a workspace is called that still, in {}, and keeps what it has",
                at.pos
            );
            problems.warn(Diagnostic::new("renamed-from-present", message).about(claim.at));
        }
        match claimed.get(&claim.former) {
            Some(first) if first.own != claim.own => {
                let message = format!(
                    "another workspace says that it was called that, in {}, and only one can have been",
                    first.at.pos
                );
                let problem = Diagnostic::new("renamed-from-twice", message).about(claim.at);
                problems.error(problem.help("remove one of the two"));
            }
            _ => {
                claimed.insert(claim.former, claim);
            }
        }
    }
}

#[derive(Default)]
struct Known<'a> {
    /// Where each workspace of the plan stands.
    present: BTreeMap<Identity, &'a At>,
    claims: Vec<Claim<'a>>,
}

struct Claim<'a> {
    own: Identity,
    former: Identity,
    at: &'a At,
}

impl<'a> Known<'a> {
    /// Workspaces that are not spawned have a name among their siblings, and are nobody else.
    fn siblings(
        &mut self,
        siblings: &'a [Workspace],
        parent: Identity,
        spawning: bool,
        problems: &mut Problems,
    ) {
        let mut names: BTreeMap<Name, &At> = BTreeMap::new();
        for one in siblings.iter().filter(|one| !one.name.is_empty()) {
            let name = Name::new(&one.name);
            let own = parent.below(&name);
            if let Some(first) = names.get(&name) {
                let message = format!(
                    "`{}` beside it is called {} too, in {}",
                    first.field,
                    quoted(&one.name),
                    first.pos
                );
                let problem = Diagnostic::new("same-name", message).about(&one.at);
                problems.error(
                    problem.help("a workspace is recognised by its name: give one of them another"),
                );
            } else {
                names.insert(name, &one.at);
            }
            let spawning = spawning && one.spawning;
            if spawning {
                self.present.entry(own).or_insert(&one.at);
                self.claims
                    .extend(one.renamed_from.iter().map(|former| Claim {
                        own,
                        former: identity(&former.former, parent),
                        at: &former.at,
                    }));
            }
            self.siblings(&one.children, own, spawning, problems);
        }
    }
}

fn identity(former: &Former, parent: Identity) -> Identity {
    match former {
        Former::Name(name) => parent.below(&Name::new(name)),
        Former::Path(names) => names
            .iter()
            .fold(Identity::ORG, |above, name| above.below(&Name::new(name))),
    }
}

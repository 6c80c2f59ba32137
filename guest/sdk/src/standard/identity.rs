//! Checks the identities of workspaces: siblings have different names, and no two have the same former name.
//!
//! The identity of a workspace is the path of names from the org down to it. `renamed_from` lists former identities:
//!
//! ```yaml
//! - name: Research
//!   renamed_from:
//!     - Analysis                  # its former name, below the same parent
//!     - [Lead, Old Team, Studies] # its former path of names, when it was elsewhere in the tree
//! ```
//!
//! A single name does not need the list.

use std::collections::BTreeMap;

use super::name::{Identity, Name};
use super::problems::{At, Problems, quoted};
use super::schema::Workspace;
use crate::{Diagnostic, Former};

/// Reports siblings with the same name, and former names that are ambiguous or have no effect.
pub(crate) fn check(roots: &[Workspace], problems: &mut Problems) {
    let mut known = Known::default();
    known.siblings(roots, Identity::ORG, true, problems);
    let Known { present, claims } = known;
    let mut claimed: BTreeMap<Identity, &Claim<'_>> = BTreeMap::new();
    for claim in &claims {
        if claim.former == claim.own {
            let message = "this former name has no effect: it is the present name of the workspace";
            problems.warn(Diagnostic::new("renamed-from-itself", message).about(claim.at));
            continue;
        }
        if let Some(at) = present.get(&claim.former) {
            let message = format!(
                "this former name has no effect: another workspace has it now, in {}",
                at.pos
            );
            problems.warn(Diagnostic::new("renamed-from-present", message).about(claim.at));
        }
        match claimed.get(&claim.former) {
            Some(first) if first.own != claim.own => {
                let message = format!(
                    "another workspace has this former name too, in {}",
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
    /// The place of each workspace that is in the plan.
    present: BTreeMap<Identity, &'a At>,
    /// In the order of the template.
    claims: Vec<Claim<'a>>,
}

/// A former identity of a workspace.
struct Claim<'a> {
    own: Identity,
    former: Identity,
    at: &'a At,
}

impl<'a> Known<'a> {
    /// A workspace that is not spawned needs a name that no sibling has, but its former names do not count.
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

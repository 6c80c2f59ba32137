//! Which workspace a person means: by its key, its identity, or its exact name. Decides, and looks nothing up.

use crate::model::diagnostic::Diagnostic;
use crate::model::names::NamePath;
use crate::problem::{Class, Problem};
use crate::state::store::WorkspaceRow;

/// A workspace, and its org's slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub org: String,
    pub workspace: WorkspaceRow,
}

impl Candidate {
    /// The workspaces of an org.
    pub fn of(
        org: &str,
        workspaces: impl IntoIterator<Item = WorkspaceRow>,
    ) -> impl Iterator<Item = Self> {
        workspaces.into_iter().map(|workspace| Self {
            org: org.to_owned(),
            workspace,
        })
    }
}

/// The one workspace that is meant. A key or an identity wins over a name: keys are what people address workspaces by, and
/// a name of one may be the key of another.
///
/// # Errors
/// There is none, or more than one, and then which.
pub fn one(meant: &str, all: impl IntoIterator<Item = Candidate>) -> Result<Candidate, Problem> {
    let (addressed, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|one| one.workspace.key.as_str() == meant || one.workspace.id.as_str() == meant);
    let mut found = addressed;
    if found.is_empty() {
        // However the name is spelled in Unicode.
        let name = NamePath::root(meant);
        found = others;
        found.retain(|one| one.workspace.path.name() == name.name());
    }
    let listed = list(&found);
    let diagnostic = match (found.pop(), found.is_empty()) {
        (Some(one), true) => return Ok(one),
        (None, _) => Diagnostic::new(
            "unknown-workspace",
            format!("there is no workspace {meant:?}"),
        )
        .help("`orghost status` lists them; one is addressed by its key, its exact name or its identity"),
        (Some(_), false) => Diagnostic::new(
            "ambiguous-workspace",
            format!("{meant:?} may be {listed}"),
        )
        .help("give the key, and the org with --org; or the identity alone"),
    };
    Err(Problem::one(Class::Invalid, diagnostic))
}

fn list(found: &[Candidate]) -> String {
    let words = found.iter().map(|one| {
        let Candidate { org, workspace } = one;
        format!("{} of {org} ({})", workspace.key, workspace.id)
    });
    words.collect::<Vec<_>>().join(", or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (org, key, name, identity)
    fn candidates(all: &[(&str, &str, &str, &str)]) -> Vec<Candidate> {
        let one = |(org, key, name, id): &(&str, &str, &str, &str)| {
            let row = serde_json::json!({
                "id": id.repeat(16), "key": key, "path": [name], "name": name, "planned": true, "runtime": "x", "tier": 2, "external": false,
                "url": null, "outcome": "up", "reason": null, "wanted": "running",
            });
            Candidate {
                org: (*org).to_owned(),
                workspace: serde_json::from_value(row).unwrap(),
            }
        };
        all.iter().map(one).collect()
    }

    fn find(meant: &str, all: &[(&str, &str, &str, &str)]) -> Result<String, Diagnostic> {
        let mut found = one(meant, candidates(all)).map(|one| one.workspace.id.to_string());
        match &mut found {
            Ok(id) => Ok(id[..2].to_owned()),
            Err(problem) => Err(problem.errors.remove(0)),
        }
    }

    #[test]
    fn a_workspace_is_found_by_key_identity_or_name() {
        let all = [
            ("acme", "pm", "PM", "01"),
            ("acme", "pm/dev", "Entwickler für C++", "02"),
        ];
        assert_eq!(find("pm/dev", &all).unwrap(), "02");
        assert_eq!(find("Entwickler für C++", &all).unwrap(), "02");
        assert_eq!(find(&"01".repeat(16), &all).unwrap(), "01");
        // The same name, with its accent as a character of its own.
        assert_eq!(find("Entwickler fu\u{308}r C++", &all).unwrap(), "02");
        for nobody in ["dev", "entwickler für c++", "", "0"] {
            assert_eq!(find(nobody, &all).unwrap_err().code, "unknown-workspace");
        }
    }

    #[test]
    fn a_key_wins_over_a_name() {
        let all = [
            ("acme", "lead", "A", "01"),
            ("acme", "pm/lead", "lead", "02"),
        ];
        assert_eq!(find("lead", &all).unwrap(), "01");
    }

    #[test]
    fn more_than_one_is_an_error_that_names_each() {
        let all = [
            ("acme", "a/dev", "Dev", "01"),
            ("acme", "b/dev", "Dev", "02"),
            ("beta", "a/dev", "Other", "03"),
        ];
        for (meant, named, others) in [("Dev", ["01", "02"], "03"), ("a/dev", ["01", "03"], "02")] {
            let error = find(meant, &all).unwrap_err();
            assert_eq!(error.code, "ambiguous-workspace");
            let says = |id: &str| error.message.contains(&id.repeat(16));
            assert!(named.into_iter().all(says) && !says(others), "{error:?}");
        }
    }
}

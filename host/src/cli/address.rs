//! Finds the workspace that a command-line argument names: by key, by identity, or by exact name. It only compares; it
//! reads no store and asks no server.

use crate::model::diagnostic::Diagnostic;
use crate::model::names::NamePath;
use crate::problem::{Class, Problem};
use crate::state::store::WorkspaceRow;

/// A workspace that an argument may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The slug of its org.
    pub org: String,
    pub workspace: WorkspaceRow,
}

impl Candidate {
    /// Makes a candidate of each workspace of an org.
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

/// Finds the one workspace that an argument names. A key or an identity wins over a name: people address workspaces by key,
/// and the name of one workspace may be the key of another.
///
/// # Errors
/// `unknown-workspace`: none fits. `ambiguous-workspace`: several fit, and the message lists them.
pub fn one(argument: &str, all: impl IntoIterator<Item = Candidate>) -> Result<Candidate, Problem> {
    let (addressed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| {
        one.workspace.key.as_str() == argument || one.workspace.id.as_str() == argument
    });
    let mut found = addressed;
    if found.is_empty() {
        // `NamePath` normalises Unicode, so two spellings of the same name are equal.
        let name = NamePath::root(argument);
        found = others;
        found.retain(|one| one.workspace.path.name() == name.name());
    }
    let listed = list(&found);
    let diagnostic = match (found.pop(), found.is_empty()) {
        (Some(one), true) => return Ok(one),
        (None, _) => Diagnostic::new(
            "unknown-workspace",
            format!("there is no workspace {argument:?}"),
        )
        .help("`orghost status` lists the workspaces; give a key, an exact name or an identity"),
        (Some(_), false) => Diagnostic::new(
            "ambiguous-workspace",
            format!("{argument:?} fits several workspaces: {listed}"),
        )
        .help("give the key and its org (--org ORG), or the identity"),
    };
    Err(Problem::one(Class::Invalid, diagnostic))
}

fn list(found: &[Candidate]) -> String {
    let descriptions = found.iter().map(|one| {
        let Candidate { org, workspace } = one;
        format!("{} of {org} ({})", workspace.key, workspace.id)
    });
    descriptions.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes candidates of tuples (org, key, name, identity); an identity is two digits here, repeated sixteen times.
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

    fn find(argument: &str, all: &[(&str, &str, &str, &str)]) -> Result<String, Diagnostic> {
        let mut found = one(argument, candidates(all)).map(|one| one.workspace.id.to_string());
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
        // The same name, with its accent as a separate character.
        assert_eq!(find("Entwickler fu\u{308}r C++", &all).unwrap(), "02");
        for unknown in ["dev", "entwickler für c++", "", "0"] {
            assert_eq!(find(unknown, &all).unwrap_err().code, "unknown-workspace");
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
    fn an_ambiguous_argument_is_an_error_that_lists_each_match() {
        let all = [
            ("acme", "a/dev", "Dev", "01"),
            ("acme", "b/dev", "Dev", "02"),
            ("beta", "a/dev", "Other", "03"),
        ];
        for (argument, listed, others) in
            [("Dev", ["01", "02"], "03"), ("a/dev", ["01", "03"], "02")]
        {
            let error = find(argument, &all).unwrap_err();
            assert_eq!(error.code, "ambiguous-workspace");
            let names = |id: &str| error.message.contains(&id.repeat(16));
            assert!(listed.into_iter().all(names) && !names(others), "{error:?}");
        }
    }
}

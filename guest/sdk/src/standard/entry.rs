//! Finds the file with which a template begins.

use super::files::{self, Template, Unreadable};
use super::problems::{Pos, Problems, quoted};
use crate::Diagnostic;

/// The names of the entry file, when the request names none. The first one that exists is used.
const YAML: &str = "org.yaml";
const YML: &str = "org.yml";

/// The path of the entry file; `None` after a reported problem. `asked` is the path from the request, or empty.
pub(crate) fn find(
    asked: &str,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Option<String> {
    const HELP: &str =
        "an org template is a folder with an `org.yaml` that has `name` and `workspaces`";
    let candidates = if asked.is_empty() {
        vec![YAML.to_owned(), YML.to_owned()]
    } else {
        match files::joined("", asked) {
            Ok(path) => vec![path],
            Err(why) => {
                let message = format!("the entry file {} {why}", quoted(asked));
                problems.error(Diagnostic::new("path-invalid", message).help(HELP));
                return None;
            }
        }
    };
    let found = candidates.iter().find(|path| is_there(path, template));
    if asked.is_empty() && found.is_some_and(|found| found == YAML) && is_there(YML, template) {
        let message = format!("this file is not read: `{YAML}` beside it is the template's");
        let warning = Diagnostic::new("two-entries", message).on(&Pos::of_file(YML, 0));
        problems.warn(warning.help("remove one of them"));
    }
    if found.is_none() {
        let message = format!(
            "there is no {} in the template",
            candidates.join(" and no ")
        );
        problems.error(Diagnostic::new("template-missing", message).help(HELP));
    }
    found.cloned()
}

fn is_there(path: &str, template: &mut Template<'_>) -> bool {
    !matches!(template.text(path), Err(Unreadable::Missing))
}

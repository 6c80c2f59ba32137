//! Finds the text of a prompt: inline, or else in a file. It never falls back from a file that cannot be read.

use super::files::Template;
use super::problems::Problems;
use super::{schema, text};

/// The normalised text; `None` when it is not set, empty, or a reported problem. `folder` is where the file is;
/// `None` when that is a problem of its own.
pub(crate) fn resolve(
    spec: &schema::Prompt,
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let inline = spec
        .inline
        .as_ref()
        .and_then(|inline| text::prompt(&inline.text));
    inline.or_else(|| {
        let file = spec.file.as_ref()?;
        template.prompt(folder?, &file.text, &file.at, problems)
    })
}

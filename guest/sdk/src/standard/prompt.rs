//! Finds the text of a prompt: inline, or else in a file. A file that cannot be read is an error.

use super::files::Template;
use super::problems::Problems;
use super::{schema, text};

/// The normalised text of a prompt. `None` when it is not set or empty, and after a reported problem. `folder` is the
/// folder of its file; `None` after a reported problem.
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

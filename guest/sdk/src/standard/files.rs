//! Reads the files of the template, each once, by normalised paths that never lead out of the template's root.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::problems::{At, Pos, Problems, quoted};
use super::{limits, text};
use crate::{Diagnostic, Entry, FileError, TemplateFiles};

/// The files of a template. Each file is read once, and each folder is listed once.
pub(crate) struct Template<'a> {
    files: &'a dyn TemplateFiles,
    texts: BTreeMap<String, Result<Rc<str>, Unreadable>>,
    folders: BTreeMap<String, Result<Rc<[Entry]>, Unreadable>>,
    /// Normalised prompts; `None` when the file is empty.
    prompts: BTreeMap<String, Result<Option<Rc<str>>, Unreadable>>,
    /// Bytes of all prompts that [`Template::prompt`] has returned. At most [`limits::PROMPT_BYTES`].
    prompt_bytes: usize,
}

/// The reason why a file or folder cannot be used.
#[derive(Debug, Clone)]
pub(crate) enum Unreadable {
    Missing,
    /// A clause: `it is a folder`.
    Because(String),
    /// A clause, and a place in the file.
    Inside(Pos, String),
}

impl<'a> Template<'a> {
    pub fn new(files: &'a dyn TemplateFiles) -> Self {
        Self {
            files,
            texts: BTreeMap::new(),
            folders: BTreeMap::new(),
            prompts: BTreeMap::new(),
            prompt_bytes: 0,
        }
    }

    /// The text of a file, without a byte order mark.
    pub fn text(&mut self, path: &str) -> Result<Rc<str>, Unreadable> {
        if let Some(known) = self.texts.get(path) {
            return known.clone();
        }
        let read = self
            .files
            .read(path)
            .map_err(|error| unreadable(error, FOLDER))
            .and_then(|bytes| decode(path, &bytes));
        self.texts.insert(path.to_owned(), read.clone());
        read
    }

    /// Reads the files that are asked for later, with as few calls to the host as possible.
    pub fn read_ahead(&mut self, paths: BTreeSet<String>) {
        /// Files of one call. Their bytes are in memory twice for a moment.
        const MOST: usize = 256;
        let unread = paths
            .into_iter()
            .filter(|path| !self.texts.contains_key(path));
        let unread: Vec<String> = unread.collect();
        for paths in unread.chunks(MOST) {
            let contents = self.files.read_all(paths);
            for (path, read) in paths.iter().zip(contents.files()) {
                let text = match read {
                    Ok(bytes) => decode(path, bytes),
                    Err(error) => Err(unreadable(error.clone(), FOLDER)),
                };
                self.texts.insert(path.clone(), text);
            }
        }
    }

    /// Whether a folder that was listed before has no entry with this name.
    pub fn lacks(&self, folder: &str, name: &str) -> bool {
        let by_name = |entry: &Entry| entry.name.as_str().cmp(name);
        matches!(self.folders.get(folder), Some(Ok(entries)) if entries.binary_search_by(by_name).is_err())
    }

    /// The entries of a folder.
    pub fn folder(&mut self, path: &str) -> Result<Rc<[Entry]>, Unreadable> {
        if let Some(known) = self.folders.get(path) {
            return known.clone();
        }
        let listed = self.files.entries(path).map(Rc::from);
        let listed = listed.map_err(|error| unreadable(error, "it is a file, not a folder"));
        self.folders.insert(path.to_owned(), listed.clone());
        listed
    }

    /// The normalised prompt in a file. `None` when the file is empty, and after a reported problem.
    pub fn prompt(
        &mut self,
        folder: &str,
        path: &str,
        at: &At,
        problems: &mut Problems,
    ) -> Option<String> {
        let path = normalise(folder, path, at, problems)?;
        let read = match self.prompts.get(&path) {
            Some(known) => known.clone(),
            None => {
                let read = self.text(&path).and_then(|text| normalised(&path, &text));
                self.prompts.insert(path.clone(), read.clone());
                read
            }
        };
        match read {
            Ok(prompt) => {
                let prompt = prompt?;
                self.prompt_bytes = self.prompt_bytes.saturating_add(prompt.len());
                if self.prompt_bytes > limits::PROMPT_BYTES {
                    let message = format!(
                        "the prompt files have more than {} MiB together, counted as often as they are used",
                        limits::PROMPT_BYTES >> 20
                    );
                    problems.error_once(Diagnostic::new("prompts-too-large", message).about(at));
                    return None;
                }
                Some(prompt.to_string())
            }
            Err(why) => {
                let folder = if folder.is_empty() {
                    "the template's folder"
                } else {
                    folder
                };
                let help = format!("the path is relative to {folder}");
                problems.error(why.diagnose("file-unreadable", &path, at).help(help));
                None
            }
        }
    }
}

impl Unreadable {
    /// The diagnostic about the file `path`, which the field at `at` names.
    pub fn diagnose(&self, code: &str, path: &str, at: &At) -> Diagnostic {
        match self {
            Self::Missing => {
                Diagnostic::new(code, format!("there is no `{path}` in the template")).about(at)
            }
            Self::Because(why) => {
                Diagnostic::new(code, format!("`{path}` cannot be used: {why}")).about(at)
            }
            Self::Inside(pos, why) => {
                Diagnostic::new(code, format!("`{path}` cannot be used: {why}"))
                    .about(at)
                    .on(pos)
            }
        }
    }
}

/// Why a folder cannot be read as a file.
const FOLDER: &str = "it is a folder";

fn unreadable(error: FileError, wrong_kind: &str) -> Unreadable {
    match error {
        FileError::NotFound => Unreadable::Missing,
        FileError::InvalidPath => Unreadable::Because("it leads out of the template".to_owned()),
        FileError::WrongKind => Unreadable::Because(wrong_kind.to_owned()),
        FileError::TooLarge => Unreadable::Because("it is too large".to_owned()),
        FileError::Unreadable(why) => Unreadable::Because(why),
    }
}

fn normalised(path: &str, text: &str) -> Result<Option<Rc<str>>, Unreadable> {
    match text::forbidden(text) {
        None => Ok(text::prompt(text).map(Rc::from)),
        Some(found) => Err(Unreadable::Inside(
            found.pos(path),
            format!("it has the character {found}"),
        )),
    }
}

fn decode(path: &str, bytes: &[u8]) -> Result<Rc<str>, Unreadable> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).into()),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            let pos = Pos::of_file(path, u32::try_from(line).unwrap_or(u32::MAX));
            let what = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16; save it as UTF-8",
                _ => "it is not UTF-8",
            };
            Err(Unreadable::Inside(pos, what.to_owned()))
        }
    }
}

/// Joins a path to a folder of the template and normalises it. `None` after a reported problem.
///
/// `..` is resolved by name, and must not leave the template's root.
pub(crate) fn normalise(
    folder: &str,
    path: &str,
    at: &At,
    problems: &mut Problems,
) -> Option<String> {
    match joined(folder, path) {
        Ok(path) => Some(path),
        Err(why) => {
            let message = format!("the path {} {why}", quoted(path));
            let help = "a path in a template is relative, with `/` between its parts, and stays inside the template";
            problems.error(
                Diagnostic::new("path-invalid", message)
                    .about(at)
                    .help(help),
            );
            None
        }
    }
}

/// Does what [`normalise`] does, without reporting.
///
/// # Errors
/// When the path is not valid: the end of a sentence that begins with the path.
pub(crate) fn joined(folder: &str, path: &str) -> Result<String, &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    if path.starts_with('/') {
        return Err("is absolute");
    }
    if path.contains('\\') || path.contains(char::is_control) {
        return Err("has a backslash or a control character");
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("leads out of the template")?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

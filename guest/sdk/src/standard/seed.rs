//! Chooses the files that are seeded into `/configs` (org-template.md §6).
//!
//! They are the files of the workspace's folder and the generated files. Files that may hold secrets are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::files::{self, Template};
use super::problems::{At, Pos, Problems, quoted};
use super::schema::Workspace;
use super::secret::{self, Secret};
use super::steps::Settings;
use super::{config, limits, render};
use crate::{Content, Diagnostic, Entry, EntryKind, SeedFile};

/// Lists the files of folders. A folder is listed once, even when several workspaces use it.
pub(crate) struct Folders {
    /// The `files_dir` of every workspace. The `.env` in each of them is read as variables.
    roles: BTreeSet<String>,
    listed: BTreeMap<String, Option<Rc<[SeedFile]>>>,
    /// Files about which there is a warning.
    warned: BTreeSet<String>,
    /// Files that are seeded into all workspaces together. At most [`limits::SEED_FILES_TOTAL`].
    total: usize,
}

impl Folders {
    pub fn of(workspaces: &[Workspace]) -> Self {
        let mut roles = BTreeSet::new();
        let mut open: Vec<&Workspace> = workspaces.iter().collect();
        while let Some(workspace) = open.pop() {
            let dir = workspace.files_dir.as_ref();
            roles.extend(dir.and_then(|dir| files::joined("", &dir.text).ok()));
            open.extend(&workspace.children);
        }
        Self {
            roles,
            listed: BTreeMap::new(),
            warned: BTreeSet::new(),
            total: 0,
        }
    }

    /// The files in a folder and its subfolders. `None` after a reported problem.
    pub fn files(
        &mut self,
        folder: &str,
        at: &At,
        template: &mut Template<'_>,
        problems: &mut Problems,
    ) -> Option<Rc<[SeedFile]>> {
        if let Err(why) = template.folder(folder) {
            let help = "`files_dir` is a folder, relative to the template's folder";
            problems.error(why.diagnose("files-dir-missing", folder, at).help(help));
            return None;
        }
        let files = match self.listed.get(folder) {
            Some(files) => files.clone(),
            None => {
                let files = self.list(folder, at, template, problems);
                self.listed.insert(folder.to_owned(), files.clone());
                files
            }
        }?;
        let before = self.total;
        self.total += files.len();
        if self.total > limits::SEED_FILES_TOTAL {
            if before <= limits::SEED_FILES_TOTAL {
                let message = format!(
                    "more than {} files are seeded into all workspaces",
                    limits::SEED_FILES_TOTAL
                );
                problems.error(Diagnostic::new("too-many-files", message).about(at));
            }
            return None;
        }
        Some(files)
    }

    fn list(
        &mut self,
        folder: &str,
        at: &At,
        template: &mut Template<'_>,
        problems: &mut Problems,
    ) -> Option<Rc<[SeedFile]>> {
        let mut files = Vec::new();
        // Paths relative to the folder. Symbolic links are not followed, because they could make this endless.
        let mut open = vec![String::new()];
        while let Some(below) = open.pop() {
            let listed = join(folder, &below);
            let entries = match template.folder(&listed) {
                Ok(entries) => entries,
                Err(why) => {
                    problems.error(why.diagnose("file-unreadable", &listed, at));
                    return None;
                }
            };
            for entry in entries.iter() {
                let path = join(&below, &entry.name);
                let source = join(folder, &path);
                match judge(&source, self.is_read(&source), entry) {
                    Verdict::Descend => open.push(path),
                    Verdict::Silent => {}
                    Verdict::LeftOut(code, why) => self.left_out(code, why, &source, problems),
                    Verdict::Copy { text } => files.push(SeedFile {
                        path,
                        content: if text {
                            Content::TemplateText(source)
                        } else {
                            Content::Template(source)
                        },
                        secret: false,
                    }),
                }
            }
            if files.len() + open.len() > limits::SEED_FILES {
                let message = format!(
                    "the folder {} has more than {} files",
                    quoted(folder),
                    limits::SEED_FILES
                );
                let help = "point `files_dir` to a smaller folder";
                problems.error(
                    Diagnostic::new("too-many-files", message)
                        .about(at)
                        .help(help),
                );
                return None;
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Some(files.into())
    }

    /// Whether a file is read as variables: the `.env` of the template, or of a workspace's folder.
    fn is_read(&self, file: &str) -> bool {
        let role = |folder| self.roles.contains(folder);
        file == ".env" || file.strip_suffix("/.env").is_some_and(role)
    }

    /// Warns that a file is left out, once per file.
    fn left_out(&mut self, code: &str, why: &str, file: &str, problems: &mut Problems) {
        if self.warned.insert(file.to_owned()) {
            let message = format!("{} is not copied into /configs: {why}", quoted(file));
            problems.warn(Diagnostic::new(code, message).on(&Pos::of_file(file, 0)));
        }
    }
}

/// The seed files of a workspace: the files of its folder, and the generated files, which replace those with the same
/// path.
pub(crate) fn files(
    copied: &[SeedFile],
    settings: &Settings,
    problems: &mut Problems,
) -> Vec<SeedFile> {
    let config = config::render(settings);
    let system_prompt = settings
        .system_prompt
        .as_ref()
        .filter(|text| !text.trim().is_empty());
    let Settings {
        channels, memories, ..
    } = settings;
    let generated = [
        ("config.yaml", Some(config), false),
        (
            "system-prompt.md",
            system_prompt.map(|text| Ok(text.clone().into_bytes())),
            false,
        ),
        // Secret because it may hold tokens.
        (
            "channels.yaml",
            (!channels.is_empty()).then(|| render::channels(channels)),
            true,
        ),
        (
            "memories.yaml",
            (!memories.is_empty()).then(|| render::memories(memories)),
            false,
        ),
    ];
    let mut files = Vec::with_capacity(copied.len() + generated.len());
    files.extend_from_slice(copied);
    for (path, bytes, secret) in generated {
        let Some(bytes) = bytes else { continue };
        let bytes = bytes.unwrap_or_else(|error| {
            let message = format!("`{path}` cannot be written: {error}");
            problems.error(settings.problem("not-rendered", message));
            Vec::new()
        });
        let file = SeedFile {
            path: path.to_owned(),
            content: Content::Inline(bytes),
            secret,
        };
        match files.binary_search_by(|known: &SeedFile| known.path.as_str().cmp(path)) {
            Ok(place) => files.splice(place..=place, [file]).for_each(drop),
            Err(place) => files.insert(place, file),
        }
    }
    files
}

/// What happens to an entry of a folder.
enum Verdict {
    Descend,
    /// Seeded. With `text`, the host turns CR LF into LF.
    Copy {
        text: bool,
    },
    /// Left out without a warning, because no author expects it in `/configs`.
    Silent,
    /// Left out with a warning: its code, and the reason.
    LeftOut(&'static str, &'static str),
}

/// Decides about an entry. `path` is its path in the template. `is_read` says whether it is a `.env` that is read as
/// variables.
fn judge(path: &str, is_read: bool, entry: &Entry) -> Verdict {
    let Entry { name, kind, .. } = entry;
    if name == ".git" || is_read {
        return Verdict::Silent;
    }
    if name.contains('\\') || name.contains(char::is_control) {
        return Verdict::LeftOut(
            "file-not-copied",
            "its name has a backslash or a control character",
        );
    }
    match (secret::by_name(path), kind) {
        (Some(Secret::Example), _) => Verdict::Silent,
        (Some(Secret::Variables), _) => Verdict::LeftOut(
            "secret-not-copied",
            "it may hold secrets, and is not read; only the `.env` of the template and the one of `files_dir` are",
        ),
        (Some(Secret::Credentials), _) => Verdict::LeftOut(
            "secret-not-copied",
            "by its name it holds secrets; give secrets as variables",
        ),
        (None, EntryKind::Directory) => Verdict::Descend,
        (None, EntryKind::Symlink) => {
            Verdict::LeftOut("symlink-not-copied", "it is a symbolic link")
        }
        (None, EntryKind::Other) => {
            Verdict::LeftOut("file-not-copied", "it is not an ordinary file")
        }
        (None, EntryKind::File) => Verdict::Copy {
            text: has_suffix(name, &[".sh", ".py", ".md"]),
        },
    }
}

fn has_suffix(name: &str, suffixes: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    suffixes.iter().any(|suffix| name.ends_with(suffix))
}

fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

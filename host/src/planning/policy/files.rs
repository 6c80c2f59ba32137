//! The checks of the files that a plan seeds: how many, how large, and under which paths.

use std::collections::{BTreeMap, BTreeSet};

use super::approved::{CONFIG, SeedContent, SeedPath, SeedSource, TOKEN_FILE};
use super::secret_file;
use super::violation::WorkspaceViolations;
use crate::limits;
use crate::model::plan::{Content, SeedFile};
use crate::template::path::{TemplatePath, is_normal};

/// Checks the files to seed; returns those that are allowed.
pub(super) fn files(
    files: &[SeedFile],
    external: bool,
    violations: &mut WorkspaceViolations<'_>,
) -> BTreeMap<SeedPath, SeedSource> {
    if files.len() > limits::SEED_FILES {
        violations.add(
            "too-many-files",
            format!(
                "{} files are to be seeded; at most {} are allowed",
                files.len(),
                limits::SEED_FILES
            ),
            "seed fewer files, or point files_dir to a smaller folder",
        );
        return BTreeMap::new();
    }
    let inline: u64 = files.iter().map(inline_bytes).sum();
    if inline > limits::SEED_BYTES {
        violations.add(
            "seed-too-large",
            format!(
                "{inline} bytes are to be seeded; at most {} are allowed",
                limits::SEED_BYTES
            ),
            "seed less, or let the workspace fetch large files itself",
        );
    }
    let mut approved = BTreeMap::new();
    for file in files {
        let Some(path) = seed_path(&file.path, violations) else {
            continue;
        };
        let content = match &file.content {
            Content::Inline(bytes) => SeedContent::Inline(bytes.clone()),
            Content::Template { path, text } => {
                let Ok(template) = TemplatePath::new(path) else {
                    violations.add(
                        "file-path",
                        format!("the template file {path:?} is not a plain relative path"),
                        "a path in the template is relative, without `.` and `..`",
                    );
                    continue;
                };
                if secret_file::is_private(path) {
                    violations.add(
                        "env-file",
                        format!("{path:?} may hold secrets and is not copied into /configs"),
                        "a template's .env files reach a workspace through its environment only",
                    );
                } else if secret_file::holds_credentials(path) {
                    violations.add(
                        "secret-file",
                        format!(
                            "{path:?} is not copied into /configs: files of this name hold secrets"
                        ),
                        "remove it from the template, and pass secrets as variables",
                    );
                }
                SeedContent::Template {
                    path: template,
                    text: *text,
                }
            }
        };
        let source = SeedSource {
            content,
            secret: file.secret,
        };
        if approved.insert(path, source).is_some() {
            violations.add(
                "file-twice",
                format!("{:?} is seeded twice", file.path),
                "this is a defect of the plugin",
            );
        }
    }
    let is_config = |file: &&SeedFile| {
        let empty = matches!(&file.content, Content::Inline(bytes) if bytes.is_empty());
        file.path == CONFIG && !empty
    };
    if !external && !files.iter().any(|file| is_config(&file)) {
        violations.add(
            "no-config",
            format!("no {CONFIG} is seeded, or it is empty: the runtime would crash as soon as it starts"),
            "this is a defect of the plugin",
        );
    }
    // A file whose path is a folder of another file would make the seed fail half-way.
    let paths: BTreeSet<&str> = approved.keys().map(SeedPath::as_str).collect();
    for path in &paths {
        let mut above = *path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if paths.contains(parent) {
                violations.add(
                    "file-path",
                    format!("{parent:?} is a file, and also a folder of {path:?}"),
                    "rename one of them",
                );
            }
            above = parent;
        }
    }
    approved
}

/// Checks one path under `/configs`. `None`: it was refused.
fn seed_path(path: &str, violations: &mut WorkspaceViolations<'_>) -> Option<SeedPath> {
    if !is_normal(path) || path.chars().any(char::is_control) || path.len() > 1024 {
        violations.add(
            "file-path",
            format!("the seeded path {path:?} is not a plain relative path"),
            "a path under /configs is relative, without `.`, `..` and control characters",
        );
        return None;
    }
    if secret_file::is_private(path) {
        violations.add(
            "env-file",
            format!("{path:?} is not seeded: it may hold secrets"),
            "a template's .env files reach a workspace through its environment only",
        );
        return None;
    }
    if path.split('/').next() == Some(TOKEN_FILE) {
        violations.add(
            "reserved-file",
            format!("{path:?} is reserved for the host"),
            "rename it: the host writes the workspace's token there",
        );
        return None;
    }
    Some(SeedPath::new(path))
}

/// The bytes that the plan itself holds. Template files are measured when they are read.
fn inline_bytes(file: &SeedFile) -> u64 {
    match &file.content {
        Content::Inline(bytes) => bytes.len() as u64,
        Content::Template { .. } => 0,
    }
}

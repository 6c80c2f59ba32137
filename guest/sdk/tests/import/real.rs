//! Tests with real templates, which are not part of the repository. They are skipped when the templates are missing.

use std::path::{Path, PathBuf};

use orghost_plugin::{Entry, EntryKind, FileError, Plan, TemplateFiles, standard::import_org};

use crate::{brief, environment, inline, request};

struct Folder(PathBuf);

impl TemplateFiles for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            std::io::ErrorKind::IsADirectory => FileError::WrongKind,
            _ => FileError::Unreadable(error.to_string()),
        })
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let listed = std::fs::read_dir(self.0.join(path)).map_err(|_| FileError::NotFound)?;
        let entry = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            Entry {
                name: entry.file_name().into_string().unwrap(),
                kind: if kind.is_dir() {
                    EntryKind::Directory
                } else if kind.is_symlink() {
                    EntryKind::Symlink
                } else {
                    EntryKind::File
                },
            }
        };
        let mut entries: Vec<Entry> = listed.map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// The plan of a real template; `None` when the templates are missing.
fn plan(name: &str, vars: &[(&str, &str)]) -> Option<Plan> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/templates");
    if !templates.exists() {
        eprintln!("skipped: there is no {}", templates.display());
        return None;
    }
    let plan = import_org(
        &Folder(templates.join(name)),
        &request(environment(vars, &[])),
    );
    Some(plan.unwrap_or_else(|errors| panic!("{errors:#?}")))
}

#[test]
fn molecule_dev_has_its_workspaces_and_known_warnings() {
    let vars = [
        ("TELEGRAM_BOT_TOKEN", "1:x"),
        ("TELEGRAM_CHAT_ID", "2"),
        ("WORKSPACE_DIR", "/srv/molecule"),
    ];
    let Some(plan) = plan("molecule-dev", &vars) else {
        return;
    };
    assert_eq!(plan.workspaces.len(), 42);
    assert_eq!(plan.org.name, "Molecule AI Dev Team");
    let keys: Vec<&str> = plan.workspaces.iter().map(|w| w.key.as_str()).collect();
    assert!(
        keys.contains(&"pm/dev-lead/core-platform-lead") || keys.contains(&"pm/dev-lead/core-lead"),
        "{keys:?}"
    );
    let pm = &plan.workspaces[0];
    assert_eq!(
        (pm.name.as_str(), pm.workspace_dir.as_deref()),
        ("PM", Some("/srv/molecule"))
    );
    assert_eq!(pm.channels.len(), 1);
    for workspace in &plan.workspaces {
        assert!(inline(workspace, "config.yaml").starts_with("name: "));
        assert!(
            workspace
                .schedules
                .iter()
                .all(|schedule| schedule.prompt.ends_with('\n'))
        );
        assert!(
            workspace
                .files
                .iter()
                .all(|file| !file.path.contains(".env")),
            "{:?}",
            workspace.files
        );
    }
    let codes: std::collections::BTreeSet<&str> =
        plan.warnings.iter().map(|w| w.code.as_str()).collect();
    let expected = [
        "channel-open",
        "channel-skipped",
        "routing-target-unknown",
        "unknown-key",
        "workspace-access-default",
    ];
    assert_eq!(
        Vec::from_iter(codes),
        expected,
        "{:#?}",
        plan.warnings.iter().map(brief).collect::<Vec<_>>()
    );
}

#[test]
fn ux_ab_lab_has_its_workspaces_and_required_variables() {
    let Some(plan) = plan("ux-ab-lab", &[]) else {
        return;
    };
    assert_eq!(plan.workspaces.len(), 7);
    assert_eq!(
        plan.required_env[0].any_of,
        ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"]
    );
    assert_eq!(plan.required_env[0].missing_for, [""]);
    assert!(
        plan.workspaces
            .iter()
            .all(|w| w.workspace_dir.is_some() && w.model.as_deref() == Some("sonnet"))
    );
}

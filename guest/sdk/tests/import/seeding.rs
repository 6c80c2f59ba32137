//! Files that are seeded into `/configs`, and prompt files (org-template.md §6).

use orghost_plugin::{Content, Entry, EntryKind, FileError, TemplateFiles, standard::import_org};

use crate::{brief, environment, inline, org, request, workspace, workspace_yaml};

#[test]
fn the_files_of_a_folder_are_seeded_without_secrets() {
    let mut case = workspace(
        "files_dir: ./d/\nsystem_prompt: |\n  inline  \ninitial_memories: [{content: m}]",
    );
    for path in [
        "a.md",
        "b.sh",
        "c.PY",
        "data.bin",
        "sub/x.txt",
        "config.yaml",
        "system-prompt.md",
        ".env",
        ".env.example",
        ".git/config",
        "sub/.env.local",
        "sub/.git",
        "id_rsa",
        "id_rsa.pub",
        "tls/server.pem",
        "tls/server.KEY",
        "keyboard.md",
        ".npmrc",
        ".aws/credentials",
        "prod.env",
        "sub/.env",
    ] {
        case.files.0.insert(format!("d/{path}"), b"X=x".to_vec());
    }
    let one = case.one();
    let file = |file: &orghost_plugin::SeedFile| match &file.content {
        Content::Inline(_) => format!("{} = inline", file.path),
        Content::Template(from) => format!("{} = {from}", file.path),
        Content::TemplateText(from) => format!("{} = {from} (text)", file.path),
    };
    let expected = [
        "a.md = d/a.md (text)",
        "b.sh = d/b.sh (text)",
        "c.PY = d/c.PY (text)",
        "config.yaml = inline",
        "data.bin = d/data.bin",
        "id_rsa.pub = d/id_rsa.pub",
        "keyboard.md = d/keyboard.md (text)",
        "memories.yaml = inline",
        "sub/x.txt = d/sub/x.txt",
        "system-prompt.md = inline",
    ];
    assert_eq!(one.files.iter().map(file).collect::<Vec<_>>(), expected);
    assert_eq!(inline(&one, "system-prompt.md"), "inline  \n");
    let expected = [
        "secret-not-copied d/.aws:0:0",
        "secret-not-copied d/.npmrc:0:0",
        "secret-not-copied d/id_rsa:0:0",
        "secret-not-copied d/prod.env:0:0",
        "secret-not-copied d/sub/.env:0:0",
        "secret-not-copied d/sub/.env.local:0:0",
        "secret-not-copied d/tls/server.KEY:0:0",
        "secret-not-copied d/tls/server.pem:0:0",
    ];
    assert_eq!(case.warnings(), expected);
}

#[test]
fn the_env_file_of_a_workspace_in_a_subfolder_causes_no_warning() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, files_dir: a}\n- {name: B, files_dir: a/b}\n",
    );
    let case = case
        .file("a/b/.env", "X=1")
        .file("a/c/.env", "X=1")
        .file("a/b/x", "");
    assert_eq!(case.warnings(), ["secret-not-copied a/c/.env:0:0"]);
}

/// A template with a folder that contains other things than files.
struct Odd;

impl TemplateFiles for Odd {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match path {
            "org.yaml" => Ok(workspace_yaml("files_dir: d").into_bytes()),
            _ => Err(FileError::NotFound),
        }
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let entry = |name: &str, kind| Entry {
            name: name.to_owned(),
            kind,
        };
        match path {
            "d" => Ok(vec![
                entry("link", EntryKind::Symlink),
                entry("socket", EntryKind::Other),
                entry("back\\slash", EntryKind::File),
                entry("folder", EntryKind::Directory),
            ]),
            "d/folder" => Ok(vec![entry("file", EntryKind::File)]),
            _ => Err(FileError::NotFound),
        }
    }
}

#[test]
fn entries_that_are_not_ordinary_files_are_left_out() {
    let plan = import_org(&Odd, &request(environment(&[], &[]))).unwrap();
    let paths: Vec<&str> = plan.workspaces[0]
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["config.yaml", "folder/file"]);
    let warnings: Vec<String> = plan.warnings.iter().map(brief).collect();
    assert_eq!(
        warnings,
        [
            "file-not-copied d/back\\slash:0:0",
            "symlink-not-copied d/link:0:0",
            "file-not-copied d/socket:0:0"
        ]
    );
}

#[test]
fn a_prompt_is_the_inline_text_then_the_file_then_the_default() {
    let prompt = |own: &str, defaults: &str| {
        let case = org(&format!(
            "name: O\ndefaults: {{runtime: r, {defaults}}}\nworkspaces:\n- {{name: A, files_dir: d, {own}}}\n"
        ));
        let case = case
            .file("p.md", "root")
            .file("d/p.md", "\u{feff}own\r\nfile \t\n\n")
            .file("d/empty.md", " \n");
        let config = inline(&case.one(), "config.yaml");
        config
            .split_once("initial_prompt: |\n")
            .map(|(_, text)| text.to_owned())
    };
    let (own, own_file) = ("initial_prompt: own", "initial_prompt_file: p.md");
    let defaults = "initial_prompt: default, initial_prompt_file: p.md";
    assert_eq!(
        prompt(&format!("{own}, {own_file}"), defaults).as_deref(),
        Some("  own\n")
    );
    assert_eq!(
        prompt(own_file, defaults).as_deref(),
        Some("  own\n  file\n")
    );
    assert_eq!(
        prompt("initial_prompt: ' '", defaults).as_deref(),
        Some("  default\n")
    );
    assert_eq!(
        prompt("initial_prompt_file: empty.md", own_file).as_deref(),
        Some("  root\n")
    );
    assert_eq!(prompt("role: x", "tier: 1"), None);
}

#[test]
fn an_error_in_a_prompt_file_has_its_place_in_that_file() {
    let case = workspace("initial_prompt_file: p.md").file("p.md", "fine\nnot \u{7}fine");
    let error = case.error();
    assert_eq!(
        brief(&error),
        "file-unreadable p.md:2:5 workspaces[0].initial_prompt_file"
    );
    assert!(error.message.contains("U+0007"), "{}", error.message);
    let mut case = workspace("initial_prompt_file: p.md");
    case.files
        .0
        .insert("p.md".to_owned(), b"a\nb\n\xffc".to_vec());
    assert_eq!(
        case.errors(),
        ["file-unreadable p.md:3:0 workspaces[0].initial_prompt_file"]
    );
}

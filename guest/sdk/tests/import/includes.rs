//! `!include`, `!external` and errors of YAML (org-template.md §2).

use crate::{Case, files, org};

const ORG: &str = "name: O\ndefaults: {runtime: r}\nworkspaces:\n  - !include a.yaml\n";

fn names(case: &Case) -> Vec<String> {
    case.plan()
        .workspaces
        .into_iter()
        .map(|workspace| workspace.name)
        .collect()
}

#[test]
fn any_value_can_be_included() {
    let case = files(&[
        (
            "org.yaml",
            "name: !include name.txt\ndefaults: !include d/defaults.yaml\nworkspaces: !include all.yaml\n",
        ),
        ("name.txt", "The Org"),
        (
            "d/defaults.yaml",
            "runtime: r\nplugins: !include ../plugins.yaml\n",
        ),
        ("plugins.yaml", "[p, q]"),
        (
            "all.yaml",
            "- !include t/a.yaml\n- {name: B, role: '!include x'}\n",
        ),
        (
            "t/a.yaml",
            "name: A\nrole: |\n  !include nothing\nchildren: [!include ..c.yaml, !include ../t/..d.yaml]\n",
        ),
        ("t/..c.yaml", "name: C"),
        ("t/..d.yaml", "name: D"),
    ]);
    let plan = case.plan();
    assert_eq!(plan.org.name, "The Org");
    let found: Vec<(&str, &str)> = plan
        .workspaces
        .iter()
        .map(|w| (w.key.as_str(), w.role.as_str()))
        .collect();
    let expected = [
        ("a", "!include nothing"),
        ("a/c", ""),
        ("a/d", ""),
        ("b", "!include x"),
    ];
    assert_eq!(found, expected);
    assert_eq!(plan.workspaces[0].plugins.len(), 2);
}

#[test]
fn the_whole_document_can_be_included() {
    let case = files(&[
        ("org.yaml", "!include real.yaml"),
        ("real.yaml", "name: O\nworkspaces: []\n"),
    ]);
    assert_eq!(case.plan().org.name, "O");
}

#[test]
fn anchors_and_merge_keys_work_with_included_files() {
    let case = files(&[
        (
            "org.yaml",
            "name: O\nworkspaces:\n  - &a !include a.yaml\n  - {name: P, runtime: r, children: [*a]}\n  - <<: *a\n    name: B\n  - {<<: [{role: first}, !include a.yaml], name: C}\n",
        ),
        ("a.yaml", "name: A\nruntime: r\nrole: included\n"),
    ]);
    let plan = case.plan();
    let found: Vec<(&str, &str)> = plan
        .workspaces
        .iter()
        .map(|w| (w.name.as_str(), w.role.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("A", "included"),
            ("P", ""),
            ("A", "included"),
            ("B", "included"),
            ("C", "first")
        ]
    );
}

#[test]
fn an_error_in_an_included_file_has_its_place_there() {
    let case = files(&[
        ("org.yaml", ORG),
        ("a.yaml", "# comment\nname: A\ntier: 9\n"),
    ]);
    assert_eq!(
        case.errors(),
        ["tier-invalid a.yaml:3:7 workspaces[0].tier"]
    );
    assert_eq!(case.error().workspace.as_deref(), Some("A"));
}

#[test]
fn an_error_of_an_include_or_of_yaml_has_its_place() {
    for (path, content, expected) in [
        ("", "", "include-path org.yaml:4:5"),
        ("/etc/passwd", "", "include-path org.yaml:4:5"),
        ("../a.yaml", "", "include-path org.yaml:4:5"),
        ("a\\b.yaml", "", "include-path org.yaml:4:5"),
        ("b.yaml", "", "include-unreadable org.yaml:4:5"),
        ("a.yaml", "", "include-empty org.yaml:4:5"),
        ("a.yaml", "# nothing\n", "include-empty org.yaml:4:5"),
        ("a.yaml", "~", "include-empty org.yaml:4:5"),
        ("a.yaml", "name: [}", "yaml-syntax a.yaml:1:8"),
        ("a.yaml", "name:\n\tb: c", "yaml-tab a.yaml:2:0"),
        (
            "a.yaml",
            "name: A\n--- \nname: B",
            "yaml-documents a.yaml:2:1",
        ),
        ("a.yaml", "!include org.yaml", "include-cycle a.yaml:1:1"),
        ("a.yaml", "!include a.yaml", "include-cycle a.yaml:1:1"),
        ("org.yaml", "", "include-cycle org.yaml:4:5"),
        (
            "a.yaml",
            "name: A\nrole: !other x",
            "unknown-tag a.yaml:2:7",
        ),
        (
            "a.yaml",
            "name: A\nrole: !!binary aGk=",
            "unknown-tag a.yaml:2:7",
        ),
        ("a.yaml", "name: A\n? [x]\n: y", "yaml-key a.yaml:2:3"),
        (
            "a.yaml",
            "name: A\nrole: *nowhere",
            "yaml-syntax a.yaml:2:7",
        ),
        ("a.yaml", "name: A\nrole: &x [*x]", "yaml-alias a.yaml:2:11"),
        ("a.yaml", "name: A\n<<: text", "yaml-merge a.yaml:2:5"),
        (
            "a.yaml",
            "name: A\nrole: x\nrole: y",
            "duplicate-key a.yaml:3:1",
        ),
        (
            "a.yaml",
            "name: A\nchildren: [!include [b]]",
            "include-path a.yaml:2:12",
        ),
    ] {
        let org = ORG.replace("a.yaml", path);
        let mut case = files(&[("org.yaml", &org)]);
        if path == "a.yaml" {
            case = case.file("a.yaml", content);
        }
        assert_eq!(case.errors(), [expected], "{path:?} {content:?}");
    }
}

#[test]
fn errors_of_several_files_are_reported_together() {
    let case = files(&[
        (
            "org.yaml",
            "name: O\ndefaults: {runtime: r}\nworkspaces:\n- !include none.yaml\n- !include bad.yaml\n- {name: A, tier: 7}\n- !include empty.yaml\n- {name: B, name: C}\n",
        ),
        ("bad.yaml", "a: [}"),
        ("empty.yaml", ""),
    ]);
    let expected = [
        "yaml-syntax bad.yaml:1:5",
        "include-unreadable org.yaml:4:3",
        "tier-invalid org.yaml:6:19 workspaces[2].tier",
        "include-empty org.yaml:7:3",
        "duplicate-key org.yaml:8:13",
    ];
    assert_eq!(case.errors(), expected);
}

#[test]
fn the_error_about_a_cycle_shows_the_chain_of_files() {
    let case = files(&[
        ("org.yaml", ORG),
        ("a.yaml", "name: A\nchildren: [!include t/b.yaml]"),
        ("t/b.yaml", "name: B\nchildren: [!include ../a.yaml]"),
    ]);
    let error = case.error();
    assert!(
        error
            .message
            .contains("org.yaml -> a.yaml -> t/b.yaml -> a.yaml"),
        "{}",
        error.message
    );
}

/// A chain of files below `org.yaml`, each of which includes the next one.
fn chain(files_below: usize) -> Case {
    let mut case = files(&[("org.yaml", &ORG.replace("a.yaml", "1.yaml"))]);
    for number in 1..=files_below {
        let child = if number < files_below {
            format!("\nchildren: [!include {}.yaml]", number + 1)
        } else {
            String::new()
        };
        case = case.file(
            &format!("{number}.yaml"),
            &format!("name: W{number}{child}"),
        );
    }
    case
}

#[test]
fn sixteen_nested_files_work_and_the_seventeenth_fails() {
    assert_eq!(names(&chain(16)).len(), 16);
    let error = chain(17).error();
    assert_eq!(crate::brief(&error), "include-depth 16.yaml:2:12");
    assert!(
        error.message.contains("16.yaml -> 17.yaml"),
        "{}",
        error.message
    );
}

#[test]
fn the_depth_limit_counts_files_that_were_loaded_before() {
    // `16.yaml` is within the limit by itself, and one level too deep at the end of the chain.
    let mut case = chain(16).file("17.yaml", "name: Last");
    case = case.file("16.yaml", "name: W16\nchildren: [!include 17.yaml]");
    let first =
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n  - !include 16.yaml\n  - !include 1.yaml\n";
    let case = case.file("org.yaml", first);
    assert_eq!(case.errors(), ["include-depth 15.yaml:2:12"]);
}

#[test]
fn a_file_can_be_included_many_times() {
    let list: String = (0..500)
        .map(|number| format!("  - {{name: P{number}, children: [!include a.yaml]}}\n"))
        .collect();
    let case = files(&[
        (
            "org.yaml",
            &format!("name: O\ndefaults: {{runtime: r}}\nworkspaces:\n{list}"),
        ),
        ("a.yaml", "name: A"),
    ]);
    let plan = case.plan();
    assert_eq!(
        (plan.workspaces.len(), plan.workspaces[999].key.as_str()),
        (1_000, "p499/a")
    );
}

#[test]
fn a_byte_order_mark_is_accepted_and_invalid_utf_8_is_an_error() {
    assert_eq!(
        org("\u{feff}name: O\nworkspaces: []\n").plan().org.name,
        "O"
    );
    let mut case = org("");
    case.files
        .0
        .insert("org.yaml".to_owned(), b"name: O\nrole: \xff\n".to_vec());
    assert_eq!(case.errors(), ["template-unreadable org.yaml:2:0"]);
}

const EXTERNAL: &str = "name: O\nworkspaces:\n  - !external\n    repo: github.com/x/y\n    ref: main\n    path: dev.yaml\n  - {name: A, runtime: r, tier: 3}\n";

#[test]
fn an_external_is_an_error_that_names_the_repository() {
    let error = org(EXTERNAL).error();
    assert_eq!(crate::brief(&error), "external-unsupported org.yaml:3:5");
    for part in ["github.com/x/y", "dev.yaml", "main"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    assert!(
        error
            .help
            .is_some_and(|help| help.contains("--skip-external"))
    );
}

#[test]
fn an_external_is_left_out_with_skip_external() {
    let case = org(EXTERNAL).skip_external();
    assert_eq!(names(&case), ["A"]);
    assert_eq!(case.warnings(), ["external-skipped org.yaml:3:5"]);
    // Leaving it out does not change the paths of other fields.
    let case = org(&EXTERNAL.replace("tier: 3", "tier: 8")).skip_external();
    assert_eq!(
        case.errors(),
        ["tier-invalid org.yaml:7:33 workspaces[1].tier"]
    );
    assert_eq!(
        org("!external {repo: r, ref: x, path: p}")
            .skip_external()
            .errors(),
        ["template-empty"]
    );
    assert_eq!(
        org("name: O\nworkspaces: [!external {repo: r}]").errors(),
        ["external-invalid org.yaml:2:14"]
    );
}

#[test]
fn the_entry_file_is_the_requested_one_or_org_yaml_or_org_yml() {
    let case = files(&[("org.yml", "name: Yml\nworkspaces: []")]);
    assert_eq!(case.plan().org.name, "Yml");
    let case = case.file("org.yaml", "name: Yaml\nworkspaces: []");
    assert_eq!(case.plan().org.name, "Yaml");
    let mut case = case
        .file("x/other.yaml", "name: Other\nworkspaces: []")
        .vars(&[]);
    case.request.as_mut().unwrap().entry = "x/./other.yaml".to_owned();
    assert_eq!(case.plan().org.name, "Other");
    case.request.as_mut().unwrap().entry = "../x.yaml".to_owned();
    assert_eq!(case.errors(), ["path-invalid"]);
    case.request.as_mut().unwrap().entry = "none.yaml".to_owned();
    assert_eq!(case.errors(), ["template-missing"]);
    let missing = files(&[("README.md", "")]).error();
    assert_eq!(missing.code, "template-missing");
    assert!(missing.help.unwrap().contains("org.yaml"));
    for (text, expected) in [
        ("", "template-empty org.yaml:0:0"),
        ("- a", "wrong-type org.yaml:1:1"),
        ("text", "wrong-type org.yaml:1:1"),
        ("{}", "name-missing org.yaml:1:1 name"),
        ("name: ''", "name-missing org.yaml:1:7 name"),
        ("name: ~\nworkspaces: []", "name-missing org.yaml:1:7 name"),
    ] {
        assert_eq!(org(text).errors(), [expected], "{text:?}");
    }
}

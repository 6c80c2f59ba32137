//! Probable mistakes of the template's author, which are reported with their place.

use crate::{brief, files, org, workspace};

const ONE: &str = "name: O\nworkspaces: [{name: A, runtime: r}]\n";

#[test]
fn probable_mistakes_in_an_env_file_are_warnings() {
    let case = org(ONE).file(
        ".env",
        "ONLY_COMMENT=   # note\nQUOTED=\"a # b\" # c\nOPEN=\"abc\nCOLON: x\nNAME WITH BLANK=1\n",
    );
    assert_eq!(
        case.warnings(),
        [
            "env-comment-in-value .env:1:0",
            "env-comment-in-value .env:2:0",
            "env-quote-open .env:3:0",
            "env-line-ignored .env:4:0",
            "env-name-invalid .env:5:0",
        ]
    );
}

#[test]
fn a_second_entry_file_is_a_warning() {
    let case = files(&[("org.yaml", ONE), ("org.yml", ONE)]);
    assert_eq!(case.warnings(), ["two-entries org.yml:0:0"]);
    assert_eq!(files(&[("org.yml", ONE)]).warnings(), [""; 0]);
}

#[test]
fn indentation_with_a_tab_is_an_error_that_names_the_tab() {
    for (text, line) in [
        ("name: O\nworkspaces:\n\t- name: A\n\t  runtime: r\n", 3),
        ("name: O\nworkspaces:\n- name: A\n\truntime: r\n", 4),
        (
            "name: O\nworkspaces:\n- name: A\n  children:\n\t- name: B\n",
            5,
        ),
        ("name: O\ndefaults:\n\truntime: r\nworkspaces: []\n", 3),
        ("\tname: O\n", 1),
    ] {
        let error = org(text).error();
        assert_eq!(
            brief(&error),
            format!("yaml-tab org.yaml:{line}:0"),
            "{text:?}"
        );
        assert!(error.help.unwrap().contains("spaces"));
    }
    // In JSON, and inside of a text, a tab is allowed.
    let case = org(
        "{\n\t\"name\": \"O\",\n\t\"workspaces\": [{\"name\": \"A\",\n\t\t\"runtime\": \"r\"}]}",
    );
    assert_eq!(case.warnings(), [""; 0]);
    let case = workspace("role: |\n  a\n  \tb");
    assert_eq!(case.one().role, "a\n\tb");
    let broken = org("name: O\nrole: |\n  a\n  \tb\nworkspaces: [\n");
    assert!(broken.errors()[0].starts_with("yaml-syntax"));
}

#[test]
fn the_error_about_a_utf_16_file_names_the_encoding() {
    let utf16 = |big: bool| {
        let units = format!("\u{feff}{ONE}");
        let units = units.encode_utf16();
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect::<Vec<u8>>()
    };
    for bytes in [utf16(true), utf16(false)] {
        let mut case = org("");
        case.files.0.insert("org.yaml".to_owned(), bytes);
        let error = case.error();
        assert_eq!(brief(&error), "template-unreadable org.yaml:1:0");
        assert!(error.message.contains("UTF-16"), "{error}");
    }
    assert_eq!(org(&format!("\u{feff}{ONE}")).warnings(), [""; 0]);
}

#[test]
fn an_error_in_an_anchored_value_names_the_line_of_the_alias() {
    for (text, expected, alias) in [
        // The anchored value is wrong.
        (
            "x: &list [one, two]\nname: O\nworkspaces:\n- name: A\n  runtime: r\n  plugins:\n  - *list\n",
            "wrong-type org.yaml:1:4 workspaces[0].plugins[0]",
            "org.yaml:7",
        ),
        // A value inside of it is wrong.
        (
            "x: &all\n- {name: A, runtime: r, tier: 9}\nname: O\nworkspaces: *all\n",
            "tier-invalid org.yaml:2:31 workspaces[0].tier",
            "org.yaml:4",
        ),
        // A value that `<<` takes from it is wrong.
        (
            "x: &base {runtime: r, tier: 9}\nname: O\nworkspaces:\n- <<: *base\n  name: A\n",
            "tier-invalid org.yaml:1:29 workspaces[0].tier",
            "org.yaml:4",
        ),
        // The value is used through two aliases. The message names the outer one.
        (
            "x: &a {tier: 9}\ny: &b {name: A, runtime: r, <<: *a}\nname: O\nworkspaces:\n- *b\n",
            "tier-invalid org.yaml:1:14 workspaces[0].tier",
            "org.yaml:5",
        ),
    ] {
        let errors = org(text).import().unwrap_err();
        let error = errors
            .iter()
            .find(|error| brief(error) == expected)
            .unwrap_or_else(|| panic!("{errors:#?}"));
        assert!(error.message.contains(alias), "{error}");
    }
    // A wrong value that is used twice is two errors.
    let twice =
        "x: &a {name: A, runtime: r, tier: 9}\nname: O\nworkspaces:\n- *a\n- {<<: *a, name: B}\n";
    let errors = org(twice).import().unwrap_err();
    let messages: Vec<&str> = errors.iter().map(|error| &*error.message).collect();
    assert_eq!(messages.len(), 2, "{errors:#?}");
    assert!(messages[0].contains("org.yaml:4") && messages[1].contains("org.yaml:5"));
}

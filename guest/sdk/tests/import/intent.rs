//! Where what a template says is likely not what its author meant, and it is said with its place.

use crate::{brief, files, org, workspace};

const ONE: &str = "name: O\nworkspaces: [{name: A, runtime: r}]\n";

#[test]
fn lines_of_an_env_file_that_may_not_be_meant_are_told() {
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
fn a_second_entry_file_is_told() {
    let case = files(&[("org.yaml", ONE), ("org.yml", ONE)]);
    assert_eq!(case.warnings(), ["two-entries org.yml:0:0"]);
    assert_eq!(files(&[("org.yml", ONE)]).warnings(), [""; 0]);
}

#[test]
fn a_tab_before_the_first_word_is_told_as_one() {
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
    // Of JSON, and inside of a text, it is a character like any other.
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
fn files_in_other_encodings_are_told() {
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
fn what_an_alias_brings_names_the_line_that_uses_it() {
    for (text, expected, alias) in [
        // The whole of what it stands for.
        (
            "x: &list [one, two]\nname: O\nworkspaces:\n- name: A\n  runtime: r\n  plugins:\n  - *list\n",
            "wrong-type org.yaml:1:4 workspaces[0].plugins[0]",
            "org.yaml:7",
        ),
        // Something in it.
        (
            "x: &all\n- {name: A, runtime: r, tier: 9}\nname: O\nworkspaces: *all\n",
            "tier-invalid org.yaml:2:31 workspaces[0].tier",
            "org.yaml:4",
        ),
        // What `<<` takes from it.
        (
            "x: &base {runtime: r, tier: 9}\nname: O\nworkspaces:\n- <<: *base\n  name: A\n",
            "tier-invalid org.yaml:1:29 workspaces[0].tier",
            "org.yaml:4",
        ),
        // Through another one: the line outside of both.
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
    // Used twice, it is wrong twice.
    let twice =
        "x: &a {name: A, runtime: r, tier: 9}\nname: O\nworkspaces:\n- *a\n- {<<: *a, name: B}\n";
    let errors = org(twice).import().unwrap_err();
    let messages: Vec<&str> = errors.iter().map(|error| &*error.message).collect();
    assert_eq!(messages.len(), 2, "{errors:#?}");
    assert!(messages[0].contains("org.yaml:4") && messages[1].contains("org.yaml:5"));
}

//! The decision table and the properties of expander.md.

use orghost_plugin::{Expansion, expand};
use proptest::prelude::*;

use crate::environment;

fn expanded(text: &str) -> Expansion {
    let vars = [
        ("A B", "zap"),
        ("EMPTY", ""),
        ("FOO", "bar"),
        ("INDIRECT", "$HOST ${FOO}"),
    ];
    expand(
        text,
        &environment(&vars, &[("5", "five"), ("HOST", "h"), ("NOTHING", "")]),
    )
}

#[test]
fn texts_expand_as_the_decision_table_says() {
    // input, result, unresolved, malformed
    let table: &[(&str, &str, &[&str], &[&str])] = &[
        ("${FOO}", "bar", &[], &[]),
        ("$FOO", "bar", &[], &[]),
        ("a${FOO}b", "abarb", &[], &[]),
        ("${HOST}", "h", &[], &[]),
        ("$HOST", "h", &[], &[]),
        ("x/${HOST}", "x/${HOST}", &["HOST"], &[]),
        ("$HOST$HOST", "$HOST$HOST", &["HOST"], &[]),
        ("${NONE}", "", &["NONE"], &[]),
        ("x/${NONE}/y", "x/${NONE}/y", &["NONE"], &[]),
        ("${FOO} ${NONE}", "bar ${NONE}", &["NONE"], &[]),
        ("${EMPTY}", "", &["EMPTY"], &[]),
        ("a${EMPTY}b", "ab", &[], &[]),
        ("$", "$", &[], &[]),
        ("a$", "a$", &[], &[]),
        ("$$", "$$", &[], &[]),
        ("$5", "$5", &[], &[]),
        ("cost $100", "cost $100", &[], &[]),
        ("${VAR", "${VAR", &[], &[]),
        ("${}", "${}", &[], &["${}"]),
        ("a${}b", "a${}b", &[], &["${}"]),
        ("${0}", "${0}", &[], &["${0}"]),
        ("${5}", "${5}", &[], &["${5}"]),
        ("${1VAR}", "${1VAR}", &[], &["${1VAR}"]),
        ("${VAR-x}", "${VAR-x}", &[], &["${VAR-x}"]),
        ("p${VAR-x}", "p${VAR-x}", &[], &["${VAR-x}"]),
        ("${A B}", "${A B}", &[], &["${A B}"]),
        ("${ FOO}", "${ FOO}", &[], &["${ FOO}"]),
        ("${${FOO}}", "${${FOO}}", &[], &["${${FOO}"]),
        ("${O_${FOO}}", "${O_${FOO}}", &[], &["${O_${FOO}"]),
        ("${{ x }}", "${{ x }}", &[], &["${{ x }"]),
        ("$FOO_BAR", "", &["FOO_BAR"], &[]),
        ("$FOO_BAR/", "$FOO_BAR/", &["FOO_BAR"], &[]),
        ("$FOO-x", "bar-x", &[], &[]),
        ("$FOO.x", "bar.x", &[], &[]),
        ("$FOOé", "baré", &[], &[]),
        ("$é", "$é", &[], &[]),
        ("${é}", "${é}", &[], &["${é}"]),
        // These rows are not in the table, and follow from the grammar.
        ("$INDIRECT", "$HOST ${FOO}", &[], &[]),
        ("$$FOO", "$bar", &[], &[]),
        ("\\$FOO", "\\bar", &[], &[]),
        ("${VAR $FOO", "${VAR bar", &[], &[]),
        ("${FOO\n}", "${FOO\n}", &[], &["${FOO\n}"]),
        ("${FOO:-x}", "${FOO:-x}", &[], &["${FOO:-x}"]),
        ("${FOO}}", "bar}", &[], &[]),
        (" ${HOST}", " ${HOST}", &["HOST"], &[]),
        ("${HOST}\n", "${HOST}\n", &["HOST"], &[]),
        ("\"$HOST\"", "\"$HOST\"", &["HOST"], &[]),
        ("$NOTHING", "", &["NOTHING"], &[]),
        ("${EMPTY}$EMPTY", "", &["EMPTY"], &[]),
        ("$B$A$B${}${}", "$B$A$B${}${}", &["B", "A"], &["${}"]),
        ("$foo $Foo", "$foo $Foo", &["foo", "Foo"], &[]),
        ("", "", &[], &[]),
    ];
    for (input, text, unresolved, malformed) in table {
        let found = expanded(input);
        let (unresolved, malformed) = (unresolved.iter(), malformed.iter());
        let expected = Expansion {
            text: (*text).to_owned(),
            unresolved: unresolved.map(|name| (*name).to_owned()).collect(),
            malformed: malformed.map(|group| (*group).to_owned()).collect(),
        };
        assert_eq!(found, expected, "{input:?}");
    }
}

#[test]
fn a_value_that_contains_a_dollar_is_not_unresolved() {
    let found = expand(
        "${PASSWORD}",
        &environment(&[("PASSWORD", "pa$word${x")], &[]),
    );
    assert_eq!(
        (found.text.as_str(), found.unresolved.len()),
        ("pa$word${x", 0)
    );
}

#[test]
fn an_empty_variable_wins_over_a_granted_value() {
    let found = expand("$A", &environment(&[("A", "")], &[("A", "granted")]));
    assert_eq!(
        (found.text.as_str(), found.unresolved),
        ("", vec!["A".to_owned()])
    );
}

/// Texts with many references.
fn texts() -> impl Strategy<Value = String> {
    "([$]|[{]|[}]|[$][{]|FOO|HOST|[$]HOST|[$][{]HOST[}]|[$][{]FOO[}]|EMPTY|[ _0-9a-z-]|é|\n|\\PC){0,24}"
}

proptest! {
    #[test]
    fn a_text_without_a_dollar_does_not_change(text in "[^$]*") {
        let found = expanded(&text);
        prop_assert_eq!(found.text, text);
        prop_assert!(found.unresolved.is_empty() && found.malformed.is_empty());
    }

    #[test]
    fn a_granted_value_expands_only_as_the_whole_text(text in texts()) {
        let found = expand(&text, &environment(&[("FOO", "bar")], &[("HOST", "\u{1}canary\u{1}")]));
        let whole = text == "$HOST" || text == "${HOST}";
        prop_assert_eq!(found.text == "\u{1}canary\u{1}", whole);
        prop_assert!(whole || !found.text.contains("canary"), "{:?}", found.text);
    }

    #[test]
    fn without_variables_only_a_whole_reference_changes(text in texts()) {
        let found = expand(&text, &environment(&[], &[]));
        let whole = !found.unresolved.is_empty() && found.text.is_empty();
        prop_assert!(whole || found.text == text, "{:?}", found.text);
        // A text that becomes empty was exactly one reference.
        if whole {
            let name = &found.unresolved[0];
            let spellings = [format!("${name}"), format!("${{{name}}}")];
            prop_assert!(spellings.contains(&text));
        }
    }

    #[test]
    fn no_text_makes_the_expander_panic(text in any::<String>()) {
        expanded(&text);
    }

    #[test]
    fn unresolved_names_and_malformed_groups_are_parts_of_the_text(text in texts()) {
        let found = expanded(&text);
        for part in found.unresolved.iter().chain(&found.malformed) {
            prop_assert!(text.contains(part.as_str()));
        }
        for group in &found.malformed {
            prop_assert!(found.text.contains(group.as_str()));
        }
    }
}

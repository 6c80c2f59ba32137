//! Names of workspaces: keys, siblings, former names; and the names of schedules without one.

use orghost_plugin::{Diagnostic, Former};

use crate::{Case, org, workspace};

fn tree(workspaces: &str) -> Case {
    org(&format!(
        "name: O\ndefaults: {{runtime: r}}\nworkspaces:\n{workspaces}"
    ))
}

fn keys(case: &Case) -> Vec<String> {
    let workspaces = case.plan().workspaces.into_iter();
    workspaces.map(|workspace| workspace.key).collect()
}

fn assert_mentions(problem: &Diagnostic, texts: &[&str]) {
    for text in texts {
        assert!(problem.message.contains(text), "{problem}");
    }
}

// The digits are the first eight that `printf '%s' NAME | sha256sum` prints.
#[test]
fn a_key_is_a_path_of_slugs_and_equal_slugs_have_a_digest() {
    let case = tree(
        "- name: PM\n  children:\n  - {name: Dev Lead, children: [{name: PM}]}\n  - {name: Dev lead}\n- name: pm\n",
    );
    let expected = [
        "pm-6b987654",
        "pm-6b987654/dev-lead-8201dfd2",
        "pm-6b987654/dev-lead-8201dfd2/pm",
        "pm-6b987654/dev-lead-e117b0be",
        "pm-96f2f081",
    ];
    assert_eq!(keys(&case), expected);
    assert!(case.plan().warnings.is_empty(), "the names differ");
    let plan = case.plan();
    assert_eq!(plan.workspaces[0].parent(), None);
    assert_eq!(plan.workspaces[3].parent(), Some("pm-6b987654"));
}

#[test]
fn names_in_any_alphabet_have_readable_keys() {
    let case = tree("- {name: 東京, children: [{name: Аналитик}]}\n- {name: Führung}\n");
    assert_eq!(keys(&case), ["dong-jing", "dong-jing/analitik", "fuhrung"]);
}

#[test]
fn siblings_with_the_same_name_are_an_error_with_both_places() {
    for second in ["Führung", "Fu\u{308}hrung", " Führung "] {
        let case = tree(&format!(
            "- name: Führung\n- {{name: B, children: [{{name: Führung}}]}}\n- {{name: '{second}', spawning: false}}\n"
        ));
        let error = case.error();
        assert_eq!(crate::brief(&error), "same-name org.yaml:6:3 workspaces[2]");
        assert_mentions(&error, &["`workspaces[0]`", "in org.yaml:4"]);
    }
}

#[test]
fn former_names_are_passed_on_newest_first() {
    let renamed = |lines: &str| {
        workspace(&format!("renamed_from: {lines}"))
            .one()
            .renamed_from
    };
    let name = |name: &str| Former::Name(name.to_owned());
    let path = |names: &[&str]| Former::Path(names.iter().map(|n| (*n).to_owned()).collect());
    assert_eq!(renamed("Old"), [name("Old")]);
    assert_eq!(renamed("007"), [name("007")]);
    assert_eq!(
        renamed("[' B ', [Lead, C++ Dev], A1]"),
        [name("B"), path(&["Lead", "C++ Dev"]), name("A1")]
    );
    assert_eq!(renamed("[[Root]]"), [path(&["Root"])]);
    assert_eq!(renamed("[]"), []);
    assert_eq!(renamed(""), []);
}

#[test]
fn an_invalid_former_name_is_an_error_with_its_place() {
    for (lines, expected) in [
        (
            "''",
            "renamed-from-empty org.yaml:5:19 workspaces[0].renamed_from",
        ),
        (
            "[' ']",
            "renamed-from-empty org.yaml:5:20 workspaces[0].renamed_from[0]",
        ),
        (
            "[B, ~]",
            "renamed-from-empty org.yaml:5:23 workspaces[0].renamed_from[1]",
        ),
        (
            "[[]]",
            "renamed-from-path org.yaml:5:20 workspaces[0].renamed_from[0]",
        ),
        (
            "[[B, '']]",
            "renamed-from-empty org.yaml:5:24 workspaces[0].renamed_from[0][1]",
        ),
        (
            "[[B, [C]]]",
            "wrong-type org.yaml:5:24 workspaces[0].renamed_from[0][1]",
        ),
        (
            "[{name: B}]",
            "wrong-type org.yaml:5:20 workspaces[0].renamed_from[0]",
        ),
        (
            "{name: B}",
            "wrong-type org.yaml:5:19 workspaces[0].renamed_from",
        ),
    ] {
        let case = workspace(&format!("renamed_from: {lines}"));
        assert_eq!(case.errors(), [expected], "{lines}");
    }
    let long = workspace(&format!("renamed_from: {}", "x".repeat(501)));
    assert_eq!(
        long.errors(),
        ["name-too-long org.yaml:5:19 workspaces[0].renamed_from"]
    );
    let deep = workspace(&format!("renamed_from: [[{}]]", "x, ".repeat(33)));
    assert_eq!(
        deep.errors(),
        ["renamed-from-path org.yaml:5:20 workspaces[0].renamed_from[0]"]
    );
}

#[test]
fn two_workspaces_with_the_same_former_name_are_an_error() {
    // One by name and one by path: both were Lead/Old.
    let case = tree(
        "- name: Lead\n  children:\n  - {name: A, renamed_from: Old}\n- {name: B, renamed_from: [Other, [Lead, Old]]}\n",
    );
    let error = case.error();
    assert_eq!(
        crate::brief(&error),
        "renamed-from-twice org.yaml:7:35 workspaces[1].renamed_from[1]"
    );
    assert_mentions(&error, &["in org.yaml:6"]);
    // Below different parents the same name is a different identity. One workspace may repeat a former name.
    let case = tree(
        "- {name: A, children: [{name: N, renamed_from: Old}]}\n- {name: B, children: [{name: N, renamed_from: [Old, Old]}]}\n",
    );
    assert_eq!(case.warnings(), [""; 0]);
    // The former names of a workspace that is not spawned do not count.
    let case =
        tree("- {name: A, renamed_from: Old}\n- {name: B, spawning: false, renamed_from: Old}\n");
    assert_eq!(case.warnings(), [""; 0]);
}

#[test]
fn a_former_name_that_a_workspace_has_now_is_a_warning() {
    let own = tree("- {name: Führung, renamed_from: Fu\u{308}hrung}\n");
    assert_eq!(
        own.warnings(),
        ["renamed-from-itself org.yaml:4:33 workspaces[0].renamed_from"]
    );
    let other = tree("- {name: A, renamed_from: B}\n- {name: B}\n");
    let warnings = other.plan().warnings;
    assert_eq!(
        warnings.iter().map(crate::brief).collect::<Vec<_>>(),
        ["renamed-from-present org.yaml:4:27 workspaces[0].renamed_from"]
    );
    assert_mentions(&warnings[0], &["in org.yaml:5"]);
}

const HOURLY: &str = "{cron_expr: '0 * * * *', prompt: look}";
const DAILY: &str = "{cron_expr: '0 0 * * *', prompt: look}";

fn schedules(list: &[&str]) -> Case {
    workspace(&format!("schedules: [{}]", list.join(", ")))
}

fn schedule_names(case: &Case) -> Vec<String> {
    let schedules = case.one().schedules.into_iter();
    schedules.map(|schedule| schedule.name).collect()
}

#[test]
fn a_schedule_without_a_name_is_named_after_its_content() {
    let both = schedule_names(&schedules(&[HOURLY, DAILY]));
    let [hourly, daily] = &both[..] else {
        panic!("{both:?}")
    };
    assert_ne!(hourly, daily);
    // `printf '0 * * * *\0UTC\0look\n' | sha256sum`
    assert_eq!(hourly, "schedule-e9cd8561");
    // The name does not depend on the other schedules of the list.
    assert_eq!(
        schedule_names(&schedules(&[DAILY, HOURLY])),
        [daily.clone(), hourly.clone()]
    );
    assert_eq!(&schedule_names(&schedules(&[DAILY]))[0], daily);
    let elsewhere = HOURLY.replace('}', ", timezone: Europe/Berlin}");
    assert_ne!(&schedule_names(&schedules(&[&elsewhere]))[0], hourly);
}

#[test]
fn two_schedules_with_the_same_name_are_a_warning() {
    let warnings = schedules(&[HOURLY, HOURLY]).plan().warnings;
    let twice: Vec<&Diagnostic> = warnings
        .iter()
        .filter(|warning| warning.code == "schedule-name-twice")
        .collect();
    let [twice] = &twice[..] else {
        panic!("{warnings:?}")
    };
    assert_mentions(twice, &["in org.yaml:5"]);
}

//! Tests from outside, on the local engine: a workspace that keeps its name keeps identity, volumes and work.

use std::path::Path;

use serde_json::Value;

use crate::support::{Operator, Ran};

/// A template of workspaces without content.
fn template(operator: &Operator, folder: &str, org: &str, workspaces: &str) -> String {
    let text =
        format!("name: {org}\ndefaults: {{runtime: x, model: m}}\nworkspaces:\n{workspaces}\n");
    let file = operator.file(&format!("{folder}/org.yaml"), text);
    file.parent().unwrap().display().to_string()
}

fn up(operator: &Operator, folder: &str, flags: &[&str]) -> Ran {
    let up = ["up", folder, "--demo", "--engine", "local", "--json"];
    operator.run(&[&up[..], flags].concat())
}

/// The workspaces in the store, including those that left the template.
fn known(operator: &Operator) -> Vec<Value> {
    let status = operator.run(&["status", "--json"]).exits(0).json();
    status["orgs"][0]["workspaces"].as_array().unwrap().clone()
}

fn id_of(operator: &Operator, name: &str) -> String {
    let known = known(operator);
    let found = known.iter().find(|workspace| workspace["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} is not in {known:?}"));
    found["id"].as_str().unwrap().to_owned()
}

/// The file with a workspace's work.
fn work(operator: &Operator, id: &str) -> std::path::PathBuf {
    operator
        .state()
        .join("local")
        .join(id)
        .join("workspace/mine")
}

/// Writes each workspace's own name into its work.
fn write_names(operator: &Operator, names: &[&str]) {
    for name in names {
        std::fs::write(work(operator, &id_of(operator, name)), name).unwrap();
    }
}

/// Checks that each workspace still has its own work.
fn assert_own_work(operator: &Operator, names: &[&str]) {
    for name in names {
        let found = std::fs::read_to_string(work(operator, &id_of(operator, name)));
        assert_eq!(found.unwrap(), *name);
    }
}

#[test]
fn siblings_keep_their_work_when_one_is_removed_or_two_are_swapped() {
    let long = |letter| format!("{}{letter}", "x".repeat(70));
    let (a, b) = (long('a'), long('b'));
    for names in [
        ["C++ Dev", "C# Dev"],
        ["日本", "中国"],
        ["Аналитик", "Бухгалтер"],
        [&a, &b],
    ] {
        let [first, second] = names;
        let line = |name: &str| format!("  - name: {name}");
        let operator = Operator::new();
        let both = [line(first), line(second)].join("\n");
        let folder = template(&operator, "org", "Acme", &both);
        up(&operator, &folder, &[]).exits(0);
        write_names(&operator, &names);
        let before = known(&operator);

        // A swap changes nothing.
        let swapped = [line(second), line(first)].join("\n");
        template(&operator, "org", "Acme", &swapped);
        let summary = up(&operator, &folder, &[]).exits(0).events().pop().unwrap();
        assert_eq!(summary["unchanged"], 2, "{summary}");
        assert_own_work(&operator, &names);

        // Removing the first does not change the second, and no other workspace takes the first one's identity.
        template(&operator, "org", "Acme", &line(second));
        let plan = operator
            .run(&["plan", &folder, "--demo", "--json"])
            .exits(0)
            .json();
        assert_eq!(plan["changes"].as_array().unwrap().len(), 1, "{plan}");
        assert_eq!(plan["changes"][0]["change"], "left");
        let summary = up(&operator, &folder, &[]).exits(0).events().pop().unwrap();
        assert_eq!(summary["unchanged"], 1, "{summary}");
        assert_eq!(summary["orphans"].as_array().unwrap().len(), 1, "{summary}");
        assert_own_work(&operator, &names);

        // Prune removes only the workspace that left.
        up(&operator, &folder, &["--prune", "--wait"]).exits(0);
        let left = known(&operator);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0]["name"], second);
        assert_own_work(&operator, &[second]);

        // A workspace that comes back finds its own work.
        template(&operator, "org", "Acme", &both);
        up(&operator, &folder, &[]).exits(0);
        assert_own_work(&operator, &names);
        for old in &before {
            assert_eq!(old["id"], *id_of(&operator, old["name"].as_str().unwrap()));
        }
        operator.run(&["down", "acme", "--volumes"]).exits(0);
    }
}

#[test]
fn renamed_from_keeps_the_work_of_a_workspace() {
    let operator = Operator::new();
    let tree = "  - name: Lead\n    children: [{name: Dev}]";
    let folder = template(&operator, "org", "Acme", tree);
    up(&operator, &folder, &[]).exits(0);
    write_names(&operator, &["Lead", "Dev"]);
    let (lead, dev) = (id_of(&operator, "Lead"), id_of(&operator, "Dev"));

    let renamed = "  - name: Boss\n    renamed_from: [Lead]\n    children: [{name: Dev}]";
    template(&operator, "org", "Acme", renamed);
    let plan = ["plan", &folder, "--demo", "--json"];
    let changes = operator.run(&plan).exits(0).json()["changes"].clone();
    assert_eq!(changes[0]["change"], "moved");
    assert_eq!(changes[0]["from"], serde_json::json!(["Lead"]));
    let said = operator.run(&["plan", &folder, "--demo"]).exits(0).stdout;
    assert!(said.contains("boss was Lead"), "{said}");
    up(&operator, &folder, &[]).exits(0);
    assert_eq!(id_of(&operator, "Boss"), lead);
    assert_eq!(id_of(&operator, "Dev"), dev);
    assert_eq!(
        std::fs::read_to_string(work(&operator, &lead)).unwrap(),
        "Lead"
    );

    // Without `renamed_from`, a rename is a removal and an addition.
    template(&operator, "org", "Acme", "  - name: Chief");
    let changes = operator.run(&plan).exits(0).json()["changes"].clone();
    let kinds: Vec<_> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["change"])
        .collect();
    assert_eq!(kinds, ["added", "left", "left"]);
    up(&operator, &folder, &["--prune", "--yes"]).exits(0);
    assert_ne!(id_of(&operator, "Chief"), lead);
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn an_org_of_another_folder_is_taken_over_only_with_consent() {
    let operator = Operator::new();
    let one = template(&operator, "one", "Same", "  - name: A\n  - name: B");
    let two = template(&operator, "two", "Same", "  - name: C");
    up(&operator, &one, &[]).exits(0);
    let refused = up(&operator, &two, &["--prune"]).exits(2);
    assert_eq!(refused.error_codes(), ["org-elsewhere"]);
    assert!(refused.stdout.contains(&one) && refused.stdout.contains("--take-over"));
    assert_eq!(known(&operator).len(), 2);
    // Another path to the same folder is the same folder.
    let same = Path::new(&one).join("../one").display().to_string();
    up(&operator, &same, &[]).exits(0);
    up(&operator, &two, &["--prune", "--yes", "--take-over"]).exits(0);
    assert_eq!(known(&operator).len(), 1);
    operator.run(&["down", "same", "--volumes"]).exits(0);
}

#[test]
fn a_store_of_the_previous_version_keeps_its_workspaces() {
    let operator = Operator::new();
    // In that version, sibling keys had a number by position, and two siblings could have one name.
    let packed = include_bytes!("fixtures/state-2.tar.gz");
    let unpacked = flate2::read::GzDecoder::new(&packed[..]);
    tar::Archive::new(unpacked)
        .unpack(operator.home.path())
        .unwrap();
    let mine = |id: &str| std::fs::read_to_string(work(&operator, id)).unwrap();
    for (name, old_key) in [
        ("C++ Dev", "c-dev\n"),
        ("C# Dev", "c-dev-2\n"),
        ("日本", "lead/workspace\n"),
        ("中国", "lead/workspace-2\n"),
    ] {
        assert_eq!(mine(&id_of(&operator, name)), old_key, "{name}");
    }
    let lead = known(&operator);
    let lead = lead
        .iter()
        .find(|workspace| workspace["name"] == "Lead")
        .unwrap();
    assert_eq!(lead["wanted"], "stopped");

    let tree = "  - name: C# Dev\n  - name: Lead\n    children: [{name: 中国}, {name: 日本}]\n  - name: C++ Dev\n  \
                - name: Twin\n  - name: Second\n    renamed_from: [Twin (2)]";
    let folder = template(&operator, "org", "Older", tree);
    up(&operator, &folder, &["--take-over", "--wait"]).exits(0);
    for (name, old_key) in [
        ("C++ Dev", "c-dev\n"),
        ("C# Dev", "c-dev-2\n"),
        ("日本", "lead/workspace\n"),
        ("中国", "lead/workspace-2\n"),
        ("Twin", "twin\n"),
        ("Second", "twin-2\n"),
    ] {
        assert_eq!(mine(&id_of(&operator, name)), old_key, "{name}");
    }
    assert_eq!(known(&operator).len(), 7);
    operator.run(&["down", "older", "--volumes"]).exits(0);
}

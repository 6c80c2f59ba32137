//! Values of fields (org-template.md §1 and §3): spelling, defaults, and which workspaces are planned.

use crate::{inline, org, workspace};

#[test]
fn scalars_keep_their_spelling() {
    let case = org(
        "name: 42\ndescription: 0x10\nworkspaces:\n- name: 1.50\n  runtime: 007\n  role: yes\n  model: '~'\n  tier: '0x1'\n  spawning: Yes\n  channels:\n  - type: slack\n    enabled: OFF\n    config: {chat_id: -100123, on: true, webhook_url: https://x, empty: ~}\n    allowed_users: [0123, 1e3]\n- {name: Off, runtime: r, spawning: n}\n",
    );
    let plan = case.plan();
    assert_eq!(
        (plan.org.name.as_str(), plan.org.description.as_str()),
        ("42", "0x10")
    );
    let one = case.one();
    assert_eq!(
        (one.name.as_str(), one.role.as_str(), one.model.as_deref()),
        ("1.50", "yes", Some("~"))
    );
    assert_eq!((one.runtime.as_str(), one.tier), ("007", 1));
    let channel = &one.channels[0];
    let config: Vec<(&str, &str)> = channel
        .config
        .iter()
        .map(|e| (e.name.as_str(), e.value.as_str()))
        .collect();
    assert_eq!(
        config,
        [
            ("chat_id", "-100123"),
            ("empty", ""),
            ("on", "true"),
            ("webhook_url", "https://x")
        ]
    );
    assert_eq!(
        (channel.allowed_users.join(" "), channel.enabled),
        ("0123 1e3".to_owned(), false)
    );
}

#[test]
fn a_null_field_is_read_as_a_missing_one() {
    let one = workspace(
        "role: ~\ntier: null\nmodel:\nchildren: ~\nplugins: NULL\ncanvas: ~\nworkspace_dir: ''",
    )
    .one();
    assert_eq!(
        (one.role.as_str(), one.tier, one.model, one.workspace_dir),
        ("", 2, None, None)
    );
}

#[test]
fn a_workspace_uses_its_own_value_then_the_defaults_then_the_rule() {
    let case = org(
        "name: O\ndefaults: {runtime: d, tier: 3, model: m, idle_prompt: d, idle_interval_seconds: 30}\nworkspaces:\n- {name: A}\n- {name: B, runtime: b, tier: 1, model: n, idle_interval_seconds: -1}\n- {name: C, tier: 0, idle_interval_seconds: 0}\n",
    );
    let plan = case.plan();
    let found: Vec<(&str, u8, Option<&str>)> = plan
        .workspaces
        .iter()
        .map(|w| (w.runtime.as_str(), w.tier, w.model.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("d", 3, Some("m")),
            ("b", 1, Some("n")),
            ("d", 3, Some("m"))
        ]
    );
    for (workspace, interval) in plan.workspaces.iter().zip(["30", "600", "30"]) {
        let config = inline(workspace, "config.yaml");
        assert!(
            config.contains(&format!("idle_interval_seconds: {interval}\n")),
            "{config}"
        );
    }
    let none = org("name: O\nworkspaces: [{name: A}]");
    assert_eq!(
        none.errors(),
        ["runtime-missing org.yaml:2:14 workspaces[0]"]
    );
    // An error in the defaults is reported once.
    let wrong =
        org("name: O\ndefaults: {tier: 9, runtime: 'a b'}\nworkspaces: [{name: A}, {name: B}]");
    assert_eq!(
        wrong.errors(),
        [
            "tier-invalid org.yaml:2:18 defaults.tier",
            "runtime-invalid org.yaml:2:30 defaults.runtime"
        ]
    );
}

#[test]
fn max_concurrent_tasks_is_at_least_one() {
    for (lines, tasks) in [
        ("", 1),
        ("max_concurrent_tasks: 0", 1),
        ("max_concurrent_tasks: -3", 1),
        ("max_concurrent_tasks: 4", 4),
    ] {
        assert_eq!(
            workspace(lines).one().max_concurrent_tasks,
            tasks,
            "{lines}"
        );
    }
}

#[test]
fn a_workspace_with_spawning_false_is_left_out_with_its_children() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, children: [{name: B!, spawning: false, required_env: [B_KEY], children: [{name: C, required_env: [C_KEY]}]}, {name: B}]}\n",
    );
    let plan = case.plan();
    let keys: Vec<&str> = plan.workspaces.iter().map(|w| w.key.as_str()).collect();
    // The slug of `B` has a digest because of its sibling `B!`, although `B!` is not spawned. `printf B | sha256sum`
    assert_eq!(keys, ["a", "a/b-df7e70e5"]);
    let required: Vec<(&str, usize)> = plan
        .required_env
        .iter()
        .map(|r| (r.any_of[0].as_str(), r.missing_for.len()))
        .collect();
    assert_eq!(required, [("B_KEY", 0), ("C_KEY", 0)]);
}

#[test]
fn an_external_workspace_gets_no_files_and_no_variables() {
    let case =
        workspace("external: true\nurl: https://a.example/x\nfiles_dir: d\nworkspace_dir: /srv")
            .file("d/x", "")
            .file(".env", "A=1");
    let one = case.one();
    assert!(one.external && one.files.is_empty() && one.env.is_empty());
    assert_eq!(one.url.as_deref(), Some("https://a.example/x"));
    let without = org("name: O\nworkspaces: [{name: A, external: y, url: 'http://b.example'}]");
    assert_eq!(without.one().runtime, "external");
}

#[test]
fn children_are_placed_relative_to_the_canvas_of_their_root() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n- name: A\n  canvas: {x: 10.5, y: -20}\n  children: [{name: B, canvas: {x: 1, y: 1}}, {name: Off, spawning: false}, {name: C}]\n- name: D\n",
    );
    let positions: Vec<(f64, f64)> = case
        .plan()
        .workspaces
        .iter()
        .map(|w| (w.canvas.x, w.canvas.y))
        .collect();
    assert_eq!(
        positions,
        [(10.5, -20.0), (26.5, 110.0), (340.5, 110.0), (0.0, 0.0)]
    );
}

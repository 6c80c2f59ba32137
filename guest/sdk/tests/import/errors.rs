//! Errors and warnings: each has a code and a place, and all are reported together.

use crate::{files, org, workspace};

/// Each row is a workspace with one error.
#[test]
fn an_error_has_a_code_a_place_and_a_field() {
    for (lines, expected) in [
        ("tier: 5", "tier-invalid org.yaml:5:11 workspaces[0].tier"),
        ("tier: -1", "tier-invalid org.yaml:5:11 workspaces[0].tier"),
        ("tier: two", "wrong-type org.yaml:5:11 workspaces[0].tier"),
        ("tier: [2]", "wrong-type org.yaml:5:11 workspaces[0].tier"),
        ("tier: 2.5", "wrong-type org.yaml:5:11 workspaces[0].tier"),
        ("role: [x]", "wrong-type org.yaml:5:11 workspaces[0].role"),
        (
            "model: {a: b}",
            "wrong-type org.yaml:5:12 workspaces[0].model",
        ),
        (
            "spawning: maybe",
            "wrong-type org.yaml:5:15 workspaces[0].spawning",
        ),
        (
            "children: x",
            "wrong-type org.yaml:5:15 workspaces[0].children",
        ),
        (
            "children: [x]",
            "wrong-type org.yaml:5:16 workspaces[0].children[0]",
        ),
        (
            "children: [{runtime: r}]",
            "name-missing org.yaml:5:16 workspaces[0].children[0].name",
        ),
        (
            "children: [{name: ' ', runtime: r}]",
            "name-missing org.yaml:5:23 workspaces[0].children[0].name",
        ),
        (
            "role: \"a\\x07b\"",
            "control-character org.yaml:5:11 workspaces[0].role",
        ),
        (
            "role: \"a\\u2028b\"",
            "control-character org.yaml:5:11 workspaces[0].role",
        ),
        (
            "role: \"a\\rb\"",
            "control-character org.yaml:5:11 workspaces[0].role",
        ),
        (
            "role: \"a\\Nb\"",
            "control-character org.yaml:5:11 workspaces[0].role",
        ),
        (
            "category_routing: {\"a\\u2028b\": [A]}",
            "control-character org.yaml:5:24 workspaces[0].category_routing",
        ),
        (
            "canvas: {x: a}",
            "wrong-type org.yaml:5:17 workspaces[0].canvas.x",
        ),
        (
            "canvas: {x: inf}",
            "wrong-type org.yaml:5:17 workspaces[0].canvas.x",
        ),
        (
            "max_concurrent_tasks: 4294967296",
            "max-concurrent-tasks org.yaml:5:27 workspaces[0].max_concurrent_tasks",
        ),
        (
            "files_dir: /etc",
            "path-invalid org.yaml:5:16 workspaces[0].files_dir",
        ),
        (
            "files_dir: a/../../b",
            "path-invalid org.yaml:5:16 workspaces[0].files_dir",
        ),
        (
            "files_dir: 'a\\b'",
            "path-invalid org.yaml:5:16 workspaces[0].files_dir",
        ),
        (
            "files_dir: none",
            "files-dir-missing org.yaml:5:16 workspaces[0].files_dir",
        ),
        (
            "files_dir: org.yaml",
            "files-dir-missing org.yaml:5:16 workspaces[0].files_dir",
        ),
        // Prompt files in a missing folder are not reported too.
        (
            "files_dir: none\nidle_prompt_file: x.md\nschedules: [{cron_expr: '* * * * *', name: s, prompt_file: y}]",
            "files-dir-missing org.yaml:5:16 workspaces[0].files_dir",
        ),
        (
            "initial_prompt_file: no.md",
            "file-unreadable org.yaml:5:26 workspaces[0].initial_prompt_file",
        ),
        (
            "idle_prompt_file: ../x",
            "path-invalid org.yaml:5:23 workspaces[0].idle_prompt_file",
        ),
        (
            "workspace_access: read_write",
            "workspace-access org.yaml:5:23 workspaces[0].workspace_access",
        ),
        (
            "workspace_access: rw",
            "workspace-access org.yaml:5:23 workspaces[0].workspace_access",
        ),
        (
            "workspace_dir: srv/x",
            "workspace-dir-invalid org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "workspace_dir: /srv/../x",
            "workspace-dir-invalid org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "workspace_dir: /srv/$X",
            "workspace-dir-unresolved org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "workspace_dir: '${X:-/srv}'",
            "workspace-dir-malformed org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        ("external: true", "url-missing org.yaml:3:5 workspaces[0]"),
        (
            "external: true\nurl: ftp://x",
            "url-invalid org.yaml:6:10 workspaces[0].url",
        ),
        (
            "external: true\nurl: http://169.254.169.254/",
            "url-invalid org.yaml:6:10 workspaces[0].url",
        ),
        (
            "plugins: {a: b}",
            "wrong-type org.yaml:5:14 workspaces[0].plugins",
        ),
        (
            "plugins: [[a]]",
            "wrong-type org.yaml:5:15 workspaces[0].plugins[0]",
        ),
        (
            "plugins: [{config: {}}]",
            "source-missing org.yaml:5:15 workspaces[0].plugins[0].source",
        ),
        (
            "category_routing: [a]",
            "wrong-type org.yaml:5:23 workspaces[0].category_routing",
        ),
        (
            "category_routing: {a: b}",
            "wrong-type org.yaml:5:27 workspaces[0].category_routing.a",
        ),
        (
            "initial_memories: [{content: x, scope: ORG}]",
            "memory-scope org.yaml:5:44 workspaces[0].initial_memories[0].scope",
        ),
        (
            "channels: [{type: slack, config: {a: [b]}}]",
            "wrong-type org.yaml:5:42 workspaces[0].channels[0].config.a",
        ),
        (
            "required_env: [{any_of: []}]",
            "any-of-empty org.yaml:5:20 workspaces[0].required_env[0]",
        ),
        (
            "required_env: [{}]",
            "any-of-empty org.yaml:5:20 workspaces[0].required_env[0]",
        ),
        (
            "required_env: A",
            "wrong-type org.yaml:5:19 workspaces[0].required_env",
        ),
        (
            "schedules: [{name: s, prompt: x}]",
            "cron-expr-missing org.yaml:5:17 workspaces[0].schedules[0].cron_expr",
        ),
        (
            "schedules: [{name: s, cron_expr: '@daily', prompt: x}]",
            "cron-invalid org.yaml:5:38 workspaces[0].schedules[0].cron_expr",
        ),
        (
            "schedules: [{name: s, cron_expr: '* * * * *'}]",
            "schedule-prompt-missing org.yaml:5:17 workspaces[0].schedules[0]",
        ),
        (
            "schedules: [{name: s, cron_expr: '* * * * *', prompt_file: no.md}]",
            "file-unreadable org.yaml:5:64 workspaces[0].schedules[0].prompt_file",
        ),
        (
            "schedules: [{name: s, cron_expr: '* * * * *', prompt: x, timezone: europe/berlin}]",
            "timezone-unknown org.yaml:5:72 workspaces[0].schedules[0].timezone",
        ),
        (
            "plugins: [{source: p, config: {schedules: [{name: s, cron_expr: x, prompt: y}]}}]",
            "cron-invalid org.yaml:5:69 workspaces[0].plugins[0].config.schedules[0].cron_expr",
        ),
    ] {
        let case = workspace(lines);
        assert_eq!(case.errors(), [expected], "{lines}");
        let named = case.error().workspace;
        assert!(
            matches!(named.as_deref(), Some("A") | None),
            "{lines}: {named:?}"
        );
    }
}

/// Each row is a workspace with one warning.
#[test]
fn a_warning_has_a_code_a_place_and_a_field() {
    const CRON: &str = "cron_expr: '* * * * *', prompt: x";
    const NEVER: &str = "cron_expr: 0 0 30 2 *, prompt: x";
    for (lines, expected) in [
        ("tire: 2", "unknown-key org.yaml:5:5 workspaces[0].tire"),
        (
            "template: x",
            "template-ignored org.yaml:5:15 workspaces[0].template",
        ),
        (
            "url: https://example.com",
            "url-ignored org.yaml:5:10 workspaces[0].url",
        ),
        (
            "workspace_dir: /srv",
            "workspace-access-default org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "workspace_dir: /srv\nworkspace_access: none",
            "workspace-dir-ignored org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "workspace_dir: $DIR",
            "workspace-dir-unset org.yaml:5:20 workspaces[0].workspace_dir",
        ),
        (
            "category_routing: {a: [A, B, B], b: [B]}",
            "routing-target-unknown org.yaml:5:31 workspaces[0].category_routing.a[1]",
        ),
        (
            "initial_memories: [{content: ''}]",
            "memory-empty org.yaml:5:24 workspaces[0].initial_memories[0]",
        ),
        (
            "required_env: [lower, UPPER]",
            "env-name-invalid org.yaml:5:20 workspaces[0].required_env[0]",
        ),
        (
            "channels: [{type: irc}]",
            "channel-skipped org.yaml:5:16 workspaces[0].channels[0]",
        ),
        (
            &format!("schedules: [{{name: s, {NEVER}}}]"),
            "cron-never org.yaml:5:38 workspaces[0].schedules[0].cron_expr",
        ),
        (
            &format!("schedules: [{{{CRON}}}]"),
            "schedule-unnamed org.yaml:5:17 workspaces[0].schedules[0]",
        ),
        (
            &format!("schedules: [{{name: s, {CRON}}}, {{name: s, {CRON}}}]"),
            "schedule-name-twice org.yaml:5:63 workspaces[0].schedules[1]",
        ),
    ] {
        assert_eq!(workspace(lines).warnings(), [expected], "{lines}");
    }
}

#[test]
fn an_unknown_routing_target_is_reported_at_its_first_place() {
    let route = "category_routing: {a: [Ghost]}";
    let case = org(&format!(
        "name: O\ndefaults: {{runtime: r}}\nworkspaces:\n- name: A\n  children:\n  - {{name: C, {route}}}\n  - {{name: D, {route}}}\n- {{name: B, {route}}}\n"
    ));
    assert_eq!(
        case.warnings(),
        ["routing-target-unknown org.yaml:6:38 workspaces[0].children[0].category_routing.a[0]"]
    );
}

#[test]
fn a_wrong_type_error_says_what_was_found() {
    for (lines, message) in [
        ("tier: two", "`tier` is a whole number, and this is \"two\""),
        ("tier: [2]", "`tier` is a whole number, and this is a list"),
        (
            "spawning: maybe",
            "`spawning` is `true` or `false`, and this is \"maybe\"",
        ),
        ("canvas: {x: left}", "`x` is a number, and this is \"left\""),
        ("plugins: git", "`plugins` is a list, and this is \"git\""),
        ("role: {a: b}", "`role` is a text, and this is a mapping"),
        (
            "children: [null]",
            "`children[0]` is a mapping, and this is nothing",
        ),
    ] {
        assert_eq!(workspace(lines).error().message, message);
    }
}

#[test]
fn an_unknown_key_is_reported_once_per_file_with_a_suggestion() {
    let case = files(&[
        (
            "org.yaml",
            "name: O\nschema: 1\ndefaults: {runtime: r, schedules: []}\nworkspaces:\n- {name: A, parent: x}\n- {name: B, parent: y}\n- !include c.yaml\n",
        ),
        ("c.yaml", "name: C\nparent: z\nfile_dir: q\n"),
    ]);
    let expected = [
        "unknown-key c.yaml:2:1 workspaces[2].parent",
        "unknown-key c.yaml:3:1 workspaces[2].file_dir",
        "unknown-key org.yaml:2:1 schema",
        "unknown-key org.yaml:3:24 defaults.schedules",
        "unknown-key org.yaml:5:13 workspaces[0].parent",
    ];
    assert_eq!(case.warnings(), expected);
    assert!(
        case.plan().warnings[1]
            .message
            .contains("did you mean `files_dir`?")
    );
}

#[test]
fn all_errors_are_reported_together() {
    let case = org(
        "name: O\nworkspaces:\n- name: A\n  runtime: r\n  tier: 9\n  files_dir: none\n  workspace_dir: $X/y\n  schedules: [{name: s, cron_expr: bad, timezone: Nowhere, prompt: x}]\n- {name: B, role: [1], spawning: x}\n- {role: r}\n",
    );
    let codes: Vec<String> = case
        .errors()
        .iter()
        .map(|e| e.split(' ').next().unwrap().to_owned())
        .collect();
    let expected = [
        "tier-invalid",
        "files-dir-missing",
        "workspace-dir-unresolved",
        "cron-invalid",
        "timezone-unknown",
        "runtime-missing",
        "wrong-type",
        "wrong-type",
        "name-missing",
        "runtime-missing",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn no_message_contains_the_value_of_a_variable() {
    let vars = [("DIR", "canary"), ("TOKEN", "canary"), ("HOOK", "canary")];
    let lines = "workspace_dir: $DIR\nchannels:\n- {type: telegram, config: {bot_token: $TOKEN, chat_id: 1}}\n- {type: discord, config: {webhook_url: $HOOK}}";
    let errors = workspace(lines).vars(&vars).import().unwrap_err();
    assert!(!format!("{errors:?}").contains("canary"));
    let plan = workspace(&lines.replace("workspace_dir: $DIR\n", ""))
        .vars(&vars)
        .plan();
    assert!(
        !format!(
            "{:?} {:?}",
            plan.warnings, plan.workspaces[0].skipped_channels
        )
        .contains("canary")
    );
}

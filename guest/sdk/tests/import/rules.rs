//! The rules of org-template.md, §1 and §3 to §9, by small templates.

use orghost_plugin::{
    Content, Entry, EntryKind, FileError, MemoryScope, Origin, TemplateFiles, WorkspaceAccess,
    standard::import_org,
};

use crate::{brief, environment, files, inline, org, request, seeded, workspace, workspace_yaml};

/// Each of these makes a workspace that is wrong, with one error.
#[test]
fn what_is_wrong_has_a_code_and_a_place() {
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
        // What is in a folder that is missing is no second problem.
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

/// Each of these makes a plan with one warning.
#[test]
fn what_is_odd_is_a_warning() {
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
fn an_unknown_role_is_reported_where_it_stands_first() {
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
fn a_wrong_type_says_what_was_found() {
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
fn an_unknown_key_is_reported_once_per_file_and_says_what_was_meant() {
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
fn null_is_absent() {
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
fn own_values_then_defaults_then_the_rule() {
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
    // What is wrong with a default is reported once.
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
fn prompts_fall_back_in_order() {
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
fn a_prompt_file_is_checked_where_it_is() {
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

#[test]
fn spawning_false_leaves_out_the_subtree() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, children: [{name: B!, spawning: false, required_env: [B_KEY], children: [{name: C, required_env: [C_KEY]}]}, {name: B}]}\n",
    );
    let plan = case.plan();
    let keys: Vec<&str> = plan.workspaces.iter().map(|w| w.key.as_str()).collect();
    // The key of the other one does not depend on whether this one is spawned. `printf B | sha256sum`
    assert_eq!(keys, ["a", "a/b-df7e70e5"]);
    let required: Vec<(&str, usize)> = plan
        .required_env
        .iter()
        .map(|r| (r.any_of[0].as_str(), r.missing_for.len()))
        .collect();
    assert_eq!(required, [("B_KEY", 0), ("C_KEY", 0)]);
}

const ENV_ORG: &str = "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, files_dir: a, workspace_dir: '${DIR}', workspace_access: read_only}\n- {name: B}\n";

#[test]
fn variables_are_layered() {
    let case = org(ENV_ORG)
        .file(".env", "DIR=/root\nROOT=1\nX=root")
        .file("a/.env", "DIR=/own\nX=own\nOWN=1")
        .vars(&[("X", "operator"), ("Y", "y")])
        .granted(&[("Z", "granted")]);
    let plan = case.plan();
    let env = |index: usize| {
        let env = plan.workspaces[index].env.iter();
        env.map(|var| {
            assert!(var.secret, "{var:?}");
            let by = match &var.origin {
                Origin::Template(place) => format!("{}:{}", place.file, place.line),
                Origin::Operator => "operator".to_owned(),
                Origin::Plugin => "plugin".to_owned(),
            };
            format!("{}={} {by}", var.name, var.value)
        })
        .collect::<Vec<_>>()
    };
    let own = [
        "DIR=/own a/.env:1",
        "OWN=1 a/.env:3",
        "ROOT=1 .env:2",
        "X=operator operator",
        "Y=y operator",
    ];
    assert_eq!(env(0), own);
    let root = [
        "DIR=/root .env:1",
        "ROOT=1 .env:2",
        "X=operator operator",
        "Y=y operator",
    ];
    assert_eq!(env(1), root);
    assert_eq!(plan.workspaces[0].workspace_dir.as_deref(), Some("/own"));
    // `.env` itself is never seeded.
    assert!(seeded(&plan.workspaces[0], ".env").is_none());
}

#[test]
fn workspace_dir() {
    let dir = |lines: &str, vars: &[(&str, &str)], granted: &[(&str, &str)]| {
        let one = workspace(lines).vars(vars).granted(granted).one();
        (one.workspace_dir.unwrap_or_default(), one.workspace_access)
    };
    use WorkspaceAccess::{None, ReadOnly, ReadWrite};
    let own = |text: &str, access| (text.to_owned(), access);
    assert_eq!(
        dir("workspace_dir: /srv/a..b", &[], &[]),
        own("/srv/a..b", ReadOnly)
    );
    assert_eq!(
        dir(
            "workspace_dir: /srv\nworkspace_access: read_write",
            &[],
            &[]
        ),
        own("/srv", ReadWrite)
    );
    assert_eq!(
        dir("workspace_dir: /srv\nworkspace_access: none", &[], &[]),
        own("", None)
    );
    assert_eq!(
        dir("workspace_dir: /srv/$A/x", &[("A", "a")], &[]),
        own("/srv/a/x", ReadOnly)
    );
    assert_eq!(
        dir("workspace_dir: ${A}", &[], &[("A", "/granted")]),
        own("/granted", ReadOnly)
    );
    assert_eq!(
        dir(
            "workspace_dir: ${A}\nworkspace_access: read_write",
            &[],
            &[]
        ),
        own("", None)
    );
    // A granted value never becomes a part of something, and no value is ever shown.
    let case = workspace("workspace_dir: /srv/$A").granted(&[("A", "canary")]);
    assert_eq!(
        case.errors(),
        ["workspace-dir-unresolved org.yaml:5:20 workspaces[0].workspace_dir"]
    );
    let case = workspace("workspace_dir: $A").vars(&[("A", "canary")]);
    assert_eq!(case.error().code, "workspace-dir-invalid");
    assert!(!format!("{:?}", case.error()).contains("canary"));
}

#[test]
fn only_two_places_expand() {
    let case = workspace(
        "role: $X\nsystem_prompt: $X\ninitial_prompt: $X\nmodel: $X\nplugins: [$X]\nfiles_dir: $X\nurl: https://$X/\nchannels: [{type: slack, config: {webhook_url: $X}, allowed_users: [$X]}]\nschedules: [{name: $X, cron_expr: '* * * * *', prompt: $X}]\ninitial_memories: [{content: $X}]",
    );
    let one = case.file("$X/x", "").vars(&[("X", "canary")]).one();
    assert_eq!(one.channels[0].config[0].value, "canary");
    assert_eq!(one.channels[0].allowed_users, ["$X"]);
    let mut rest = one.clone();
    rest.channels.clear();
    rest.env.clear();
    rest.files.retain(|file| file.path != "channels.yaml");
    assert!(!format!("{rest:?}").contains("canary"));
    assert!(!inline(&one, "config.yaml").contains("canary"));
    assert!(seeded(&one, "channels.yaml").unwrap().secret);
}

#[test]
fn the_env_file_of_a_role_inside_of_another_is_read_and_no_mistake() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, files_dir: a}\n- {name: B, files_dir: a/b}\n",
    );
    let case = case
        .file("a/b/.env", "X=1")
        .file("a/c/.env", "X=1")
        .file("a/b/x", "");
    assert_eq!(case.warnings(), ["secret-not-copied a/c/.env:0:0"]);
}

#[test]
fn the_folder_is_seeded_without_secrets() {
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

/// A template whose folder holds what is no file.
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
            size: 0,
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
fn what_is_no_ordinary_file_is_left_out() {
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
fn channels_work_or_say_why_not() {
    const TOKEN: &str = "bot_token: '12:ab-C_9'";
    for (channel, reason) in [
        ("{}", "empty type"),
        (
            "{type: irc}",
            "unknown adapter; known are telegram, slack, lark, discord",
        ),
        (
            "{type: telegram, config: {bot_token: '${B} $A', chat_id: $C}}",
            "missing env: A, B, C",
        ),
        (
            "{type: telegram, config: {bot_token: '${TOKEN:-s3cret}', chat_id: $C}}",
            "missing env: C; malformed reference in `bot_token`",
        ),
        (
            "{type: telegram, config: {bot_token: $EMPTY, chat_id: 1}}",
            "missing env: EMPTY",
        ),
        (
            "{type: telegram, config: {chat_id: 1}}",
            "`bot_token` is missing",
        ),
        (
            "{type: telegram, config: {bot_token: x, chat_id: 1}}",
            "`bot_token` is not of the form `<number>:<token>`",
        ),
        (
            &format!("{{type: telegram, config: {{{TOKEN}}}}}"),
            "`chat_id` is missing",
        ),
        (
            "{type: slack, config: {bot_token: x}}",
            "it needs `webhook_url`, or `bot_token` and `channel_id`",
        ),
        ("{type: discord}", "`webhook_url` is missing"),
        (
            "{type: discord, config: {webhook_url: 'https://evil.example/api/webhooks/1'}}",
            "`webhook_url` does not begin with https://discord.com/api/webhooks/ or https://discordapp.com/api/webhooks/",
        ),
    ] {
        let one = workspace(&format!("channels: [{channel}]"))
            .vars(&[("EMPTY", "")])
            .one();
        assert_eq!(one.skipped_channels[0].reason, reason, "{channel}");
        assert!(one.channels.is_empty() && seeded(&one, "channels.yaml").is_none());
    }
    for channel in [
        &format!("{{type: telegram, config: {{{TOKEN}, chat_id: -1}}}}"),
        "{type: slack, config: {webhook_url: x}}",
        "{type: slack, config: {bot_token: x, channel_id: y}}",
        "{type: lark, config: {webhook_url: https://open.feishu.cn/open-apis/bot/v2/hook/x}}",
        "{type: discord, config: {webhook_url: https://discord.com/api/webhooks/1/x}}",
    ] {
        let case = workspace(&format!("channels: [{channel}]"));
        assert_eq!(case.one().skipped_channels, [], "{channel}");
        assert_eq!(
            case.warnings(),
            ["channel-open org.yaml:5:16 workspaces[0].channels[0]"]
        );
        let closed = format!(
            "channels: [{}]",
            channel.replacen('{', "{allowed_users: [u], ", 1)
        );
        assert_eq!(workspace(&closed).warnings(), [""; 0]);
        let off = format!(
            "channels: [{}]",
            channel.replacen('{', "{enabled: off, ", 1)
        );
        assert_eq!(workspace(&off).warnings(), [""; 0]);
    }
}

#[test]
fn two_channels_of_a_type_are_kept_and_secrets_are_flagged() {
    let one = workspace("channels:\n- {type: slack, config: {webhook_url: a, note: n}}\n- {type: slack, config: {webhook_url: b, note: $N, API_Key: k}}")
        .vars(&[("N", "v")])
        .one();
    let secret: Vec<Vec<(&str, bool)>> = one
        .channels
        .iter()
        .map(|c| {
            c.config
                .iter()
                .map(|e| (e.name.as_str(), e.secret))
                .collect()
        })
        .collect();
    assert_eq!(
        secret,
        [
            vec![("note", false), ("webhook_url", true)],
            vec![("API_Key", true), ("note", true), ("webhook_url", true)]
        ]
    );
}

#[test]
fn memories() {
    let case = org(
        "name: O\ndefaults: {runtime: r, initial_memories: [{content: d}]}\nglobal_memories: [{content: g, scope: team}]\nworkspaces:\n- {name: Off, spawning: false}\n- {name: X, external: true, url: 'https://x.example'}\n- {name: A, initial_memories: [{content: a, scope: team}, {content: b, scope: ''}], children: [{name: C}]}\n- {name: B}\n",
    );
    let plan = case.plan();
    let found = |name: &str| {
        let workspace = plan.workspaces.iter().find(|w| w.name == name).unwrap();
        let memories = workspace
            .memories
            .iter()
            .map(|m| (m.content.clone(), m.scope));
        memories.collect::<Vec<_>>()
    };
    use MemoryScope::{Global, Local, Team};
    let own = |list: &[(&str, MemoryScope)]| {
        list.iter()
            .map(|(c, s)| ((*c).to_owned(), *s))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("A"), own(&[("a", Team), ("b", Local), ("g", Global)]));
    for name in ["X", "B", "C"] {
        assert_eq!(found(name), own(&[("d", Local)]), "{name}");
    }
    // A list that is there replaces the defaults, even where nothing of it is left.
    let own_is_void = org(
        "name: O\ndefaults: {runtime: r, initial_memories: [{content: d}]}\nworkspaces: [{name: A, initial_memories: [{content: ' '}]}]",
    );
    assert_eq!(own_is_void.one().memories, []);
    let long = workspace(&format!(
        "initial_memories: [{{content: '{}é'}}]",
        "x".repeat(99_999)
    ));
    assert_eq!(long.one().memories[0].content.len(), 99_999);
    assert_eq!(
        long.warnings(),
        ["memory-cut org.yaml:5:24 workspaces[0].initial_memories[0]"]
    );
    let nobody = org("name: O\nglobal_memories: [{content: g}]\nworkspaces: []");
    assert_eq!(
        nobody.warnings(),
        ["no-workspaces", "global-memories-unused"]
    );
}

#[test]
fn external_workspaces_are_told_no_secrets() {
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
fn schedules() {
    let case = workspace(
        "files_dir: d\nschedules:\n- {name: a, cron_expr: '0  9 * * MON-FRI', prompt_file: s/p.md}\n- {name: b, cron_expr: '*/5 * * * *', timezone: Europe/Berlin, prompt: x, prompt_file: none, enabled: no}",
    );
    let one = case.file("d/s/p.md", "from a file\r\n").one();
    let found: Vec<(&str, &str, &str, bool)> = one
        .schedules
        .iter()
        .map(|s| {
            (
                s.cron.as_str(),
                s.timezone.as_str(),
                s.prompt.as_str(),
                s.enabled,
            )
        })
        .collect();
    let expected = [
        ("0 9 * * MON-FRI", "UTC", "from a file\n", true),
        ("*/5 * * * *", "Europe/Berlin", "x\n", false),
    ];
    assert_eq!(found, expected);
    let zone = workspace(
        "schedules: [{name: s, cron_expr: '* * * * *', prompt: x, timezone: Europe/Berln}]",
    )
    .error();
    assert!(
        zone.message.contains("did you mean `Europe/Berlin`?"),
        "{}",
        zone.message
    );
}

#[test]
fn plugins_with_configuration() {
    let case = org(
        "name: O\ndefaults:\n  runtime: r\n  plugins:\n  - p\n  - source: q\n    config: {schedules: [{name: s, cron_expr: '1 2 * * *', prompt_file: root.md}], n: 7, keep: 007, on: yes, t: true, f: 1.5}\nworkspaces:\n- name: A\n  files_dir: d\n  plugins: [{source: p, config: {schedules: [{name: t, cron_expr: '* * * * *', prompt_file: own.md}]}}, x]\n- {name: B, plugins: ['!q']}\n",
    );
    let plan = case.file("root.md", "root").file("d/own.md", "own").plan();
    let found: Vec<(&str, Option<&str>)> = plan.workspaces[0]
        .plugins
        .iter()
        .map(|p| (p.source.as_str(), p.config.as_deref()))
        .collect();
    let expected = [
        (
            "p",
            Some(
                r#"{"schedules":[{"name":"t","cron_expr":"* * * * *","timezone":"UTC","enabled":true,"prompt":"own\n"}]}"#,
            ),
        ),
        (
            "q",
            Some(
                r#"{"n":7,"keep":"007","on":"yes","t":true,"f":1.5,"schedules":[{"name":"s","cron_expr":"1 2 * * *","timezone":"UTC","enabled":true,"prompt":"root\n"}]}"#,
            ),
        ),
        ("x", None),
    ];
    assert_eq!(found, expected);
    assert_eq!(plan.workspaces[1].plugins.len(), 1);
}

#[test]
fn requirements() {
    let case = org(
        "name: O\ndefaults: {runtime: r}\nrequired_env: [Z, {any_of: [B, A]}, {any_of: [A, B]}, {any_of: [Z, Q]}, G, lower]\nrecommended_env: [Z, {any_of: [Z, K]}, {any_of: [A, B]}, K, {any_of: [M, bad-name]}]\nworkspaces:\n- {name: One, files_dir: one, required_env: [OWN, {any_of: [Z, W]}]}\n- {name: Two, required_env: [OWN], recommended_env: [R]}\n",
    );
    let case = case
        .file("one/.env", "OWN=1\nW=1\nK=1")
        .granted(&[("G", "x")])
        .vars(&[("B", "")]);
    let plan = case.plan();
    let list = |requirements: &[orghost_plugin::Requirement]| {
        let one = |r: &orghost_plugin::Requirement| {
            format!("{} <- {}", r.any_of.join("|"), r.missing_for.join(","))
        };
        requirements.iter().map(one).collect::<Vec<_>>()
    };
    // Who asked for `Z or W`, has W, and lacks the stricter Z; the org has the empty key.
    assert_eq!(
        list(&plan.required_env),
        ["G <- ", "OWN <- two", "Z <- ,one", "B|A <- "]
    );
    assert_eq!(plan.required_env[2].missing_for, ["", "one"]);
    assert_eq!(plan.required_env[3].missing_for, [""]);
    assert_eq!(list(&plan.recommended_env), ["K <- ", "M <- ", "R <- two"]);
    let invalid = case
        .warnings()
        .iter()
        .filter(|w| w.starts_with("env-name-invalid"))
        .count();
    assert_eq!(invalid, 2);
}

#[test]
fn the_canvas() {
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

#[test]
fn everything_wrong_is_reported_at_once() {
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
fn no_message_holds_a_value() {
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

#[test]
fn a_broken_env_file_is_an_error() {
    let mut case = workspace("files_dir: d").file("d/x", "");
    case.files
        .0
        .insert("d/.env".to_owned(), b"A=1\nB=\xff".to_vec());
    assert_eq!(case.errors(), ["file-unreadable d/.env:2:0"]);
}

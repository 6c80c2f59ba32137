//! Channels, memories, schedules and agent plugins of a workspace (org-template.md §5 and §7).

use orghost_plugin::MemoryScope;

use crate::{org, seeded, workspace};

#[test]
fn a_channel_is_planned_or_left_out_with_a_reason() {
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
fn channels_of_one_type_are_all_kept_with_their_secrets_flagged() {
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
fn own_memories_replace_the_defaults_and_the_first_root_has_the_global_ones() {
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
    // A list of empty memories replaces the defaults too.
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
    let rootless = org("name: O\nglobal_memories: [{content: g}]\nworkspaces: []");
    assert_eq!(
        rootless.warnings(),
        ["no-workspaces", "global-memories-unused"]
    );
}

#[test]
fn schedules_have_their_cron_line_time_zone_and_prompt_resolved() {
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
fn a_plugins_configuration_is_kept_and_its_schedules_are_resolved() {
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

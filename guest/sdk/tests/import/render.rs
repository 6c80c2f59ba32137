//! The generated files (org-template.md §6): their layout, and that a reader of YAML reads back the same values.

use proptest::prelude::*;
use saphyr_parser::{Event, Parser};

use crate::{inline, org, seeded, workspace};

#[test]
fn config_yaml_has_every_field_in_order() {
    let case = org(r#"
name: O
defaults:
  runtime: claude-code
  category_routing: {z: [B, A, A], a: [A], gone: [A], '': [A]}
  plugins: [p]
workspaces:
  - name: A
    role: >
      Folded
      text: "quoted"
    model: opus
    category_routing: {gone: [], a: [B], new: ['yes', '42']}
    plugins: [{source: q, config: {level: 3}}]
    max_concurrent_tasks: 2
    schedules: [{name: Daily, cron_expr: '0 9 * * *', prompt: "one\n\ntwo  \n\n"}]
    initial_prompt: |

      First $LINE
        indented	
      ${NOT} expanded

    idle_prompt: idle
  - {name: B, runtime: langgraph, tier: 1, plugins: ['!p']}
"#);
    let plan = case.plan();
    let expected = r#"name: A
description: "Folded text: \"quoted\""
version: "1.0.0"
tier: 2
runtime: claude-code
model: opus
runtime_config:
  timeout: 0
category_routing:
  a:
  - B
  new:
  - "yes"
  - "42"
  z:
  - B
  - A
  - A
plugins:
- p
- source: q
  config:
    level: 3
max_concurrent_tasks: 2
schedules:
- name: Daily
  cron_expr: 0 9 * * *
  timezone: UTC
  enabled: true
  prompt: |
    one

    two
initial_prompt: |
  First $LINE
    indented
  ${NOT} expanded
idle_interval_seconds: 600
idle_prompt: |
  idle
"#;
    assert_eq!(inline(&plan.workspaces[0], "config.yaml"), expected);
    let expected = r#"name: B
description: ""
version: "1.0.0"
tier: 1
runtime: langgraph
category_routing:
  a:
  - A
  gone:
  - A
  z:
  - B
  - A
  - A
"#;
    assert_eq!(inline(&plan.workspaces[1], "config.yaml"), expected);
    assert!(seeded(&plan.workspaces[1], "system-prompt.md").is_none());
}

#[test]
fn channels_yaml_is_secret_and_config_yaml_has_no_channels() {
    let one = workspace(
        "channels: [{type: slack, config: {webhook_url: $HOOK, a: '1'}, allowed_users: [u]}]\ninitial_memories: [{content: \"x\\ny\", scope: team}]",
    )
    .vars(&[("HOOK", "https://hooks.example/s3cret")])
    .one();
    let channels = "- type: slack\n  enabled: true\n  allowed_users:\n  - u\n  config:\n    a: \"1\"\n    webhook_url: https://hooks.example/s3cret\n";
    assert_eq!(inline(&one, "channels.yaml"), channels);
    assert_eq!(
        inline(&one, "memories.yaml"),
        "- scope: TEAM\n  content: |-\n    x\n    y\n"
    );
    assert!(!inline(&one, "config.yaml").contains("s3cret"));
    let secret: Vec<&str> = one
        .files
        .iter()
        .filter(|file| file.secret)
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(secret, ["channels.yaml"]);
}

/// Agents read these files with PyYAML, which is YAML 1.1.
#[test]
fn texts_that_yaml_1_1_would_misread_are_quoted() {
    let words = [
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "N",
        "~",
        "null",
        "True",
        "1_000",
        "0o7",
        "010",
        "0b1",
        "12:30:00",
        "1:30",
        "2024-01-01",
        "2024-01-01T12:00:00Z",
        "=",
        "<<",
        ".5",
        "1e3",
        "1.",
        ".inf",
        "-.INF",
        ".NaN",
        "+1",
        "0x_1F",
        "!x",
        "&x",
        "*x",
        "- x",
        "x: y",
        "x #y",
        "@x",
        "`x",
        "%x",
        "|",
        ">",
        "---",
        "...",
        "# x",
        "x:",
        "?",
        "[",
        "{",
    ];
    for word in words {
        let template = format!(
            "name: O\nworkspaces:\n- name: '{word}'\n  runtime: r\n  role: '{word}'\n  model: '{word}'\n  plugins: ['{word}', {{source: p, config: {{'{word}': ['{word}']}}}}]\n  category_routing: {{'{word}': ['{word}']}}\n  schedules: [{{name: '{word}', cron_expr: '* * * * *', prompt: x}}]\n  initial_memories: [{{content: '{word}'}}]\n  channels: [{{type: slack, allowed_users: ['{word}'], config: {{webhook_url: '{word}', '{word}': '{word}'}}}}]\n",
        );
        let one = org(&template).one();
        // A plugin whose name begins with `!` or `-` removes a plugin, and adds none.
        let plugin = usize::from(!word.starts_with('!') && !word.starts_with('-'));
        for (file, count) in [
            ("config.yaml", 8 + plugin),
            ("memories.yaml", 1),
            ("channels.yaml", 4),
        ] {
            let yaml = inline(&one, file);
            let quoted = yaml.matches(&format!("\"{word}\"")).count();
            assert_eq!(quoted, count, "{word} in {file}:\n{yaml}");
        }
    }
}

/// libyaml reads a tab at the beginning of a block scalar as wrong indentation.
#[test]
fn a_text_that_begins_with_a_tab_is_quoted() {
    for (content, written) in [
        ("\\tx\\ny", "content: \"\\tx\\ny\""),
        ("\\n \\n\\tx\\ny", "content: \"\\n \\n\\tx\\ny\""),
        ("x\\n\\ty", "content: |-\n    x\n    \ty"),
        (" x\\ny", "content: |2-\n     x\n    y"),
    ] {
        let one = workspace(&format!("initial_memories: [{{content: \"{content}\"}}]")).one();
        let yaml = inline(&one, "memories.yaml");
        assert_eq!(yaml, format!("- scope: LOCAL\n  {written}\n"));
    }
}

/// Readers accept keys of at most 1024 characters, and an escaped character takes two.
#[test]
fn a_key_that_readers_would_refuse_is_an_error() {
    let yaml = |length: usize| {
        let key = "\\".repeat(length);
        workspace(&format!("category_routing: {{'{key}': [A]}}"))
    };
    let config = inline(&yaml(500).one(), "config.yaml");
    assert!(config.lines().all(|line| line.len() < 1024));
    assert!(read_back(&config).len() > 3);
    assert_eq!(
        yaml(501).errors(),
        ["key-too-long org.yaml:5:24 workspaces[0].category_routing"]
    );
}

#[test]
fn a_role_keeps_its_lines_and_indentation() {
    let one = workspace("role: \"\\n  Leads:\\n- one\\n\\n- two \\n\\n\"\nmodel: m").one();
    assert_eq!(one.role, "\n  Leads:\n- one\n\n- two");
    let config = inline(&one, "config.yaml");
    let expected = "\ndescription: |2-\n\n    Leads:\n  - one\n\n  - two\nversion";
    assert!(config.contains(expected), "{config}");
}

/// The values of the top-level keys, as a reader of YAML sees them.
fn read_back(yaml: &str) -> Vec<(String, String)> {
    let mut scalars = Vec::new();
    let mut depth = 0;
    for event in Parser::new_from_str(yaml) {
        match event.unwrap_or_else(|error| panic!("{error}: {yaml}")).0 {
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth -= 1,
            Event::Scalar(text, ..) if depth == 1 => scalars.push(text.into_owned()),
            _ => {}
        }
    }
    // `runtime_config` has a mapping, so its key would be without a value here.
    scalars.retain(|scalar| scalar != "runtime_config");
    scalars
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()))
        .collect()
}

/// A text in double quotes, as a template spells it.
fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        other => other.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

proptest! {
    #[test]
    fn texts_are_read_back_as_they_were_written(
        name in "[\\PC\t\n]{1,12}",
        role in "([#:&*!|>'\"%@`{}\\[\\],?~=<-]|yes|null|0x1F|1[.]5|[a-z]|[ \t\n]|\\PC){0,20}",
        prompt in "([#:&*!|>'\"%@`{}\\[\\],?~=<-]|---|[.]{3}|[a-z]| |[ ]{4}|\t|\n|\n\n|é|\u{1f600}|\\PC){0,40}",
    ) {
        prop_assume!(!name.trim().is_empty());
        // These characters are errors in a template.
        let refused = |c: char| matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
        prop_assume!(![&name, &role, &prompt].iter().any(|text| text.contains(refused)));
        let template = format!(
            "name: O\nworkspaces:\n- name: {}\n  runtime: r\n  role: {}\n  initial_prompt: {}\n",
            quoted(&name), quoted(&role), quoted(&prompt),
        );
        let one = org(&template).one();
        let found = read_back(&inline(&one, "config.yaml"));
        let get = |key: &str| found.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        prop_assert_eq!(get("name"), Some(name.trim()));
        prop_assert_eq!(get("description"), Some(role.trim_end()));
        let lines: String = prompt.trim().split('\n').map(|line| format!("{}\n", line.trim_end_matches([' ', '\t']))).collect();
        let expected = (!prompt.trim().is_empty()).then_some(lines.as_str());
        prop_assert_eq!(get("initial_prompt"), expected);
    }

    /// No template makes the importer panic: the result is a plan or a list of errors.
    #[test]
    fn any_template_gives_a_plan_or_errors(text in "(name: |workspaces:|defaults:|children: |- |  |\n|\n|\n|[{]|[}]|\\[|\\]|, |: |&a |[*]a|!include |org.yaml|<<: |tier: |[0-9]|[|]|\"|'|#|\\PC){0,60}") {
        match org(&text).import() {
            Ok(plan) => prop_assert!(!plan.org.name.is_empty()),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }
}

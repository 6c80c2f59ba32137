//! The generated files (org-template.md §6), and that a reader of YAML 1.2 finds in them what was meant.

use proptest::prelude::*;
use saphyr_parser::{Event, Parser};

use crate::{inline, org, seeded, workspace};

#[test]
fn config_yaml_in_full() {
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
    let expected = "\
name: A
description: 'Folded text: \"quoted\"'
version: 1.0.0
tier: 2
runtime: claude-code
model: opus
runtime_config:
  timeout: 0
category_routing:
  a:
  - B
  new:
  - yes
  - '42'
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
";
    assert_eq!(inline(&plan.workspaces[0], "config.yaml"), expected);
    let expected = "\
name: B
description: ''
version: 1.0.0
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
";
    assert_eq!(inline(&plan.workspaces[1], "config.yaml"), expected);
    assert!(seeded(&plan.workspaces[1], "system-prompt.md").is_none());
}

#[test]
fn channels_and_memories() {
    let one = workspace(
        "channels: [{type: slack, config: {webhook_url: $HOOK, a: '1'}, allowed_users: [u]}]\ninitial_memories: [{content: \"x\\ny\", scope: team}]",
    )
    .vars(&[("HOOK", "https://hooks.example/s3cret")])
    .one();
    let channels = "- type: slack\n  enabled: true\n  allowed_users:\n  - u\n  config:\n    a: '1'\n    webhook_url: https://hooks.example/s3cret\n";
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

/// The values of the top-level keys, as another reader of YAML sees them.
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
    // `runtime_config` is followed by a mapping; what matters here comes before and after it.
    scalars.retain(|scalar| scalar != "runtime_config");
    scalars
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()))
        .collect()
}

/// A text in double quotes, for a template.
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
    fn what_is_written_reads_back(
        name in "[\\PC\t\n]{1,12}",
        role in "([#:&*!|>'\"%@`{}\\[\\],?~=<-]|yes|null|0x1F|1[.]5|[a-z]|[ \t\n]|\\PC){0,20}",
        prompt in "([#:&*!|>'\"%@`{}\\[\\],?~=<-]|---|[.]{3}|[a-z]| |[ ]{4}|\t|\n|\n\n|é|\u{1f600}|\\PC){0,40}",
    ) {
        prop_assume!(!name.trim().is_empty());
        // Not printable for YAML, and refused with a place: see the rules.
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
        prop_assert_eq!(get("description"), Some(role.trim()));
        let lines: String = prompt.trim().split('\n').map(|line| format!("{}\n", line.trim_end_matches([' ', '\t']))).collect();
        let expected = (!prompt.trim().is_empty()).then_some(lines.as_str());
        prop_assert_eq!(get("initial_prompt"), expected);
    }

    /// Whatever a template is made of, the answer is a plan or a list of problems.
    #[test]
    fn any_template_is_answered(text in "(name: |workspaces:|defaults:|children: |- |  |\n|\n|\n|[{]|[}]|\\[|\\]|, |: |&a |[*]a|!include |org.yaml|<<: |tier: |[0-9]|[|]|\"|'|#|\\PC){0,60}") {
        match org(&text).import() {
            Ok(plan) => prop_assert!(!plan.org.name.is_empty()),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }
}

//! Tests of the command line from outside: exit codes, errors, secrets.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Operator, Ran};

const ORG: &str = "
name: Acme
defaults: {runtime: claude-code}
workspaces:
  - name: PM
    role: leads
    files_dir: pm
    channels:
      - type: telegram
        config: {bot_token: '${BOT}', chat_id: 7}
        allowed_users: [1]
";

fn acme(operator: &Operator) -> String {
    operator.template(&[
        ("org.yaml", ORG),
        ("pm/notes.md", "a\r\nb\r\n"),
        ("pm/run.sh", "#!/bin/sh\n"),
    ])
}

#[test]
fn invalid_input_has_an_exit_code_and_help() {
    let operator = Operator::new();
    let template = acme(&operator);
    let empty = operator
        .file("empty/readme", "")
        .parent()
        .unwrap()
        .display()
        .to_string();
    let config = operator
        .file("bad.toml", "concurrency = 4\n[policy]\nmax_teir = 3\n")
        .display()
        .to_string();
    let vars = operator
        .file("vars", "A=1\nnot an assignment\n")
        .display()
        .to_string();
    let table: &[(&[&str], i32, &str)] = &[
        (&["plan", "/nowhere"], 2, "template-not-found"),
        (&["plan", &empty], 2, "template-missing"),
        (
            &["plan", &template, "--plugin", "/nowhere"],
            2,
            "plugin-unreadable",
        ),
        (
            &["plan", &template, "--plugin", "/"],
            2,
            "plugin-unreadable",
        ),
        (
            &["plan", &template, "--config", "/nowhere"],
            2,
            "config-unreadable",
        ),
        (
            &["plan", &template, "--config", &config],
            2,
            "config-invalid",
        ),
        (
            &["plan", &template, "--env-file", "/nowhere"],
            2,
            "env-file",
        ),
        (&["plan", &template, "--env-file", &vars], 2, "env-file"),
        (&["plan", &template, "--env", "A B=1"], 2, "env-name"),
        (&["plan", &template, "--env", "A"], 2, "env-name"),
        (&["plan", &template, "--grant", "A=1"], 2, "grant-name"),
        (&["plan", &template, "--max-tier", "5"], 2, "usage"),
        (&["plan"], 2, "usage"),
        (&["nonsense"], 2, "usage"),
        (&["down", "nobody"], 2, "unknown-org"),
        (&["status", "nobody"], 2, "unknown-org"),
        (&["logs", "nobody"], 2, "unknown-workspace"),
        (&["status", "--state", "/proc/nowhere"], 1, "state-folder"),
    ];
    for (args, exit, code) in table {
        let mut json = args.to_vec();
        json.push("--json");
        let ran = operator.run(&json).exits(*exit);
        assert_eq!(ran.error_codes(), [*code], "{args:?}");
        // The human output shows the same error on standard error.
        let ran = operator.run(args).exits(*exit);
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{args:?}: {}",
            ran.stdout
        );
    }
}

#[test]
fn an_error_shows_its_place_in_the_source() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Acme\nworkspaces:\n  - name: PM\n    tier: many\n",
    )]);
    let ran = operator.run(&["plan", &template]).exits(2);
    assert!(ran.stderr.contains("org.yaml:4:11"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tier: many"), "{}", ran.stderr);
    assert!(
        !ran.stderr.contains('\u{1b}'),
        "colour without a terminal: {}",
        ran.stderr
    );
    let config = operator
        .file("orghost.toml", "[policy]\nmax_teir = 3\n")
        .display()
        .to_string();
    let ran = operator
        .run(&["plan", &template, "--config", &config, "--json"])
        .exits(2);
    let error = &ran.json()["errors"][0];
    assert_eq!(
        (error["line"].as_u64(), error["column"].as_u64()),
        (Some(2), Some(1)),
        "{error}"
    );
}

#[test]
fn a_template_cannot_send_control_sequences_to_the_terminal() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: \"a\\e[2Jb\"\nworkspaces: 7\n\"\\e[31mkey\": 1\n",
    )]);
    let ran = operator.run(&["plan", &template]);
    assert!(
        !ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'),
        "{:?}",
        ran.stderr
    );
}

#[test]
fn violations_exit_with_3_and_are_shown_beside_the_plan() {
    let operator = Operator::new();
    let template = acme(&operator);
    for command in ["plan", "up"] {
        let ran = operator.run(&[command, &template, "--json"]).exits(3);
        let json = ran.json();
        assert_eq!(json["violations"][0]["code"], "unknown-runtime", "{json}");
        assert_eq!(json["violations"][0]["workspace"], "pm");
        assert_eq!(json["workspaces"][0]["key"], "pm");
    }
    assert!(!operator.state().exists(), "a refused plan touches nothing");
}

#[test]
fn secrets_are_redacted_unless_asked_for() {
    let operator = Operator::new().with_env("BOT", "123:hunter2-granted");
    let template = acme(&operator);
    operator.file("template/.env", "TOKEN=hunter2-dotenv\n");
    let plan = |more: &[&str]| {
        let mut args = vec![
            "plan",
            &template,
            "--demo",
            "--env",
            "EXTRA=hunter2-env",
            "--grant",
            "BOT",
        ];
        args.extend(more);
        operator.run(&args).exits(0)
    };
    let everything = |ran: &Ran| format!("{}{}", ran.stdout, ran.stderr);
    for ran in [plan(&[]), plan(&["--json"])] {
        assert!(
            !everything(&ran).contains("hunter2"),
            "{}",
            everything(&ran)
        );
    }
    let shown = plan(&["--json", "--show-secrets"]);
    for value in ["hunter2-dotenv", "hunter2-env", "123:hunter2-granted"] {
        assert!(shown.stdout.contains(value), "{value}: {}", shown.stdout);
    }
    let json = plan(&["--json"]).json();
    let workspace = &json["workspaces"][0];
    assert_eq!(
        workspace["env"][0],
        serde_json::json!({"name": "EXTRA", "redacted": true})
    );
    assert_eq!(workspace["channels"][0]["config"]["chat_id"], "7");
}

#[test]
fn only_granted_variables_leave_the_hosts_environment() {
    let operator = Operator::new().with_env("BOT", "123:canary");
    let template = acme(&operator);
    let ran = operator
        .run(&["plan", &template, "--demo", "--json", "--show-secrets"])
        .exits(0);
    assert!(!ran.stdout.contains("canary"), "{}", ran.stdout);
    assert_eq!(
        ran.json()["workspaces"][0]["skipped_channels"][0]["type"],
        "telegram"
    );
}

#[test]
fn expand_uses_the_map_and_then_the_grants() {
    let operator = Operator::new().with_env("HOST", "h");
    let expand = |text: &str| {
        let ran = operator.run(&[
            "expand", text, "--env", "FOO=bar", "--env", "EMPTY=", "--grant", "HOST", "--json",
        ]);
        let json = ran.exits(0).json();
        let list = |name: &str| json[name].as_array().unwrap().len();
        (
            json["text"].as_str().unwrap().to_owned(),
            list("unresolved"),
            list("malformed"),
        )
    };
    let table = [
        ("${FOO}", "bar", 0, 0),
        ("a${FOO}b", "abarb", 0, 0),
        ("${HOST}", "h", 0, 0),
        ("x/${HOST}", "x/${HOST}", 1, 0),
        ("${NONE}", "", 1, 0),
        ("${EMPTY}", "", 1, 0),
        ("cost $100", "cost $100", 0, 0),
        ("${}", "${}", 0, 1),
        ("${FOO-x}", "${FOO-x}", 0, 1),
        ("-x $FOO", "-x bar", 0, 0),
    ];
    for (text, expanded, unresolved, malformed) in table {
        assert_eq!(
            expand(text),
            (expanded.to_owned(), unresolved, malformed),
            "{text}"
        );
    }
    let people = operator.run(&["expand", "$FOO"]).exits(0);
    assert_eq!(
        (people.stdout.as_str(), people.stderr.as_str()),
        ("\n", "unresolved: FOO\n")
    );
}

#[test]
fn env_overrides_env_file_overrides_the_templates_env() {
    let operator = Operator::new();
    let template = acme(&operator);
    operator.file("template/.env", "A=dotenv\nB=dotenv\nC=dotenv\n");
    let file = operator
        .file("vars", "# mine\nexport B='file'\nC=file\n")
        .display()
        .to_string();
    let args = [
        "plan",
        &template,
        "--demo",
        "--json",
        "--show-secrets",
        "--env-file",
        &file,
        "--env",
        "C=flag",
    ];
    let json = operator.run(&args).exits(0).json();
    let expected = serde_json::json!([
        {"name": "A", "value": "dotenv"}, {"name": "B", "value": "file"}, {"name": "C", "value": "flag"},
    ]);
    assert_eq!(json["workspaces"][0]["env"], expected);
}

#[test]
fn render_writes_the_files_of_a_workspace() {
    let operator = Operator::new();
    let template = acme(&operator);
    let script = operator.home.path().join("template/pm/run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    operator.file("template/pm/.env", "TOKEN=hunter2\n");
    let out = operator.home.path().join("out");
    let render = |more: &[&str]| {
        let mut args = vec![
            "plan",
            &template,
            "--demo",
            "--env",
            "BOT=123:hunter2",
            "--render",
            out.to_str().unwrap(),
        ];
        args.extend(more);
        operator.run(&args)
    };
    render(&[]).exits(0);
    let read = |path: &str| std::fs::read_to_string(out.join("pm").join(path)).unwrap();
    let mode = |path: &str| {
        std::fs::metadata(out.join("pm").join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert!(
        read("config.yaml")
            .starts_with("name: PM\ndescription: leads\nversion: \"1.0.0\"\ntier: 2\n")
    );
    assert_eq!(read("notes.md"), "a\nb\n");
    assert_eq!(
        (mode("run.sh"), mode("notes.md"), mode("channels.yaml")),
        (0o755, 0o644, 0o600)
    );
    assert!(!read("channels.yaml").contains("hunter2"));
    assert!(!out.join("pm/.env").exists());
    // An existing folder is not overwritten.
    render(&[]).exits(1);
    std::fs::remove_dir_all(&out).unwrap();
    render(&["--show-secrets"]).exits(0);
    assert!(read("channels.yaml").contains("123:hunter2"));
}

#[test]
fn every_command_has_help_and_shells_have_completions() {
    let operator = Operator::new();
    let help = operator.run(&["--help"]).exits(0).stdout;
    assert!(
        help.contains("Exit codes:") && help.contains("refused by policy"),
        "{help}"
    );
    for command in [
        &["plan"][..],
        &["up"],
        &["status"],
        &["logs"],
        &["down"],
        &["expand"],
        &["plugin", "inspect"],
        &["plugin", "build"],
        &["completions"],
        &["man"],
    ] {
        let mut args = command.to_vec();
        args.push("--help");
        assert!(
            operator
                .run(&args)
                .exits(0)
                .stdout
                .contains("Usage: orghost"),
            "{command:?}"
        );
        assert!(help.contains(command[0]), "{command:?} is not in the help");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            operator
                .run(&["completions", shell])
                .exits(0)
                .stdout
                .contains("ignore-missing-env"),
            "{shell}"
        );
    }
    let folder = operator.home.path().join("man");
    operator.run(&["man", folder.to_str().unwrap()]).exits(0);
    assert!(folder.join("orghost-plan.1").exists());
}

#[test]
fn a_store_of_an_unknown_version_is_not_changed() {
    let operator = Operator::new();
    operator.run(&["status"]).exits(0);
    let file = operator.state().join("orghost.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    assert_eq!(
        operator.run(&["status", "--json"]).exits(1).error_codes(),
        ["store-newer"]
    );
    let garbage = b"this is no database, and somebody may want it back".repeat(100);
    std::fs::write(&file, &garbage).unwrap();
    assert_eq!(
        operator.run(&["status", "--json"]).exits(1).error_codes(),
        ["store-corrupt"]
    );
    assert_eq!(std::fs::read(&file).unwrap(), garbage);
}

#[test]
fn an_invalid_env_argument_is_named_by_position_and_never_shown() {
    let operator = Operator::new();
    let template = acme(&operator);
    for (text, why) in [
        ("hunter2", "it has no `=`"),
        ("=hunter2", "it begins with `=`"),
        ("hunter-2==", "the part before `=` is not a valid name"),
    ] {
        let args = ["plan", &template, "-e", "A=1", "--env", text];
        let ran = operator.run(&[&args[..], &["--json"]].concat()).exits(2);
        assert_eq!(ran.error_codes(), ["env-name"]);
        let message = ran.json()["errors"][0]["message"].to_string();
        assert!(
            message.contains("--env number 2") && message.contains(why),
            "{message}"
        );
        let people = operator.run(&args).exits(2);
        for said in [ran.stdout, people.stderr] {
            assert!(!said.contains("hunter"), "{said}");
        }
    }
}

/// A prune shows correct counts for removed workspaces.
#[test]
fn progress_counts_removed_workspaces() {
    let operator = Operator::new();
    let org =
        |names: &str| format!("name: Acme\ndefaults: {{runtime: x}}\nworkspaces: [{names}]\n");
    let template = operator.template(&[("org.yaml", &org("{name: A}, {name: B}, {name: C}"))]);
    let up = [
        "up", &template, "--demo", "--engine", "local", "--prune", "--yes",
    ];
    let first = operator.run(&up).exits(0).stdout;
    assert!(first.contains("[3/3] "), "{first}");
    operator.template(&[("org.yaml", &org("{name: A}"))]);
    let pruned = operator.run(&up).exits(0).stdout;
    let mut lines: Vec<&str> = pruned.lines().collect();
    assert_eq!(lines.len(), 4, "{pruned}");
    assert!(lines[0].starts_with("[1/1] a: unchanged"), "{pruned}");
    assert!(
        lines[1].starts_with("[1 removed] ") && lines[2].starts_with("[2 removed] "),
        "{pruned}"
    );
    assert_eq!(
        lines.pop().unwrap(),
        "acme: 1 workspace: 0 started, 1 unchanged; 2 removed (no longer in the template)"
    );
    operator.template(&[("org.yaml", &org("{name: A}, {name: B}"))]);
    operator.run(&up).exits(0);
    let down = operator.run(&["down", "acme", "--volumes"]).exits(0).stdout;
    assert!(
        down.contains("[1/2 removed] ") && down.contains("[2/2 removed] "),
        "{down}"
    );
    assert!(down.contains("acme: 2 workspaces removed"), "{down}");
}

#[test]
fn status_shows_the_reason_below_the_state() {
    let operator = Operator::new();
    let org = "name: Acme\nworkspaces: [{name: Good, runtime: good}, {name: Bad, runtime: bad, children: [{name: Child, runtime: good}]}]\n";
    let template = operator.template(&[("org.yaml", org)]);
    let config = "[runtimes.good]\ncommand = ['/bin/sleep', '1000']\n[runtimes.bad]\ncommand = ['/nowhere/agent']\n";
    let config = operator.file("orghost.toml", config).display().to_string();
    let up = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&up).exits(4);
    let status = operator.run(&["status"]).exits(0).stdout;
    let rows: Vec<Vec<&str>> = status
        .lines()
        .skip(3)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..2], ["good", "running"], "{status}");
    assert_eq!(rows[1][..3], ["bad", "absent", "bad"], "{status}");
    assert_eq!(rows[3][..3], ["bad/child", "absent", "good"], "{status}");
    let lines: Vec<&str> = status.lines().skip(3).collect();
    assert!(lines[2].starts_with("  create: "), "{status}");
    assert_eq!(lines[4], "  its parent bad did not come up", "{status}");
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn timings_show_every_part_and_write_a_trace() {
    let operator = Operator::new();
    let template = operator.template(&[(
        "org.yaml",
        "name: Acme\ndefaults: {runtime: demo}\nworkspaces: [{name: Lead}]\n",
    )]);
    let trace = operator.file("folder/readme", "").with_file_name("trace");
    let file = format!("--timings={}", trace.display());
    let up = ["up", &template, "--demo", "--engine", "local", &file];
    let waterfall = operator.run(&up).exits(0).stderr;
    let row = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.starts_with(name));
        found.map(str::to_owned).unwrap_or_default()
    };
    for part in ["open the template", "call the plugin", "admit", "total"] {
        assert!(row(&waterfall, part).ends_with('s'), "{part}: {waterfall}");
    }
    let lead = row(&waterfall, "lead ");
    assert!(lead.contains('s') && lead.contains('>'), "{waterfall}");
    let legend = "v volumes   c create   s seed   = verify   > start";
    assert!(waterfall.contains(legend), "{waterfall}");

    let trace: Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |phase: &str, name: &str| {
        let is_named = |event: &&Value| event["ph"] == phase && event["name"] == name;
        events.iter().find(is_named).unwrap_or(&Value::Null)
    };
    let tracks = events.iter().filter(|event| event["ph"] == "M");
    let lead = tracks.clone().find(|track| track["args"]["name"] == "lead");
    assert_eq!(tracks.count(), 2, "{trace}");
    assert_eq!(named("X", "start")["tid"], lead.unwrap()["tid"], "{trace}");
    let (verify, start) = (named("X", "verify"), named("X", "start"));
    let end = verify["ts"].as_u64().unwrap() + verify["dur"].as_u64().unwrap();
    assert!(end <= start["ts"].as_u64().unwrap(), "{trace}");

    let plan = ["plan", &template, "--demo", "--timings", "--json"];
    let printed = operator.run(&plan).exits(0).stdout;
    let last = printed.lines().last().unwrap();
    let timings: Value = serde_json::from_str(last).unwrap();
    assert_eq!(timings["event"], "timings");
    let parts = timings["parts"].as_array().unwrap();
    let names: Vec<&Value> = parts.iter().map(|part| &part["name"]).collect();
    assert!(names.contains(&&"judge the plan".into()), "{names:?}");
    let total = timings["total_us"].as_u64().unwrap();
    let in_order = |part: &Value| part["start_us"].as_u64() <= part["end_us"].as_u64();
    assert!(parts.iter().all(in_order), "{timings}");
    assert!(
        parts
            .iter()
            .all(|part| part["end_us"].as_u64() <= Some(total))
    );

    let server = ["--server", "http://127.0.0.1:9"];
    let refused = operator.run(&["plan", &template, "--timings", server[0], server[1]]);
    assert!(refused.exits(2).stderr.contains("--timings"));
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

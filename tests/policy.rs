//! Tests of the policy: it reports every violation at once, and its defaults are safe.

use orghost::model::engine_kind::EngineKind;
use orghost::model::isolation::{Barrier, Isolation, Target, Unconfined};
use orghost::model::plan::{
    Access, Canvas, Content, EnvVar, Org, Origin, Plan, Requirement, SeedFile, Workspace,
    WorkspaceKey,
};
use orghost::planning::policy::{Policy, RuntimeName, SeedContent, Tier};

/// A plan of one harmless workspace.
fn plan() -> Plan {
    Plan {
        org: Org {
            name: "Acme".into(),
            description: String::new(),
        },
        workspaces: vec![workspace("pm")],
        required_env: vec![],
        recommended_env: vec![],
        warnings: vec![],
    }
}

fn workspace(key: &str) -> Workspace {
    let key = WorkspaceKey::new(key).unwrap();
    Workspace {
        parent: key
            .parent()
            .map(|parent| WorkspaceKey::new(parent).unwrap()),
        path: crate::support::world::path(&key),
        key,
        name: "PM".into(),
        role: String::new(),
        runtime: "claude-code".into(),
        model: None,
        tier: 2,
        external: false,
        renamed_from: Vec::new(),
        url: None,
        workspace_dir: None,
        workspace_access: Access::None,
        plugins: vec![],
        files: vec![inline("config.yaml")],
        env: vec![],
        schedules: vec![],
        channels: vec![],
        skipped_channels: vec![],
        memories: vec![],
        max_concurrent_tasks: 1,
        canvas: Canvas { x: 0.0, y: 0.0 },
    }
}

fn inline(path: &str) -> SeedFile {
    SeedFile {
        path: path.into(),
        content: Content::Inline(b"x".to_vec()),
        secret: false,
    }
}

fn template(path: &str, from: &str) -> SeedFile {
    SeedFile {
        path: path.into(),
        content: Content::Template {
            path: from.into(),
            text: false,
        },
        secret: false,
    }
}

fn var(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: value.into(),
        secret: true,
        origin: Origin::Plugin,
    }
}

fn docker() -> Target {
    Target {
        engine: EngineKind::Docker,
        isolation: Isolation::Container,
    }
}

fn policy() -> Policy {
    Policy {
        runtimes: ["claude-code".to_owned()].into(),
        ..Policy::default()
    }
}

fn codes(policy: &Policy, plan: Plan) -> Vec<&'static str> {
    match policy.judge(plan, &docker()) {
        Ok(_) => vec![],
        Err(rejected) => rejected
            .violations
            .iter()
            .map(|violation| violation.code)
            .collect(),
    }
}

#[test]
fn each_broken_rule_gives_its_code() {
    type Break = fn(&mut Plan);
    let table: &[(&str, Break)] = &[
        ("tier-not-allowed", |p| p.workspaces[0].tier = 3),
        ("tier-not-allowed", |p| p.workspaces[0].tier = 4),
        ("unknown-tier", |p| p.workspaces[0].tier = 0),
        ("unknown-tier", |p| p.workspaces[0].tier = 5),
        ("unknown-runtime", |p| {
            p.workspaces[0].runtime = "hermes".into()
        }),
        ("mount-not-allowed", |p| mount(p, "/srv/x")),
        ("mount-path", |p| mount(p, "srv/x")),
        ("mount-path", |p| mount(p, "/srv/../etc")),
        ("mount-path", |p| mount(p, "/srv/./x")),
        ("mount-path", |p| mount(p, "/srv/\0x")),
        ("file-path", |p| p.workspaces[0].files.push(inline("../x"))),
        ("file-path", |p| {
            p.workspaces[0].files.push(inline("/etc/x"))
        }),
        ("file-path", |p| p.workspaces[0].files.push(inline("a//b"))),
        ("file-path", |p| p.workspaces[0].files.push(inline("a\nb"))),
        ("file-path", |p| p.workspaces[0].files.push(inline(""))),
        ("file-path", |p| {
            p.workspaces[0].files.push(template("a", "../secret"))
        }),
        ("file-path", |p| {
            p.workspaces[0].files.push(template("a", "/etc/passwd"))
        }),
        ("file-path", |p| {
            p.workspaces[0].files.push(inline("config.yaml/x"))
        }),
        ("file-twice", |p| {
            p.workspaces[0].files.push(inline("config.yaml"))
        }),
        ("env-file", |p| p.workspaces[0].files.push(inline("a/.env"))),
        ("env-file", |p| {
            p.workspaces[0]
                .files
                .push(template("notes", "a/.env.local"))
        }),
        ("env-file", |p| {
            p.workspaces[0].files.push(template("notes", ".git/config"))
        }),
        ("secret-file", |p| {
            p.workspaces[0].files.push(template("notes", "a/.npmrc"))
        }),
        ("secret-file", |p| {
            p.workspaces[0]
                .files
                .push(template("notes", "a/.aws/config"))
        }),
        ("secret-file", |p| {
            p.workspaces[0].files.push(template("notes", "id_rsa"))
        }),
        ("secret-file", |p| {
            p.workspaces[0].files.push(template("notes", "Prod.env"))
        }),
        ("no-config", |p| p.workspaces[0].files.clear()),
        ("no-config", |p| {
            p.workspaces[0].files[0].content = Content::Inline(vec![])
        }),
        ("env-name", |p| p.workspaces[0].env.push(var("A B", "x"))),
        ("env-name", |p| p.workspaces[0].env.push(var("1A", "x"))),
        ("env-name", |p| p.workspaces[0].env.push(var("A=B", "x"))),
        ("env-name", |p| p.workspaces[0].env.push(var("", "x"))),
        ("reserved-env", |p| {
            p.workspaces[0].env.push(var("WORKSPACE_ID", "x"))
        }),
        ("env-value", |p| p.workspaces[0].env.push(var("A", "x\0y"))),
        ("env-twice", |p| {
            p.workspaces[0].env.extend([var("A", "1"), var("A", "2")])
        }),
        ("missing-env", |p| p.required_env.push(requirement("pm"))),
        ("missing-env", |p| p.required_env.push(requirement(""))),
    ];
    assert_eq!(
        codes(&policy(), plan()),
        Vec::<&str>::new(),
        "the plan without a broken rule passes"
    );
    for (number, (code, break_it)) in table.iter().enumerate() {
        let mut plan = plan();
        break_it(&mut plan);
        assert_eq!(codes(&policy(), plan), [*code], "row {number}");
    }
}

fn mount(plan: &mut Plan, dir: &str) {
    plan.workspaces[0].workspace_dir = Some(dir.into());
    plan.workspaces[0].workspace_access = Access::ReadOnly;
}

fn requirement(key: &str) -> Requirement {
    Requirement {
        any_of: vec!["TOKEN".into()],
        missing_for: vec![key.into()],
    }
}

#[test]
fn all_violations_are_reported_at_once() {
    let mut plan = plan();
    plan.workspaces[0].tier = 4;
    plan.workspaces[0].runtime = "hermes".into();
    mount(&mut plan, "/etc");
    let mut second = workspace("pm/dev");
    second.files.push(inline("../x"));
    plan.workspaces.push(second);
    plan.required_env.push(requirement("pm"));
    let expected = [
        "missing-env",
        "unknown-runtime",
        "tier-not-allowed",
        "mount-not-allowed",
        "file-path",
    ];
    assert_eq!(codes(&policy(), plan), expected);
}

#[test]
fn the_operator_can_allow_unsafe_settings() {
    let mut plan = plan();
    plan.workspaces[0].tier = 4;
    plan.workspaces[0].runtime = "hermes".into();
    mount(&mut plan, "/srv/orgs/x");
    plan.required_env.push(requirement("pm"));
    let policy = Policy {
        max_tier: Tier::Four,
        allow_mount: vec!["/srv/orgs".into()],
        ignore_missing_env: true,
        demo: true,
        ..policy()
    };
    let approved = policy.judge(plan, &docker()).unwrap();
    let mount = approved.workspaces()[0].mount.as_ref().unwrap();
    assert_eq!(
        (mount.source.to_str(), mount.writable),
        (Some("/srv/orgs/x"), false)
    );
}

#[test]
fn an_allowed_root_does_not_allow_directories_with_the_same_prefix() {
    for (dir, allowed) in [
        ("/srv", true),
        ("/srv/a", true),
        ("/srvx", false),
        ("/", false),
        ("/sr", false),
    ] {
        let mut plan = plan();
        mount(&mut plan, dir);
        let policy = Policy {
            allow_mount: vec!["/srv".into()],
            ..policy()
        };
        assert_eq!(codes(&policy, plan).is_empty(), allowed, "{dir}");
    }
}

#[test]
fn workspace_access_none_ignores_the_directory() {
    let mut plan = plan();
    mount(&mut plan, "/etc");
    plan.workspaces[0].workspace_access = Access::None;
    assert!(
        policy().judge(plan, &docker()).unwrap().workspaces()[0]
            .mount
            .is_none()
    );
}

#[test]
fn an_external_workspace_needs_neither_runtime_nor_config_nor_tier() {
    let mut plan = plan();
    let workspace = &mut plan.workspaces[0];
    workspace.external = true;
    workspace.tier = 4;
    workspace.runtime = String::new();
    workspace.files.clear();
    workspace.url = Some("https://agents.example/pm".into());
    assert!(
        policy().judge(plan, &docker()).unwrap().workspaces()[0]
            .runtime
            .is_none()
    );
}

#[test]
fn violations_hold_no_secret() {
    let mut plan = plan();
    plan.workspaces[0].env = vec![
        var("A B", "hunter2"),
        var("TIER", "hunter2"),
        var("X", "hunter2\0"),
    ];
    let rejected = policy().judge(plan, &docker()).unwrap_err();
    assert_eq!(rejected.violations.len(), 3);
    assert!(!format!("{:?}", rejected.violations).contains("hunter2"));
}

#[test]
fn require_isolation_refuses_partial_isolation() {
    let policy = Policy {
        require_isolation: true,
        ..policy()
    };
    let isolated = |engine, isolation| {
        let target = Target { engine, isolation };
        policy.judge(plan(), &target).is_ok()
    };
    let confined = |from: &[Barrier]| Isolation::Confined {
        from: from.to_vec(),
    };
    let local = EngineKind::Local;
    assert!(isolated(EngineKind::Docker, Isolation::Container));
    let (files, sockets) = (Barrier::Files, Barrier::Sockets);
    assert!(isolated(local, confined(&[files, sockets])));
    assert!(isolated(
        local,
        confined(&[files, Barrier::Signals, sockets])
    ));
    assert!(!isolated(local, confined(&[files, Barrier::Signals])));
    assert!(!isolated(
        local,
        confined(&[Barrier::FilesButEmptying, sockets])
    ));
    for reason in [Unconfined::NoLandlock, Unconfined::MadeEarlier] {
        assert!(!isolated(local, Isolation::None { reason }));
    }
}

#[test]
fn the_limits_of_variables_are_the_largest_allowed_values() {
    use orghost::limits::{ENV_VALUE_BYTES, ENV_VARS};
    let with = |env: Vec<EnvVar>| {
        let mut plan = plan();
        plan.workspaces[0].env = env;
        codes(&policy(), plan)
    };
    let many = |count: usize| (0..count).map(|n| var(&format!("V{n}"), "x")).collect();
    assert_eq!(with(many(ENV_VARS)), [""; 0]);
    assert_eq!(with(many(ENV_VARS + 1)), ["too-many-variables"]);
    let long = |bytes| vec![var("LONG", &"x".repeat(bytes))];
    assert_eq!(with(long(ENV_VALUE_BYTES)), [""; 0]);
    assert_eq!(with(long(ENV_VALUE_BYTES + 1)), ["env-value"]);
}

#[test]
fn the_limits_of_seeded_files_are_the_largest_allowed_values() {
    use orghost::limits::{SEED_BYTES, SEED_FILES};
    let with = |more: Vec<SeedFile>| {
        let mut plan = plan();
        plan.workspaces[0].files.extend(more);
        codes(&policy(), plan)
    };
    // Beside `config.yaml`, which has one byte.
    let many = |count: usize| {
        (1..count)
            .map(|n| inline(&format!("notes/{n}.md")))
            .collect()
    };
    assert_eq!(with(many(SEED_FILES)), [""; 0]);
    for count in [SEED_FILES + 1, SEED_FILES + 2] {
        assert_eq!(with(many(count)), ["too-many-files"]);
    }
    let large = |bytes: u64| {
        let mut file = inline("large");
        file.content = Content::Inline(vec![b'x'; usize::try_from(bytes).unwrap() - 1]);
        vec![file]
    };
    assert_eq!(with(large(SEED_BYTES)), [""; 0]);
    for bytes in [SEED_BYTES + 1, SEED_BYTES + 2] {
        assert_eq!(with(large(bytes)), ["seed-too-large"]);
    }
}

#[test]
fn an_approved_plan_keeps_tiers_and_runtimes_and_shows_no_content() {
    let numbers = (0..=5).filter_map(Tier::new).map(u8::from);
    assert_eq!(numbers.collect::<Vec<u8>>(), [1, 2, 3, 4]);
    let configured = RuntimeName::Configured("claude-code".to_owned());
    assert_eq!(configured.as_str(), "claude-code");
    assert_eq!(RuntimeName::Demo.as_str(), "demo");
    let secret = SeedContent::Inline(b"swordfish".to_vec());
    assert_eq!(format!("{secret:?}"), "Inline(9 bytes)");
}

#[test]
fn a_seeded_path_has_at_most_1024_bytes() {
    let with = |bytes: usize| {
        let path: String = "folder/".chars().cycle().take(bytes - 1).collect();
        let mut plan = plan();
        plan.workspaces[0].files.push(inline(&format!("{path}x")));
        codes(&policy(), plan)
    };
    assert_eq!(with(1024), [""; 0]);
    for bytes in [1025, 1026] {
        assert_eq!(with(bytes), ["file-path"]);
    }
}

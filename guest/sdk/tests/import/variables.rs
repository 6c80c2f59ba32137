//! Variables, references to them, and required variables (org-template.md §4, §8 and §9).

use orghost_plugin::{Origin, WorkspaceAccess};

use crate::{inline, org, seeded, workspace};

const ENV_ORG: &str = "name: O\ndefaults: {runtime: r}\nworkspaces:\n- {name: A, files_dir: a, workspace_dir: '${DIR}', workspace_access: read_only}\n- {name: B}\n";

#[test]
fn the_folder_replaces_the_template_and_the_operator_replaces_both() {
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
    // `.env` is not seeded.
    assert!(seeded(&plan.workspaces[0], ".env").is_none());
}

#[test]
fn a_workspace_dir_is_expanded_and_read_only_by_default() {
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
    // A granted value does not become part of a path, and no message contains a value.
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
fn references_expand_only_in_workspace_dir_and_channel_configurations() {
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
fn a_required_variable_lists_the_workspaces_that_lack_it() {
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
    // `One` needs Z or W, and has W. It is still missing Z, because the org needs Z alone. The org has the empty key.
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
fn an_env_file_that_is_not_utf_8_is_an_error() {
    let mut case = workspace("files_dir: d").file("d/x", "");
    case.files
        .0
        .insert("d/.env".to_owned(), b"A=1\nB=\xff".to_vec());
    assert_eq!(case.errors(), ["file-unreadable d/.env:2:0"]);
}

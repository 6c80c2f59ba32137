//! Tests of plugin distribution: signatures, a real registry, installed plugins, which plugin a template gets, and the
//! replacement of a plugin during calls.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orghost::model::plugin::{PluginDigest, Wasi};
use orghost::planning::planner::{Loaded, Planner};
use orghost::plugin::sandbox::{ORG_IMPORT, Sandbox};
use orghost::template::directory::TemplateDir;

use crate::support::component::of_wat;
use crate::support::registry::Registry;
use crate::support::{Operator, root};

const ORG: &str = "name: Acme\ndefaults: {runtime: claude-code}\nworkspaces:\n  - name: PM\n";

/// The built-in plugin with another digest: an added custom section changes the file and not the behaviour.
fn import(note: u8) -> Vec<u8> {
    let mut bytes = ORG_IMPORT.to_vec();
    bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', note]);
    bytes
}

/// A plugin that describes itself with this version and never finishes planning.
fn spinning(version: char) -> Vec<u8> {
    of_wat(
        &format!(
            r#"(module
                (memory (export "memory") 1)
                (data (i32.const 64) "spinner{version}")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "orghost:plugin/importer@0.1.0#describe") (result i32)
                    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 7))
                    (i32.store (i32.const 8) (i32.const 71)) (i32.store (i32.const 12) (i32.const 1))
                    (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 0))
                    i32.const 0)
                (func (export "orghost:plugin/importer@0.1.0#import-org")
                    (param i32 i32 i32 i32 i32 i32 i32) (result i32) (loop $again br $again) unreachable))"#
        ),
        "plugin",
    )
}

/// A plugin whose `describe` traps.
fn broken() -> Vec<u8> {
    of_wat(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
            (func (export "orghost:plugin/importer@0.1.0#import-org")
                (param i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#,
        "plugin",
    )
}

fn digest(bytes: &[u8]) -> String {
    PluginDigest::of(bytes).to_string()
}

/// Makes a key pair and returns the file of the secret key and the public key.
fn key(operator: &Operator, name: &str) -> (String, String) {
    let file = operator.home.path().join(name).display().to_string();
    let ran = operator
        .run(&["plugin", "keygen", &file, "--json"])
        .exits(0);
    (file, ran.json()["key"].as_str().unwrap().to_owned())
}

fn file(operator: &Operator, name: &str, bytes: &[u8]) -> String {
    operator.file(name, bytes).display().to_string()
}

/// Writes the configuration file to its default place.
fn configure(operator: &Operator, toml: &str) {
    operator.file(".config/orghost/orghost.toml", toml);
}

fn installed_digest(operator: &Operator, name: &str) -> Option<String> {
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    let all = list["plugins"].as_array().unwrap();
    let found = all.iter().find(|plugin| plugin["name"] == name)?;
    Some(found["digest"].as_str().unwrap().to_owned())
}

#[test]
fn signing_keys_are_private_and_never_overwritten() {
    let operator = Operator::new();
    let (secret, public) = key(&operator, "my.key");
    let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&secret).unwrap();
    let again = operator
        .run(&["plugin", "keygen", &secret, "--json"])
        .exits(2);
    assert_eq!(again.error_codes(), ["key-file"]);
    assert_eq!(std::fs::read(&secret).unwrap(), before);
    assert!(
        std::fs::read_to_string(operator.home.path().join("my.pub"))
            .unwrap()
            .contains(&public)
    );

    // A key with a password signs only with that password.
    let with = |operator: Operator, password| operator.with_env("ORGHOST_KEY_PASSWORD", password);
    let operator = with(operator, "correct horse");
    let (secret, public) = key(&operator, "other.key");
    let plugin = file(&operator, "acme.wasm", ORG_IMPORT);
    operator
        .run(&["plugin", "sign", &plugin, "--key", &secret])
        .exits(0);
    operator
        .run(&["plugin", "verify", &plugin, "--key", &public])
        .exits(0);
    let operator = with(operator, "wrong");
    let ran = operator
        .run(&["plugin", "sign", &plugin, "--key", &secret, "--json"])
        .exits(2);
    assert_eq!(ran.error_codes(), ["key-password"]);
    let mut bare = operator.command(&["plugin", "sign", &plugin, "--key", &secret]);
    bare.env_remove("ORGHOST_KEY_PASSWORD")
        .stdin(std::process::Stdio::null());
    assert_eq!(bare.output().unwrap().status.code(), Some(2));
}

#[test]
fn an_invalid_key_in_the_configuration_file_is_named() {
    let operator = Operator::new();
    for section in ["[policy]", "[plugins.acme]"] {
        configure(
            &operator,
            &format!("{section}\nrequire_signature = [\"RWnonsense\"]\n"),
        );
        let ran = operator.run(&["plugin", "list", "--json"]).exits(2);
        assert_eq!(ran.error_codes(), ["config-invalid"]);
        let error = &ran.json()["errors"][0];
        assert!(
            error["message"].as_str().unwrap().contains("RWnonsense"),
            "{error}"
        );
        assert_eq!(error["line"], 2);
    }
    let nonsense = [
        "[plugins.acme]\nmemory_mib = 1000",
        "[plugins.acme]\ndeadline_ms = 0",
        "[plugins.acme]\ndigest = \"sha256:12\"",
        "[plugins.acme]\ngrant = [\"A-B\"]",
        "[plugins.\"Not a slug\"]\n",
        "[policy]\nplugins = [\"Not a slug\"]",
    ];
    for toml in nonsense {
        configure(&operator, toml);
        let ran = operator.run(&["plugin", "list", "--json"]).exits(2);
        assert_eq!(ran.error_codes(), ["config-invalid"], "{toml}");
    }
}

/// Checks unsigned plugins, altered plugins, and plugins signed by a wrong and a right key, from a file and from a
/// registry.
#[test]
fn only_plugins_signed_by_a_trusted_key_are_accepted() {
    let registry = Registry::start();
    let operator = Operator::new();
    let (right, public) = key(&operator, "right.key");
    let (wrong, _) = key(&operator, "wrong.key");
    configure(
        &operator,
        &format!("[policy]\nrequire_signature = [\"{public}\"]\n"),
    );
    let template = operator.template(&[("org.yaml", ORG)]);
    let sign = |plugin: &str, key: &str| {
        operator
            .run(&["plugin", "sign", plugin, "--key", key])
            .exits(0);
    };

    let unsigned = file(&operator, "unsigned.wasm", &import(1));
    let other = file(&operator, "other.wasm", &import(2));
    sign(&other, &wrong);
    let altered = file(&operator, "altered.wasm", &import(3));
    sign(&altered, &right);
    operator.file("altered.wasm", import(4));
    let garbled = file(&operator, "garbled.wasm", &import(5));
    // The second signature, of the trusted comment, is cut short.
    operator.file("garbled.wasm.minisig", {
        sign(&garbled, &right);
        let text = std::fs::read_to_string(format!("{garbled}.minisig")).unwrap();
        let lines: Vec<_> = text.lines().collect();
        format!("{}\n{}\n{}\nAAAA\n", lines[0], lines[1], lines[2])
    });
    let good = file(&operator, "good.wasm", &import(6));
    sign(&good, &right);

    let table = [
        (&unsigned, Some("plugin-unsigned")),
        (&other, Some("plugin-signature")),
        (&altered, Some("plugin-signature")),
        (&garbled, Some("plugin-signature")),
        (&good, None),
    ];
    for (plugin, refused) in table {
        let tag = Path::new(plugin).file_stem().unwrap().to_str().unwrap();
        let reference = registry.reference(&format!("team/acme:{tag}"));
        operator
            .run(&["plugin", "push", &reference, plugin])
            .exits(0);
        let commands: [&[&str]; 4] = [
            &["plan", &template, "--demo", "--plugin", plugin, "--json"],
            &["plugin", "verify", plugin, "--json"],
            &["plugin", "add", plugin, "--name", tag, "--json"],
            &["plugin", "add", &reference, "--name", tag, "--json"],
        ];
        for command in commands {
            let ran = operator.run(command);
            match refused {
                Some(code) => assert_eq!(ran.exits(3).error_codes(), [code], "{command:?}"),
                None => drop(ran.exits(0)),
            }
        }
        assert_eq!(
            installed_digest(&operator, tag).is_some(),
            refused.is_none()
        );
    }
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    assert_eq!(list["plugins"][0]["signed_by"], public.as_str());
    // The signature is checked at every use: with another trusted key in the configuration, the installed plugin is
    // refused.
    operator
        .run(&["plan", &template, "--demo", "--plugin", "good"])
        .exits(0);
    let (_, next) = key(&operator, "next.key");
    configure(
        &operator,
        &format!("[policy]\nrequire_signature = [\"{next}\"]\n"),
    );
    let ran = operator
        .run(&["plan", &template, "--demo", "--plugin", "good", "--json"])
        .exits(3);
    assert_eq!(ran.error_codes(), ["plugin-signature"]);
    // The built-in plugin needs no signature. Keys of one plugin override the keys of the policy.
    operator.run(&["plan", &template, "--demo"]).exits(0);
    configure(
        &operator,
        &format!(
            "[policy]\nrequire_signature = [\"{next}\"]\n[plugins.good]\nrequire_signature = [\"{public}\"]\n"
        ),
    );
    operator
        .run(&["plan", &template, "--demo", "--plugin", "good"])
        .exits(0);
}

#[test]
fn a_pulled_plugin_is_the_pushed_one_and_a_pin_does_not_follow_its_tag() {
    let registry = Registry::start();
    let operator = Operator::new();
    let (secret, public) = key(&operator, "my.key");
    let one = file(&operator, "one.wasm", &import(1));
    let two = file(&operator, "two.wasm", &import(2));
    operator
        .run(&["plugin", "sign", &one, "--key", &secret])
        .exits(0);
    let tag = registry.reference("team/acme:stable");

    let push = |file: &str| {
        let ran = operator
            .run(&["plugin", "push", &tag, file, "--json"])
            .exits(0);
        ran.json()["reference"].as_str().unwrap().to_owned()
    };
    let first = push(&one);
    assert_eq!(push(&one), first, "a push can be repeated");
    let got = operator.home.path().join("got.wasm").display().to_string();
    let ran = operator
        .run(&["plugin", "pull", &tag, "-o", &got, "--json"])
        .exits(0)
        .json();
    assert_eq!(ran["reference"], first.as_str());
    assert_eq!(std::fs::read(&got).unwrap(), import(1));
    operator
        .run(&["plugin", "verify", &got, "--key", &public])
        .exits(0);

    operator
        .run(&["plugin", "add", &tag, "--name", "acme"])
        .exits(0);
    let second = push(&two);
    assert_ne!(first, second);
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );
    // A second add from the same source updates the same name.
    operator.run(&["plugin", "add", &tag]).exits(0);
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(2)))
    );
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    let manifest = list["plugins"][0]["manifest"].as_str().unwrap();
    assert!(second.ends_with(manifest), "{second} {manifest}");
    // Adding by digest goes back to the first version.
    operator
        .run(&["plugin", "add", &first, "--name", "acme"])
        .exits(0);
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );
    // Pulling an unsigned plugin removes the signature file of the previous one.
    operator.run(&["plugin", "pull", &tag, "-o", &got]).exits(0);
    assert_eq!(std::fs::read(&got).unwrap(), import(2));
    assert!(!Path::new(&format!("{got}.minisig")).exists());

    // Other bytes of the same length from the registry are detected by their digest.
    let blob = registry.blob(&digest(&import(2)));
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    for command in [
        &["plugin", "pull", &tag, "-o", &got, "--json"][..],
        &["plugin", "add", &tag, "--json"],
    ] {
        assert_eq!(
            operator.run(command).exits(1).error_codes(),
            ["registry-altered"]
        );
    }
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );
    assert_eq!(
        std::fs::read(&got).unwrap(),
        import(2),
        "the existing file is unchanged"
    );
}

#[test]
fn each_registry_error_has_its_own_code() {
    let registry = Registry::with_password();
    let operator = Operator::new();
    let plugin = file(&operator, "acme.wasm", ORG_IMPORT);
    let tag = registry.reference("acme:1");
    let nowhere = registry.reference("nothing:1");
    let pull = |reference: &str| {
        let out = operator.home.path().join("out.wasm").display().to_string();
        operator.run(&["plugin", "pull", reference, "-o", &out, "--json"])
    };
    let push = operator
        .run(&["plugin", "push", &tag, &plugin, "--json"])
        .exits(1);
    assert_eq!(push.error_codes(), ["registry-unauthorized"]);
    assert_eq!(pull(&tag).exits(1).error_codes(), ["registry-unauthorized"]);

    let host = tag.split('/').next().unwrap();
    // `ann:s3cret` in base64.
    let docker = format!(r#"{{"auths": {{"{host}": {{"auth": "YW5uOnMzY3JldA=="}}}}}}"#);
    operator.file(".docker/config.json", docker);
    operator.run(&["plugin", "push", &tag, &plugin]).exits(0);
    pull(&tag).exits(0);
    assert_eq!(
        pull(&nowhere).exits(2).error_codes(),
        ["registry-not-found"]
    );
    assert_eq!(
        pull("127.0.0.1:1/acme:1").exits(1).error_codes(),
        ["registry-unreachable"]
    );
    for no_reference in [
        "acme",
        "team/acme:1",
        "localhost/UPPER:1",
        "localhost/acme@sha256:12",
    ] {
        assert_eq!(
            pull(no_reference).exits(2).error_codes(),
            ["registry-reference"],
            "{no_reference}"
        );
    }
    // A file that is not a component is not pushed.
    let text = file(&operator, "text.wasm", b"text");
    let push = operator
        .run(&["plugin", "push", &tag, &text, "--json"])
        .exits(2);
    assert_eq!(push.error_codes(), ["plugin-not-a-component"]);
}

#[test]
fn images_and_oversized_plugins_are_refused_before_the_download() {
    use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
    use oci_client::manifest::OciImageManifest;
    let registry = Registry::start();
    let operator = Operator::new();
    let push = |tag: &str, config: &str, layer: &str, size: Option<i64>| {
        let reference = registry.reference(tag);
        let client = oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        });
        let layers = [ImageLayer::new(&b"layer"[..], layer.to_owned(), None)];
        let config = Config::new(&b"{}"[..], config.to_owned(), None);
        let mut manifest = OciImageManifest::build(&layers, &config, None);
        manifest.media_type = Some("application/vnd.oci.image.manifest.v1+json".to_owned());
        if let Some(size) = size {
            manifest.layers[0].size = size;
        }
        let work = async {
            let auth = oci_client::secrets::RegistryAuth::Anonymous;
            let place = reference.parse().unwrap();
            client
                .push(&place, &layers, config, &auth, Some(manifest))
                .await
        };
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(work)
            .unwrap();
        reference
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let image = "application/vnd.oci.image.config.v1+json";
    let wasm = "application/vnd.wasm.config.v0+json";
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let table = [
        (push("image:1", image, tar, None), "registry-not-wasm"),
        (push("tar:1", wasm, tar, None), "registry-not-wasm"),
        (
            push("large:1", wasm, "application/wasm", Some(1 << 40)),
            "registry-too-large",
        ),
        (
            push("short:1", wasm, "application/wasm", Some(4)),
            "registry-altered",
        ),
    ];
    for (reference, code) in table {
        let ran = operator.run(&["plugin", "add", &reference, "--name", "acme", "--json"]);
        assert_eq!(ran.error_codes(), [code], "{reference}");
    }
    assert_eq!(installed_digest(&operator, "acme"), None);
}

#[test]
fn a_refused_plugin_is_quarantined_and_the_previous_version_stays() {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let good = file(&operator, "good.wasm", &import(1));
    let bad = file(&operator, "bad.wasm", &broken());
    operator
        .run(&["plugin", "add", &good, "--name", "acme"])
        .exits(0);
    let ran = operator
        .run(&["plugin", "add", &bad, "--name", "acme", "--json"])
        .exits(2);
    assert_eq!(ran.error_codes(), ["plugin-broke"]);
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    assert_eq!(list["quarantine"][0]["name"], "acme");
    assert_eq!(list["quarantine"][0]["digest"], digest(&broken()));
    assert!(
        list["quarantine"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("unreachable")
    );
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );
    let shown = operator.run(&["plugin", "list"]).exits(0);
    assert!(
        shown.stdout.contains("quarantined: acme"),
        "{}",
        shown.stdout
    );
    operator
        .run(&["plan", &template, "--demo", "--plugin", "acme"])
        .exits(0);

    // A digest pinned in the configuration refuses too, with the exit code of the policy.
    configure(
        &operator,
        &format!("[plugins.acme]\ndigest = \"{}\"\n", digest(&import(1))),
    );
    let next = file(&operator, "next.wasm", &import(2));
    let ran = operator
        .run(&["plugin", "add", &next, "--name", "acme", "--json"])
        .exits(3);
    assert_eq!(ran.error_codes(), ["plugin-digest"]);
    operator
        .run(&["plan", &template, "--demo", "--plugin", "acme"])
        .exits(0);
    configure(&operator, "");
    operator
        .run(&["plugin", "add", &next, "--name", "acme"])
        .exits(0);
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    assert_eq!(
        list["quarantine"].as_array().unwrap().len(),
        0,
        "a good version ends the quarantine"
    );

    // A refused plugin that was never installed leaves no quarantine entry.
    operator
        .run(&["plugin", "add", &bad, "--name", "new"])
        .exits(2);
    let list = operator.run(&["plugin", "list", "--json"]).exits(0).json();
    assert_eq!(list["quarantine"].as_array().unwrap().len(), 0);
}

#[test]
fn installed_files_are_private_verified_and_removed_with_their_last_name() {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let plugin = file(&operator, "one.wasm", &import(1));
    for name in ["acme", "other"] {
        operator
            .run(&["plugin", "add", &plugin, "--name", name])
            .exits(0);
    }
    let folder = operator.state().join("plugins");
    for path in [folder.clone(), folder.join("sha256")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
    let hex = digest(&import(1)).replace("sha256:", "");
    let blob = folder.join("sha256").join(format!("{hex}.wasm"));
    operator.run(&["plugin", "remove", "other"]).exits(0);
    assert_eq!(std::fs::read(&blob).unwrap(), import(1));

    operator.run(&["plugin", "verify"]).exits(0);
    std::fs::write(&blob, import(2)).unwrap();
    for command in [
        &["plan", &template, "--plugin", "acme", "--json"][..],
        &["plugin", "verify", "--json"],
        &["plugin", "verify", "acme", "--json"],
    ] {
        assert_eq!(
            operator.run(command).exits(3).error_codes(),
            ["plugin-altered"]
        );
    }
    // Installing the plugin again repairs it.
    operator
        .run(&["plugin", "add", &plugin, "--name", "acme"])
        .exits(0);
    operator.run(&["plugin", "verify", "acme"]).exits(0);

    operator.run(&["plugin", "remove", "acme"]).exits(0);
    assert!(!blob.exists());
    for command in [
        &["plugin", "remove", "acme", "--json"][..],
        &["plugin", "verify", "acme", "--json"],
        &["plan", &template, "--plugin", "acme", "--json"],
    ] {
        assert_eq!(
            operator.run(command).exits(2).error_codes(),
            ["plugin-not-installed"]
        );
    }
    for args in [
        &["--name", "org-import"][..],
        &["--name", "Not a slug"],
        &[],
    ] {
        let mut command = vec!["plugin", "add", &plugin, "--json"];
        command.extend(args);
        assert_eq!(
            operator.run(&command).exits(2).error_codes(),
            ["plugin-name"],
            "{args:?}"
        );
    }
}

/// The lock was once called `orghost.lock`, as the write lock of the state folder is.
#[test]
fn a_lock_of_the_old_name_is_read_and_replaced() {
    let operator = Operator::new();
    let plugin = file(&operator, "acme.wasm", &import(1));
    let add = ["plugin", "add", &plugin, "--name", "acme"];
    operator.run(&add).exits(0);
    let folder = operator.state().join("plugins");
    let (new, old) = (folder.join("plugins.lock"), folder.join("orghost.lock"));
    std::fs::rename(&new, &old).unwrap();
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );

    let other = file(&operator, "other.wasm", &import(2));
    let add = ["plugin", "add", &other, "--name", "other"];
    operator.run(&add).exits(0);
    assert!(new.exists() && !old.exists());
    assert_eq!(
        installed_digest(&operator, "acme"),
        Some(digest(&import(1)))
    );
}

#[test]
fn concurrent_installs_lose_nothing() {
    let operator = Operator::new();
    let names: Vec<String> = (0..6).map(|n| format!("plugin-{n}")).collect();
    let running: Vec<_> = (0_u8..)
        .zip(&names)
        .map(|(n, name)| {
            let plugin = file(&operator, &format!("{name}.wasm"), &import(n));
            let mut command = operator.command(&["plugin", "add", &plugin, "--name", name]);
            command.spawn().unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    for (n, name) in (0_u8..).zip(&names) {
        assert_eq!(installed_digest(&operator, name), Some(digest(&import(n))));
    }
    operator.run(&["plugin", "verify"]).exits(0);
}

#[test]
fn a_template_can_choose_only_plugins_that_policy_allows() {
    let operator = Operator::new();
    let plugin = file(&operator, "one.wasm", &import(1));
    let plan = |org: &str| {
        let template = operator.template(&[("org.yaml", org)]);
        operator.run(&["plan", &template, "--demo"])
    };
    let refused = |org: &str| {
        let template = operator.template(&[("org.yaml", org)]);
        let ran = operator
            .run(&["plan", &template, "--demo", "--json"])
            .exits(3);
        assert_eq!(ran.error_codes(), ["plugin-not-allowed"]);
        ran.json()["errors"][0].clone()
    };
    let wants = format!("{ORG}plugin: acme\n");
    let error = refused(&wants);
    assert_eq!(
        (&error["file"], &error["line"]),
        (&"org.yaml".into(), &5.into())
    );
    let help = error["help"].as_str().unwrap();
    assert!(
        help.contains("plugin add") && help.contains("org-import"),
        "{help}"
    );

    operator
        .run(&["plugin", "add", &plugin, "--name", "acme"])
        .exits(0);
    let said = format!("planned by acme ({})", &digest(&import(1))[7..19]);
    for org in [wants.clone(), format!("\"plugin\": 'acme'\n{ORG}")] {
        let ran = plan(&org).exits(0);
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
    // The key counts only at the top level with a value, and the built-in plugin is always allowed.
    for org in [
        ORG.to_owned(),
        format!("{ORG}plugin: org-import\n"),
        format!("{ORG}plugin:\n"),
        format!("{ORG}initial_prompt: |\n  plugin: absent\n"),
        format!("{ORG}category_routing: {{plugin: [absent]}}\n"),
        format!("{ORG}---\nplugin: absent\n"),
    ] {
        let ran = plan(&org);
        assert!(!ran.stderr.contains("planned by"), "{org}{}", ran.stderr);
        assert!(ran.code != 3, "{org}{}", ran.stderr);
    }
    let bad = plan(&format!("{ORG}plugin: ../acme\n")).exits(2);
    assert!(bad.stderr.contains("plugin-name"), "{}", bad.stderr);

    configure(&operator, "[policy]\nplugins = [\"other\"]\n");
    let help = refused(&wants)["help"].as_str().unwrap().to_owned();
    assert!(
        help.contains("org-import") && !help.contains("acme"),
        "{help}"
    );
    plan(&format!("{ORG}plugin: org-import\n")).exits(0);
    // The list limits templates. The operator can choose any installed plugin with `--plugin`.
    let template = operator.template(&[("org.yaml", &wants)]);
    let ran = operator
        .run(&["plan", &template, "--demo", "--plugin", "acme"])
        .exits(0);
    assert!(ran.stderr.contains(&said));
    configure(&operator, "[policy]\nplugins = [\"acme\"]\n");
    assert!(plan(&wants).exits(0).stderr.contains(&said));
}

/// Broken, hostile and odd files never panic the host; the plugin reports what is wrong with them.
#[test]
fn finding_a_templates_plugin_never_panics() {
    let operator = Operator::new();
    let bomb = format!(
        "a: &a [x]\n{}",
        (0..20)
            .map(|n| format!("k{n}: &b{n} [*a, *a, *a]\n"))
            .collect::<String>()
    );
    let files: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\xff\xfe".to_vec(),
        b"plugin: \xff".to_vec(),
        b"[plugin, acme]".to_vec(),
        b"plugin".to_vec(),
        b"? [a]\n: b\nplugin: [".to_vec(),
        b"*x".to_vec(),
        b"plugin: *x\n".to_vec(),
        b"? *x\n: plugin\n".to_vec(),
        b"%TAG !\n---\n\tplugin: x".to_vec(),
        "[".repeat(20_000).into_bytes(),
        "{a: ".repeat(20_000).into_bytes(),
        "- ".repeat(20_000).into_bytes(),
        bomb.into_bytes(),
        vec![0; 4096],
        [b"# far\n".repeat(1 << 18), b"plugin: acme\n".to_vec()].concat(),
    ];
    let path = operator.file("template/org.yaml", "");
    let template = TemplateDir::open(path.parent().unwrap()).unwrap();
    for bytes in files {
        std::fs::write(&path, &bytes).unwrap();
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert_eq!(template.wanted_plugin(), None, "{start}");
    }
    let early = [b"plugin: acme\n".to_vec(), b"# far\n".repeat(1 << 18)].concat();
    std::fs::write(&path, early).unwrap();
    assert_eq!(template.wanted_plugin().unwrap().name, "acme");
}

#[test]
fn variables_granted_to_one_plugin_reach_no_other() {
    let operator = Operator::new().with_env("TOKEN_OF_ACME", "the-value");
    let plugin = file(&operator, "one.wasm", &import(1));
    operator
        .run(&["plugin", "add", &plugin, "--name", "acme"])
        .exits(0);
    configure(&operator, "[plugins.acme]\ngrant = [\"TOKEN_OF_ACME\"]\n");
    let expand = |plugin: &str| {
        let ran = operator.run(&["expand", "${TOKEN_OF_ACME}", "--plugin", plugin, "--json"]);
        ran.exits(0).json()["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(expand("acme"), "the-value");
    assert_ne!(expand("org-import"), "the-value");
    let wasi = operator.run(&[
        "expand", "x", "--plugin", "acme", "--wasi", "closed", "--json",
    ]);
    assert_eq!(wasi.exits(2).error_codes(), ["wasi-grant"]);
}

#[test]
fn a_pulled_plugin_brings_an_org_up() {
    let registry = Registry::start();
    let operator = Operator::new();
    let (secret, public) = key(&operator, "my.key");
    let plugin = file(&operator, "acme.wasm", &import(7));
    operator
        .run(&["plugin", "sign", &plugin, "--key", &secret])
        .exits(0);
    configure(
        &operator,
        &format!("[policy]\nrequire_signature = [\"{public}\"]\n"),
    );
    let tag = registry.reference("team/acme:1.0.0");
    operator.run(&["plugin", "push", &tag, &plugin]).exits(0);
    operator
        .run(&["plugin", "add", &tag, "--name", "acme"])
        .exits(0);
    let template = root().join("examples/studio").display().to_string();
    let up = [
        "up", &template, "--demo", "--engine", "local", "--plugin", "acme",
    ];
    let ran = operator.run(&up);
    let down = operator.run(&["down", "studio", "--volumes"]);
    let ran = ran.exits(0);
    assert!(ran.stdout.contains("4 started"), "{}", ran.stdout);
    assert!(ran.stderr.contains("planned by acme ("), "{}", ran.stderr);
    down.exits(0);
}

/// Many threads call the plugin while it is replaced again and again: every call succeeds with exactly one version.
#[test]
fn every_call_during_a_plugin_replacement_runs_one_version() {
    let operator = Operator::new();
    let versions = ['1', '2'].map(|version| (version, spinning(version)));
    let files = versions
        .each_ref()
        .map(|(version, bytes)| file(&operator, &format!("{version}.wasm"), bytes));
    let install = |index: usize| {
        let ran = operator.run(&["plugin", "add", &files[index], "--name", "spinner"]);
        ran.exits(0);
    };
    install(0);
    let planner = Planner::new(Arc::default(), Arc::default(), &operator.state());
    let chosen = planner.choose(Some("spinner"), Wasi::None, None).unwrap();
    let loaded = Loaded::new(Sandbox::new(None).unwrap());
    let current = || loaded.get(&planner, &chosen).unwrap().0;

    let org = operator.template(&[("org.yaml", ORG)]);
    let template = TemplateDir::open(Path::new(&org)).unwrap();
    let done = AtomicBool::new(false);
    let first = current();
    std::thread::scope(|scope| {
        // A call of the first version runs until its deadline, during all replacements.
        let long = scope
            .spawn(|| first.plan(&template, &orghost::plugin::sandbox::PluginInput::default()));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = std::collections::BTreeSet::new();
                    while !done.load(Ordering::Relaxed) {
                        let plugin = current();
                        let said = plugin.describe().unwrap().version;
                        let of = versions
                            .iter()
                            .find(|(_, bytes)| PluginDigest::of(bytes) == *plugin.digest());
                        assert_eq!(said, of.unwrap().0.to_string());
                        seen.insert(said);
                    }
                    seen
                })
            })
            .collect();
        for round in 1..=6 {
            install(round % 2);
            let now = current().describe().unwrap().version;
            assert_eq!(now, versions[round % 2].0.to_string());
        }
        done.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(!caller.join().unwrap().is_empty());
        }
        let ended = long.join().unwrap().unwrap_err().to_string();
        assert!(ended.contains("longer than"), "{ended}");
    });

    // A file that does not match its pinned digest is not loaded, and the reason is reported.
    let blob = operator.state().join(format!(
        "plugins/sha256/{}.wasm",
        current().digest().as_str()
    ));
    std::fs::write(blob, broken()).unwrap();
    let fresh = Loaded::new(Sandbox::new(None).unwrap());
    let refused = fresh.get(&planner, &chosen).err().unwrap();
    assert_eq!(refused.errors[0].code, "plugin-altered");
    operator.run(&["plugin", "remove", "spinner"]).exits(0);
    let refused = loaded.get(&planner, &chosen).err().unwrap();
    assert_eq!(refused.errors[0].code, "plugin-not-installed");
}

/// Plain HTTP to a registry on this machine's loopback does not go through the proxy of the environment.
#[test]
fn a_registry_on_the_loopback_is_reached_without_the_proxy() {
    let registry = Registry::start();
    // No proxy listens on this address.
    let operator = Operator::new()
        .with_env("http_proxy", "http://127.0.0.1:1")
        .with_env("HTTP_PROXY", "http://127.0.0.1:1");
    let plugin = file(&operator, "acme.wasm", ORG_IMPORT);
    let tag = registry.reference("acme:1");
    operator.run(&["plugin", "push", &tag, &plugin]).exits(0);
    for reference in [tag.clone(), tag.replace("127.0.0.1", "localhost")] {
        operator
            .run(&["plugin", "add", &reference, "--name", "acme"])
            .exits(0);
    }
}

//! Tests of `orghost plugin test`: the built-in plugin passes, plugins that break one rule fail in the case of that
//! rule, and a plugin's own cases are compared, shown and blessed.

use std::path::Path;

use orghost::model::plugin::PluginDigest;
use orghost::plugin::sandbox::ORG_IMPORT;
use quick_junit::{Report, TestCaseStatus};
use serde_json::Value;

use crate::support::component::of_wat;
use crate::support::{Operator, Ran};

/// An operator, and the path of a plugin file in its own project folder.
fn with_plugin(bytes: &[u8]) -> (Operator, String) {
    let operator = Operator::new();
    let file = operator.file("project/plugin.wasm", bytes);
    (operator, file.display().to_string())
}

fn tested(bytes: &[u8], more: &[&str]) -> Ran {
    let (operator, file) = with_plugin(bytes);
    operator.run(&[&["plugin", "test", &file, "--json"], more].concat())
}

fn with_outcome(document: &Value, outcome: &str) -> Vec<String> {
    let cases = document["cases"].as_array().unwrap().iter();
    cases
        .filter(|case| case["outcome"] == outcome)
        .map(|case| {
            format!(
                "{}/{}",
                case["part"].as_str().unwrap(),
                case["name"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn the_built_in_plugin_passes_every_case() {
    let (operator, file) = with_plugin(ORG_IMPORT);
    let out = |name: &str| operator.home.path().join(name);
    let (junit, certificate) = (out("junit.xml"), out("certificate.json"));
    let ran = operator.run(&[
        "plugin",
        "test",
        &file,
        "--junit",
        junit.to_str().unwrap(),
        "--certificate",
        certificate.to_str().unwrap(),
    ]);
    let ran = ran.exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [summary, last] = lines.as_slice() else {
        panic!("nothing failed; the output: {}", ran.stdout);
    };
    let digest = format!("sha256:{}", PluginDigest::of(ORG_IMPORT).as_str());
    assert!(summary.starts_with("org-import "), "{summary}");
    assert!(
        summary.contains(&digest) && summary.ends_with(" · suite 2"),
        "{summary}"
    );
    assert!(summary.contains(" · own – · "), "{summary}");

    let certificate = std::fs::read_to_string(&certificate).unwrap();
    assert_eq!(certificate.trim_end(), *last);
    let certificate: Value = serde_json::from_str(&certificate).unwrap();
    assert_eq!(certificate["plugin"]["digest"], digest);
    assert_eq!(certificate["world"], "0.2.0-dev");
    assert_eq!(certificate["result"], "passed");
    assert_eq!(certificate["complete"], true);
    let passed = |part: &str| certificate["parts"][part]["passed"].as_u64().unwrap();
    assert!(passed("contract") > 50 && passed("org-template/1") > 50);

    let junit = Report::deserialize_from_str(&std::fs::read_to_string(&junit).unwrap()).unwrap();
    let names: Vec<&str> = junit
        .test_suites
        .iter()
        .map(|suite| suite.name.as_str())
        .collect();
    assert_eq!(names, ["contract", "org-template/1"]);
    assert_eq!(
        junit.tests as u64,
        passed("contract") + passed("org-template/1")
    );
    assert_eq!(junit.failures, 0);
}

#[test]
fn a_changed_rule_fails_only_its_own_case() {
    // The changed importer writes the inline system prompt to another file.
    let changed = replaced(ORG_IMPORT, b"system-prompt.md", b"system-prompt.mx");
    let ran = tested(&changed, &["--case", "org-template/1/files"]).exits(2);
    let failed = with_outcome(&ran.json(), "failed");
    assert_eq!(failed, ["org-template/1/files-generated-on-top"]);
    assert_eq!(ran.json()["certificate"]["result"], "failed");
    assert_eq!(ran.json()["certificate"]["complete"], false);

    let (operator, file) = with_plugin(&changed);
    let ran = operator
        .run(&["plugin", "test", &file, "--case", "files-generated"])
        .exits(2);
    for text in [
        "--- the specification",
        "-            \"$has\": \"inline\"",
        "+          \"path\": \"system-prompt.mx\"",
        &format!("orghost plugin test {file} --case org-template/1/files-generated-on-top"),
        "org-template/1 ✗ 1 of 1",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
    }
}

#[test]
fn a_plugin_of_another_dialect_is_tested_against_the_contract_only() {
    let ran = tested(&Bad::default().component(), &[]).exits(0);
    let document = ran.json();
    assert_eq!(document["certificate"]["plugin"]["name"], "bad-plugin");
    assert_eq!(
        document["certificate"]["parts"]["org-template/1"]["passed"],
        0
    );
    assert!(with_outcome(&document, "passed").len() > 50);
}

/// Each plugin breaks one rule. The cases of the other rules pass.
#[test]
fn a_plugin_that_breaks_a_rule_fails_the_case_of_that_rule() {
    let good = Bad::default;
    let table: [(Bad, &[&str], &[&str]); 6] = [
        (
            Bad {
                version: "one",
                ..good()
            },
            &["contract/describe"],
            &["contract/describe-repeats", "contract/plan-keeps-rules"],
        ),
        (
            Bad {
                dialect: "org-template",
                ..good()
            },
            &["contract/describe"],
            &["contract/describe-repeats", "contract/plan-keeps-rules"],
        ),
        (
            Bad {
                code: "Bad Code!",
                ..good()
            },
            &["contract/errors-keep-rules", "contract/hostile-no-entry"],
            &["contract/describe", "contract/errors-repeat"],
        ),
        (
            Bad {
                import_org: "unreachable",
                ..good()
            },
            &["contract/plan-keeps-rules", "contract/hostile-empty-entry"],
            &["contract/describe", "contract/errors-repeat"],
        ),
        (
            // A failure with an empty list of errors.
            Bad {
                import_org: "(i32.store (i32.const 264) (i32.const 0)) i32.const 256",
                ..good()
            },
            &["contract/errors-keep-rules"],
            &["contract/describe"],
        ),
        (
            // The org gets the value of the first granted variable as its name, although the template does not refer to
            // it.
            Bad {
                import_org: "(if (i32.eqz (local.get 5)) (then (return (i32.const 256))))
                    (i32.store8 (i32.const 256) (i32.const 0))
                    (i32.store (i32.const 260) (i32.load offset=8 (local.get 4)))
                    (i32.store (i32.const 264) (i32.load offset=12 (local.get 4)))
                    i32.const 256",
                ..good()
            },
            &["contract/canary-unused", "contract/canary-role"],
            &["contract/describe", "contract/hostile-no-entry"],
        ),
    ];
    for (bad, failed, passed) in table {
        let (operator, file) = with_plugin(&bad.component());
        for (cases, outcome, code) in [(failed, "failed", 2), (passed, "passed", 0)] {
            for case in cases {
                let ran = operator.run(&["plugin", "test", &file, "--json", "--case", case]);
                let document = ran.exits(code).json();
                let found = with_outcome(&document, outcome);
                assert!(found.iter().any(|name| name == case), "{bad:?}: {document}");
            }
        }
    }
}

#[test]
fn a_plugin_that_does_not_load_fails_one_case_and_skips_the_others() {
    let wasi = wat::parse_str(
        r#"(component
            (import "wasi:cli/environment@0.2.3" (instance))
            (instance $importer) (export "orghost:plugin/importer@0.1.0" (instance $importer)))"#,
    )
    .unwrap();
    let document = tested(&wasi, &[]).exits(2).json();
    assert_eq!(with_outcome(&document, "failed"), ["contract/imports"]);
    let why = document["cases"][0]["why"].as_str().unwrap();
    assert!(why.contains("wasi:cli/environment@0.2.3"), "{why}");
    assert!(with_outcome(&document, "passed").is_empty());
    assert_eq!(document["certificate"]["result"], "failed");
}

#[test]
fn a_plugins_own_cases_are_blessed_and_compared() {
    let (operator, file) = with_plugin(ORG_IMPORT);
    let case = |name: &str| format!("project/cases/{name}");
    let org = "name: O\nworkspaces: [{name: A, runtime: x, channels: [{type: slack, config: {webhook_url: $HOOK}}]}]\n";
    operator.file(&format!("{}/template/org.yaml", case("good")), org);
    operator.file(&format!("{}/env", case("good")), "SECRET=hush-hush\n");
    operator.file(
        &format!("{}/grants", case("good")),
        "HOOK=https://hush-hush\n",
    );
    operator.file(
        &format!("{}/template/org.yaml", case("wrong")),
        "name: O\nworkspaces:\n  - {name: A, runtime: x, tier: 9}\n",
    );
    let run = |more: &[&str]| {
        let args = ["plugin", "test", &file, "--case", "own/"];
        operator.run(&[&args, more].concat())
    };
    let read = |path: &str| std::fs::read_to_string(operator.home.path().join(path)).unwrap();

    // No expectation exists yet.
    let ran = run(&[]).exits(2);
    assert!(ran.stdout.contains("--bless"), "{}", ran.stdout);
    let ran = run(&["--bless"]).exits(0);
    assert_eq!(
        ran.stdout.matches("blessed own/").count(),
        2,
        "{}",
        ran.stdout
    );
    let plan: Value = serde_json::from_str(&read(&format!("{}/plan.json", case("good")))).unwrap();
    assert_eq!(plan["workspaces"][0]["channels"][0]["type"], "slack");
    assert!(!plan.to_string().contains("hush-hush") && plan.get("violations").is_none());
    let error = read(&format!("{}/error.txt", case("wrong")));
    assert!(error.starts_with("tier-invalid org.yaml:3:"), "{error}");
    let ran = run(&[]).exits(0);
    assert!(ran.stdout.contains("own ✓ 2"), "{}", ran.stdout);

    // The plan changes.
    operator.file(
        &format!("{}/template/org.yaml", case("good")),
        org.replace("name: A", "name: A, tier: 1"),
    );
    let ran = run(&[]).exits(2);
    for text in [
        "failed  own/good",
        "--- plan.json",
        "-      \"tier\": 2,",
        "+      \"tier\": 1,",
        "--case own/good",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("failed  own/wrong"), "{}", ran.stdout);

    // The plugin refuses, although a plan was expected. Blessing replaces `plan.json` with `error.txt`.
    operator.file(&format!("{}/template/org.yaml", case("good")), "name: [\n");
    let ran = run(&[]).exits(2);
    let why = "the plugin rejected the template, but should plan it";
    assert!(ran.stdout.contains(why), "{}", ran.stdout);
    run(&["--bless"]).exits(0);
    assert!(
        !operator
            .home
            .path()
            .join(case("good"))
            .join("plan.json")
            .exists()
    );
    run(&[]).exits(0);

    // A case with both files is an error.
    operator.file(&format!("{}/plan.json", case("wrong")), "{}");
    let ran = run(&[]).exits(2);
    assert!(
        ran.stdout.contains("both plan.json and error.txt"),
        "{}",
        ran.stdout
    );
}

#[test]
fn junit_reports_failures_with_their_difference() {
    let (operator, file) = with_plugin(ORG_IMPORT);
    operator.file(
        "project/cases/a/template/org.yaml",
        "name: O\nworkspaces: []\n",
    );
    operator.file(
        "project/cases/a/error.txt",
        "no-such-code org.yaml:1:1 it is wrong\n",
    );
    let junit = operator.home.path().join("junit.xml");
    let out = junit.to_str().unwrap();
    operator
        .run(&["plugin", "test", &file, "--case", "own/", "--junit", out])
        .exits(2);
    let report = Report::deserialize_from_str(&std::fs::read_to_string(&junit).unwrap()).unwrap();
    assert_eq!((report.tests, report.failures), (1, 1));
    let case = &report.test_suites[0].test_cases[0];
    assert_eq!(
        (
            case.name.as_str(),
            case.classname.as_ref().unwrap().as_str()
        ),
        ("a", "own")
    );
    let TestCaseStatus::NonSuccess { description, .. } = &case.status else {
        panic!("it did not fail: {case:?}");
    };
    let description = description.as_ref().unwrap().as_str();
    assert!(
        description.contains("-no-such-code org.yaml:1:1 it is wrong"),
        "{description}"
    );
    assert!(description.contains("--case own/a"), "{description}");
}

#[test]
fn plugin_test_finds_the_plugin_and_its_cases() {
    let operator = Operator::new();
    let folder = operator.file("acme/acme.wasm", ORG_IMPORT);
    let folder = folder.parent().unwrap();
    operator.file(
        "acme/cases/a/template/org.yaml",
        "name: O\nworkspaces: []\n",
    );
    let here = |args: &[&str], folder: &Path| {
        let mut command = operator.command(&[&["plugin", "test", "--json"], args].concat());
        Ran::of(command.current_dir(folder).output().unwrap())
    };
    let ran = here(&["--case", "own/", "--bless"], folder).exits(0);
    assert_eq!(with_outcome(&ran.json(), "blessed"), ["own/a"]);

    let ran = here(&[], operator.home.path()).exits(2);
    assert_eq!(ran.error_codes(), ["plugin-unreadable"]);
    assert!(ran.stdout.contains("plugin build"), "{}", ran.stdout);
    let ran = here(&["--case", "nothing-is-called-this"], folder).exits(2);
    assert_eq!(ran.error_codes(), ["no-such-case"]);
    let ran = here(&["--cases", "not-there"], folder).exits(2);
    assert_eq!(ran.error_codes(), ["plugin-test"]);
}

/// A plugin of a few instructions. The default refuses every template with one clean error.
#[derive(Debug)]
struct Bad {
    version: &'static str,
    dialect: &'static str,
    code: &'static str,
    /// The body of `import-org`. The answer is prepared at 256; locals 4 and 5 are the granted variables and their
    /// number.
    import_org: &'static str,
}

impl Default for Bad {
    fn default() -> Self {
        Self {
            version: "1.0.0",
            dialect: "other/1",
            code: "refused",
            import_org: "i32.const 256",
        }
    }
}

impl Bad {
    fn component(&self) -> Vec<u8> {
        let length = |text: &str| u32::try_from(text.len()).unwrap();
        let (version, dialect, code) = (self.version, self.dialect, self.code);
        let described = words(&[128, 10, 144, length(version), 176, 1]);
        let dialects = words(&[160, length(dialect)]);
        // An error result: a list of one diagnostic with a code and a message.
        let answer = words(&[1, 320, 1]);
        let diagnostic = words(&[192, length(code), 208, 7]);
        let import_org = self.import_org;
        of_wat(
            &format!(
                r#"(module
                    (memory (export "memory") 1024)
                    (global $top (mut i32) (i32.const 4096))
                    (data (i32.const 64) "{described}")
                    (data (i32.const 128) "bad-plugin")
                    (data (i32.const 144) "{version}")
                    (data (i32.const 160) "{dialect}")
                    (data (i32.const 176) "{dialects}")
                    (data (i32.const 192) "{code}")
                    (data (i32.const 208) "refused")
                    (data (i32.const 256) "{answer}")
                    (data (i32.const 320) "{diagnostic}")
                    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                        (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
                        (global.set $top (i32.add (local.get $at) (local.get 3)))
                        (local.get $at))
                    (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) i32.const 64)
                    (func (export "orghost:plugin/importer@0.1.0#import-org")
                        (param i32 i32 i32 i32 i32 i32 i32) (result i32) {import_org}))"#
            ),
            "plugin",
        )
    }
}

/// Numbers in the byte order of a module's memory.
fn words(numbers: &[u32]) -> String {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "the bytes to replace were not found");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

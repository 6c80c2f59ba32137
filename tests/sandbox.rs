//! Tests of a plugin's limits, its closed WASI, the versions of the contract, and its log.

use std::time::{Duration, Instant};

use orghost::model::plugin::{PluginDigest, PluginLimits, Wasi};
use orghost::plugin::sandbox::{CallError, ORG_IMPORT, Plugin, PluginInput, Reply, Sandbox};
use orghost::template::directory::TemplateDir;
use sha2::{Digest as _, Sha256};

use crate::hostile::component;
use crate::support::component::{of_wat_in, of_wat_with_wasi};
use crate::support::{Operator, root};

const CLOSED: PluginLimits = PluginLimits {
    deadline: Duration::from_secs(5),
    memory: 16 << 20,
    wasi: Wasi::Closed,
};

/// A core module whose `import-org` returns a plan with a name of eight bytes at address 72, behind the result.
fn module(version: &str, imports: &str, import_org: &str) -> String {
    format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (data (i32.const 72) "the-name")
            (data (i32.const 128) "one line\n\1b[31mred\n")
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.get $free) (global.set $free (i32.add (global.get $free) (i32.const 1024))))
            (func (export "orghost:plugin/importer@{version}#describe") (result i32) unreachable)
            (func (export "orghost:plugin/importer@{version}#import-org")
                (param i32 i32 i32 i32 i32 i32 i32) (result i32)
                (local $at i32)
                {import_org}
                (i32.store (i32.const 20) (i32.const 72)) (i32.store (i32.const 24) (i32.const 8))
                i32.const 16))"#
    )
}

fn with_wasi(imports: &str, import_org: &str) -> Plugin {
    let bytes = of_wat_with_wasi(&module("0.1.0", imports, import_org));
    Sandbox::new(None).unwrap().load(&bytes, &CLOSED).unwrap()
}

fn studio() -> TemplateDir {
    TemplateDir::open(&root().join("examples/studio")).unwrap()
}

fn name(plugin: &Plugin, request: &PluginInput) -> String {
    plugin.plan(&studio(), request).unwrap().org.name
}

fn reason<T: std::fmt::Debug>(reply: Reply<T>) -> String {
    match reply.result {
        Err(CallError::Failed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_plugin_has_its_own_limits_and_errors_name_them() {
    let sandbox = Sandbox::new(None).unwrap();
    let short = PluginLimits {
        deadline: Duration::from_millis(250),
        ..PluginLimits::default()
    };
    let spin = sandbox.load(&component("spin"), &short).unwrap();
    let reply = spin.plan_measured(&studio(), &PluginInput::default());
    assert!(reply.usage.elapsed >= short.deadline);
    assert!(reply.usage.elapsed < PluginLimits::default().deadline);
    assert!(reason(reply).contains("250 milliseconds"));

    let small = PluginLimits {
        memory: 48 << 20,
        ..PluginLimits::default()
    };
    let grow = sandbox.load(&component("grow-memory"), &small).unwrap();
    let reply = grow.plan_measured(&studio(), &PluginInput::default());
    // The memory begins with one page and grows by 16 MiB.
    assert_eq!(reply.usage.memory, (32 << 20) + (64 << 10));
    assert!(reason(reply).contains("48 MiB"));

    // Another plugin in the same process keeps its own limits.
    let ordinary = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let reply = ordinary.plan_measured(&studio(), &PluginInput::default());
    assert_eq!(reply.result.unwrap().workspaces.len(), 4);
    assert!(reply.usage.memory > 64 << 10 && reply.usage.memory < 64 << 20);
    assert_eq!(reply.log, Vec::<String>::new());
    let starved = PluginLimits {
        memory: 64 << 10,
        ..PluginLimits::default()
    };
    let starved = sandbox.load(ORG_IMPORT, &starved).unwrap();
    assert!(reason(starved.plan_measured(&studio(), &PluginInput::default())).contains("64 KiB"));
}

#[test]
fn callers_above_the_concurrency_limit_wait() {
    let sandbox = Sandbox::new(None).unwrap();
    let terms = PluginLimits {
        deadline: Duration::from_millis(100),
        ..PluginLimits::default()
    };
    let spin = sandbox.load(&component("spin"), &terms).unwrap();
    let callers = orghost::limits::CONCURRENT_CALLS + 16;
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let reply = spin.plan_measured(&studio(), &PluginInput::default());
                assert_eq!(reason(reply), "it ran for longer than 100 milliseconds");
            });
        }
    });
}

#[test]
fn a_sleep_in_a_closed_wasi_returns_at_once() {
    let sleeper = with_wasi(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
           (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
           (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#,
        "(call $block (call $timer (i64.const 3600000000000)))
         (i32.store (i32.const 200) (call $timer (i64.const -1)))
         (call $poll (i32.const 200) (i32.const 1) (i32.const 208))
         (if (i32.ne (i32.load (i32.const 212)) (i32.const 1)) (then unreachable))
         (if (i64.ne (call $now) (i64.const 0)) (then unreachable))",
    );
    let began = Instant::now();
    assert_eq!(name(&sleeper, &PluginInput::default()), "the-name");
    assert!(began.elapsed() < CLOSED.deadline);
}

#[test]
fn the_wall_clock_of_a_closed_wasi_stands_still() {
    let clock = with_wasi(
        r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))"#,
        "(call $now (i32.const 200))
         (if (i64.ne (i64.load (i32.const 200)) (i64.const 1577836800)) (then unreachable))
         (if (i32.load (i32.const 208)) (then unreachable))",
    );
    assert_eq!(name(&clock, &PluginInput::default()), "the-name");
}

#[test]
fn randomness_in_a_closed_wasi_depends_on_the_input_only() {
    let import =
        r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#;
    // The name is eight letters of four random bits each.
    let letters = "(i64.store (i32.const 72) (i64.add (i64.const 0x6161616161616161)
        (i64.and (call $random) (i64.const 0x0f0f0f0f0f0f0f0f))))";
    let one = with_wasi(import, letters);
    let other = with_wasi(import, letters);
    let request = |vars: &[(&str, &str)], granted: &[(&str, &str)]| {
        let map = |pairs: &[(&str, &str)]| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(pair).collect()
        };
        PluginInput {
            vars: map(vars),
            granted: map(granted),
            skip_external: false,
        }
    };
    let first = name(&one, &request(&[("A", "1")], &[]));
    assert_eq!(name(&one, &request(&[("A", "1")], &[])), first);
    assert_eq!(name(&other, &request(&[("A", "1")], &[])), first);
    assert_ne!(name(&one, &request(&[("A", "2")], &[])), first);

    // Values of granted variables do not influence the numbers.
    let granted = name(&one, &request(&[("A", "1")], &[("S", "x")]));
    assert_ne!(granted, first);
    assert_eq!(name(&one, &request(&[("A", "1")], &[("S", "y")])), granted);

    // Another plugin gets other numbers.
    let another = with_wasi(import, &format!("{letters} (drop (i32.const 0))"));
    assert_ne!(name(&another, &request(&[("A", "1")], &[])), first);

    let greedy = with_wasi(
        r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $bytes (param i64 i32)))"#,
        "(call $bytes (i64.const 0x7fffffff) (i32.const 200))",
    );
    let reply = greedy.plan_measured(&studio(), &PluginInput::default());
    assert!(reason(reply).contains("64 KiB of random bytes"));
}

const STDOUT: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))"#;

#[test]
fn output_of_a_plugin_becomes_log_lines() {
    let writer = with_wasi(
        STDOUT,
        "(call $write (call $stdout) (i32.const 128) (i32.const 4) (i32.const 200))
         (call $write (call $stdout) (i32.const 132) (i32.const 13) (i32.const 200))",
    );
    let reply = writer.plan_measured(&studio(), &PluginInput::default());
    assert_eq!(reply.result.unwrap().org.name, "the-name");
    assert_eq!(reply.log, ["one line", "\u{fffd}[31mred"]);
}

#[test]
fn the_log_of_a_plugin_is_limited() {
    // The plugin writes 4 KiB of `x` a hundred times, without a line end.
    let flood = with_wasi(
        STDOUT,
        "(memory.fill (i32.const 8192) (i32.const 120) (i32.const 4096))
         (loop $again
            (call $write (call $stdout) (i32.const 8192) (i32.const 4096) (i32.const 200))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 100))))",
    );
    let reply = flood.plan_measured(&studio(), &PluginInput::default());
    assert_eq!(reply.result.unwrap().org.name, "the-name");
    let [line, last] = reply.log.as_slice() else {
        panic!("{} lines", reply.log.len());
    };
    assert_eq!(line, &"x".repeat(64 << 10));
    assert!(last.contains("64 KiB"), "{last}");
}

/// A plugin for the version in development: it logs, reads a file, and plans an org without workspaces.
fn of_0_2_0() -> Vec<u8> {
    let text = module(
        "0.2.0-dev",
        r#"(import "orghost:plugin/log@0.2.0-dev" "line" (func $line (param i32 i32)))
           (import "orghost:plugin/template-files@0.2.0-dev" "read" (func $read (param i32 i32 i32)))
           (data (i32.const 160) "org.yaml")"#,
        "(call $read (i32.const 160) (i32.const 8) (i32.const 200))
         (if (i32.load8_u (i32.const 200)) (then unreachable))
         (call $line (i32.const 128) (i32.const 8))",
    );
    of_wat_in("0.2.0-dev", &text, "plugin")
}

#[test]
fn two_contract_versions_work_side_by_side() {
    let sandbox = Sandbox::new(None).unwrap();
    let old = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    // The digest comes from the lock file, which is faster than hashing.
    assert_eq!(old.digest(), &PluginDigest::of(ORG_IMPORT));
    let new = sandbox.load(&of_0_2_0(), &PluginLimits::default()).unwrap();
    let reply = new.plan_measured(&studio(), &PluginInput::default());
    assert_eq!(reply.result.unwrap().org.name, "the-name");
    assert_eq!(reply.log, ["one line"]);
    let plan = old.plan(&studio(), &PluginInput::default()).unwrap();
    assert_eq!(plan.workspaces.len(), 4);
}

/// A plugin that reads with `read-all`, and whose memory has a list of paths at 65536.
fn that_reads_all(import_org: &str) -> Vec<u8> {
    let text = module(
        "0.2.0-dev",
        r#"(import "orghost:plugin/template-files@0.2.0-dev" "read-all" (func $read_all (param i32 i32 i32)))
           (data (i32.const 160) "org.yamlnone")"#,
        import_org,
    );
    let text = text.replace(
        r#"(memory (export "memory") 1)"#,
        r#"(memory (export "memory") 200)"#,
    );
    of_wat_in("0.2.0-dev", &text, "plugin")
}

/// `org.yaml`, `none`, and `org.yaml` again: the bytes of two files, and why there is no third.
#[test]
fn read_all_answers_for_each_path_as_read_does() {
    let org = b"name: x\n";
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", std::str::from_utf8(org).unwrap())]);
    let sandbox = Sandbox::new(None).unwrap();
    // The answer at 200 has the address and length of the bytes, and of the sizes. A size has 24 bytes: whether it is an
    // error, and at 8 the number, or which error.
    let plugin = that_reads_all(
        "(i32.store (i32.const 65536) (i32.const 160)) (i32.store (i32.const 65540) (i32.const 8))
         (i32.store (i32.const 65544) (i32.const 168)) (i32.store (i32.const 65548) (i32.const 4))
         (i32.store (i32.const 65552) (i32.const 160)) (i32.store (i32.const 65556) (i32.const 8))
         (call $read_all (i32.const 65536) (i32.const 3) (i32.const 200))
         (if (i32.ne (i32.load (i32.const 204)) (i32.const 16)) (then unreachable))
         (if (i64.ne (i64.load (i32.load (i32.const 200))) (i64.load (i32.add (i32.load (i32.const 200)) (i32.const 8))))
             (then unreachable))
         (if (i32.ne (i32.load (i32.const 212)) (i32.const 3)) (then unreachable))
         (local.set $at (i32.load (i32.const 208)))
         (if (i32.load8_u (local.get $at)) (then unreachable))
         (if (i64.ne (i64.load offset=8 (local.get $at)) (i64.const 8)) (then unreachable))
         (if (i32.eqz (i32.load8_u offset=24 (local.get $at))) (then unreachable))
         (if (i32.load8_u offset=32 (local.get $at)) (then unreachable))
         (if (i64.ne (i64.load offset=56 (local.get $at)) (i64.const 8)) (then unreachable))",
    );
    let plugin = sandbox.load(&plugin, &PluginLimits::default()).unwrap();
    let template = TemplateDir::open(template.as_ref()).unwrap();
    let plan = plugin.plan(&template, &PluginInput::default()).unwrap();
    assert_eq!(plan.org.name, "the-name");
}

/// Each path of `read-all` counts as a read, and the deadline holds while the host reads.
#[test]
fn read_all_has_the_limits_of_read() {
    let sandbox = Sandbox::new(None).unwrap();
    let ask = |paths: u32, limits: &PluginLimits| {
        let plugin = that_reads_all(&format!(
            "(local.set $at (i32.const 65536))
             (loop $again
                (i32.store (local.get $at) (i32.const 160)) (i32.store offset=4 (local.get $at) (i32.const 8))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $again (i32.lt_u (local.get $at) (i32.const {}))))
             (call $read_all (i32.const 65536) (i32.const {paths}) (i32.const 200))",
            65_536 + 8 * paths
        ));
        let plugin = sandbox.load(&plugin, limits).unwrap();
        reason(plugin.plan_measured(&studio(), &PluginInput::default()))
    };
    let usual = PluginLimits::default();
    assert!(ask(20_001, &usual).contains("20000 times"));
    let short = PluginLimits {
        deadline: Duration::ZERO,
        ..usual
    };
    assert!(ask(10_000, &short).contains("longer than"));
}

#[test]
fn log_lines_are_shown_beside_the_plan() {
    let operator = Operator::new();
    let file = operator.file("plugin.wasm", of_0_2_0());
    let file = file.display().to_string();
    let template = operator.template(&[("org.yaml", "name: x")]);
    let ran = operator
        .run(&["plan", &template, "--plugin", &file, "--json"])
        .exits(0);
    assert_eq!(ran.json()["org"]["name"], "the-name");
    assert_eq!(ran.stderr, "plugin: one line\n");
}

/// `up` plans inside an asynchronous runtime, where a blocking call of WASI would panic.
#[test]
fn a_plugin_with_wasi_can_plan_during_up() {
    let operator = Operator::new();
    let text = std::fs::read_to_string(root().join("tests/hostile/open-socket.wat")).unwrap();
    let file = operator.file("plugin.wasm", of_wat_with_wasi(&text));
    let file = file.display().to_string();
    let template = operator.template(&[("org.yaml", "name: x")]);
    let arguments = [
        "up", &template, "--plugin", &file, "--wasi", "closed", "--engine", "local", "--json",
    ];
    let ran = operator.run(&arguments).exits(2);
    assert_eq!(ran.error_codes(), ["plugin-broke"]);
    assert!(ran.stdout.contains("exit code 1"), "{}", ran.stdout);
}

/// This version is released: existing plugins were built against exactly this file.
#[test]
fn contract_version_0_1_0_is_unchanged() {
    let wit = std::fs::read(root().join("wit/v0.1.0/plugin.wit")).unwrap();
    let digest: String = Sha256::digest(&wit)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        "5b9c8239aaf395a061311290fa61ff17a2cd1fd3e19ce090aae86822febb5f96"
    );
    let folder = std::fs::read_dir(root().join("wit/v0.1.0")).unwrap();
    assert_eq!(folder.count(), 1, "a file was added");
}

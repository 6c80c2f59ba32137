//! A hundred thousand calls into hostile plugins must cost errors and time, and no memory. nextest runs the test in its
//! own process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orghost::model::plugin::{PluginLimits, Wasi};
use orghost::plugin::sandbox::{CallError, ORG_IMPORT, Plugin, PluginInput, Sandbox};
use orghost::template::directory::TemplateDir;

use crate::hostile::component;
use crate::support::root;

const CALLS: usize = 100_000;
/// After this many calls, every slot and arena has reached its size.
const WARM_UP: usize = 10_000;
/// The memory that may be added until the end, in bytes: allocator arenas vary by this much.
const SLACK: usize = 24 << 20;

/// Plugins that end at once, for most of the calls.
const QUICK: [&str; 15] = [
    "trap",
    "recurse",
    "recurse-in-start",
    "grow-memory",
    "grow-table",
    "huge-string",
    "huge-string-out-of-bounds",
    "not-utf8",
    "result-out-of-bounds",
    "list-out-of-bounds",
    "list-not-aligned",
    "unknown-case",
    "no-name",
    "no-reason",
    "exit",
];
/// Plugins that run into a deadline or a slow limit, for one call in a hundred.
const SLOW: [&str; 5] = [
    "spin",
    "spin-in-start",
    "ask-for-files",
    "hoard-handles",
    "hold-memory",
];

#[test]
fn a_hundred_thousand_hostile_calls_leak_no_memory() {
    let sandbox = Sandbox::new(None).unwrap();
    let load = |name: &&str| {
        let terms = PluginLimits {
            deadline: Duration::from_millis(20),
            // The plugin that holds memory needs a higher limit.
            memory: if *name == "hold-memory" {
                256 << 20
            } else {
                4 << 20
            },
            wasi: Wasi::Closed,
        };
        sandbox.load(&component(name), &terms).unwrap()
    };
    let quick: Vec<Plugin> = QUICK.iter().map(load).collect();
    let slow: Vec<Plugin> = SLOW.iter().map(load).collect();
    let good = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let template = TemplateDir::open(&root().join("examples/studio")).unwrap();

    let call = |number: usize| {
        let plugin = match number % 100 {
            0 => &slow[number / 100 % slow.len()],
            _ => &quick[number % quick.len()],
        };
        match plugin.plan(&template, &PluginInput::default()) {
            Err(CallError::Failed { .. } | CallError::InvalidAnswer(_)) => {}
            other => panic!("call {number}: {other:?}"),
        }
    };
    calls(0, WARM_UP, &call);
    let warm = resident_bytes();
    calls(WARM_UP, CALLS, &call);
    let end = resident_bytes();
    assert!(
        end < warm + SLACK,
        "{} MiB were resident after {WARM_UP} calls, and {} MiB after {CALLS}",
        warm >> 20,
        end >> 20
    );
    let plan = good.plan(&template, &PluginInput::default()).unwrap();
    assert_eq!(plan.workspaces.len(), 4);
}

/// Makes the calls from `begin` to `end` on two threads.
fn calls(begin: usize, end: usize, call: &(impl Fn(usize) + Sync)) {
    let next = AtomicUsize::new(begin);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    call(number);
                }
            });
        }
    });
}

/// The resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kibibytes << 10
}

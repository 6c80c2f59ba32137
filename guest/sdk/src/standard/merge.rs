//! Lays a workspace's own settings over the defaults (org-template.md §5). Pure: nothing is read, nothing reported,
//! and the inputs stay as they are.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::data::Data;
use super::schema::Route;

/// An agent plugin in a list of a template, its configuration resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedPlugin {
    /// A name or an address.
    pub source: String,
    /// Shared by all workspaces that have it from the defaults.
    pub config: Option<Rc<Data>>,
}

impl ListedPlugin {
    /// One without a configuration.
    pub fn named(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            config: None,
        }
    }
}

/// Defaults first, then the workspace's own in order: `!name` or `-name` removes, anything else is appended unless
/// it is there. Where one is there already, a configuration that comes later replaces the earlier one.
pub fn plugins(defaults: &[ListedPlugin], own: &[ListedPlugin]) -> Vec<ListedPlugin> {
    let mut slots: Vec<Option<ListedPlugin>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let own = own
        .iter()
        .map(|plugin| (plugin, plugin.source.trim_start_matches(['!', '-'])));
    // The prefix has no meaning in defaults.
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

/// Who is told of which category. The workspace's list replaces the default's, category by category; an empty one
/// deletes the category.
pub(crate) fn routing(defaults: &[Route], own: &[Route]) -> BTreeMap<String, Vec<String>> {
    let mut merged = BTreeMap::new();
    for route in defaults.iter().chain(own) {
        let category = &*route.category;
        if route.roles.is_empty() {
            merged.remove(category);
        } else {
            let roles = route.roles.iter().map(|role| role.text.clone());
            merged.insert(category.to_owned(), roles.collect());
        }
    }
    merged
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
    fn plugins_merge_in_order() {
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

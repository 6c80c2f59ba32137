//! Lays a workspace's own settings over the defaults (org-template.md §5). Pure: nothing is read, nothing reported,
//! and the inputs stay as they are.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::data::Data;
use crate::render::Text;
use crate::schema::Route;

/// An agent plugin whose configuration is resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    pub source: String,
    pub config: Option<Rc<Data>>,
}

/// Defaults first, then the workspace's own in order: `!name` or `-name` removes, anything else is appended unless
/// it is there. Where one is there already, a configuration that comes later replaces the earlier one.
pub(crate) fn plugins(defaults: &[Plugin], own: &[Plugin]) -> Vec<Plugin> {
    let mut slots: Vec<Option<Plugin>> = Vec::new();
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

/// The workspace's list replaces the default's, category by category; an empty one deletes the category.
pub(crate) fn routing<'a>(
    defaults: &'a [Route],
    own: &'a [Route],
) -> BTreeMap<&'a str, Vec<Text<'a>>> {
    let mut merged = BTreeMap::new();
    for route in defaults.iter().chain(own) {
        let roles: Vec<Text<'_>> = route.roles.iter().map(|role| Text(&role.text)).collect();
        if roles.is_empty() {
            merged.remove(&*route.category);
        } else {
            merged.insert(&*route.category, roles);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(sources: &[&str]) -> Vec<Plugin> {
        let plugin = |source: &&str| {
            let (source, config) = source.split_once('=').map_or((*source, None), |(s, c)| {
                (s, Some(Rc::new(Data::Text(c.to_owned()))))
            });
            Plugin {
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

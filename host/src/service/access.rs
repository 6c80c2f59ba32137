//! Which workspaces may call each other. Pure; denies everything that is not allowed explicitly.

use crate::model::names::NamePath;

/// Whether a workspace may call another one of its org: itself, its siblings under one parent, its ancestors and its
/// descendants. Two roots are no siblings.
pub fn may_call(caller: &NamePath, target: &NamePath) -> bool {
    let are_siblings = caller.parent().is_some() && caller.parent() == target.parent();
    caller == target || are_siblings || target.is_below(caller) || caller.is_below(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_calls_itself_its_siblings_ancestors_and_descendants_only() {
        let may = |caller, target| {
            let path = |text: &str| {
                let names: Vec<String> = text.split('/').map(str::to_owned).collect();
                NamePath::try_from(names).unwrap()
            };
            may_call(&path(caller), &path(target))
        };
        for (caller, target) in [
            ("pm", "pm"),
            ("pm/dev", "pm/qa"),
            ("pm/dev", "pm"),
            ("pm", "pm/dev"),
            ("pm/dev/a", "pm"),
            ("pm", "pm/dev/a"),
        ] {
            assert!(may(caller, target), "{caller} -> {target}");
        }
        for (caller, target) in [
            // Two roots.
            ("pm", "ops"),
            // A cousin, an aunt, a niece.
            ("pm/dev/a", "pm/qa/b"),
            ("pm/dev/a", "pm/qa"),
            ("pm/qa", "pm/dev/a"),
            // A name that begins like another.
            ("pm", "pm2/dev"),
            ("pm/dev", "pm/dev2/a"),
        ] {
            assert!(!may(caller, target), "{caller} -> {target}");
        }
    }
}

//! Which workspace may call which. Pure, and denies what it does not know.

use crate::plan::WorkspaceKey;

/// Within one org: itself, its siblings under one parent, its ancestors and its descendants. Two roots are no siblings.
pub fn may_call(caller: &WorkspaceKey, target: &WorkspaceKey) -> bool {
    let is_above = |above: &WorkspaceKey, below: &WorkspaceKey| {
        let rest = below.as_str().strip_prefix(above.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let are_siblings = caller.parent().is_some() && caller.parent() == target.parent();
    caller == target || are_siblings || is_above(caller, target) || is_above(target, caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let may = |caller, target| {
            let key = |text| WorkspaceKey::new(text).unwrap();
            may_call(&key(caller), &key(target))
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

//! The trait that an author implements, and the macro that makes it a component.

use crate::{Description, Environment, Expansion, Plan, Refusal, Request, TemplateFiles, standard};

/// A plugin. All methods are pure: the same input must give the same output, byte for byte, and no state survives a
/// call.
pub trait Plugin {
    /// The plugin's name, version and template dialects.
    fn describe() -> Description;

    /// Turns a template into a plan. orghost's default plugin calls [`standard::import_org`].
    ///
    /// # Errors
    /// All errors of the template, sorted by place. No text may hold the value of a variable.
    fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal>;

    /// Expands the references in a text, in one pass from left to right.
    fn expand(text: &str, environment: &Environment) -> Expansion {
        standard::expand(text, environment)
    }
}

/// Exports a type that implements [`Plugin`] as the component that the crate is compiled to. A crate uses it once, and
/// its `crate-type` contains `cdylib`. Natively the macro only checks that the type is a plugin, so that tests can run.
///
/// The component is for version 0.1.0 of the contract, the released one. Plans of that version have no origins of
/// variables and no former names of workspaces. `export!(Mine, "0.2.0-dev")` exports for the version in development.
///
/// ```
/// # use orghost_plugin::{Description, Plan, Plugin, Refusal, Request, TemplateFiles, standard};
/// struct Mine;
///
/// impl Plugin for Mine {
///     fn describe() -> Description {
///         Description { name: "mine".into(), version: "1.0.0".into(), handles: vec![] }
///     }
///     fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
///         standard::import_org(files, request)
///     }
/// }
///
/// orghost_plugin::export!(Mine);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export!(@ $plugin, $crate::bindings::v0_1_0);
    };
    ($plugin:ty, "0.2.0-dev") => {
        $crate::export!(@ $plugin, $crate::bindings::v0_2_0_dev);
    };
    (@ $plugin:ty, $($bindings:tt)*) => {
        const _: () = {
            const fn is_a_plugin<P: $crate::Plugin>() {}
            is_a_plugin::<$plugin>();
        };

        #[cfg(target_family = "wasm")]
        #[allow(
            unsafe_code,
            reason = "generated code: the entry points of the component"
        )]
        const _: () = {
            type Component = $crate::component::Component<$plugin>;
            $($bindings)*::export!(Component with_types_in $($bindings)*);
        };
    };
}

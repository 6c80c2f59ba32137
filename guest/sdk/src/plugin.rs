//! What an author implements, and the macro that makes it a component. It holds no logic.

use crate::{Description, Environment, Expansion, Plan, Refusal, Request, TemplateFiles, standard};

/// A plugin. Everything is pure: the same input must give the same output, byte for byte, and nothing survives from
/// one call to the next.
pub trait Plugin {
    /// What the plugin says about itself. Pure and cheap.
    fn describe() -> Description;

    /// Turns a template into a plan. [`standard::import_org`] is what orghost's own plugin does.
    ///
    /// # Errors
    /// Everything that is wrong with the template, by place. No text may hold a value of a variable.
    fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal>;

    /// Expands the references in a text, in one pass from left to right. It never fails.
    fn expand(text: &str, environment: &Environment) -> Expansion {
        standard::expand(text, environment)
    }
}

/// Makes a type that implements [`Plugin`] the component that the crate is compiled to; once in a crate, whose
/// `crate-type` has `cdylib`. Natively it only checks that the type is a plugin, so that the crate can be tested.
///
/// The component is for version 0.1.0 of the contract, the released one, in which a plan does not say who set a variable
/// and what a workspace was called before. `export!(Mine, "0.2.0-dev")` makes one for the version in development.
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

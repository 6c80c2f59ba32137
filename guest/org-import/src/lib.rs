//! orghost's default plugin: turns standard templates into plans with `orghost_plugin::standard`.

pub use orghost_plugin::standard::import_org;
pub use orghost_plugin::*;

/// The default plugin.
#[derive(Debug, Clone, Copy)]
pub struct OrgImport;

impl Plugin for OrgImport {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            handles: vec![standard::DIALECT.to_owned()],
        }
    }

    fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
        import_org(files, request)
    }
}

export!(OrgImport, "0.2.0-dev");

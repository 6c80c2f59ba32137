//! The exports of a plugin. Callers use the types of the latest version of the world; answers of older plugins are converted
//! here.

use orghost_build::WorldVersion;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::answer::Answer;
use super::bindings::latest::exports::orghost::plugin::{expander, importer};
use super::call::Call;
use super::v0_1_0;

/// The indices of a plugin's exports, by the version of its world.
pub enum World {
    V0_1_0(v0_1_0::Exports),
    Latest {
        importer: importer::GuestIndices,
        expander: Option<expander::GuestIndices>,
    },
}

impl World {
    pub fn new(version: WorldVersion, pre: &InstancePre<Call>) -> wasmtime::Result<Self> {
        Ok(match version {
            WorldVersion::V0_1_0 => Self::V0_1_0(v0_1_0::Exports::new(pre)?),
            _ => Self::Latest {
                importer: importer::GuestIndices::new(pre)?,
                expander: expander::GuestIndices::new(pre).ok(),
            },
        })
    }

    pub fn has_expander(&self) -> bool {
        match self {
            Self::V0_1_0(exports) => exports.has_expander(),
            Self::Latest { expander, .. } => expander.is_some(),
        }
    }

    pub fn describe(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
    ) -> wasmtime::Result<importer::Description> {
        match self {
            Self::V0_1_0(exports) => exports.describe(store, instance),
            Self::Latest { importer, .. } => {
                let importer = importer.load(&mut *store, instance)?;
                importer.call_describe(store)
            }
        }
    }

    pub fn import_org(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
        request: &importer::Request,
    ) -> wasmtime::Result<Answer> {
        match self {
            Self::V0_1_0(exports) => exports.import_org(store, instance, request),
            Self::Latest { importer, .. } => {
                let importer = importer.load(&mut *store, instance)?;
                importer.call_import_org(store, request).map(Ok)
            }
        }
    }

    /// Expands a text. `None` when the plugin has no expander.
    pub fn expand(
        &self,
        store: &mut Store<Call>,
        instance: &Instance,
        text: &str,
        environment: &importer::Environment,
    ) -> wasmtime::Result<Option<expander::Expansion>> {
        match self {
            Self::V0_1_0(exports) => exports.expand(store, instance, text, environment),
            Self::Latest { expander, .. } => expander
                .as_ref()
                .map(|indices| {
                    let expander = indices.load(&mut *store, instance)?;
                    expander.call_expand(store, text, environment)
                })
                .transpose(),
        }
    }
}

//! The glue to the host: passes calls through. It decides nothing, and exists in the component only.
#![allow(
    unsafe_code,
    reason = "the generated export macro defines the component's entry points"
)]

use crate::bindings;
use crate::bindings::exports::orghost::plugin::{expander, importer};
use crate::bindings::orghost::plugin::template_files;
use crate::{Entry, FileError, TemplateFiles};

struct Component;

/// The host's files.
struct HostFiles;

impl TemplateFiles for HostFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        template_files::read(path)
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        template_files::entries(path)
    }
}

impl importer::Guest for Component {
    fn describe() -> importer::Description {
        crate::describe()
    }

    fn import_org(request: importer::Request) -> Result<importer::Plan, Vec<importer::Diagnostic>> {
        crate::import_org(&HostFiles, &request)
    }
}

impl expander::Guest for Component {
    fn expand(text: String, environment: expander::Environment) -> expander::Expansion {
        crate::expand(&text, &environment)
    }
}

bindings::export!(Component with_types_in bindings);

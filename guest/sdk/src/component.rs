//! Connects a plugin to the host, for version 0.2.0-dev of the contract, whose types are those of the SDK. It is
//! compiled for wasm only.

mod v0_1_0;

use std::marker::PhantomData;

use crate::bindings::v0_2_0_dev::exports::orghost::plugin::{expander, importer};
use crate::bindings::v0_2_0_dev::orghost::plugin::template_files;
use crate::{Contents, Entry, FileError, Plugin, TemplateFiles};

/// Implements the traits of the generated bindings with a plugin.
pub struct Component<P>(PhantomData<P>);

/// The files of the template, read through the host.
struct HostFiles;

impl TemplateFiles for HostFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        template_files::read(path)
    }

    fn read_all(&self, paths: &[String]) -> Contents {
        template_files::read_all(paths)
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        template_files::entries(path)
    }
}

impl<P: Plugin> importer::Guest for Component<P> {
    fn describe() -> importer::Description {
        P::describe()
    }

    fn import_org(request: importer::Request) -> Result<importer::Plan, Vec<importer::Diagnostic>> {
        P::import_org(&HostFiles, &request).map_err(Vec::from)
    }
}

impl<P: Plugin> expander::Guest for Component<P> {
    fn expand(text: String, environment: expander::Environment) -> expander::Expansion {
        P::expand(&text, &environment)
    }
}

//! Reads a component's face from its bytes and holds it against the plugin contract; it never compiles, validates or
//! runs anything, and never panics, whatever the bytes are.
//!
//! Only the outermost component counts: what modules import inside of it is wired up inside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wasmparser::{Encoding, KnownCustom, Parser, Payload};

const PACKAGE: &str = "orghost:plugin/";
const TEMPLATE_FILES: &str = "orghost:plugin/template-files@0.1.0";
const IMPORTER: &str = "orghost:plugin/importer@0.1.0";
const EXPANDER: &str = "orghost:plugin/expander@0.1.0";

/// What a component says about itself. Names are escaped, so that they can be printed wherever they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The names of everything that it imports, with versions, in its order.
    pub imports: Vec<String>,
    /// The names of everything that it exports, with versions, in its order.
    pub exports: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// The names of its own custom sections, not of those in its modules.
    pub custom_sections: Vec<String>,
    /// The `producers` sections of it and its modules: `language`, `processed-by`, `sdk`, each with names and versions.
    pub producers: BTreeMap<String, BTreeSet<String>>,
}

impl Inspection {
    /// Whether it exports the `expander` interface.
    pub fn has_expander(&self) -> bool {
        self.exports.iter().any(|name| name == EXPANDER)
    }
}

/// Why bytes cannot be inspected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// They do not begin as WebAssembly does.
    #[error("this is not WebAssembly: it does not begin with the bytes `\\0asm`")]
    NotWasm,
    /// They are a core module.
    #[error(
        "this is a core module, not a component: componentize it with `orghost plugin build` or `wasm-tools component new`"
    )]
    CoreModule,
    /// They begin as a component and then break its format.
    #[error("this component is malformed at byte {offset}: {message}")]
    Malformed {
        /// Counted from the start of the file.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
}

impl From<wasmparser::Error> for InspectError {
    fn from(error: wasmparser::Error) -> Self {
        Self::Malformed {
            offset: error.offset(),
            message: error.message().escape_debug().to_string(),
        }
    }
}

/// Reads the face of a component.
///
/// # Errors
/// When the bytes are not a component, or a malformed one.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let mut found = Inspection {
        imports: Vec::new(),
        exports: Vec::new(),
        size: bytes.len() as u64,
        custom_sections: Vec::new(),
        producers: BTreeMap::new(),
    };
    // How many modules and components the current section stands in; 1 is the outermost.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding == Encoding::Module {
                    return Err(InspectError::CoreModule);
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    found.imports.push(printable(&import?.name.full_name()));
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    found.exports.push(printable(&export?.name.full_name()));
                }
            }
            Payload::CustomSection(section) => {
                if depth == 1 {
                    found.custom_sections.push(printable(section.name()));
                }
                if let KnownCustom::Producers(producers) = section.as_known() {
                    // A broken custom section means nothing to anyone, by the standard.
                    let _ = read_producers(producers, &mut found.producers);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read_producers(
    section: wasmparser::ProducersSectionReader<'_>,
    found: &mut BTreeMap<String, BTreeSet<String>>,
) -> wasmparser::Result<()> {
    for field in section {
        let field = field?;
        let names = found.entry(printable(field.name)).or_default();
        for value in field.values {
            let value = value?;
            names.insert(printable(
                format!("{} {}", value.name, value.version).trim(),
            ));
        }
    }
    Ok(())
}

fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

/// The versions of the plugin world that a host can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorldVersion {
    /// `orghost:plugin@0.1.0`
    V0_1_0,
}

impl fmt::Display for WorldVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
        })
    }
}

/// Why a component is not a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// It was built for another version of the plugin world.
    #[error(
        "this plugin was built for orghost:plugin {found}, and this orghost runs {supported}: rebuild the plugin against wit/v0.1.0/plugin.wit of {supported}"
    )]
    WrongVersion {
        /// As the component names it.
        found: String,
        /// What this crate knows.
        supported: WorldVersion,
    },
    /// It imports what no plugin gets.
    #[error("this plugin imports {}, but a plugin may import only `{TEMPLATE_FILES}`: {}", listed(.0), remedy(.0))]
    ForbiddenImports(Vec<String>),
    /// It does not export what every plugin exports.
    #[error(
        "this component is not a plugin: it does not export `{IMPORTER}`, as the world `plugin` of wit/v0.1.0/plugin.wit does"
    )]
    NoImporter,
}

/// Holds a component against the contract: imports at most `template-files`, exports `importer`.
///
/// # Errors
/// When it breaks the contract; a wrong version is said first, since it explains the rest.
pub fn check(component: &Inspection) -> Result<WorldVersion, ContractError> {
    let supported = WorldVersion::V0_1_0;
    let names = component.exports.iter().chain(&component.imports);
    for interface in names.filter_map(|name| name.strip_prefix(PACKAGE)) {
        let found = interface
            .split_once('@')
            .map_or("without a version", |(_, version)| version);
        if found != supported.to_string() {
            return Err(ContractError::WrongVersion {
                found: found.to_owned(),
                supported,
            });
        }
    }
    let forbidden: Vec<_> = component
        .imports
        .iter()
        .filter(|name| *name != TEMPLATE_FILES)
        .cloned()
        .collect();
    if !forbidden.is_empty() {
        return Err(ContractError::ForbiddenImports(forbidden));
    }
    if !component.exports.iter().any(|name| name == IMPORTER) {
        return Err(ContractError::NoImporter);
    }
    Ok(supported)
}

/// At most this many imports are named in a message; a WASI build has thirteen.
const NAMED: usize = 20;

fn listed(names: &[String]) -> String {
    let mut text: Vec<_> = names
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    if let Some(more) = names.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}

fn remedy(names: &[String]) -> &'static str {
    if names.iter().any(|name| name.starts_with("wasi:")) {
        "a plugin has no host environment, so build for wasm32-unknown-unknown instead of wasm32-wasip2, or drop the dependency that needs it"
    } else {
        "drop the import, or the dependency that needs it"
    }
}

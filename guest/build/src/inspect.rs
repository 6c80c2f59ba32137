//! Reads the imports and exports of a component from its bytes, and checks them against the plugin contract.
//!
//! It never compiles, validates or runs the component, and no bytes make it panic. Only the outermost component is
//! read, because the imports of inner modules are satisfied inside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wasmparser::{Encoding, KnownCustom, Parser, Payload};

const PACKAGE: &str = "orghost:plugin/";

/// The imports, exports and sections of a component. Names are escaped, so they are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The names of its imports, with versions, in their order.
    pub imports: Vec<String>,
    /// The names of its exports, with versions, in their order.
    pub exports: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The names of its custom sections, without those of its modules.
    pub custom_sections: Vec<String>,
    /// The fields of its `producers` sections and those of its modules: `language`, `processed-by` and `sdk`, each with
    /// names and versions.
    pub producers: BTreeMap<String, BTreeSet<String>>,
}

impl Inspection {
    /// Whether it exports the `expander` interface.
    pub fn has_expander(&self) -> bool {
        WorldVersion::ALL
            .iter()
            .any(|world| self.exports.contains(&world.name("expander")))
    }
}

/// Bytes that are not a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The bytes are not WebAssembly.
    #[error("this is not WebAssembly: it does not begin with the bytes `\\0asm`")]
    NotWasm,
    /// The bytes are a core module.
    #[error(
        "this is a core module, not a component: componentize it with `orghost plugin build` or `wasm-tools component new`"
    )]
    CoreModule,
    /// The bytes begin like a component, and then break its format.
    #[error("this component is malformed at byte {offset}: {message}")]
    Malformed {
        /// The position of the error, in bytes from the start of the file.
        offset: u64,
        /// What is wrong.
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

/// Reads the imports, exports and sections of a component.
///
/// # Errors
/// - [`InspectError::NotWasm`] when the bytes are not WebAssembly.
/// - [`InspectError::CoreModule`] when the bytes are a core module.
/// - [`InspectError::Malformed`] when the component breaks its format.
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
    // The number of modules and components around the current section. 1 is the outermost component.
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
                    // The standard says to ignore a broken custom section.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(
    non_camel_case_types,
    reason = "the names follow the versions, which camel case would blur"
)]
pub enum WorldVersion {
    /// `orghost:plugin@0.1.0`
    V0_1_0,
    /// `orghost:plugin@0.2.0-dev`: the version in development, with the interface `log`.
    V0_2_0_DEV,
}

impl WorldVersion {
    /// All versions, the oldest first.
    pub const ALL: [Self; 2] = [Self::V0_1_0, Self::V0_2_0_DEV];

    /// The version as it appears in the names of imports and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0_DEV => "0.2.0-dev",
        }
    }

    /// The interfaces that its plugins may import.
    fn imports(self) -> &'static [&'static str] {
        match self {
            Self::V0_1_0 => &["template-files"],
            Self::V0_2_0_DEV => &["template-files", "log"],
        }
    }

    fn name(self, interface: &str) -> String {
        format!("{PACKAGE}{interface}@{self}")
    }

    fn supported() -> String {
        Self::ALL.map(Self::as_str).join(" and ")
    }
}

impl fmt::Display for WorldVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the operator lets a plugin import, besides the interfaces of the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grant {
    /// Nothing.
    #[default]
    Strict,
    /// A closed WASI 0.2, which gives access to nothing.
    ClosedWasi,
}

/// A component that is not a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// It was built for another version of the plugin world.
    #[error(
        "this plugin was built for orghost:plugin {found}, and this orghost runs {}: rebuild the plugin against the plugin.wit of one of them",
        WorldVersion::supported()
    )]
    WrongVersion {
        /// The version that the component names.
        found: String,
    },
    /// It names several versions of the plugin world.
    #[error(
        "this plugin mixes orghost:plugin {}: build all of it against one version",
        .0.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(" and ")
    )]
    MixedVersions(Vec<WorldVersion>),
    /// It imports something that no plugin gets, or that this one was not granted.
    #[error("this plugin imports {}, but a plugin may import only {}: {}", listed(names), may(*world, *grant), remedy(names, *grant))]
    ForbiddenImports {
        /// The names of the imports.
        names: Vec<String>,
        /// The version of the world that it was built for.
        world: WorldVersion,
        /// What it was granted.
        grant: Grant,
    },
    /// It does not export the interface `importer`.
    #[error(
        "this component is not a plugin: it does not export `{}`, as the world `plugin` of wit/v0.1.0/plugin.wit does",
        WorldVersion::V0_1_0.name("importer")
    )]
    NoImporter,
}

/// Checks a component against the contract: it imports only interfaces of its version and what was granted, and exports
/// `importer`.
///
/// # Errors
/// - [`ContractError::WrongVersion`] when it names an unknown version of the world. This is checked first, because it
///   explains the other errors.
/// - [`ContractError::MixedVersions`] when it names several versions.
/// - [`ContractError::ForbiddenImports`] when it imports anything else.
/// - [`ContractError::NoImporter`] when it does not export `importer`.
pub fn check(component: &Inspection, grant: Grant) -> Result<WorldVersion, ContractError> {
    let mut versions = BTreeSet::new();
    let names = component.exports.iter().chain(&component.imports);
    for interface in names.filter_map(|name| name.strip_prefix(PACKAGE)) {
        let found = interface
            .split_once('@')
            .map_or("without a version", |(_, version)| version);
        let known = WorldVersion::ALL
            .into_iter()
            .find(|version| version.as_str() == found);
        versions.insert(known.ok_or_else(|| ContractError::WrongVersion {
            found: found.to_owned(),
        })?);
    }
    if versions.len() > 1 {
        return Err(ContractError::MixedVersions(versions.into_iter().collect()));
    }
    let world = versions.first().copied().unwrap_or(WorldVersion::V0_1_0);
    let own: Vec<_> = world.imports().iter().map(|i| world.name(i)).collect();
    let granted =
        |name: &&String| own.contains(name) || (grant == Grant::ClosedWasi && is_closed_wasi(name));
    let names: Vec<_> = component
        .imports
        .iter()
        .filter(|name| !granted(name))
        .cloned()
        .collect();
    if !names.is_empty() {
        return Err(ContractError::ForbiddenImports {
            names,
            world,
            grant,
        });
    }
    if !component.exports.contains(&world.name("importer")) {
        return Err(ContractError::NoImporter);
    }
    Ok(world)
}

/// The packages of WASI 0.2 that the host can provide in a closed form.
const CLOSED_WASI: [&str; 6] = ["cli", "io", "clocks", "filesystem", "sockets", "random"];

/// Whether a name has the form `wasi:PACKAGE/INTERFACE@0.2.PATCH`, with one of these packages.
fn is_closed_wasi(name: &str) -> bool {
    let Some((package, interface)) = name
        .strip_prefix("wasi:")
        .and_then(|name| name.split_once('/'))
    else {
        return false;
    };
    let patch = interface
        .split_once("@0.2.")
        .map(|(_, patch)| patch.parse::<u16>());
    CLOSED_WASI.contains(&package) && matches!(patch, Some(Ok(_)))
}

/// The most imports that a message names. A build for WASI has thirteen.
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

fn may(world: WorldVersion, grant: Grant) -> String {
    let own: Vec<_> = world
        .imports()
        .iter()
        .map(|i| format!("`{}`", world.name(i)))
        .collect();
    let own = own.join(" and ");
    match grant {
        Grant::Strict => own,
        Grant::ClosedWasi => format!(
            "{own}, and with a closed WASI also {} of wasi 0.2",
            CLOSED_WASI.join(", ")
        ),
    }
}

fn remedy(names: &[String], grant: Grant) -> &'static str {
    if grant == Grant::Strict && names.iter().all(|name| is_closed_wasi(name)) {
        "a plugin has no host environment, so build for wasm32-unknown-unknown instead of wasm32-wasip2, or drop the \
         dependency that needs it; where the language's tools import WASI regardless (Python, JavaScript), the operator \
         can grant a closed one (no environment, files, sockets, clock or randomness) with `--wasi closed`, or \
         `wasi = \"closed\"` under `[plugins.NAME]`"
    } else {
        "drop the import, or the dependency that needs it"
    }
}

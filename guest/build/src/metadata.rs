//! Metadata of a plugin, such as its name, authors and licence.
//!
//! It is written into custom sections of the component, by the conventions of `wasm-metadata`, and read from any
//! component. The metadata of a component is not trusted. The same metadata and component give the same bytes.

use cargo_metadata::MetadataCommand;
use serde::{Deserialize, Serialize};
use wasm_metadata::{
    AddMetadata, AddMetadataField, Authors, Description, Homepage, Licenses, Source, Version,
};
use wasmparser::{ComponentName, KnownCustom, Parser, Payload, ProducersSectionReader};

use crate::{BuildError, Guest, TARGET};

/// The SDK for plugins in Rust.
const SDK: &str = "orghost-plugin";

/// The metadata of a plugin. Every field is optional. The texts are not escaped: escape them before printing them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The name of the crate, the distribution or the package.
    pub name: Option<String>,
    /// The version of the plugin.
    pub version: Option<String>,
    /// One sentence about the plugin.
    pub description: Option<String>,
    /// Names with optional addresses, separated by commas.
    pub authors: Option<String>,
    /// An SPDX licence expression.
    pub licenses: Option<String>,
    /// The address of its source code.
    pub source: Option<String>,
    /// The address of its home page.
    pub homepage: Option<String>,
    /// The name and version of its SDK.
    pub sdk: Option<String>,
}

/// Metadata could not be read from a manifest, or written into a component.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A manifest is not valid.
    #[error("{manifest}: {message}")]
    Manifest {
        /// The name of the manifest, such as `pyproject.toml`.
        manifest: String,
        /// What is wrong, and its place.
        message: String,
    },
    /// A field does not have the required form.
    #[error("the manifest's {field} {value:?} cannot be written into the plugin: {message}")]
    Fact {
        /// The name of the field in the manifest.
        field: &'static str,
        /// The value of the field.
        value: String,
        /// What is wrong with the value.
        message: String,
    },
    /// The component could not be rewritten, for this reason.
    #[error("the plugin's metadata cannot be written: {0}")]
    Rewrite(String),
}

impl Metadata {
    /// Reads the metadata of a guest crate with `cargo metadata`.
    ///
    /// # Errors
    /// - [`BuildError::Cargo`] when cargo cannot be run, or fails.
    /// - [`BuildError::Metadata`] when its output does not describe the crate.
    pub fn of_cargo(guest: &Guest) -> Result<Self, BuildError> {
        let arguments = [
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            TARGET,
        ];
        let locked = guest.locked();
        let offline: Vec<_> = locked.into_iter().chain(["--offline"]).collect();
        let output = guest
            .ask_cargo(&arguments, &offline)
            .or_else(|_| guest.ask_cargo(&arguments, locked.as_slice()))?;
        let broken = |message: String| MetadataError::Manifest {
            manifest: "Cargo.toml".to_owned(),
            message,
        };
        let output = MetadataCommand::parse(output).map_err(|e| broken(e.to_string()))?;
        let manifest = guest.manifest();
        let package = output
            .packages
            .iter()
            .find(|package| package.manifest_path.as_std_path() == manifest)
            .ok_or_else(|| broken("it describes no package".to_owned()))?;
        let uses_sdk = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == SDK);
        let sdk = output
            .packages
            .iter()
            .find(|package| uses_sdk && package.name.as_str() == SDK);
        Ok(Self {
            name: Some(package.name.to_string()),
            version: Some(package.version.to_string()),
            description: package.description.clone(),
            authors: joined(&package.authors),
            licenses: package.license.clone(),
            source: package.repository.clone(),
            homepage: package.homepage.clone(),
            sdk: sdk.map(|package| format!("{SDK} {}", package.version)),
        })
    }

    /// Reads the metadata of a Python project from the `[project]` table of `text`, its `pyproject.toml`.
    ///
    /// # Errors
    /// [`MetadataError::Manifest`] when the text is not TOML, or a field has the wrong type.
    pub fn of_pyproject(text: &str) -> Result<Self, MetadataError> {
        let manifest: PyProject =
            toml::from_str(text).map_err(|error| MetadataError::Manifest {
                manifest: "pyproject.toml".to_owned(),
                message: error.to_string(),
            })?;
        let project = manifest.project;
        let url = |names: [&str; 3]| {
            let known = |name: &&str| names.contains(&name.to_lowercase().as_str());
            let (_, url) = project
                .urls
                .iter()
                .find(|(name, _)| known(&name.as_str()))?;
            Some(url.clone())
        };
        let source = url(["source", "repository", "source code"]);
        let homepage = url(["homepage", "home page", "home"]);
        let authors: Vec<_> = project.authors.iter().filter_map(Person::shown).collect();
        Ok(Self {
            name: project.name,
            version: project.version,
            description: project.description,
            authors: joined(&authors),
            licenses: project.license,
            source,
            homepage,
            sdk: None,
        })
    }

    /// Reads the metadata of a JavaScript project from `text`, its `package.json`.
    ///
    /// # Errors
    /// [`MetadataError::Manifest`] when the text is not JSON, or a field has the wrong type.
    pub fn of_package_json(text: &str) -> Result<Self, MetadataError> {
        let manifest: PackageJson =
            serde_json::from_str(text).map_err(|error| MetadataError::Manifest {
                manifest: "package.json".to_owned(),
                message: error.to_string(),
            })?;
        let people = manifest.author.iter().chain(&manifest.contributors);
        let authors: Vec<_> = people.filter_map(Person::shown).collect();
        let source = manifest.repository.map(|repository| match repository {
            Repository::Address(url) | Repository::Named { url } => {
                url.strip_prefix("git+").unwrap_or(&url).to_owned()
            }
        });
        Ok(Self {
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            authors: joined(&authors),
            licenses: manifest.license,
            source,
            homepage: manifest.homepage,
            sdk: None,
        })
    }

    /// Writes this metadata, and the name of this crate, into the custom sections of a component.
    ///
    /// # Errors
    /// - [`MetadataError::Fact`] when a field does not have the form that its section requires.
    /// - [`MetadataError::Rewrite`] when the bytes are not a component.
    pub fn embed(&self, component: &[u8]) -> Result<Vec<u8>, MetadataError> {
        let mut sections = AddMetadata::default();
        sections.name = set(self.name.clone());
        sections.version = set(self.version.clone().map(Version::new));
        sections.description = set(self.description.clone().map(Description::new));
        sections.authors = set(self.authors.clone().map(Authors::new));
        sections.licenses = form(&self.licenses, "license", Licenses::new)?;
        sections.source = form(&self.source, "repository", Source::new)?;
        sections.homepage = form(&self.homepage, "homepage", Homepage::new)?;
        if let Some(sdk) = &self.sdk {
            let (name, version) = sdk.split_once(' ').unwrap_or((sdk, ""));
            sections.sdk.push((name.to_owned(), version.to_owned()));
        }
        sections.processed_by.push((
            env!("CARGO_PKG_NAME").to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ));
        sections
            .to_wasm(component)
            .map_err(|error| MetadataError::Rewrite(format!("{error:#}")))
    }

    /// Reads the metadata in the custom sections of a component. Sections that are broken, or larger than 4 KiB, are
    /// ignored, as the standard says.
    pub fn read(component: &[u8]) -> Self {
        let mut found = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload {
                Ok(Payload::Version { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::CustomSection(section)) if depth == 1 => match section.as_known() {
                    KnownCustom::ComponentName(names) => {
                        for name in names.into_iter().flatten() {
                            if let ComponentName::Component { name, .. } = name {
                                found.name = fact(name.as_bytes());
                            }
                        }
                    }
                    KnownCustom::Producers(producers) => found.sdk = sdk(producers),
                    _ => {
                        let data = section.data();
                        match section.name() {
                            "version" => found.version = fact(data),
                            "description" => found.description = fact(data),
                            "authors" => found.authors = fact(data),
                            "licenses" => found.licenses = fact(data),
                            "source" => found.source = fact(data),
                            "homepage" => found.homepage = fact(data),
                            _ => {}
                        }
                    }
                },
                Ok(_) => {}
                Err(_) => break,
            }
        }
        found
    }
}

/// The largest size of a field, in bytes.
const FACT: usize = 4 << 10;

fn fact(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    (!text.is_empty() && text.len() <= FACT).then(|| text.to_owned())
}

/// The SDKs that a `producers` section names, separated by commas.
fn sdk(producers: ProducersSectionReader<'_>) -> Option<String> {
    let mut sdks = Vec::new();
    for field in producers.into_iter().flatten() {
        if field.name == "sdk" {
            for value in field.values.into_iter().flatten() {
                sdks.push(
                    format!("{} {}", value.name, value.version)
                        .trim()
                        .to_owned(),
                );
            }
        }
    }
    fact(sdks.join(", ").as_bytes())
}

fn set<T: std::fmt::Debug + Clone>(value: Option<T>) -> AddMetadataField<T> {
    value.map_or(AddMetadataField::Keep, AddMetadataField::Set)
}

fn form<T: std::fmt::Debug + Clone, E: std::fmt::Display>(
    value: &Option<String>,
    field: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<AddMetadataField<T>, MetadataError> {
    let Some(value) = value else {
        return Ok(AddMetadataField::Keep);
    };
    parse(value)
        .map(AddMetadataField::Set)
        .map_err(|error| MetadataError::Fact {
            field,
            value: value.clone(),
            message: error.to_string(),
        })
}

fn joined(people: &[String]) -> Option<String> {
    (!people.is_empty()).then(|| people.join(", "))
}

#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    project: Project,
}

#[derive(Default, Deserialize)]
struct Project {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    #[serde(default)]
    authors: Vec<Person>,
    license: Option<String>,
    #[serde(default)]
    urls: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageJson {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    author: Option<Person>,
    #[serde(default)]
    contributors: Vec<Person>,
    license: Option<String>,
    homepage: Option<String>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Repository {
    Address(String),
    Named { url: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Person {
    Text(String),
    Named {
        name: Option<String>,
        email: Option<String>,
    },
}

impl Person {
    fn shown(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Named { name, email } => match (name, email) {
                (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
                (one, other) => one.clone().or_else(|| other.clone()),
            },
        }
    }
}

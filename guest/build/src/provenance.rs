//! Where an artifact came from: digests of everything that it was built of, kept beside it in a lock file; it never
//! needs a compiler, the network or an absolute path.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{CargoError, Compiler, Guest, Inspection, TARGET, compile};

const HEADER: &str = "\
# Where the component beside this file came from. Written by orghost-build, and compared by the tests:
# a change of anything named here makes the component stale. Do not edit; build again.
";

/// Everything that decides what the compiler makes, the compiler aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The compiler's flags.
    pub flags: Vec<String>,
    /// The workspace's profiles that the guest is compiled under.
    pub profile: toml::Table,
    /// SHA-256 of each source, manifest and `.wit` file, by its path in the workspace.
    pub files: BTreeMap<String, String>,
    /// The closure of packages, each with version and features, and the checksum in the registry, or `path`.
    pub packages: BTreeMap<String, String>,
}

/// The component itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

/// The lock file beside an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// What came out.
    pub artifact: Artifact,
    /// What compiled it.
    pub compiler: Compiler,
    /// What went in.
    #[serde(flatten)]
    pub inputs: Inputs,
}

/// Why inputs cannot be told, or a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A lock file is not what it should be.
    #[error("{} is not valid: {source}; build it again", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Where it breaks.
        source: toml::de::Error,
    },
    /// The lock file could not be put into words.
    #[error("cannot write the lock file: {0}")]
    Write(#[from] toml::ser::Error),
    /// Cargo could not list the packages.
    #[error(transparent)]
    Tree(#[from] CargoError),
}

impl ProvenanceError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }
}

impl Inputs {
    /// Reads the inputs as they are now. Sources are a package's `Cargo.toml`, `build.rs` and `src/`: a guest keeps
    /// whatever is compiled into it there.
    ///
    /// # Errors
    /// When a file cannot be read, or cargo cannot list the packages.
    pub fn of(guest: &Guest) -> Result<Self, ProvenanceError> {
        let mut files = BTreeMap::new();
        digest(&guest.wit, &guest.root, &mut files)?;
        let mut packages = BTreeMap::new();
        // Cargo first: where there is no Cargo.lock yet it writes one.
        let tree = tree(guest)?;
        let checksums = checksums(&guest.root.join("Cargo.lock"))?;
        for package in tree.lines().filter_map(Package::parse) {
            if let Some(dir) = package.dir {
                for part in ["Cargo.toml", "build.rs", "src"] {
                    digest(&dir.join(part), &guest.root, &mut files)?;
                }
            }
            let id = (package.name.to_owned(), package.version.to_owned());
            let checksum = checksums.get(&id).map_or("path", String::as_str);
            let name = format!(
                "{} {} [{}]",
                package.name, package.version, package.features
            );
            packages.insert(name, checksum.to_owned());
        }
        Ok(Self {
            flags: compile::FLAGS
                .iter()
                .map(|flag| (*flag).to_owned())
                .collect(),
            profile: profile(guest),
            files,
            packages,
        })
    }
}

impl Provenance {
    /// Says where an artifact came from.
    pub fn new(
        inputs: Inputs,
        compiler: Compiler,
        inspection: &Inspection,
        artifact: &[u8],
    ) -> Self {
        let artifact = Artifact {
            sha256: sha256(artifact),
            size: inspection.size,
            imports: inspection.imports.clone(),
            exports: inspection.exports.clone(),
        };
        Self {
            artifact,
            compiler,
            inputs,
        }
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// When it is missing or broken.
    pub fn read(path: &Path) -> Result<Self, ProvenanceError> {
        let text = std::fs::read_to_string(path).map_err(ProvenanceError::read(path))?;
        toml::from_str(&text).map_err(|source| ProvenanceError::Parse {
            path: path.to_path_buf(),
            source,
        })
    }

    /// The text of the lock file.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn to_text(&self) -> Result<String, ProvenanceError> {
        Ok(format!("{HEADER}\n{}", toml::to_string_pretty(self)?))
    }

    /// Says in words, one sentence for each difference, why the artifact is not what its sources would give now.
    /// Empty when it is fresh.
    pub fn stale(&self, now: &Inputs, artifact: &[u8]) -> Vec<String> {
        let then = &self.inputs;
        let mut differences = Vec::new();
        compare("", &then.files, &now.files, &mut differences);
        compare(
            "the package ",
            &then.packages,
            &now.packages,
            &mut differences,
        );
        for (what, changed) in [
            ("the build profile", then.profile != now.profile),
            ("the list of compiler flags", then.flags != now.flags),
        ] {
            if changed {
                differences.push(format!("{what} changed since the artifact was built"));
            }
        }
        if self.artifact.sha256 != sha256(artifact) {
            differences.push("the artifact is not the one that its lock file describes".to_owned());
        }
        differences
    }
}

fn compare(
    what: &str,
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    differences: &mut Vec<String>,
) {
    for name in then.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        let verb = match (then.get(name), now.get(name)) {
            (Some(then), Some(now)) if then == now => continue,
            (Some(_), Some(_)) => "changed",
            (None, _) => "was added",
            (_, None) => "was removed",
        };
        differences.push(format!("{what}{name} {verb} since the artifact was built"));
    }
}

/// The profile that the guest is compiled under, and those that it inherits from.
fn profile(guest: &Guest) -> toml::Table {
    let mut used = toml::Table::new();
    let mut next = Some(guest.profile());
    let profiles = guest.workspace.get("profile");
    while let Some(name) = next.filter(|name| !used.contains_key(*name)) {
        let table = profiles.and_then(|profiles| profiles.get(name));
        next = table
            .and_then(|table| table.get("inherits"))
            .and_then(toml::Value::as_str);
        if let Some(table) = table {
            used.insert(name.to_owned(), table.clone());
        }
    }
    used
}

/// The packages that are compiled into the guest or run while it is compiled: not those for its tests.
fn tree(guest: &Guest) -> Result<String, CargoError> {
    let arguments = [
        "tree",
        "--edges",
        "normal,build",
        "--target",
        TARGET,
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ];
    let locked = guest.locked();
    let offline: Vec<_> = locked.into_iter().chain(["--offline"]).collect();
    // The network is asked only when a manifest is missing: a host build does not fetch what only the guest needs.
    guest
        .ask_cargo(&arguments, &offline)
        .or_else(|_| guest.ask_cargo(&arguments, locked.as_slice()))
}

/// One line of `cargo tree`: `name v1.0.0 (proc-macro) (/folder)|feature,feature (*)`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    features: &'a str,
    /// Set for a package that is no registry's.
    dir: Option<&'a Path>,
}

impl<'a> Package<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (package, features) = line.split_once('|')?;
        let (name, rest) = package.split_once(" v")?;
        let (version, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let origin = rest.strip_prefix("(proc-macro)").unwrap_or(rest).trim();
        let origin = origin
            .strip_prefix('(')
            .and_then(|origin| origin.strip_suffix(')'));
        Some(Self {
            name,
            version,
            features: features.strip_suffix("(*)").unwrap_or(features).trim(),
            dir: origin.map(Path::new).filter(|dir| dir.is_absolute()),
        })
    }
}

/// The checksum (or, without one, the source) of each package that a `Cargo.lock` takes from elsewhere.
fn checksums(path: &Path) -> Result<BTreeMap<(String, String), String>, ProvenanceError> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        source: Option<String>,
        checksum: Option<String>,
    }
    let text = std::fs::read_to_string(path).map_err(ProvenanceError::read(path))?;
    let lock: Lock = toml::from_str(&text).map_err(|source| ProvenanceError::Parse {
        path: path.to_path_buf(),
        source,
    })?;
    let elsewhere = lock.package.into_iter().filter_map(|package| {
        let checksum = package.checksum.or(package.source)?;
        Some(((package.name, package.version), checksum))
    });
    Ok(elsewhere.collect())
}

/// Takes the digest of a file, or of every file in a folder; what is not there has none.
fn digest(
    path: &Path,
    root: &Path,
    files: &mut BTreeMap<String, String>,
) -> Result<(), ProvenanceError> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(ProvenanceError::read(path))? {
            digest(
                &entry.map_err(ProvenanceError::read(path))?.path(),
                root,
                files,
            )?;
        }
    } else if path.is_file() {
        let bytes = std::fs::read(path).map_err(ProvenanceError::read(path))?;
        files.insert(label(path, root), sha256(&bytes));
    }
    Ok(())
}

/// The path in the workspace; for a file outside of it, as much of the path as does not tell whose machine this is.
fn label(path: &Path, root: &Path) -> String {
    let shared = root
        .components()
        .zip(path.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = root.components().skip(shared).map(|_| "..".to_owned());
    let down = path.components().skip(shared);
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_tree_are_read() {
        let parse = |line| Package::parse(line).unwrap();
        let serde = Package {
            name: "serde",
            version: "1.0.2",
            features: "derive,std",
            dir: None,
        };
        assert_eq!(parse("serde v1.0.2|derive,std"), serde);
        assert_eq!(parse("serde v1.0.2|derive,std (*)"), serde);
        assert_eq!(parse("serde v1.0.2 (proc-macro)|derive,std (*)"), serde);
        assert_eq!(
            parse("serde v1.0.2 (https://example.org/serde#0a1b2c3d)|derive,std"),
            serde
        );
        let dir = Some(Path::new("/a folder/sdk (new)"));
        assert_eq!(
            parse("serde v1.0.2 (/a folder/sdk (new))|derive,std"),
            Package { dir, ..serde }
        );
        assert_eq!(
            parse("serde v1.0.2 (proc-macro) (/a folder/sdk (new))|"),
            Package {
                dir,
                features: "",
                ..serde
            }
        );
        assert_eq!(Package::parse(""), None);
    }

    #[test]
    fn labels_never_hold_a_path_of_the_machine() {
        let root = Path::new("/home/me/work");
        assert_eq!(
            label(Path::new("/home/me/work/guest/src/lib.rs"), root),
            "guest/src/lib.rs"
        );
        assert_eq!(
            label(Path::new("/home/me/sdk/src/lib.rs"), root),
            "../sdk/src/lib.rs"
        );
    }
}

//! Confines the program of a workspace, by what Linux offers to an unprivileged process.
//!
//! The confinement is written into `container.json` when the container is made. The process applies it to itself just before
//! it becomes the program, and everything that the program starts inherits it. A program that cannot be confined as written
//! does not start.
//!
//! The program can use its volumes, its scratch folder, the granted directory, its own program, and what its runtime in the
//! configuration file adds. It can read the system's programs and libraries, some settings and `/proc`, and use a few
//! devices. It cannot use `/tmp`, home folders, the state folder, the folders of other workspaces, or the rest of `/etc`. It
//! has no capabilities, gains no privileges (`no_new_privs`), and writes no core dump.
//!
//! The program can still see the names, sizes and times of files, change the mode and times of files of this user, and use
//! System V shared memory and the network. Its memory and processor time are not limited, because an unprivileged process
//! cannot use control groups.

mod sockets;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

use crate::config::Runtime;
use crate::limits;
use crate::model::isolation::{Barrier, Isolation, Unconfined};

/// How a program is confined: the barriers around it, and what it may use all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The barriers; empty when the kernel cannot confine a process.
    pub from: Vec<Barrier>,
    /// The files and folders that it may use, besides those of the system.
    pub grants: Vec<Grant>,
}

/// A file or folder that a program may use. When it is missing, the program does not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The absolute path. Of a symbolic link, its target is granted.
    pub path: PathBuf,
    /// How the program may use it.
    pub may: Use,
    /// Whether the program does not start if the path contains a symbolic link by then, because others could have put one
    /// there. Default: false.
    #[serde(default)]
    pub without_links: bool,
}

/// How a file or folder may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Read it.
    Read,
    /// Read and execute it.
    Run,
    /// Read and change it, and not execute it.
    Change,
    /// Read, change and execute it.
    All,
}

/// Why a program could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel lacks a barrier that it had when the container was made.
    #[error("this kernel cannot confine it as the kernel could when its container was made: {0}")]
    Kernel(#[from] RulesetError),
    /// A granted path cannot be opened.
    #[error("{} cannot be granted to it: {reason}", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why it cannot be opened.
        reason: String,
    },
    /// The kernel refused the filter for sockets.
    #[error("it cannot be kept from using sockets: {0}")]
    Sockets(#[from] seccompiler::Error),
    /// The kernel refused another request.
    #[error("it cannot be confined: {0}")]
    System(#[from] rustix::io::Errno),
}

/// The files and folders of a Linux system that every program may use. Those that do not exist are left out. Of `/etc`, only
/// what programs read to find libraries, names, certificates and the time: the settings of services may hold secrets.
const SYSTEM: &[(Use, &[&str])] = &[
    (
        Use::Run,
        &[
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/nix/store",
            "/gnu/store",
        ],
    ),
    (
        Use::Read,
        &[
            "/etc/alternatives",
            "/etc/ca-certificates",
            "/etc/crypto-policies",
            "/etc/fonts",
            "/etc/gai.conf",
            "/etc/group",
            "/etc/host.conf",
            "/etc/hostname",
            "/etc/hosts",
            "/etc/inputrc",
            "/etc/ld.so.cache",
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d",
            "/etc/ld.so.preload",
            "/etc/locale.alias",
            "/etc/localtime",
            "/etc/mime.types",
            "/etc/nsswitch.conf",
            "/etc/os-release",
            "/etc/passwd",
            "/etc/pki/ca-trust/extracted",
            "/etc/pki/tls/cert.pem",
            "/etc/pki/tls/certs",
            "/etc/pki/tls/openssl.cnf",
            "/etc/protocols",
            "/etc/resolv.conf",
            "/etc/services",
            "/etc/ssl/cert.pem",
            "/etc/ssl/certs",
            "/etc/ssl/openssl.cnf",
            "/etc/static",
            "/etc/terminfo",
            "/etc/timezone",
            "/proc",
            "/run/systemd/resolve",
            "/sys/devices/system/cpu",
            "/sys/fs/cgroup",
            "/sys/kernel/mm",
        ],
    ),
    (
        Use::Change,
        &[
            "/dev/full",
            "/dev/null",
            "/dev/random",
            "/dev/tty",
            "/dev/urandom",
            "/dev/zero",
        ],
    ),
];

/// The Landlock version whose rights are used. A later version has rights that this code does not know.
const KNOWN: ABI = ABI::V3;

/// The isolation that this kernel gives to a process of the local engine.
pub fn isolation() -> Isolation {
    isolation_of(&barriers())
}

/// The barriers that this kernel supports. Changes nothing.
fn barriers() -> Vec<Barrier> {
    let has = |barriers: &[Barrier]| ruleset(barriers).and_then(Ruleset::create).is_ok();
    let files = [Barrier::Files, Barrier::FilesButEmptying];
    let mut found: Vec<_> = files
        .into_iter()
        .find(|files| has(&[*files]))
        .into_iter()
        .collect();
    if let Some(files) = found.first().copied() {
        found.extend(Some(Barrier::Signals).filter(|signals| has(&[files, *signals])));
        let sockets = landlock_refuses_sockets() || sockets::can_be_refused();
        found.extend(sockets.then_some(Barrier::Sockets));
    }
    found
}

fn isolation_of(from: &[Barrier]) -> Isolation {
    match from {
        [] => Isolation::None {
            reason: Unconfined::NoLandlock,
        },
        from => Isolation::Confined {
            from: from.to_owned(),
        },
    }
}

impl Confinement {
    /// The confinement by every barrier that this kernel supports and the runtime does not open.
    pub fn new(grants: Vec<Grant>, runtime: &Runtime) -> Self {
        let mut from = barriers();
        from.retain(|barrier| *barrier != Barrier::Sockets || !runtime.unix_sockets);
        Self { from, grants }
    }

    /// The isolation that it gives.
    pub fn isolation(&self) -> Isolation {
        isolation_of(&self.from)
    }

    /// Confines this process, which must have only one thread, for the rest of its life.
    ///
    /// # Errors
    /// [`ConfineError`] when a part fails. The process must then end, because it may be only partly confined.
    pub fn apply(&self) -> Result<(), ConfineError> {
        // A core dump would contain the secrets of its environment.
        lower(Resource::Core, 0)?;
        lower(Resource::Nofile, limits::LOCAL_OPEN_FILES)?;
        lower(Resource::Nproc, limits::LOCAL_PROCESSES)?;
        set_no_new_privs(true)?;
        if !self.from.is_empty() {
            self.restrict()?;
        }
        drop_capabilities()?;
        if self.from.contains(&Barrier::Sockets) && !landlock_refuses_sockets() {
            sockets::refuse()?;
        }
        Ok(())
    }

    /// Applies the Landlock rules.
    fn restrict(&self) -> Result<(), ConfineError> {
        let handled = handled(&self.from);
        let mut created = ruleset(&self.from)?.create()?;
        for (may, paths) in SYSTEM {
            // Paths that do not exist on this system are skipped.
            let opened = paths
                .iter()
                .filter_map(|path| open(*path, ResolveFlags::empty()).ok());
            for opened in opened {
                created = created.add_rule(rule(opened, *may, handled)?)?;
            }
        }
        for grant in &self.grants {
            let links = match grant.without_links {
                true => ResolveFlags::NO_SYMLINKS,
                false => ResolveFlags::empty(),
            };
            let opened = open(grant.path.as_path(), links).map_err(|error| ConfineError::Path {
                path: grant.path.clone(),
                reason: error.to_string(),
            })?;
            created = created.add_rule(rule(opened, grant.may, handled)?)?;
        }
        match created.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            // Not reached: the ruleset requires that everything is enforced.
            _ => Err(rustix::io::Errno::NOTSUP.into()),
        }
    }
}

/// A ruleset with exactly these barriers; an error when the kernel does not support one.
fn ruleset(from: &[Barrier]) -> Result<Ruleset, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled(from))?;
    match from.contains(&Barrier::Signals) {
        true => ruleset.scope(Scope::Signal | Scope::AbstractUnixSocket),
        false => Ok(ruleset),
    }
}

/// Whether the Landlock of this kernel can refuse sockets by their path. Changes nothing.
fn landlock_refuses_sockets() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessFs::ResolveUnix);
    ruleset.and_then(Ruleset::create).is_ok()
}

/// The accesses that are refused unless a rule grants them.
fn handled(from: &[Barrier]) -> BitFlags<AccessFs> {
    let mut handled = AccessFs::from_all(KNOWN);
    if from.contains(&Barrier::FilesButEmptying) {
        handled.remove(AccessFs::Truncate);
    }
    if from.contains(&Barrier::Sockets) && landlock_refuses_sockets() {
        handled.insert(AccessFs::ResolveUnix);
    }
    handled
}

/// Opens a file or folder only to make a rule about it.
fn open(path: impl rustix::path::Arg, links: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), links)
}

/// The rule that allows this use of an opened file or folder.
fn rule(
    opened: OwnedFd,
    may: Use,
    handled: BitFlags<AccessFs>,
) -> Result<PathBeneath<OwnedFd>, ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let change = read | (AccessFs::from_write(KNOWN) & !devices) | AccessFs::ResolveUnix;
    let mut rights = match may {
        Use::Read => read,
        Use::Run => read | AccessFs::Execute,
        Use::Change => change,
        Use::All => change | AccessFs::Execute,
    };
    let kind = rustix::fs::fstat(&opened)?.st_mode;
    if !FileType::from_raw_mode(kind).is_dir() {
        rights &= AccessFs::from_file(KNOWN) | AccessFs::ResolveUnix;
    }
    Ok(PathBeneath::new(opened, rights & handled))
}

/// Lowers a limit for this process and those that it starts. A limit that is already lower is kept.
fn lower(resource: Resource, most: u64) -> Result<(), ConfineError> {
    let now = getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let lowered = Rlimit {
        current: least(now.current),
        maximum: least(now.maximum),
    };
    Ok(setrlimit(resource, lowered)?)
}

/// Drops all capabilities, for the case that orghost runs as root. `no_new_privs` keeps the process from getting them back.
fn drop_capabilities() -> Result<(), ConfineError> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    if capabilities(None)? != sets {
        set_capabilities(None, sets)?;
    }
    Ok(())
}

impl Grant {
    /// Grants a path, which may contain symbolic links.
    pub fn new(path: impl AsRef<Path>, may: Use) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            may,
            without_links: false,
        }
    }
}

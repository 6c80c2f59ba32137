//! Keeps a workspace's program from what is not its own, with what Linux offers an unprivileged process. Written into
//! `container.json` when the container is made, applied by the program's process to itself just before it becomes the
//! program, and kept by everything that the program starts. A program that cannot be confined as written does not start.
//!
//! It gets its volumes, its scratch folder, its directory as granted, its own program and what the operator's runtime
//! adds; the system's programs and libraries and some settings, to read; `/proc` to read; a few devices. It does not get
//! `/tmp`, homes, the state folder, other workspaces' folders, or the rest of `/etc`. Besides, it has no capabilities and
//! gains no privileges (`no_new_privs`), and dumps no core.
//!
//! Nothing keeps it from looking at the names, sizes and times of files, from changing the mode or times of files of this
//! user, from System V's shared memory, or from the network. Memory and processors are not limited: that takes control
//! groups, which an unprivileged process has not.

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

/// What a program is kept from, and what is its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Empty where the kernel keeps a process from nothing.
    pub from: Vec<Barrier>,
    /// What it may use all the same, beside the system's.
    pub grants: Vec<Grant>,
}

/// A file or folder that a program may use. It is there, or the program does not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// An absolute path; of a link, what it leads to.
    pub path: PathBuf,
    /// How it may use it.
    pub may: Use,
    /// The path has no link in it, and must have none when it is granted: others may write beside what it names, and put a
    /// link in its place.
    #[serde(default)]
    pub without_links: bool,
}

/// How something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Read.
    Read,
    /// Read and run.
    Run,
    /// Read and change, and not run.
    Change,
    /// Read, change and run.
    All,
}

/// Why a program is not confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel does not give what the container was made with.
    #[error("this kernel does not confine it as when it was made: {0}")]
    Kernel(#[from] RulesetError),
    /// A granted path is not there.
    #[error("{} cannot be granted to it: {reason}", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The kernel did not take the filter.
    #[error("sockets cannot be kept from it: {0}")]
    Sockets(#[from] seccompiler::Error),
    /// The kernel refused something else.
    #[error("it cannot be confined: {0}")]
    System(#[from] rustix::io::Errno),
}

/// What every program needs of a Linux system. What is not there is left out. Of `/etc`, only what programs read to find
/// libraries, names, certificates and the time: no settings of services, which may hold secrets, also of this user.
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

/// The version whose rights are meant below, and not those of a later one.
const KNOWN: ABI = ABI::V3;

/// What this kernel keeps a process of the local engine from.
pub fn isolation() -> Isolation {
    isolation_of(&barriers())
}

/// The barriers that this kernel has: the more, the newer it is. Changes nothing.
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
        let sockets = landlock_knows_sockets() || sockets::can_be_refused();
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
    /// By everything that this kernel has and the runtime does not open.
    pub fn new(grants: Vec<Grant>, runtime: &Runtime) -> Self {
        let mut from = barriers();
        from.retain(|barrier| *barrier != Barrier::Sockets || !runtime.unix_sockets);
        Self { from, grants }
    }

    /// As it is shown.
    pub fn isolation(&self) -> Isolation {
        isolation_of(&self.from)
    }

    /// Confines this process, which has one thread, for the rest of its life.
    ///
    /// # Errors
    /// [`ConfineError`]; the process must end then, because it may be confined by halves.
    pub fn apply(&self) -> Result<(), ConfineError> {
        // A core would hold the secrets of its environment.
        lower(Resource::Core, 0)?;
        lower(Resource::Nofile, limits::LOCAL_OPEN_FILES)?;
        lower(Resource::Nproc, limits::LOCAL_PROCESSES)?;
        set_no_new_privs(true)?;
        if !self.from.is_empty() {
            self.enter()?;
        }
        drop_capabilities()?;
        if self.from.contains(&Barrier::Sockets) && !landlock_knows_sockets() {
            sockets::refuse()?;
        }
        Ok(())
    }

    fn enter(&self) -> Result<(), ConfineError> {
        let handled = handled(&self.from);
        let mut created = ruleset(&self.from)?.create()?;
        for (may, paths) in SYSTEM {
            // Not every system has each of them.
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
            // The ruleset demands all or nothing.
            _ => Err(rustix::io::Errno::NOTSUP.into()),
        }
    }
}

/// A ruleset that keeps from exactly this, or is an error.
fn ruleset(from: &[Barrier]) -> Result<Ruleset, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled(from))?;
    match from.contains(&Barrier::Signals) {
        true => ruleset.scope(Scope::Signal | Scope::AbstractUnixSocket),
        false => Ok(ruleset),
    }
}

/// Whether this Landlock keeps from sockets by their path. Changes nothing.
fn landlock_knows_sockets() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessFs::ResolveUnix);
    ruleset.and_then(Ruleset::create).is_ok()
}

/// What is refused where nothing grants it.
fn handled(from: &[Barrier]) -> BitFlags<AccessFs> {
    let mut handled = AccessFs::from_all(KNOWN);
    if from.contains(&Barrier::FilesButEmptying) {
        handled.remove(AccessFs::Truncate);
    }
    if from.contains(&Barrier::Sockets) && landlock_knows_sockets() {
        handled.insert(AccessFs::ResolveUnix);
    }
    handled
}

/// A file or folder, for nothing but a rule about it.
fn open(path: impl rustix::path::Arg, links: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), links)
}

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

/// Lowers a limit for this process and those that it starts; one that is lower already stays.
fn lower(resource: Resource, most: u64) -> Result<(), ConfineError> {
    let now = getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let lowered = Rlimit {
        current: least(now.current),
        maximum: least(now.maximum),
    };
    Ok(setrlimit(resource, lowered)?)
}

/// For root, which keeps its files and loses the rest. Without new privileges, what is given up here does not come back.
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
    /// A path and how it may be used.
    pub fn new(path: impl AsRef<Path>, may: Use) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            may,
            without_links: false,
        }
    }
}

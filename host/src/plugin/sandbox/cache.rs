//! A cache of compiled plugins on disk, so that they are not compiled at every start. Only files that this host wrote into a
//! folder that no other user can write to are used, and the file that is installed with orghost. Everything else is compiled
//! again.
//!
//! A file ends with a checksum. It shows that the file is complete and belongs to its plugin, but it is no signature: whoever
//! may write to the folder, which is this user and root, can also write a checksum. Reading and hashing two megabytes takes
//! longer than loading them, so a file is checked once after each boot of the machine, and then only compared with the mark
//! that the check left: the same file, not changed since ([`Mark`]). What the mark gives up: when a disk damages code that was
//! checked since the boot and is no longer in the kernel's memory, nobody notices. No user gains anything by it.

mod mark;

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::model::plugin::PluginDigest;
use mark::Mark;

/// Bytes of the BLAKE3 digest at the end of a file. Code must be at the beginning to be mapped.
const CHECKSUM: usize = 32;

/// The open folder with the compiled code for one configuration of the engine.
pub struct CodeCache(OwnedFd);

impl CodeCache {
    /// Opens or creates `<folder>/plugins/<digest of the engine's configuration>`. `None` when that fails, or when other users
    /// can write to the folder.
    pub fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        let mut configuration = Configuration(blake3::Hasher::new());
        engine
            .precompile_compatibility_hash()
            .hash(&mut configuration);
        let name = configuration.0.finalize().to_hex();
        let folder = folder.join("plugins").join(name.as_str());
        let open = || {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(&folder, flags, Mode::empty()).ok()
        };
        let create = || {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&folder).ok()
        };
        let opened = open().or_else(|| create().and_then(|()| open()))?;
        let stat = rustix::fs::fstat(&opened).ok()?;
        is_private(&stat, FileType::Directory, &[own_user()]).then_some(Self(opened))
    }

    /// The compiled code of a plugin. `None` when the cache does not have it or its file is damaged.
    pub fn get(&self, engine: &Engine, plugin: &PluginDigest) -> Option<Component> {
        let name = name(plugin);
        let file = open_private(self.0.as_fd(), &name, &[own_user()])?;
        self.load(file, &name, engine, plugin)
    }

    /// Loads a file if it is intact. `name` distinguishes its mark from those of other files.
    fn load(
        &self,
        mut file: File,
        name: &str,
        engine: &Engine,
        plugin: &PluginDigest,
    ) -> Option<Component> {
        let mark = Mark::of(&file);
        let name = format!("{name}.checked");
        let is_known = mark.as_ref().is_some_and(|mark| {
            let left = open_private(self.0.as_fd(), &name, &[own_user()]);
            left.is_some_and(|left| mark.is_in(left))
        });
        if !is_known {
            if !is_intact(&mut file, plugin).ok()? {
                return None;
            }
            // A file that was changed a moment ago could be changed again without getting another time.
            if let Some(mark) = mark.filter(Mark::is_settled) {
                self.put(&name, &[mark.as_bytes()]);
            }
        }
        mapped(&file, engine)
    }

    /// Stores the compiled code of a plugin. Errors are ignored, because the host also works without the cache.
    pub fn store(&self, plugin: &PluginDigest, component: &Component) {
        if let Ok(code) = component.serialize() {
            let checksum = checksum_of(plugin, &code);
            self.put(&name(plugin), &[&code, &checksum]);
        }
    }

    /// Writes or replaces a file as a whole.
    fn put(&self, name: &str, parts: &[&[u8]]) {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{name}.{}.{number}", std::process::id());
        // A killed process with the same id can have left such a file.
        let _ = rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty());
        if self.write(&temporary, parts).is_ok() {
            let _ = rustix::fs::renameat(&self.0, &temporary, &self.0, name);
        } else {
            let _ = rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty());
        }
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.0, name, flags | OFlags::CLOEXEC, mode)?;
        let mut file = File::from(file);
        parts.iter().try_for_each(|part| file.write_all(part))
    }
}

/// The code of a plugin that was installed with orghost. `None` when the folder does not have it, when it was compiled by
/// another wasmtime or with other settings, when it is damaged, and when somebody else than root and the owner of this program
/// could have written it: they could also replace the program.
pub fn shipped(
    folder: &Path,
    engine: &Engine,
    plugin: &PluginDigest,
    cache: Option<&CodeCache>,
) -> Option<Component> {
    let program = std::fs::metadata("/proc/self/exe").ok()?;
    let owners = [0, program.uid()];
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
    if !is_private(
        &rustix::fs::fstat(&folder).ok()?,
        FileType::Directory,
        &owners,
    ) {
        return None;
    }
    let mut file = open_private(folder.as_fd(), &name(plugin), &owners)?;
    match cache {
        Some(cache) => cache.load(file, &format!("shipped-{}", name(plugin)), engine, plugin),
        None if is_intact(&mut file, plugin).ok()? => mapped(&file, engine),
        None => None,
    }
}

/// Writes the code of a plugin to a folder, as [`shipped`] finds it: no other user can write to it.
pub fn ship(folder: &Path, plugin: &PluginDigest, code: &[u8]) -> std::io::Result<()> {
    let mut folders = std::fs::DirBuilder::new();
    folders.recursive(true).mode(0o755).create(folder)?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o644);
    let mut file = options.open(folder.join(name(plugin)))?;
    file.write_all(code)?;
    file.write_all(&checksum_of(plugin, code))
}

fn name(plugin: &PluginDigest) -> String {
    format!("{}.cwasm", plugin.as_str())
}

/// Opens a file for reading that only one of these users can have written.
fn open_private(folder: impl AsFd, name: &str, owners: &[u32]) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    is_private(&stat, FileType::RegularFile, owners).then(|| File::from(file))
}

/// Maps the code of a file that was checked.
#[allow(
    unsafe_code,
    reason = "wasmtime loads compiled code only by an unsafe function"
)]
fn mapped(file: &File, engine: &Engine) -> Option<Component> {
    // The descriptor names the checked file, even when another file has its path by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: wasmtime requires that an engine serialised the file and that the file does not change while it is mapped.
    // The file belongs to this user and is in a folder that only this user can write to, so this program wrote it after
    // compiling; or it was installed with this program, and nobody can write to it who cannot replace the program. It is only
    // ever replaced by a rename. Its checksum shows that it is complete and belongs to this plugin. wasmtime refuses code of
    // another version or configuration. Templates and plugins cannot write to the folder.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// The checksum of the code of a plugin. It covers the plugin's digest, so that the code of one plugin is never used for
/// another.
fn checksum_of(plugin: &PluginDigest, code: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = begin(plugin);
    checksum.update(code);
    checksum.finalize().into()
}

fn begin(plugin: &PluginDigest) -> blake3::Hasher {
    let mut checksum = blake3::Hasher::new();
    checksum.update(plugin.as_str().as_bytes());
    checksum
}

/// Whether a file is complete and belongs to a plugin. It is read piece by piece, because allocating memory for all of it
/// would take longer than hashing.
fn is_intact(file: &mut File, plugin: &PluginDigest) -> std::io::Result<bool> {
    let size = file.metadata()?.len();
    let Some(code) = size.checked_sub(CHECKSUM as u64) else {
        return Ok(false);
    };
    let mut checksum = begin(plugin);
    let mut buffer = vec![0; 128 << 10];
    let mut left = code;
    while left > 0 {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact(piece)?;
        checksum.update(piece);
        left -= wanted as u64;
    }
    let mut end = [0; CHECKSUM];
    file.read_exact(&mut end)?;
    Ok(checksum.finalize() == end)
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether one of these users owns the file and no other user can write to it.
fn is_private(stat: &Stat, kind: FileType, owners: &[u32]) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
        && owners.contains(&stat.st_uid)
        && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
}

/// A hasher that computes a BLAKE3 digest. wasmtime passes its configuration only to a [`Hasher`].
struct Configuration(blake3::Hasher);

impl Hasher for Configuration {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never called.
    fn finish(&self) -> u64 {
        0
    }
}

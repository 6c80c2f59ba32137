//! A cache of compiled plugins on disk, so that they are not compiled at every start. Only files that this host wrote into a
//! folder that no other user can write to are used. Everything else is compiled again.

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::model::plugin::PluginDigest;

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
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .ok()?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&folder, flags, Mode::empty()).ok()?;
        is_private(&folder, FileType::Directory).then_some(Self(folder))
    }

    /// The compiled code of a plugin. `None` when the cache does not have it or its file is damaged.
    #[allow(
        unsafe_code,
        reason = "wasmtime loads compiled code only by an unsafe function"
    )]
    pub fn get(&self, engine: &Engine, plugin: &PluginDigest) -> Option<Component> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name(plugin), flags, Mode::empty()).ok()?;
        if !is_private(&file, FileType::RegularFile) {
            return None;
        }
        let mut file = File::from(file);
        if !is_intact(&mut file, plugin).ok()? {
            return None;
        }
        // The descriptor names the checked file, even when another file has its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: wasmtime requires that an engine serialised the file and that the file does not change while it is mapped.
        // The file belongs to this user and is in a folder that only this user can write to, so this program wrote it after
        // compiling. It is only ever replaced by a rename. Its checksum shows that it is complete and belongs to this plugin.
        // wasmtime refuses code of another version or configuration. Templates and plugins cannot write to the folder.
        unsafe { Component::deserialize_file(engine, path) }.ok()
    }

    /// Stores the compiled code of a plugin. Errors are ignored, because the host also works without the cache.
    pub fn put(&self, plugin: &PluginDigest, component: &Component) {
        let Ok(code) = component.serialize() else {
            return;
        };
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}.{}.{number}", name(plugin), std::process::id());
        // A killed process with the same id can have left such a file.
        let _ = rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty());
        if self.write(&temporary, plugin, &code).is_ok() {
            let _ = rustix::fs::renameat(&self.0, &temporary, &self.0, name(plugin));
        } else {
            let _ = rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty());
        }
    }

    fn write(&self, name: &str, plugin: &PluginDigest, code: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(
            &self.0,
            name,
            flags | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        let mut file = File::from(file);
        let mut checksum = checksum_of(plugin);
        checksum.update(code);
        file.write_all(code)?;
        file.write_all(checksum.finalize().as_bytes())
    }
}

fn name(plugin: &PluginDigest) -> String {
    format!("{}.cwasm", plugin.as_str())
}

/// The checksum of a file, to which the code must still be added. It covers the plugin's digest, so that the code of one
/// plugin is never used for another.
fn checksum_of(plugin: &PluginDigest) -> blake3::Hasher {
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
    let mut checksum = checksum_of(plugin);
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

/// Whether this user owns the file and no other user can write to it.
fn is_private(file: &OwnedFd, kind: FileType) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
    })
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

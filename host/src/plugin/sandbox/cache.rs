//! Compiled plugins on disk, so that a start need not compile. It is never
//! trusted for more than speed: only what this host wrote into a folder that
//! nobody else may write to is run, and whatever does not fit is compiled anew.

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

/// Bytes of the BLAKE3 digest that a file ends with; code must stand at its beginning to be mapped.
const SEAL: usize = 32;

/// The compiled code of one engine's configuration: a folder, held open.
pub struct CodeCache(OwnedFd);

impl CodeCache {
    /// Opens `<folder>/plugins/<the engine's configuration>`; none when it cannot be had, or when others may write
    /// to it.
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

    /// The code of a plugin, when it is there and whole.
    #[allow(unsafe_code, reason = "compiled code has no other way in; see below")]
    pub fn get(&self, engine: &Engine, plugin: &PluginDigest) -> Option<Component> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name(plugin), flags, Mode::empty()).ok()?;
        if !is_private(&file, FileType::RegularFile) {
            return None;
        }
        let mut file = File::from(file);
        if !is_whole(&mut file, plugin).ok()? {
            return None;
        }
        // The very file that was looked at, whatever its name means by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: wasmtime asks that the file holds what an engine serialised, and does not change while it is mapped.
        // It is a file of this user in a folder that only this user may write to, so only this program put it there,
        // after compiling; it is replaced by renaming, never written to again; and the seal says that it is whole and
        // of this plugin. wasmtime itself refuses code of another version or configuration. No template and no
        // plugin's author has a way to such a file.
        unsafe { Component::deserialize_file(engine, path) }.ok()
    }

    /// Keeps a plugin's code. Without it everything works, only slower: failures are not told.
    pub fn put(&self, plugin: &PluginDigest, component: &Component) {
        let Ok(code) = component.serialize() else {
            return;
        };
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let begun = format!("{}.{}.{number}", name(plugin), std::process::id());
        // What a killed process of the same number left behind.
        let _ = rustix::fs::unlinkat(&self.0, &begun, AtFlags::empty());
        if self.write(&begun, plugin, &code).is_ok() {
            let _ = rustix::fs::renameat(&self.0, &begun, &self.0, name(plugin));
        } else {
            let _ = rustix::fs::unlinkat(&self.0, &begun, AtFlags::empty());
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
        let mut seal = seal_of(plugin);
        seal.update(code);
        file.write_all(code)?;
        file.write_all(seal.finalize().as_bytes())
    }
}

fn name(plugin: &PluginDigest) -> String {
    format!("{}.cwasm", plugin.as_str())
}

/// Over the plugin and then its code: says that the code is whole, and whose it is.
fn seal_of(plugin: &PluginDigest) -> blake3::Hasher {
    let mut seal = blake3::Hasher::new();
    seal.update(plugin.as_str().as_bytes());
    seal
}

/// Reads piece by piece: holding all of it would cost more time than hashing.
fn is_whole(file: &mut File, plugin: &PluginDigest) -> std::io::Result<bool> {
    let size = file.metadata()?.len();
    let Some(code) = size.checked_sub(SEAL as u64) else {
        return Ok(false);
    };
    let mut seal = seal_of(plugin);
    let mut buffer = vec![0; 128 << 10];
    let mut left = code;
    while left > 0 {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact(piece)?;
        seal.update(piece);
        left -= wanted as u64;
    }
    let mut end = [0; SEAL];
    file.read_exact(&mut end)?;
    Ok(seal.finalize() == end)
}

/// It is this user's, and nobody else may write to it.
fn is_private(file: &OwnedFd, kind: FileType) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
    })
}

/// wasmtime gives its configuration only to a hasher.
struct Configuration(blake3::Hasher);

impl Hasher for Configuration {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for the short form.
    fn finish(&self) -> u64 {
        0
    }
}

//! One call into a plugin: the state of its store, its limits, and the implementation of the contract's imports.

use std::time::{Duration, Instant};

use wasmtime::{Engine, ResourceLimiter, Store, Trap};
use wasmtime_wasi::I32Exit;

use super::CallError;
use super::bindings::latest::orghost::plugin::log;
use super::bindings::latest::orghost::plugin::template_files::{
    Contents, Entry, EntryKind, FileError, Host,
};
use super::exceeded::Exceeded;
use super::log::Log;
use super::wasi::Closed;
use crate::limits;
use crate::model::plugin::PluginLimits;
use crate::template::directory::TemplateDir;
use crate::template::path::{self, TemplatePath};

/// The state of one call. It lives as long as the call.
pub struct Call {
    /// The template that the plugin can read.
    template: Option<TemplateDir>,
    /// Bytes that the call has read from the template.
    bytes_read: u64,
    /// How often the call has read or listed files.
    requests: u32,
    /// When the call has to end. Compiled code is interrupted then; this is for the host's own loops.
    end: Instant,
    memory: Memory,
    /// Whether a growth of a table was refused.
    table_denied: bool,
    log: Log,
    /// The seed of the closed WASI's random bytes.
    seed: blake3::Hasher,
    /// The closed WASI, created at its first use, because most plugins do not use it.
    wasi: Option<Box<Closed>>,
}

/// The linear memory of one call, in bytes over all its memories.
struct Memory {
    limit: usize,
    held: usize,
    peak: usize,
    /// The bytes of the last growth, which are subtracted again if the growth fails.
    latest: usize,
    /// Whether a growth was refused.
    denied: bool,
}

impl Call {
    /// A fresh store with every limit set.
    pub fn store(
        engine: &Engine,
        template: Option<TemplateDir>,
        limits: &PluginLimits,
        seed: blake3::Hasher,
    ) -> Store<Self> {
        let mut store = Store::new(
            engine,
            Self {
                template,
                bytes_read: 0,
                requests: 0,
                end: Instant::now() + limits.deadline,
                memory: Memory {
                    limit: limits.memory,
                    held: 0,
                    peak: 0,
                    latest: 0,
                    denied: false,
                },
                table_denied: false,
                log: Log::default(),
                seed,
                wasi: None,
            },
        );
        store.limiter(|call| call);
        store.set_hostcall_fuel(limits::PLAN_BYTES);
        // One more, because the current tick can end at once.
        let ticks = limits.deadline.as_millis() / limits::EPOCH_TICK.as_millis() + 1;
        // wasmtime adds it to the current epoch. Half of the range cannot overflow.
        store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2));
        store
    }

    /// The most linear memory that the call held at once, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.memory.peak
    }

    /// The lines that the plugin wrote.
    pub fn log(&self) -> Vec<String> {
        self.log.take()
    }

    /// The closed WASI. Only plugins to which it is granted are linked to functions that call this.
    pub fn wasi(&mut self) -> &mut Closed {
        self.wasi
            .get_or_insert_with(|| Box::new(Closed::new(&self.seed, &self.log)))
    }

    /// Lists a folder by `list`, which is [`TemplateDir::names`] or, where the contract asks for sizes,
    /// [`TemplateDir::entries`].
    pub fn list(
        &mut self,
        path: &str,
        list: fn(&TemplateDir, &TemplatePath) -> Result<Vec<path::Entry>, path::FileError>,
    ) -> wasmtime::Result<Result<Vec<path::Entry>, path::FileError>> {
        self.count_request()?;
        let Some(template) = &self.template else {
            return Ok(Err(path::FileError::NotFound));
        };
        Ok(TemplatePath::new(path).and_then(|path| list(template, &path)))
    }

    /// Counts one read or listing of a file.
    fn count_request(&mut self) -> wasmtime::Result<()> {
        self.requests += 1;
        if self.requests > limits::TEMPLATE_CALLS {
            return Err(Exceeded::TemplateCalls.into());
        }
        Ok(())
    }
}

impl Host for Call {
    fn read(&mut self, path: String) -> wasmtime::Result<Result<Vec<u8>, FileError>> {
        self.count_request()?;
        let Some(template) = &self.template else {
            return Ok(Err(FileError::NotFound));
        };
        let bytes = match TemplatePath::new(&path).and_then(|path| template.read(&path)) {
            Ok(file) => file.bytes,
            Err(error) => return Ok(Err(error.into())),
        };
        self.bytes_read += bytes.len() as u64;
        if self.bytes_read > limits::TEMPLATE_BYTES {
            return Err(Exceeded::TemplateBytes.into());
        }
        Ok(Ok(bytes))
    }

    fn read_all(&mut self, paths: Vec<String>) -> wasmtime::Result<Contents> {
        let (mut bytes, mut sizes) = (Vec::new(), Vec::with_capacity(paths.len()));
        for path in paths {
            if Instant::now() > self.end {
                return Err(Trap::Interrupt.into());
            }
            sizes.push(self.read(path)?.map(|file| {
                bytes.extend_from_slice(&file);
                file.len() as u64
            }));
        }
        Ok(Contents { bytes, sizes })
    }

    fn entries(&mut self, path: String) -> wasmtime::Result<Result<Vec<Entry>, FileError>> {
        let listed = self.list(&path, TemplateDir::names)?;
        Ok(listed
            .map(|entries| entries.into_iter().map(Entry::from).collect())
            .map_err(FileError::from))
    }
}

impl log::Host for Call {
    fn line(&mut self, text: String) -> wasmtime::Result<()> {
        self.log.line(&text);
        Ok(())
    }
}

impl ResourceLimiter for Call {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = &mut self.memory;
        memory.latest = desired.saturating_sub(current);
        let wanted = memory.held.saturating_add(memory.latest);
        if wanted > memory.limit {
            memory.denied = true;
            return Ok(false);
        }
        memory.held = wanted;
        memory.peak = memory.peak.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.held = self.memory.held.saturating_sub(self.memory.latest);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= limits::PLUGIN_TABLE_ELEMENTS;
        self.table_denied |= !allowed;
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        limits::PLUGIN_INSTANCES
    }

    fn tables(&self) -> usize {
        limits::PLUGIN_INSTANCES
    }

    fn memories(&self) -> usize {
        limits::PLUGIN_MEMORIES
    }
}

/// The limit or the trap that ended a call.
pub fn failure(error: &wasmtime::Error, call: &Call, deadline: Duration) -> CallError {
    const LIMIT: &str = "the limits protect the host; if the template is an ordinary one, report the defect to the plugin's author";
    const DEFECT: &str = "this is a defect of the plugin, not of the template: report it to the plugin's author, or use another plugin";
    // wasmtime has no type for this error.
    const FUEL: &str = "fuel allocated for hostcalls has been exhausted";
    let trap = error.downcast_ref::<Trap>();
    let (reason, help) = if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        (exceeded.to_string(), LIMIT)
    } else if trap == Some(&Trap::Interrupt) {
        (
            format!("it ran for longer than {}", duration(deadline)),
            LIMIT,
        )
    } else if trap == Some(&Trap::StackOverflow) {
        ("it recursed until its stack was used up".to_owned(), LIMIT)
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        let reason = format!("it exited with exit code {} instead of answering", exit.0);
        (reason, DEFECT)
    } else if error.root_cause().to_string().contains(FUEL) {
        let limit = limits::PLAN_BYTES >> 20;
        (format!("it returned more than {limit} MiB"), LIMIT)
    } else if call.memory.denied {
        // A plugin that gets no memory usually traps afterwards.
        (
            format!(
                "it requested more than {} of memory",
                size(call.memory.limit)
            ),
            LIMIT,
        )
    } else if call.table_denied {
        let elements = limits::PLUGIN_TABLE_ELEMENTS;
        (
            format!("it requested a table of more than {elements} elements"),
            LIMIT,
        )
    } else {
        let reason = trap.map_or_else(|| error.root_cause().to_string(), Trap::to_string);
        (reason, DEFECT)
    };
    CallError::Failed { reason, help }
}

/// A duration for messages, such as `5 seconds` or `250 milliseconds`.
fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds % 1000 {
        0 if milliseconds == 1000 => "1 second".to_owned(),
        0 => format!("{} seconds", milliseconds / 1000),
        _ => format!("{milliseconds} milliseconds"),
    }
}

/// A size for messages, such as `256 MiB` or `640 KiB`.
fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

impl From<path::FileError> for FileError {
    fn from(error: path::FileError) -> Self {
        match error {
            path::FileError::NotFound => Self::NotFound,
            path::FileError::InvalidPath => Self::InvalidPath,
            path::FileError::WrongKind => Self::WrongKind,
            path::FileError::TooLarge => Self::TooLarge,
            path::FileError::Unreadable(reason) => Self::Unreadable(reason),
        }
    }
}

impl From<path::Entry> for Entry {
    fn from(entry: path::Entry) -> Self {
        Self {
            name: entry.name,
            kind: match entry.kind {
                path::EntryKind::File => EntryKind::File,
                path::EntryKind::Directory => EntryKind::Directory,
                path::EntryKind::Symlink => EntryKind::Symlink,
                path::EntryKind::Other => EntryKind::Other,
            },
        }
    }
}

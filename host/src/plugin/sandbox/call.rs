//! One call into a plugin: its store's state, its limits, and the
//! interfaces that it may import. Lives as long as the call.

use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter, Store, Trap};
use wasmtime_wasi::I32Exit;

use super::CallError;
use super::bindings::latest::orghost::plugin::log;
use super::bindings::latest::orghost::plugin::template_files::{Entry, EntryKind, FileError, Host};
use super::exceeded::Exceeded;
use super::log::Log;
use super::wasi::Closed;
use crate::limits;
use crate::model::plugin::PluginLimits;
use crate::template::directory::TemplateDir;
use crate::template::path::{self, TemplatePath};

/// State of one call.
pub struct Call {
    template: Option<TemplateDir>,
    bytes_read: u64,
    requests: u32,
    memory: Memory,
    table_denied: bool,
    log: Log,
    /// Of everything that the call was given; see [`Closed`].
    seed: blake3::Hasher,
    /// Made when the plugin first uses it: most have none.
    wasi: Option<Box<Closed>>,
}

/// Linear memory of one call, in bytes, all its memories together.
struct Memory {
    limit: usize,
    held: usize,
    peak: usize,
    /// What the growth that was allowed last added, until it is known whether it happened.
    latest: usize,
    denied: bool,
}

impl Call {
    /// A fresh store with every limit set.
    pub fn store(
        engine: &Engine,
        template: Option<TemplateDir>,
        terms: &PluginLimits,
        seed: blake3::Hasher,
    ) -> Store<Self> {
        let mut store = Store::new(
            engine,
            Self {
                template,
                bytes_read: 0,
                requests: 0,
                memory: Memory {
                    limit: terms.memory,
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
        // One more, since the tick that is under way may end at once.
        let ticks = terms.deadline.as_millis() / limits::EPOCH_TICK.as_millis() + 1;
        // Added to the current epoch: half of the range cannot overflow.
        store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2));
        store
    }

    /// The most linear memory that the call held at once, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.memory.peak
    }

    /// What the plugin wrote.
    pub fn log(&self) -> Vec<String> {
        self.log.take()
    }

    /// The closed WASI. Only a plugin that was granted it is linked with what calls this.
    pub fn wasi(&mut self) -> &mut Closed {
        self.wasi
            .get_or_insert_with(|| Box::new(Closed::new(&self.seed, &self.log)))
    }

    fn request(&mut self) -> wasmtime::Result<()> {
        self.requests += 1;
        if self.requests > limits::TEMPLATE_CALLS {
            return Err(Exceeded::TemplateCalls.into());
        }
        Ok(())
    }
}

impl Host for Call {
    fn read(&mut self, path: String) -> wasmtime::Result<Result<Vec<u8>, FileError>> {
        self.request()?;
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

    fn entries(&mut self, path: String) -> wasmtime::Result<Result<Vec<Entry>, FileError>> {
        self.request()?;
        let Some(template) = &self.template else {
            return Ok(Err(FileError::NotFound));
        };
        let listed = TemplatePath::new(&path).and_then(|path| template.entries(&path));
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

/// Says which limit or which trap ended a call.
pub fn broke(error: &wasmtime::Error, call: &Call, deadline: Duration) -> CallError {
    const LIMIT: &str = "the limits protect the host; a plugin that needs more for an ordinary template has a defect: tell its author";
    const DEFECT: &str = "this is a defect of the plugin, not of the template: tell its author, or use another plugin";
    // wasmtime has no type for it.
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
        let reason = format!(
            "it ended itself with exit code {} instead of answering",
            exit.0
        );
        (reason, DEFECT)
    } else if error.root_cause().to_string().contains(FUEL) {
        let limit = limits::PLAN_BYTES >> 20;
        (format!("it returned more than {limit} MiB"), LIMIT)
    } else if call.memory.denied {
        // Whoever was denied memory ends in some trap of its own.
        (
            format!(
                "it asked for more than {} of memory",
                size(call.memory.limit)
            ),
            LIMIT,
        )
    } else if call.table_denied {
        let elements = limits::PLUGIN_TABLE_ELEMENTS;
        (
            format!("it asked for a table of more than {elements} elements"),
            LIMIT,
        )
    } else {
        let reason = trap.map_or_else(|| error.root_cause().to_string(), Trap::to_string);
        (reason, DEFECT)
    };
    CallError::Broke { reason, help }
}

/// As an operator writes it: `5 seconds`, `250 milliseconds`.
fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds % 1000 {
        0 if milliseconds == 1000 => "1 second".to_owned(),
        0 => format!("{} seconds", milliseconds / 1000),
        _ => format!("{milliseconds} milliseconds"),
    }
}

/// As an operator writes it: `256 MiB`, `640 KiB`.
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
            size: entry.size,
        }
    }
}

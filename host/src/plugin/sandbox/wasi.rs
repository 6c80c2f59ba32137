//! The closed WASI, for plugins in languages whose tools import WASI. It gives no access to the host's environment, files,
//! network, clocks or random bytes. It never waits: everything that a plugin can wait for is ready at once.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::bindings::{clocks, random};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynPollable, InputStream, OutputStream, Pollable, StreamResult, subscribe,
};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, async_trait};

use super::exceeded::Exceeded;
use super::log::{Log, Source};
use crate::limits;

/// The constant time: the first second of 2020, UTC. It is late enough to be valid in certificates and archives.
const NOW: Duration = Duration::from_secs(1_577_836_800);

/// The closed WASI of one call.
pub struct Closed {
    context: WasiCtx,
    table: ResourceTable,
    /// Random bytes. The same seed gives the same bytes.
    randomness: blake3::OutputReader,
}

impl Closed {
    /// The state that the WASI library's own interfaces use.
    pub fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }

    pub fn new(seed: &blake3::Hasher, log: &Log) -> Self {
        let output = |source| Output {
            log: log.clone(),
            source,
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::WASI_RESOURCES);
        Self {
            context: WasiCtx::builder()
                .stdin(ClosedInput)
                .stdout(output(Source::Stdout))
                .stderr(output(Source::Stderr))
                .wall_clock(FrozenClock)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build(),
            table,
            randomness: seed.finalize_xof(),
        }
    }

    fn bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        if length > limits::WASI_RANDOM_BYTES {
            return Err(Exceeded::Random.into());
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.randomness.fill(&mut bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.randomness.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The wall clock and the monotonic clock, which both stand still.
struct FrozenClock;

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        NOW
    }
}

/// A timer is ready at once, because a clock that stands still would never reach its time.
#[async_trait]
impl Pollable for FrozenClock {
    async fn ready(&mut self) {}
}

impl clocks::monotonic_clock::Host for Closed {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(FrozenClock)?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, _for: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(0)
    }
}

impl random::random::Host for Closed {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

impl random::insecure::Host for Closed {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

impl random::insecure_seed::Host for Closed {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.number(), self.number()))
    }
}

/// Standard input, which is closed.
struct ClosedInput;

impl IsTerminal for ClosedInput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for ClosedInput {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(ClosedInputStream)
    }
}

/// Standard output and standard error, which write to the log.
#[derive(Clone)]
struct Output {
    log: Log,
    source: Source,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// Never called: only WASI 0.3 uses it, and that is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(limits::PLUGIN_LOG_BYTES)
    }
}

//! The functions that plugins can import: those of the contract, and the closed WASI.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::{clocks, random};
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::bindings::latest::orghost::plugin as imports;
use super::call::Call;
use super::v0_1_0;
use super::wasi::Closed;

/// Links the imports of every version of the contract.
pub fn contract(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    imports::template_files::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    imports::log::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    v0_1_0::link(linker)
}

/// Links the closed WASI, for plugins to which it is granted.
pub fn closed_wasi(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // These replace the library's own interfaces, which use the host's clocks and random bytes.
    linker.allow_shadowing(true);
    clocks::monotonic_clock::add_to_linker::<_, HasSelf<Closed>>(linker, Call::wasi)?;
    random::random::add_to_linker::<_, HasSelf<Closed>>(linker, Call::wasi)?;
    random::insecure::add_to_linker::<_, HasSelf<Closed>>(linker, Call::wasi)?;
    random::insecure_seed::add_to_linker::<_, HasSelf<Closed>>(linker, Call::wasi)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for Call {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().view()
    }
}

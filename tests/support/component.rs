//! Makes components from small core modules in text form, for plugins that no compiler would produce.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component for version 0.1.0, from a core module that exports the functions of `importer`.
pub fn of_wat(wat: &str, world: &str) -> Vec<u8> {
    of_wat_in("0.1.0", wat, world)
}

/// The same for the version in the folder `wit/v<version>`.
pub fn of_wat_in(version: &str, wat: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let folder = super::root().join(format!("wit/v{version}"));
    let (package, _) = resolve.push_dir(folder).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    encoded(wat, &resolve, world)
}

/// A component that may also import a few interfaces of WASI 0.2.0.
pub fn of_wat_with_wasi(wat: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let folder = super::root().join("wit/v0.1.0");
    resolve.push_dir(folder).unwrap();
    for (name, wit) in WASI {
        resolve.push_str(name, wit).unwrap();
    }
    let world = "package test:test; world with-wasi {
        include orghost:plugin/plugin@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:clocks/wall-clock@0.2.0;
        import wasi:cli/exit@0.2.0;
        import wasi:cli/stdout@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:sockets/tcp-create-socket@0.2.0;
        import wasi:sockets/udp-create-socket@0.2.0;
    }";
    let package = resolve.push_str("test.wit", world).unwrap();
    let world = resolve.select_world(&[package], Some("with-wasi")).unwrap();
    encoded(wat, &resolve, world)
}

fn encoded(wat: &str, resolve: &Resolve, world: wit_parser::WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// The part of WASI 0.2.0 that the tests import, with the names and signatures of the standard.
const WASI: [(&str, &str); 5] = [
    (
        "io.wit",
        "package wasi:io@0.2.0;
        interface poll {
            resource pollable { block: func(); ready: func() -> bool; }
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        }
        interface error { resource error; }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }",
    ),
    (
        "clocks.wit",
        "package wasi:clocks@0.2.0;
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }",
    ),
    (
        "cli.wit",
        "package wasi:cli@0.2.0;
        interface exit { exit: func(status: result); }
        interface stdout {
            use wasi:io/streams@0.2.0.{output-stream};
            get-stdout: func() -> output-stream;
        }",
    ),
    (
        "random.wit",
        "package wasi:random@0.2.0;
        interface random {
            get-random-bytes: func(len: u64) -> list<u8>;
            get-random-u64: func() -> u64;
        }",
    ),
    (
        "sockets.wit",
        "package wasi:sockets@0.2.0;
        interface network {
            enum error-code {
                unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                address-not-bindable, address-in-use, remote-unreachable, connection-refused,
                connection-reset, connection-aborted, datagram-too-large, name-unresolvable,
                temporary-resolver-failure, permanent-resolver-failure,
            }
            enum ip-address-family { ipv4, ipv6 }
        }
        interface tcp { resource tcp-socket; }
        interface udp { resource udp-socket; }
        interface tcp-create-socket {
            use network.{error-code, ip-address-family};
            use tcp.{tcp-socket};
            create-tcp-socket: func(family: ip-address-family) -> result<tcp-socket, error-code>;
        }
        interface udp-create-socket {
            use network.{error-code, ip-address-family};
            use udp.{udp-socket};
            create-udp-socket: func(family: ip-address-family) -> result<udp-socket, error-code>;
        }",
    ),
];

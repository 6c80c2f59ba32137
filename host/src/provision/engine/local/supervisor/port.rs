//! Chooses a free port for a program, which no other supervisor gives to its own program.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The number of ports that are tried.
const PORTS: usize = 64;

/// A port that is reserved for this supervisor for as long as the value lives.
pub(super) struct Port {
    pub(super) number: u16,
    _reservation: UnixListener,
}

impl Port {
    /// The previous port if it is still free, or else another free one. Another process may take it before the program
    /// binds it, but no other supervisor does: each reserves its port by an abstract socket name, which the kernel gives
    /// only once and frees when the process ends.
    pub(super) fn choose(previous: Option<Self>) -> io::Result<Self> {
        if let Some(previous) = previous
            && TcpListener::bind((Ipv4Addr::LOCALHOST, previous.number)).is_ok()
        {
            return Ok(previous);
        }
        let mut taken = Vec::new();
        for _ in 0..PORTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = free.local_addr()?.port();
            let name = SocketAddr::from_abstract_name(format!("orghost-port-{number}"))?;
            match UnixListener::bind_addr(&name) {
                Ok(_reservation) => {
                    return Ok(Self {
                        number,
                        _reservation,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => taken.push(free),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("there is no free port"))
    }
}

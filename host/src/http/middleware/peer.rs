//! The address at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

use crate::http::Peer;

/// The address of the client that sent a request.
pub fn peer(request: &Parts) -> IpAddr {
    let peer = request.extensions.get::<Peer>();
    // A request without an address must not count as one from this machine: `::` is no loopback address.
    peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(address)| {
        address.ip().to_canonical()
    })
}

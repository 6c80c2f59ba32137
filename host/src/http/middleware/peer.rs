//! The address at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

use crate::http::Peer;

/// The address of whoever is connected.
pub fn peer(request: &Parts) -> IpAddr {
    let peer = request.extensions.get::<Peer>();
    // Without one nobody is near: that address is no loopback.
    peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(address)| {
        address.ip().to_canonical()
    })
}

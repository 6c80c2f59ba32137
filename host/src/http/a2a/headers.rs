//! Which headers the host forwards between a caller and an agent.
//!
//! This is by hand because tower-http has no layer for hop-by-hop headers, and the crates that have one, such as
//! axum-reverse-proxy, bring a whole proxy with its own client and retries. The list also holds credentials, which no such
//! layer removes.

use axum::http::{HeaderMap, HeaderName, header};

/// Headers that are not forwarded: those about one connection (hop-by-hop, RFC 9110, 7.6.1), and those that hold credentials
/// or name a host.
const NOT_FORWARDED: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The headers to forward. `Connection` names further hop-by-hop headers, which are removed too.
pub fn forwarded(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in NOT_FORWARDED.iter().chain(&named) {
        headers.remove(name);
    }
    headers
}

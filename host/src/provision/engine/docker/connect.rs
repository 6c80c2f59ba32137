//! Connects to a Docker engine and agrees on an API version. Does not read the process environment.

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::pull::Pulls;
use super::seed::Disk;
use super::{Docker, answer};
use crate::limits;
use crate::provision::engine::error::EngineError;

/// The endpoint when none is configured.
const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

impl Docker {
    /// Connects, and uses the newest API version that the engine and the client both know. `endpoint` is as in
    /// `DOCKER_HOST`: `unix://`, `tcp://` or `http://`.
    ///
    /// # Errors
    /// [`EngineError::Away`], within [`limits::CONNECT`], when no engine answers there.
    pub async fn connect(endpoint: Option<&str>) -> Result<Self, EngineError> {
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT);
        let client = client(endpoint)?;
        let client = match timeout(limits::CONNECT, client.negotiate_version()).await {
            Err(_) => {
                let seconds = limits::CONNECT.as_secs();
                let reason = format!("no answer within {seconds} seconds");
                return Err(away(endpoint, reason));
            }
            Ok(Err(error)) => {
                return Err(match answer::error(error, endpoint) {
                    // Something other than a Docker engine listens there.
                    EngineError::Refused(reason) => away(endpoint, reason),
                    error => error,
                });
            }
            Ok(Ok(client)) => client,
        };
        let version = client.client_version();
        let version = format!("/v{}.{}", version.major_version, version.minor_version);
        Ok(Self {
            client: client.with_request_modifier(move |mut request| {
                add_version(&version, request.uri_mut());
                // For an archive, the client sends two content types. Only the first is kept, so that the engine has no
                // choice.
                if let Some(first) = request.headers().get(CONTENT_TYPE).cloned() {
                    request.headers_mut().insert(CONTENT_TYPE, first);
                }
                request
            }),
            endpoint: endpoint.to_owned(),
            pulls: Pulls::default(),
            facts: OnceCell::new(),
            disk: Disk::default(),
        })
    }

    /// Whether an engine answers at the default endpoint, within [`limits::CONNECT`]. It is asked for less than by
    /// [`Docker::connect`]: to tell its version, an engine starts other programs.
    pub async fn answers() -> bool {
        let Ok(client) = client(DEFAULT_ENDPOINT) else {
            return false;
        };
        let answer = timeout(limits::CONNECT, client.ping()).await;
        matches!(answer, Ok(Ok(answer)) if answer == "OK")
    }

    /// The path of the engine's socket on its own machine.
    pub(super) fn socket(&self) -> &str {
        self.endpoint
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock")
    }
}

/// A client that has not connected yet.
fn client(endpoint: &str) -> Result<bollard::Docker, EngineError> {
    let newest = bollard::API_DEFAULT_VERSION;
    let seconds = limits::ENGINE_CALL.as_secs();
    let client = match endpoint.split_once("://") {
        Some(("unix", _)) => bollard::Docker::connect_with_unix(endpoint, seconds, newest),
        Some(("tcp" | "http", host)) => {
            bollard::Docker::connect_with_http(&with_port(host), seconds, newest)
        }
        Some((scheme, _)) => {
            let reason = format!("{scheme}:// is not supported; unix://, tcp:// and http:// are");
            return Err(away(endpoint, reason));
        }
        None => {
            let reason = "an endpoint begins with unix://, tcp:// or http://";
            return Err(away(endpoint, reason.to_owned()));
        }
    };
    client.map_err(|e| answer::error(e, endpoint))
}

fn away(endpoint: &str, reason: String) -> EngineError {
    EngineError::Away {
        engine: "docker",
        endpoint: endpoint.to_owned(),
        reason,
    }
}

/// Adds Docker's port 2375 when the host has none.
fn with_port(host: &str) -> String {
    let host = host.trim_end_matches('/');
    // The colons of an IPv6 address are in brackets.
    let after = host.rsplit(']').next().unwrap_or(host);
    if after.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:2375")
    }
}

const CONTENT_TYPE: &str = "content-type";

/// Adds the negotiated version to the path of a request. bollard 0.21 negotiates it and then leaves it out, so that the
/// engine would answer in its newest version.
fn add_version(version: &str, uri: &mut http::Uri) {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority())
        && !path.starts_with(version)
        && let Ok(versioned) = format!("{scheme}://{authority}{version}{path}").parse()
    {
        *uri = versioned;
    }
}

#[cfg(test)]
mod tests {
    use super::{add_version, with_port};

    #[test]
    fn a_port_is_added_where_there_is_none() {
        assert_eq!(with_port("engine"), "engine:2375");
        assert_eq!(with_port("[::1]/"), "[::1]:2375");
        assert_eq!(with_port("[::1]:80"), "[::1]:80");
        assert_eq!(with_port("10.0.0.1:2376/"), "10.0.0.1:2376");
    }

    #[test]
    fn a_version_is_added_once() {
        let mut uri = "http://engine:1/containers/json?all=true".parse().unwrap();
        for _ in 0..2 {
            add_version("/v1.41", &mut uri);
            assert_eq!(uri, "http://engine:1/v1.41/containers/json?all=true");
        }
    }
}

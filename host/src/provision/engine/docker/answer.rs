//! What an engine's answers mean: errors by their type and status, states by
//! their names. Never guesses success.

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use super::names::{self, Labels};
use crate::limits;
use crate::provision::engine::error::EngineError;
use crate::provision::observed::{Observed, State};

/// Bytes of an engine's own words in a message.
const WORDS: usize = 600;

/// The one place where an error of the client becomes ours. What a 404 or a
/// 409 means depends on the call: who knows better looks at [`status`] first.
pub(in crate::provision) fn error(error: Error, endpoint: &str) -> EngineError {
    match error {
        Error::RequestTimeoutError => EngineError::TimedOut(limits::ENGINE_CALL.as_secs()),
        Error::DockerResponseServerError { message, .. } => refused(&message),
        Error::DockerStreamError { error } => refused(&error),
        Error::HyperLegacyError { err } => away(endpoint, &err),
        Error::HyperResponseError { err } => away(endpoint, &err),
        Error::IOError { err } => away(endpoint, &err),
        Error::SocketNotFoundError(_) => EngineError::Away {
            engine: "docker",
            endpoint: endpoint.to_owned(),
            reason: "there is no such socket".to_owned(),
        },
        other => refused(&format!("its answer is not understood: {other}")),
    }
}

/// The status that an engine answered with, when it answered.
pub(in crate::provision) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// An engine has one status for everything that its disk refuses, so here its words must do.
pub(in crate::provision) fn refused(words: &str) -> EngineError {
    let mut text = words.trim().to_owned();
    text.truncate(text.floor_char_boundary(WORDS));
    if words.contains("no space left on device") {
        EngineError::NoSpace(text)
    } else {
        EngineError::Refused(text)
    }
}

/// The last cause says what happened; those above it say that a request failed.
fn away(endpoint: &str, error: &dyn std::error::Error) -> EngineError {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    EngineError::Away {
        engine: "docker",
        endpoint: endpoint.to_owned(),
        reason: cause.to_string(),
    }
}

/// From a listing. `None`: it is no workspace. An image that was made from a
/// workspace hands its labels on, so the name counts, too.
pub(super) fn listed(found: ContainerSummary) -> Option<Observed> {
    use ContainerSummaryStateEnum as Is;
    let labels = found.labels.unwrap_or_default();
    let own = format!("/{}", names::container(&names::generation(&labels)?));
    if !found.names.unwrap_or_default().contains(&own) {
        return None;
    }
    let exit_code = found.status.as_deref().and_then(exit_code);
    let state = match found.state.unwrap_or(Is::EMPTY) {
        Is::CREATED => State::Created,
        Is::RUNNING | Is::PAUSED | Is::STOPPING => State::Running,
        // A listing does not count.
        Is::RESTARTING => State::Restarting {
            restarts: 0,
            exit_code,
        },
        Is::EMPTY | Is::EXITED | Is::REMOVING | Is::DEAD => State::Exited { exit_code },
    };
    let mut ports = found.ports.unwrap_or_default().into_iter();
    let port = ports.find_map(|port| port.public_port);
    observed(&labels, state, port)
}

/// From one container's details. `None`: the labels are not those of a workspace.
pub(super) fn inspected(found: ContainerInspectResponse) -> Option<Observed> {
    use ContainerStateStatusEnum as Is;
    let labels = found
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    let state = found.state.unwrap_or_default();
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    let restarts = found
        .restart_count
        .and_then(|count| u32::try_from(count).ok());
    let state = match state.status.unwrap_or(Is::EMPTY) {
        Is::CREATED => State::Created,
        Is::RUNNING | Is::PAUSED | Is::STOPPING => State::Running,
        Is::RESTARTING => State::Restarting {
            restarts: restarts.unwrap_or(0),
            exit_code,
        },
        Is::EMPTY | Is::EXITED | Is::REMOVING | Is::DEAD => State::Exited { exit_code },
    };
    let ports = found
        .network_settings
        .and_then(|settings| settings.ports)
        .unwrap_or_default();
    let mut bindings = ports.into_values().flatten().flatten();
    let port = bindings.find_map(|binding| binding.host_port?.parse().ok());
    observed(&labels, state, port)
}

fn observed(labels: &Labels, state: State, published: Option<u16>) -> Option<Observed> {
    let on_host = || labels.get(names::HOST_PORT)?.parse().ok();
    let port: Option<u16> = published.or_else(on_host);
    Some(Observed {
        generation: names::generation(labels)?,
        key: labels.get(names::WORKSPACE)?.clone(),
        spec: labels.get(names::SPEC).cloned().unwrap_or_default(),
        state,
        url: port
            .filter(|_| state == State::Running)
            .map(|port| format!("http://127.0.0.1:{port}")),
    })
}

/// A listing has the exit code only in a text for people: `Exited (137) 2 hours ago`.
fn exit_code(status: &str) -> Option<i32> {
    let (_, rest) = status.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// A log as bytes. `name`: what it is of, for when that is not there.
pub(in crate::provision) fn printed(
    log: impl Stream<Item = Result<LogOutput, Error>> + Send,
    name: String,
    endpoint: String,
) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    log.map(move |chunk| match chunk {
        Ok(chunk) => Ok(chunk.into_bytes()),
        Err(error) if status(&error) == Some(404) => Err(EngineError::NotFound(name.clone())),
        Err(error) => Err(self::error(error, &endpoint)),
    })
}

/// The last lines of a log, each cut to a length that a report can carry.
pub(in crate::provision) async fn last_lines(
    log: impl Stream<Item = Result<Bytes, EngineError>>,
    lines: usize,
) -> Result<Vec<String>, EngineError> {
    /// A bound for whoever prints without ever ending a line.
    const BYTES: usize = 1 << 20;
    let mut log = std::pin::pin!(log);
    let mut printed = Vec::new();
    while let Some(chunk) = log.try_next().await?
        && printed.len() < BYTES
    {
        printed.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&printed);
    let all: Vec<&str> = text.lines().collect();
    let last = all
        .get(all.len().saturating_sub(lines)..)
        .unwrap_or_default();
    let cut = |line: &&str| {
        let end = line.floor_char_boundary(limits::LINE_BYTES);
        line.get(..end).unwrap_or_default().to_owned()
    };
    Ok(last.iter().map(cut).collect())
}

//! Translates the answers of a Docker engine: errors by type and status, states by name. Never takes an unknown answer for
//! success.

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

/// The most bytes of an engine's own message that are passed on.
const MESSAGE_BYTES: usize = 600;

/// Translates an error of the client library. The meaning of a 404 or 409 depends on the request, so callers that expect one
/// check [`status`] first.
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
        other => refused(&format!("its answer cannot be understood: {other}")),
    }
}

/// The HTTP status of the answer; `None` when there was no answer.
pub(in crate::provision) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The error for a refusal with this message. A full disk has no status of its own, so it is recognised by the message.
pub(in crate::provision) fn refused(message: &str) -> EngineError {
    let mut text = message.trim().to_owned();
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
    if message.contains("no space left on device") {
        EngineError::NoSpace(text)
    } else {
        EngineError::Refused(text)
    }
}

/// The error for an engine that does not answer. Only the last cause in the chain says what happened.
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

/// A container of a listing. `None`: it is not a workspace. An image that was committed from a workspace has its labels, so
/// the name is checked too.
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
        // A listing does not contain the number of restarts.
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

/// A container from its details. `None`: its labels are not those of a workspace.
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

/// The exit code from the status text of a listing, such as `Exited (137) 2 hours ago`: a listing has it nowhere else.
fn exit_code(status: &str) -> Option<i32> {
    let (_, rest) = status.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// The bytes of a log. `name` is the container, for the error when it is not there.
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

/// The last lines of a log, each cut to [`limits::LINE_BYTES`].
pub(in crate::provision) async fn last_lines(
    log: impl Stream<Item = Result<Bytes, EngineError>>,
    lines: usize,
) -> Result<Vec<String>, EngineError> {
    /// The most bytes that are read, because a program may print without ever ending a line.
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

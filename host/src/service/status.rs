//! The status of orgs: what the store has, and what their engine reports now. Changes nothing.

use std::collections::BTreeMap;

use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::status::{OrgStatus, WorkspaceRow, WorkspaceStatus};
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Engines;
use crate::provision::engine::error::EngineError;
use crate::provision::generations::Generations;
use crate::provision::observed::{Observed, State};
use crate::state::store::{OrgRow, Store, StoreError};

/// The status of one org. When its engine does not answer, the status says so.
///
/// # Errors
/// The store cannot be read.
pub async fn org(store: &Store, engines: &Engines, org: OrgRow) -> Result<OrgStatus, StoreError> {
    let id = OrgId::known(store.instance().clone(), &org.slug);
    let observed = async {
        let engine = engines.get(org.engine).await?;
        Ok((
            shown(engine.observe(&id).await?),
            engine.isolation(&id).await?,
        ))
    };
    let (seen, isolation, engine_error) = match observed.await {
        Ok((seen, isolation)) => (Some(seen), isolation, None),
        Err(error) => (None, None, Some(EngineError::to_string(&error))),
    };
    let rows = store.workspaces(&org.slug).await?;
    let workspaces = statuses(rows, seen);
    let open = store.cut_off(&org.slug).await?;
    let open: Vec<_> = open
        .iter()
        .map(|c| c.operation.as_str().to_owned())
        .collect();
    // A running operation belongs to the process with the write lock. If the lock is free, there is no such process.
    let is_free = open.is_empty() || store.lock().is_ok();
    let (under_way, cut_off) = if is_free {
        (Vec::new(), open)
    } else {
        (open, Vec::new())
    };
    Ok(OrgStatus {
        engine: org.engine,
        isolation,
        template: org.template,
        name: org.name,
        org: org.slug,
        engine_error,
        under_way,
        cut_off,
        workspaces,
    })
}

/// The status of these workspaces of one org, and why its engine did not answer, if it did not.
pub async fn workspaces(
    store: &Store,
    engines: &Engines,
    org: &OrgRow,
    rows: Vec<WorkspaceRow>,
) -> (Vec<WorkspaceStatus>, Option<String>) {
    let observed = async {
        let engine = engines.get(org.engine).await?;
        match rows.as_slice() {
            [one] => engine.find(&one.id).await,
            _ => {
                let id = OrgId::known(store.instance().clone(), &org.slug);
                engine.observe(&id).await
            }
        }
    };
    match observed.await {
        Ok(found) => (statuses(rows, Some(shown(found))), None),
        Err(error) => (statuses(rows, None), Some(error.to_string())),
    }
}

/// What is shown of each workspace, out of all that the engine has of it.
fn shown(found: Vec<Observed>) -> BTreeMap<WorkspaceId, Observed> {
    let found = Generations::by_workspace(found).into_iter();
    found
        .filter_map(|(id, found)| Some((id, found.shown()?.clone())))
        .collect()
}

/// The status of each workspace. `seen` is what the engine has; `None` when it did not answer.
fn statuses(
    rows: Vec<WorkspaceRow>,
    mut seen: Option<BTreeMap<WorkspaceId, Observed>>,
) -> Vec<WorkspaceStatus> {
    let status = |mut row: WorkspaceRow| {
        let found = seen.as_mut().map(|seen| seen.remove(&row.id));
        let (state, exit_code) = match &found {
            _ if row.external => ("external", None),
            None => ("unknown", None),
            Some(None) => ("absent", None),
            Some(Some(found)) => state_text(found.state),
        };
        if let Some(Some(found)) = found {
            row.url = found.url;
        }
        WorkspaceStatus {
            row,
            state: state.into(),
            exit_code,
        }
    };
    rows.into_iter().map(status).collect()
}

fn state_text(state: State) -> (&'static str, Option<i32>) {
    match state {
        State::Created => ("created", None),
        State::Running => ("running", None),
        State::Restarting { exit_code, .. } => ("restarting", exit_code),
        State::Exited { exit_code } => ("exited", exit_code),
    }
}

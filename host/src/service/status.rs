//! The status of orgs: what the store has, and what their engine reports now. Changes nothing.

use std::collections::BTreeMap;

use crate::model::engine_kind::EngineKind;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::isolation::Isolation;
use crate::model::status::{OrgStatus, WorkspaceStatus};
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
    let (mut seen, isolation, engine_error) = match observe(engines, org.engine, &id).await {
        Ok((seen, isolation)) => (Some(seen), isolation, None),
        Err(error) => (None, None, Some(error.to_string())),
    };
    let mut workspaces = Vec::new();
    for mut row in store.workspaces(&org.slug).await? {
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
        workspaces.push(WorkspaceStatus {
            row,
            state: state.into(),
            exit_code,
        });
    }
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

async fn observe(
    engines: &Engines,
    engine: EngineKind,
    id: &OrgId,
) -> Result<(BTreeMap<WorkspaceId, Observed>, Option<Isolation>), EngineError> {
    let engine = engines.get(engine).await?;
    let seen = Generations::by_workspace(engine.observe(id).await?).into_iter();
    let shown = seen.filter_map(|(id, found)| Some((id, found.shown()?.clone())));
    Ok((shown.collect(), engine.isolation(id).await?))
}

fn state_text(state: State) -> (&'static str, Option<i32>) {
    match state {
        State::Created => ("created", None),
        State::Running => ("running", None),
        State::Restarting { exit_code, .. } => ("restarting", exit_code),
        State::Exited { exit_code } => ("exited", exit_code),
    }
}

//! How orgs are: what the store remembers beside what their engine sees now. Changes nothing.

use std::collections::BTreeMap;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::engine_kind::EngineKind;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::isolation::Isolation;
use crate::provision::engine::Engine as _;
use crate::provision::engine::backend::Engines;
use crate::provision::engine::error::EngineError;
use crate::provision::generations::Generations;
use crate::provision::observed::{Observed, State};
use crate::state::store::{OrgRow, Store, StoreError, WorkspaceRow};

/// An org, as `status` and the API show it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgStatus {
    /// Its identity on this host.
    pub org: String,
    /// What people call it.
    pub name: String,
    /// What runs it.
    pub engine: EngineKind,
    /// What keeps its workspaces from the rest of the machine: the weakest of what each of them has. Absent when there is
    /// no workspace, or the engine could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Where its template came from.
    pub template: String,
    /// Why the engine could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_error: Option<String>,
    /// Operations that are under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<String>,
    /// Operations that were cut off; the next `up` or `down` goes on from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<String>,
    /// Parents first.
    pub workspaces: Vec<WorkspaceStatus>,
}

/// A workspace, as `status` and the API show it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceStatus {
    /// What the store remembers.
    #[serde(flatten)]
    pub row: WorkspaceRow,
    /// `running`, `restarting`, `exited`, `created`, `absent`, `external`, `unknown`.
    pub state: Cow<'static, str>,
    /// How it ended, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// How one org is. An engine that does not answer is told in the result.
///
/// # Errors
/// The store's.
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
            Some(Some(found)) => word(found.state),
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
    // Whoever works on it holds the lock; without one, nobody does.
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

fn word(state: State) -> (&'static str, Option<i32>) {
    match state {
        State::Created => ("created", None),
        State::Running => ("running", None),
        State::Restarting { exit_code, .. } => ("restarting", exit_code),
        State::Exited { exit_code } => ("exited", exit_code),
    }
}

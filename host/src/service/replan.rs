//! Plans a known org again from its kept snapshot, variables and options.

use std::sync::Arc;

use super::memory::{MemoryPermit, MemoryRequest};
use super::planning::Draft;
use super::{ImportOptions, Prepared, Service, blocking};
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::problem::{Class, Problem};
use crate::state::snapshots::SnapshotError;
use crate::state::store::{Label, SourceRow};
use crate::template::bundle::Bundle;

impl Service {
    /// Requests the memory for an org's snapshot. The size of its file is known before it is loaded.
    pub(super) async fn request_memory(&self, org: &str) -> Result<MemoryRequest, Problem> {
        let host = &self.0;
        let source = host.store.source(org).await?;
        let bytes = source.map(|source| host.snapshots.bytes(&source.snapshot));
        Ok(host.memory.request(match bytes.transpose() {
            Ok(bytes) => bytes.unwrap_or_default(),
            // [`Service::replan`] reports the missing snapshot.
            Err(SnapshotError::Gone(_)) => 0,
            Err(error) => return Err(error.into()),
        }))
    }

    /// Plans an org again from its kept source, and prepares it.
    ///
    /// # Errors
    /// The source is missing or needs another key, the plugin makes no plan, or policy refuses it.
    pub(super) async fn replan(
        &self,
        org: &str,
        memory: MemoryPermit,
    ) -> Result<Prepared, Problem> {
        let host = &self.0;
        let (bundle, request) = self.load_source(org).await?;
        let encrypted = host.store.encrypted(&Label::vars(org)).await?;
        let encrypted = encrypted.ok_or_else(|| no_source(org))?;
        let vars = host
            .keyring
            .decrypt(Label::vars(org).as_str(), &encrypted)?;
        let vars: EnvMap =
            serde_json::from_slice(&vars).map_err(|error| unreadable(org, &error))?;
        // The org is known, so no engine is asked.
        let engine = self.org(org).await?.engine;
        let permit = host.plugin_calls.take(org).await;
        let planned = self.plan_bundle(permit, Arc::new(bundle), vars, &request, engine);
        let (template, judgement, _) = planned.await?;
        let draft = Draft {
            template,
            judgement,
            memory,
        };
        self.prepare(draft, request).await
    }

    /// The snapshot and the options that an org was last imported with.
    async fn load_source(&self, org: &str) -> Result<(Bundle, ImportOptions), Problem> {
        let mut source = self.source(org).await?;
        loop {
            let (this, digest) = (self.clone(), source.snapshot.clone());
            let loaded = blocking(move || this.0.snapshots.get(&digest, &this.0.keyring)).await?;
            let current = match &loaded {
                Err(SnapshotError::Gone(_)) => self.source(org).await?,
                _ => source.clone(),
            };
            // Another import replaced the source meanwhile, and the old snapshot was removed.
            if current.snapshot != source.snapshot {
                source = current;
                continue;
            }
            let request = serde_json::from_value(source.request);
            return Ok((loaded?, request.map_err(|error| unreadable(org, &error))?));
        }
    }

    async fn source(&self, org: &str) -> Result<SourceRow, Problem> {
        let source = self.0.store.source(org).await?;
        source.ok_or_else(|| no_source(org))
    }
}

/// The store has no source of the org.
fn no_source(org: &str) -> Problem {
    let message = format!("this host does not know what {org} was made from");
    let help = "import it again: it was brought up without this server";
    let diagnostic = Diagnostic::new("no-source", message).help(help);
    Problem::one(Class::Conflict, diagnostic)
}

/// The source in the store is not of the form that this version writes.
fn unreadable(org: &str, error: &serde_json::Error) -> Problem {
    let message = format!("the stored source of {org} cannot be understood: {error}");
    let diagnostic = Diagnostic::new("store-unreadable", message)
        .help("another version of orghost wrote it: use that version, or import the org again");
    Problem::one(Class::Failed, diagnostic)
}

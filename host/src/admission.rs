//! Gives an approved plan its place on this host: identity, engine, runtimes, jobs. Reads, and changes nothing.

use crate::agent_token::AgentTokens;
use crate::config::{Config, EngineKind, Runtime};
use crate::diagnostic::Diagnostic;
use crate::env_map::EnvMap;
use crate::policy::{Approved, RuntimeName};
use crate::problem::{Class, Problem};
use crate::provision::backend::Engines;
use crate::provision::spec::OrgId;
use crate::provision::{self, Job};
use crate::store::{OrgRow, Store};
use crate::template::TemplateDir;

/// The image of the demonstration runtime; `scripts/demo-image` makes it.
const DEMO_IMAGE: &str = "orghost-demo:latest";

/// What can be provisioned.
#[derive(Debug)]
pub struct Admitted {
    /// Its identity.
    pub org: OrgId,
    /// What the store will know of it.
    pub row: OrgRow,
    /// The plan.
    pub approved: Approved,
    /// What there is to do.
    pub jobs: Vec<Job>,
}

/// The host that a plan is admitted to.
pub struct Site<'a> {
    /// What it remembers.
    pub store: &'a Store,
    /// The operator's file.
    pub config: &'a Config,
    /// What runs workspaces.
    pub engines: &'a Engines,
    /// What the tokens of workspaces are made with.
    pub tokens: &'a AgentTokens,
}

/// Admits a plan. An org stays on the engine that it was brought up on, and its identity is its own. `engine` is what was
/// asked for; a new org without gets the operator's, else Docker where one answers, else the local one. Each workspace's
/// seed gets its token: the same whoever admits it, so that its spec is.
///
/// # Errors
/// Its name is another org's, its engine another one's, or a seed cannot be read.
pub async fn admit(
    mut approved: Approved,
    template: &TemplateDir,
    label: String,
    engine: Option<EngineKind>,
    site: &Site<'_>,
) -> Result<Admitted, Problem> {
    let Site {
        store,
        config,
        engines,
        tokens,
    } = site;
    let name = approved.plan().org.name.clone();
    let org = OrgId::new(store.instance().clone(), &name);
    let known = store.orgs().await?;
    let known = known.iter().find(|row| row.slug == org.slug());
    let engine = match known {
        None => engines.choose(engine.or(config.engine)).await,
        Some(known) => same_place(known, &name, engine)?,
    };
    approved.seed_tokens(|key| tokens.token(&org.workspace(key)));
    // Every seed is read and hashed: megabytes, which must not hold up who else is served by this thread.
    let jobs = tokio::task::block_in_place(|| {
        provision::jobs(&approved, &org, runtimes(config, engines), template)
    })?;
    Ok(Admitted {
        row: OrgRow {
            slug: org.slug().to_owned(),
            name,
            engine,
            template: label,
        },
        org,
        approved,
        jobs,
    })
}

fn same_place(
    known: &OrgRow,
    name: &str,
    engine: Option<EngineKind>,
) -> Result<EngineKind, Problem> {
    let slug = &known.slug;
    let refused = |code, message: String, help: String| {
        let diagnostic = Diagnostic::new(code, message).help(help);
        Err(Problem::one(Class::Conflict, diagnostic))
    };
    if known.name != name {
        let message = format!(
            "another org, {:?}, is known here as {slug} already: {name:?} would take its place",
            known.name
        );
        let help =
            format!("give the org another name, or take the other one down: orghost down {slug}");
        return refused("org-name-taken", message, help);
    }
    match engine {
        Some(engine) if engine != known.engine => {
            let message = format!(
                "the org {slug} is on the engine {}, or has left its agents' work there",
                known.engine.as_str()
            );
            let help = format!("orghost down {slug} --volumes removes both");
            refused("engine-changed", message, help)
        }
        _ => Ok(known.engine),
    }
}

fn runtimes<'a>(config: &'a Config, engines: &Engines) -> impl Fn(&RuntimeName) -> Runtime + 'a {
    let demo = Runtime {
        image: Some(DEMO_IMAGE.to_owned()),
        command: Some(vec![
            engines.program().display().to_string(),
            "demo-runtime".to_owned(),
        ]),
        port: 8000,
        health: Some("/health".to_owned()),
        env: EnvMap::default(),
    };
    move |name| match name {
        RuntimeName::Configured(name) => config.runtimes.get(name).unwrap_or(&demo).clone(),
        RuntimeName::Demo => demo.clone(),
    }
}

//! Admits a plan to this host: chooses its engine before it is judged, and gives it identities, runtimes and jobs after it was
//! approved. Reads, and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use utoipa::ToSchema;

use crate::config::{Config, Runtime};
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::identity::{Claim, Identities, Known, Unclear};
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::isolation::Target;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{Approved, RuntimeName};
use crate::problem::{Class, Problem};
use crate::provision::engine::backend::{self, Engines};
use crate::provision::{self, Job};
use crate::service::agent_tokens::AgentTokens;
use crate::state::store::{OrgRow, Store, StoreError};
use crate::template::directory::TemplateDir;

/// The image of the demonstration runtime, which `scripts/demo-image` builds.
const DEMO_IMAGE: &str = "orghost-demo:latest";

/// An admitted plan, which can be provisioned.
#[derive(Debug)]
pub struct Admitted {
    /// The identity of the org.
    pub org: OrgId,
    /// Its future row in the store.
    pub row: OrgRow,
    /// The approved plan.
    pub approved: Approved,
    /// The identities of its workspaces.
    pub identities: Identities,
    /// What provisioning has to do for each workspace.
    pub jobs: Vec<Job>,
}

/// The host that a plan is admitted to.
pub struct AdmissionContext<'a> {
    /// Its store.
    pub store: &'a Store,
    /// Its configuration file.
    pub config: &'a Config,
    /// Its engines.
    pub engines: &'a Engines,
    /// Derives the tokens of its workspaces.
    pub tokens: &'a AgentTokens,
}

/// Chooses the engine for an org. A known org stays on its engine. A new one gets the engine that [`Engines::choose`] finds, which
/// `chosen` waits for: the requested engine, else the one in the configuration file, else Docker if it answers, else the local
/// engine. Changes nothing.
///
/// # Errors
/// [`Class::Conflict`] when a known org is on another engine than the requested one; or the store does not work.
pub async fn choose_engine(
    name: &str,
    requested: Option<EngineKind>,
    store: Option<&Store>,
    chosen: impl Future<Output = EngineKind>,
) -> Result<Target, Problem> {
    let known = match store {
        Some(store) => find_org(store, name).await?.1,
        None => None,
    };
    let known = known.filter(|row| is_same(&row.name, name));
    let engine = match known {
        None => chosen.await,
        Some(known) => check_engine(&known, requested.unwrap_or(known.engine))?,
    };
    Ok(backend::target(engine))
}

/// As [`choose_engine`], on a thread that may wait for the disk, and with the engine for a new org. Also returns whether this
/// host has an org of this name or its slug.
///
/// # Errors
/// As [`choose_engine`].
pub fn choose_engine_here(
    name: &str,
    requested: Option<EngineKind>,
    store: &Store,
    engine_of_new: EngineKind,
) -> Result<(Target, bool), Problem> {
    let org = OrgId::new(store.instance().clone(), name);
    let called = store.orgs_called_here(org.slug(), name)?;
    let engine = match called.iter().find(|row| is_same(&row.name, name)) {
        None => engine_of_new,
        Some(known) => check_engine(known, requested.unwrap_or(known.engine))?,
    };
    Ok((backend::target(engine), !called.is_empty()))
}

/// Where the template of an org comes from.
#[derive(Debug, Clone, Default)]
pub struct TemplateOrigin {
    /// A description for people: a folder, or the name of a template or an archive.
    pub template: String,
    /// Accept an org that came from another template.
    pub take_over: bool,
}

/// Admits a plan to the engine that it was judged for. Puts into each seed the token of its workspace, which is the same on
/// every run, so that an unchanged workspace has an unchanged spec.
///
/// # Errors
/// [`Class::Conflict`] when its name belongs to another org, or its org is on another engine or came from another template;
/// [`Class::Invalid`] when two workspaces claim one identity; or a seed cannot be read.
pub async fn admit(
    mut approved: Approved,
    template: &TemplateDir,
    origin: TemplateOrigin,
    context: &AdmissionContext<'_>,
) -> Result<Admitted, Problem> {
    let AdmissionContext {
        store,
        config,
        engines,
        tokens,
    } = context;
    let name = approved.plan().org.name.clone();
    let (org, known) = find_org(store, &name).await?;
    let engine = approved.engine();
    if let Some(known) = &known {
        check_origin(known, &name, &origin)?;
        // The org may have been imported by another request since the plan was judged.
        check_engine(known, engine)?;
    }
    let identities = identify(&approved, &org, &store.identities(org.slug()).await?)?;
    approved.seed_tokens(|path| {
        let id = identities.id(path);
        id.map(|id| tokens.token(id)).unwrap_or_default()
    });
    // Reads and hashes every seed, megabytes of them, so this thread must hand its other tasks to another one.
    let jobs = tokio::task::block_in_place(|| {
        let runtimes = runtimes(config, engines);
        provision::jobs(&approved, &org, &identities, runtimes, template)
    })?;
    Ok(Admitted {
        row: OrgRow {
            slug: org.slug().to_owned(),
            name,
            engine,
            template: origin.template,
        },
        org,
        approved,
        identities,
        jobs,
    })
}

/// What bringing a plan up would change about one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The key of the workspace.
    #[schema(value_type = String)]
    pub workspace: WorkspaceKey,
    /// The change.
    #[serde(flatten)]
    pub what: Becomes,
}

/// The kind of a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Becomes {
    /// The workspace is new.
    Added,
    /// The workspace was known by another path of names.
    Moved {
        /// The former names, the outermost first.
        #[schema(value_type = Vec<String>)]
        from: NamePath,
    },
    /// The workspace has left the template. It stays unless the import prunes.
    Left,
}

/// How the workspaces of a plan differ in identity from those of its org. Empty for an org that the host does not know.
/// Changes nothing.
///
/// # Errors
/// The store does not work, or two workspaces claim one identity.
pub async fn changes(approved: &Approved, store: &Store) -> Result<Vec<Change>, Problem> {
    let (org, known) = find_org(store, &approved.plan().org.name).await?;
    if known.is_none() {
        return Ok(Vec::new());
    }
    let identities = identify(approved, &org, &store.identities(org.slug()).await?)?;
    let mut changes = Vec::new();
    for workspace in &approved.plan().workspaces {
        let what = match identities.moved().get(&workspace.path) {
            Some(from) => Becomes::Moved { from: from.clone() },
            None if identities.added().contains(&workspace.path) => Becomes::Added,
            None => continue,
        };
        let workspace = workspace.key.clone();
        changes.push(Change { workspace, what });
    }
    let planned: BTreeSet<&WorkspaceId> = identities.iter().map(|(_, id)| id).collect();
    for row in store.workspaces(org.slug()).await? {
        if !planned.contains(&row.id) {
            changes.push(Change {
                workspace: row.key,
                what: Becomes::Left,
            });
        }
    }
    Ok(changes)
}

/// The org that has a name: a known one, whatever its slug, or else a new one. The row is that of the slug.
async fn find_org(store: &Store, name: &str) -> Result<(OrgId, Option<OrgRow>), StoreError> {
    let org = OrgId::new(store.instance().clone(), name);
    let mut known = store.orgs_called(org.slug(), name).await?.into_iter();
    match known.clone().find(|row| is_same(&row.name, name)) {
        Some(row) => Ok((OrgId::known(org.instance().clone(), &row.slug), Some(row))),
        None => Ok((org, known.next())),
    }
}

/// Whether two names are equal after Unicode normalisation (NFC).
fn is_same(a: &str, b: &str) -> bool {
    a.nfc().eq(b.nfc())
}

/// Whether two descriptions of a template are equal, or lead to the same folder.
fn is_same_folder(a: &str, b: &str) -> bool {
    let real = |text: &str| {
        let path = Path::new(text);
        path.is_absolute().then(|| path.canonicalize().ok())?
    };
    a == b || real(a).is_some_and(|real_a| Some(real_a) == real(b))
}

/// Decides the identities of a plan's workspaces on this host.
///
/// # Errors
/// [`Class::Invalid`] when two workspaces claim one identity.
pub fn identify(approved: &Approved, org: &OrgId, known: &[Known]) -> Result<Identities, Problem> {
    let claims: Vec<Claim<'_>> = approved
        .plan()
        .workspaces
        .iter()
        .map(|workspace| Claim {
            path: &workspace.path,
            former: &workspace.renamed_from,
        })
        .collect();
    Identities::assign(org, &claims, known).map_err(|unclear| {
        let help = match &unclear {
            Unclear::TwoClaims { .. } => "leave `renamed_from` at the one that keeps the work",
            Unclear::StillThere { .. } => {
                "remove `renamed_from`; or bring up the rename first, and then the template with the other workspace"
            }
        };
        let diagnostic = Diagnostic::new("renamed-from", unclear.to_string()).help(help);
        Problem::one(Class::Invalid, diagnostic)
    })
}

fn check_origin(known: &OrgRow, name: &str, origin: &TemplateOrigin) -> Result<(), Problem> {
    let slug = &known.slug;
    if !is_same(&known.name, name) {
        let message = format!(
            "another org, {:?}, has the slug {slug} here already: {name:?} would replace it",
            known.name
        );
        let help =
            format!("give the org another name, or take the other one down: orghost down {slug}");
        return Err(conflict("org-name-taken", message, help));
    }
    if !is_same_folder(&known.template, &origin.template) && !origin.take_over {
        let message = format!(
            "the org {slug} came from {}, and this template is {}",
            known.template, origin.template
        );
        let help = "give this org another name; or, if it is the same one, take it over: --take-over (`take_over` in the API)";
        return Err(conflict("org-elsewhere", message, help.to_owned()));
    }
    Ok(())
}

fn check_engine(known: &OrgRow, engine: EngineKind) -> Result<EngineKind, Problem> {
    if engine == known.engine {
        return Ok(engine);
    }
    let (slug, there) = (&known.slug, known.engine.as_str());
    let message =
        format!("the org {slug} is on the engine {there}, or has left its agents' work there");
    let help = format!("orghost down {slug} --volumes removes both");
    Err(conflict("engine-changed", message, help))
}

fn conflict(code: &'static str, message: String, help: String) -> Problem {
    Problem::one(Class::Conflict, Diagnostic::new(code, message).help(help))
}

fn runtimes<'a>(config: &'a Config, engines: &Engines) -> impl Fn(&RuntimeName) -> Runtime + 'a {
    let demo = Runtime {
        image: Some(DEMO_IMAGE.to_owned()),
        command: Some(vec![
            engines.program().display().to_string(),
            "demo-runtime".to_owned(),
        ]),
        health: Some("/health".to_owned()),
        ..Runtime::default()
    };
    move |name| match name {
        RuntimeName::Configured(name) => config.runtimes.get(name).unwrap_or(&demo).clone(),
        RuntimeName::Demo => demo.clone(),
    }
}

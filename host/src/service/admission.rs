//! Gives a plan its place on this host: its engine before it is judged; identity, runtimes and jobs once it is approved.
//! Reads, and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use utoipa::ToSchema;

use crate::config::{Config, Runtime};
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::identity::{Claim, Identities, Known, Unclear};
use crate::model::ids::{InstanceId, OrgId, WorkspaceId};
use crate::model::isolation::Target;
use crate::model::names::NamePath;
use crate::model::plan::WorkspaceKey;
use crate::planning::policy::{Approved, RuntimeName};
use crate::problem::{Class, Problem};
use crate::provision::engine::backend::{self, Engines};
use crate::provision::{self, Job};
use crate::service::agent_tokens::AgentTokens;
use crate::state::store::{OrgRow, Store};
use crate::template::directory::TemplateDir;

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
    /// Who its workspaces are.
    pub identities: Identities,
    /// What there is to do.
    pub jobs: Vec<Job>,
}

/// The host that a plan is admitted to.
pub struct AdmissionContext<'a> {
    /// What it remembers.
    pub store: &'a Store,
    /// The configuration file.
    pub config: &'a Config,
    /// What runs workspaces.
    pub engines: &'a Engines,
    /// What the tokens of workspaces are made with.
    pub tokens: &'a AgentTokens,
}

/// Where an org is to run: it stays on the engine that it was brought up on. A new one goes to the engine that was asked
/// for, else to the operator's, else to Docker where one answers, else to the local one. Reads, and changes nothing.
///
/// # Errors
/// It is on another engine than was asked for, or the store's.
pub async fn choose_engine(
    name: &str,
    asked: Option<EngineKind>,
    store: Option<&Store>,
    config: &Config,
    engines: &Engines,
) -> Result<Target, Problem> {
    let orgs = match store {
        Some(store) => store.orgs().await?,
        None => Vec::new(),
    };
    let known = orgs.iter().find(|row| is_same(&row.name, name));
    let engine = match known {
        None => engines.choose(asked.or(config.engine)).await,
        Some(known) => check_engine(known, asked.unwrap_or(known.engine))?,
    };
    Ok(backend::target(engine))
}

/// Where an org shall come from.
#[derive(Debug, Clone, Default)]
pub struct TemplateOrigin {
    /// Where the template comes from, for people.
    pub template: String,
    /// The org may be one that came from another template.
    pub take_over: bool,
}

/// Admits a plan to the engine that it was judged for. Its identity is its own. Each workspace's seed gets its token: the
/// same whoever admits it, so that its spec is.
///
/// # Errors
/// Its name is another org's, its engine another one's, it came from another template, two workspaces claim to be the
/// same one, or a seed cannot be read.
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
    let known = store.orgs().await?;
    let (org, known) = find_org(store.instance(), &known, &name);
    let engine = approved.engine();
    if let Some(known) = known {
        check_origin(known, &name, &origin)?;
        // It may have become known since it was judged.
        check_engine(known, engine)?;
    }
    let identities = identify(&approved, &org, &store.identities(org.slug()).await?)?;
    approved.seed_tokens(|path| {
        let id = identities.id(path);
        id.map(|id| tokens.token(id)).unwrap_or_default()
    });
    // Every seed is read and hashed: megabytes, which must not hold up who else is served by this thread.
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

/// What bringing a plan up would do to one workspace that is there, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// How people address the workspace.
    #[schema(value_type = String)]
    pub workspace: WorkspaceKey,
    /// What would become of it.
    #[serde(flatten)]
    pub what: Becomes,
}

/// See [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Becomes {
    /// Nobody of its names was known.
    Added,
    /// It is the one that had these names: the outermost first.
    Moved {
        /// The names.
        #[schema(value_type = Vec<String>)]
        from: NamePath,
    },
    /// It is in the org, and in the template no longer. It stays, unless the operator prunes.
    Left,
}

/// How the workspaces of a plan differ from those of its org, by who they are. Empty for an org that the host does not
/// know. Changes nothing.
///
/// # Errors
/// The store's, and [`identify`]'s.
pub async fn changes(approved: &Approved, store: &Store) -> Result<Vec<Change>, Problem> {
    let orgs = store.orgs().await?;
    let (org, known) = find_org(store.instance(), &orgs, &approved.plan().org.name);
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
    let here: BTreeSet<&WorkspaceId> = identities.iter().map(|(_, id)| id).collect();
    for row in store.workspaces(org.slug()).await? {
        if !here.contains(&row.id) {
            changes.push(Change {
                workspace: row.key,
                what: Becomes::Left,
            });
        }
    }
    Ok(changes)
}

/// The org of a name: the one that the host knows by it, however its slug was made, or a new one.
fn find_org<'a>(
    instance: &InstanceId,
    known: &'a [OrgRow],
    name: &str,
) -> (OrgId, Option<&'a OrgRow>) {
    if let Some(row) = known.iter().find(|row| is_same(&row.name, name)) {
        return (OrgId::known(instance.clone(), &row.slug), Some(row));
    }
    let org = OrgId::new(instance.clone(), name);
    let row = known.iter().find(|row| row.slug == org.slug());
    (org, row)
}

/// Whether two names are one, however they are spelt in Unicode.
fn is_same(a: &str, b: &str) -> bool {
    a.nfc().eq(b.nfc())
}

/// Whether two texts name one place that templates come from.
fn is_same_folder(a: &str, b: &str) -> bool {
    let real = |text: &str| {
        let path = Path::new(text);
        path.is_absolute().then(|| path.canonicalize().ok())?
    };
    a == b || real(a).is_some_and(|real_a| Some(real_a) == real(b))
}

/// Who the workspaces of a plan are on this host.
///
/// # Errors
/// Two of them say that they were the same one.
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
                "remove `renamed_from`; or bring the rename up first, and then the template with the other one"
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
            "another org, {:?}, is known here as {slug} already: {name:?} would take its place",
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

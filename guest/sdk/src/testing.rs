//! A test harness: runs a plugin natively on a template in memory, and checks that it keeps the contract.
#![allow(clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;

use crate::standard::name::Name;
use crate::{
    Description, Diagnostic, Environment, Former, MemoryFiles, Options, Plan, Plugin, Refusal,
    Request, Variable, Workspace,
};

/// A template under test, with the variables of the operator.
///
/// ```
/// # use orghost_plugin::{Description, Plan, Plugin, Refusal, Request, TemplateFiles, standard};
/// # struct Mine;
/// # impl Plugin for Mine {
/// #     fn describe() -> Description {
/// #         Description { name: "mine".into(), version: "1.0.0".into(), handles: vec![] }
/// #     }
/// #     fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
/// #         standard::import_org(files, request)
/// #     }
/// # }
/// use orghost_plugin::testing::Template;
///
/// let template = Template::org("name: Acme\nworkspaces: !include teams.yaml")
///     .file("teams.yaml", "- {name: PM, runtime: claude-code, workspace_dir: $HOME/pm, workspace_access: read_only}")
///     .var("HOME", "/srv");
/// let plan = template.plan::<Mine>();
/// assert_eq!(plan.workspaces[0].workspace_dir.as_deref(), Some("/srv/pm"));
///
/// let errors = Template::org("name: Acme\nworkspaces: [{name: PM}]").errors::<Mine>();
/// assert_eq!(errors[0].code, "runtime-missing");
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    /// The files of the template.
    pub files: MemoryFiles,
    /// The request that the plugin gets.
    pub request: Request,
}

impl Template {
    /// A template with one `org.yaml`.
    pub fn org(text: &str) -> Self {
        Self::of([("org.yaml", text)])
    }

    /// A template with these files: pairs of a path and a content.
    pub fn of<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        Self {
            files: files.into_iter().collect(),
            request: Request {
                entry: String::new(),
                environment: Environment {
                    vars: Vec::new(),
                    granted: Vec::new(),
                },
                options: Options {
                    skip_external: false,
                },
            },
        }
    }

    /// Adds a file, or replaces the one with the same path.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.0.insert(path.to_owned(), bytes.into());
        self
    }

    /// Sets a variable of the operator.
    #[must_use]
    pub fn var(mut self, name: &str, value: &str) -> Self {
        set(&mut self.request.environment.vars, name, value);
        self
    }

    /// Grants a variable: it expands only where a whole value is one reference to it.
    #[must_use]
    pub fn grant(mut self, name: &str, value: &str) -> Self {
        set(&mut self.request.environment.granted, name, value);
        self
    }

    /// Leaves out subtrees from another repository (`!external`).
    #[must_use]
    pub fn skip_external(mut self) -> Self {
        self.request.options.skip_external = true;
        self
    }

    /// Runs the plugin.
    ///
    /// # Errors
    /// The refusal of the plugin.
    ///
    /// # Panics
    /// When the plugin breaks the contract: two runs differ, the description or the plan breaks a rule, or a diagnostic
    /// contains a granted value.
    #[track_caller]
    pub fn run<P: Plugin>(&self) -> Result<Plan, Refusal> {
        let outcome = P::import_org(&self.files, &self.request);
        let mut broken = description(&P::describe());
        if P::describe() != P::describe() || P::import_org(&self.files, &self.request) != outcome {
            broken.push("the same input does not give the same output".to_owned());
        }
        let problems: Vec<&Diagnostic> = match &outcome {
            Ok(made) => {
                broken.extend(plan(made));
                made.warnings.iter().collect()
            }
            Err(refusal) => refusal.iter().collect(),
        };
        for problem in problems {
            broken.extend(diagnostic(problem, &self.request.environment.granted));
        }
        if !broken.is_empty() {
            panic!("the contract is broken:\n{}", broken.join("\n"));
        }
        outcome
    }

    /// The plan of the template.
    ///
    /// # Panics
    /// When the plugin refuses the template, and when it breaks the contract.
    #[track_caller]
    pub fn plan<P: Plugin>(&self) -> Plan {
        match self.run::<P>() {
            Ok(plan) => plan,
            Err(refusal) => panic!("there is no plan:\n{refusal}"),
        }
    }

    /// The errors with which the plugin refuses the template.
    ///
    /// # Panics
    /// When there is a plan, and when the plugin breaks the contract.
    #[track_caller]
    pub fn errors<P: Plugin>(&self) -> Vec<Diagnostic> {
        match self.run::<P>() {
            Ok(plan) => panic!("there is a plan: {plan:#?}"),
            Err(refusal) => refusal.into(),
        }
    }
}

/// Sets a variable in a list, which stays sorted by name as the contract says.
fn set(list: &mut Vec<Variable>, name: &str, value: &str) {
    list.retain(|variable| variable.name != name);
    list.push(Variable {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    list.sort_by(|a, b| a.name.cmp(&b.name));
}

fn is_slug(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.len() <= 63 && text.split('-').all(word)
}

fn description(description: &Description) -> Vec<String> {
    let mut broken = Vec::new();
    if !is_slug(&description.name) {
        broken.push(format!(
            "the plugin's name {:?} is not a slug",
            description.name
        ));
    }
    let release = description.version.split(['-', '+']).next();
    let numbers: Vec<&str> = release.unwrap_or_default().split('.').collect();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if numbers.len() != 3 || !numbers.iter().all(number) {
        let version = &description.version;
        broken.push(format!(
            "the plugin's version {version:?} is not of the form 1.2.3"
        ));
    }
    broken
}

/// The rules of `wit/v0.2.0-dev/plugin.wit` that a plan breaks, as far as they can be checked without the host.
fn plan(plan: &Plan) -> Vec<String> {
    let mut broken = Vec::new();
    let mut keys = BTreeSet::new();
    let mut names = BTreeSet::new();
    for workspace in &plan.workspaces {
        let key = workspace.key.as_str();
        let mut rule = |kept: bool, what: &str| {
            if !kept {
                broken.push(format!("workspace {key:?}: {what}"));
            }
        };
        rule(
            key.len() <= 1024 && key.split('/').all(is_slug),
            "the key is not a path of slugs",
        );
        let above = workspace.parent();
        rule(
            above.is_none_or(|above| keys.contains(above)),
            "the parent is not before it in the list",
        );
        rule(keys.insert(key), "another workspace has the same key");
        rule(
            names.insert((above, Name::new(&workspace.name))),
            "a sibling has the same name",
        );
        workspace_rules(workspace, &mut rule);
    }
    broken
}

fn workspace_rules(workspace: &Workspace, rule: &mut dyn FnMut(bool, &str)) {
    rule(!workspace.name.is_empty(), "it has no name");
    let named = |former: &Former| match former {
        Former::Name(name) => !name.is_empty(),
        Former::Path(names) => !names.is_empty() && names.iter().all(|name| !name.is_empty()),
    };
    rule(
        workspace.renamed_from.iter().all(named),
        "a former name is empty",
    );
    rule((1..=4).contains(&workspace.tier), "the tier is not 1 to 4");
    rule(
        workspace.max_concurrent_tasks >= 1,
        "max_concurrent_tasks is not at least 1",
    );
    rule(
        !workspace.external || workspace.url.is_some(),
        "it is external and has no url",
    );
    rule(
        sorted(workspace.files.iter().map(|file| file.path.as_str())),
        "the files are not sorted by path, or a path occurs twice",
    );
    let normal = |path: &str| !path.split('/').any(|part| matches!(part, "" | "." | ".."));
    rule(
        workspace.files.iter().all(|file| normal(&file.path)),
        "the path of a file is not normalised",
    );
    rule(
        sorted(workspace.env.iter().map(|variable| variable.name.as_str())),
        "the variables are not sorted by name, or a name occurs twice",
    );
    for channel in &workspace.channels {
        rule(
            sorted(channel.config.iter().map(|entry| entry.name.as_str())),
            "a channel's configuration is not sorted by name, or a name occurs twice",
        );
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    names.is_sorted_by(|a, b| a < b)
}

fn diagnostic(problem: &Diagnostic, granted: &[Variable]) -> Vec<String> {
    /// Bytes. A shorter value can be in a text by coincidence.
    const TELLING: usize = 6;
    let code = &problem.code;
    let mut broken = Vec::new();
    if !is_slug(code) {
        broken.push(format!(
            "the code {code:?} does not consist of lower-case words with `-` between them"
        ));
    }
    let texts = [&problem.field, &problem.workspace, &problem.help];
    let texts = texts.into_iter().flatten().chain([&problem.message]);
    for text in texts {
        let shown = |variable: &&Variable| {
            variable.value.len() >= TELLING && text.contains(&variable.value)
        };
        for variable in granted.iter().filter(shown) {
            broken.push(format!(
                "the problem {code} shows the value of {}",
                variable.name
            ));
        }
    }
    broken
}

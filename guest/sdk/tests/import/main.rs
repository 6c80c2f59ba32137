//! Tests of the standard import: a template goes in, and a plan or diagnostics come out.
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, and so do its helpers"
)]

mod errors;
mod expander;
mod hostile;
mod includes;
mod mistakes;
mod names;
mod parts;
mod real;
mod render;
mod seeding;
mod steps;
mod values;
mod variables;

use orghost_plugin::{
    Content, Diagnostic, Environment, MemoryFiles, Options, Plan, Request, SeedFile, Variable,
    Workspace, standard::import_org,
};

/// A template under test, with the variables of the operator.
#[derive(Default)]
pub struct Case {
    files: MemoryFiles,
    request: Option<Request>,
}

pub fn environment(vars: &[(&str, &str)], granted: &[(&str, &str)]) -> Environment {
    let list = |pairs: &[(&str, &str)]| {
        let variable = |(name, value): &(&str, &str)| Variable {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        pairs.iter().map(variable).collect()
    };
    Environment {
        vars: list(vars),
        granted: list(granted),
    }
}

pub fn request(environment: Environment) -> Request {
    Request {
        entry: String::new(),
        environment,
        options: Options {
            skip_external: false,
        },
    }
}

/// A template with these files: pairs of a path and a text.
pub fn files(files: &[(&str, &str)]) -> Case {
    Case {
        files: files.iter().map(|(path, text)| (*path, *text)).collect(),
        request: None,
    }
}

/// A template that is one `org.yaml`.
pub fn org(text: &str) -> Case {
    files(&[("org.yaml", text)])
}

/// A template with one workspace called `A`, which has these lines, indented by four blanks.
pub fn workspace(lines: &str) -> Case {
    org(&workspace_yaml(lines))
}

pub fn workspace_yaml(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("name: O\nworkspaces:\n  - name: A\n    runtime: r\n{lines}")
}

impl Case {
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.0.insert(path.to_owned(), text.into());
        self
    }

    pub fn vars(mut self, vars: &[(&str, &str)]) -> Self {
        let mut request = self
            .request
            .take()
            .unwrap_or_else(|| request(environment(&[], &[])));
        request.environment.vars = environment(vars, &[]).vars;
        self.request = Some(request);
        self
    }

    pub fn granted(mut self, granted: &[(&str, &str)]) -> Self {
        let mut request = self
            .request
            .take()
            .unwrap_or_else(|| request(environment(&[], &[])));
        request.environment.granted = environment(&[], granted).granted;
        self.request = Some(request);
        self
    }

    pub fn skip_external(mut self) -> Self {
        let mut request = self
            .request
            .take()
            .unwrap_or_else(|| request(environment(&[], &[])));
        request.options.skip_external = true;
        self.request = Some(request);
        self
    }

    pub fn import(&self) -> Result<Plan, Vec<Diagnostic>> {
        let request = self
            .request
            .clone()
            .unwrap_or_else(|| request(environment(&[], &[])));
        let first = import_org(&self.files, &request);
        assert_eq!(
            first,
            import_org(&self.files, &request),
            "not deterministic"
        );
        first.map_err(Vec::from)
    }

    #[track_caller]
    pub fn plan(&self) -> Plan {
        match self.import() {
            Ok(plan) => plan,
            Err(errors) => panic!("{errors:#?}"),
        }
    }

    /// The errors, each as `code file:line:column field`.
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        match self.import() {
            Ok(plan) => panic!("there is a plan: {plan:#?}"),
            Err(errors) => errors.iter().map(brief).collect(),
        }
    }

    /// The only error.
    #[track_caller]
    pub fn error(&self) -> Diagnostic {
        match self.import() {
            Ok(plan) => panic!("there is a plan: {plan:#?}"),
            Err(errors) => match <[_; 1]>::try_from(errors) {
                Ok([error]) => error,
                Err(errors) => panic!("{errors:#?}"),
            },
        }
    }

    /// The warnings of the plan, each as `code file:line:column field`.
    #[track_caller]
    pub fn warnings(&self) -> Vec<String> {
        self.plan().warnings.iter().map(brief).collect()
    }

    /// The only workspace.
    #[track_caller]
    pub fn one(&self) -> Workspace {
        match <[_; 1]>::try_from(self.plan().workspaces) {
            Ok([workspace]) => workspace,
            Err(workspaces) => panic!("{workspaces:#?}"),
        }
    }
}

pub fn brief(diagnostic: &Diagnostic) -> String {
    let mut brief = diagnostic.code.clone();
    if let Some(place) = &diagnostic.place {
        brief += &format!(" {}:{}:{}", place.file, place.line, place.column);
    }
    if let Some(field) = &diagnostic.field {
        brief += &format!(" {field}");
    }
    brief
}

#[track_caller]
pub fn inline(workspace: &Workspace, path: &str) -> String {
    let file =
        seeded(workspace, path).unwrap_or_else(|| panic!("no {path} among {:#?}", workspace.files));
    match &file.content {
        Content::Inline(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

pub fn seeded<'a>(workspace: &'a Workspace, path: &str) -> Option<&'a SeedFile> {
    workspace.files.iter().find(|file| file.path == path)
}

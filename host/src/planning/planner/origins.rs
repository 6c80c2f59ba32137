//! Determines who set each variable of a plan: the operator, a caller, the template or the plugin.
//!
//! A plugin's claim that the operator set a variable is not trusted. A variable is the operator's only if the operator gave
//! the same name with the same value. When the plugin names no place for a steering variable, the template's `.env` files
//! are searched for it, so that the message can name the line; this allows nothing.

use std::collections::BTreeSet;

use super::{Giver, PlanRequest};
use crate::model::plan::{Content, EnvVar, Origin, Plan, SeedFile, Workspace};
use crate::planning::policy::steering;
use crate::template::directory::TemplateDir;
use crate::template::path::TemplatePath;

/// The file of variables that the root of a template and the folder of each role can have.
const FILE: &str = ".env";

/// Sets the origin of every variable.
pub fn set(plan: &mut Plan, request: &PlanRequest, template: &TemplateDir) {
    for Workspace { env, files, .. } in &mut plan.workspaces {
        set_in_workspace(env, files, request, template);
    }
}

fn set_in_workspace(
    env: &mut [EnvVar],
    files: &[SeedFile],
    request: &PlanRequest,
    template: &TemplateDir,
) {
    for EnvVar {
        name,
        value,
        origin,
        ..
    } in env
    {
        let is_given = request.vars.get(name) == Some(value);
        let claimed = std::mem::replace(origin, Origin::Plugin);
        *origin = match (request.giver, claimed) {
            (Giver::Operator, _) if is_given => Origin::Operator,
            (Giver::Caller, _) if is_given => Origin::Caller,
            (_, Origin::Template { file, line }) => Origin::Template { file, line },
            _ if steering::reader(name).is_some() => {
                find(name, files, template).unwrap_or(Origin::Plugin)
            }
            _ => Origin::Plugin,
        };
    }
}

/// The line of a variable in the `.env` files of a workspace: those beside its files, and then the one of the root.
fn find(name: &str, files: &[SeedFile], template: &TemplateDir) -> Option<Origin> {
    let folders: BTreeSet<&str> = files.iter().flat_map(folders).collect();
    let own = folders
        .iter()
        .rev()
        .map(|folder| format!("{folder}/{FILE}"));
    own.chain([FILE.to_owned()]).find_map(|file| {
        let path = TemplatePath::new(&file).ok()?;
        let bytes = template.read(&path).ok()?.bytes;
        let line = line_of(name, &String::from_utf8_lossy(&bytes))?;
        Some(Origin::Template {
            file,
            line: Some(line),
        })
    })
}

/// The template folders that contain a seeded file.
fn folders(file: &SeedFile) -> impl Iterator<Item = &str> {
    let path = match &file.content {
        Content::Template { path, .. } => path.as_str(),
        Content::Inline(_) => "",
    };
    path.match_indices('/')
        .filter_map(|(end, _)| path.get(..end))
}

/// The number, from 1, of the last line that sets a variable (`spec/org-template.md` §4).
fn line_of(name: &str, text: &str) -> Option<u32> {
    let sets = |line: &str| {
        let line = line.trim_start_matches('\u{feff}').trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.split_once('=')
            .is_some_and(|(left, _)| left.trim() == name)
    };
    let lines = (1_u32..).zip(text.lines());
    let setting = lines.filter(|(_, line)| sets(line));
    setting.last().map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(giver: Giver, given: &[(&str, &str)], env: &[(&str, &str, Origin)]) -> Vec<Origin> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("role")).unwrap();
        std::fs::write(folder.path().join(".env"), "A=1\nexport PATH = x\nHOME=x\n").unwrap();
        std::fs::write(folder.path().join("role/.env"), "\u{feff}PATH=y\n").unwrap();
        let template = TemplateDir::open(folder.path()).unwrap();
        let pairs = given
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let request = PlanRequest {
            vars: pairs.collect(),
            giver,
            ..PlanRequest::default()
        };
        let mut vars: Vec<_> = env
            .iter()
            .map(|(name, value, origin)| EnvVar {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
                secret: true,
                origin: origin.clone(),
            })
            .collect();
        let files = [SeedFile {
            path: "notes.md".to_owned(),
            content: Content::Template {
                path: "role/notes.md".to_owned(),
                text: true,
            },
            secret: false,
        }];
        set_in_workspace(&mut vars, &files, &request, &template);
        vars.into_iter().map(|var| var.origin).collect()
    }

    fn line(file: &str, line: u32) -> Origin {
        Origin::Template {
            file: file.to_owned(),
            line: Some(line),
        }
    }

    #[test]
    fn a_plugin_cannot_claim_that_the_operator_set_a_variable() {
        let claims = [
            ("PATH", "/bin", Origin::Operator),
            ("PATH", "../configs", Origin::Operator),
            ("TOKEN", "x", Origin::Operator),
            ("LD_PRELOAD", "x", Origin::Operator),
            ("LD_PRELOAD", "x", Origin::Caller),
        ];
        let expected = [
            Origin::Operator,
            line("role/.env", 1),
            Origin::Plugin,
            Origin::Plugin,
            Origin::Plugin,
        ];
        let given = [("PATH", "/bin")];
        assert_eq!(origins(Giver::Operator, &given, &claims), expected);
    }

    #[test]
    fn a_variable_from_a_caller_is_not_the_operators() {
        let claims = [("PATH", "/bin", Origin::Operator)];
        let given = [("PATH", "/bin")];
        assert_eq!(origins(Giver::Caller, &given, &claims), [Origin::Caller]);
    }

    #[test]
    fn the_line_is_the_one_that_the_plugin_names_or_else_the_one_in_the_env_files() {
        let claims = [
            ("PATH", "y", line("elsewhere/.env", 7)),
            ("PATH", "y", Origin::Plugin),
            ("HOME", "x", Origin::Plugin),
        ];
        let expected = [
            line("elsewhere/.env", 7),
            line("role/.env", 1),
            line(".env", 3),
        ];
        assert_eq!(origins(Giver::Operator, &[], &claims), expected);
    }
}

//! Who set each variable of a plan. A plugin's word is not trusted: only name and value tell that a variable is the
//! operator's own. Where the plugin names no place of one that steers, the template's `.env` files are searched for it, for
//! the message; what is found there allows nothing.

use std::collections::BTreeSet;

use super::{Giver, PlanRequest};
use crate::model::plan::{Content, EnvVar, Origin, Plan, SeedFile, Workspace};
use crate::planning::policy::steering;
use crate::template::directory::TemplateDir;
use crate::template::path::TemplatePath;

/// The file of variables that the root of a template and each role's folder may have.
const FILE: &str = ".env";

/// Says of every variable who set it.
pub fn settle(plan: &mut Plan, wanted: &PlanRequest, template: &TemplateDir) {
    for Workspace { env, files, .. } in &mut plan.workspaces {
        settle_workspace(env, files, wanted, template);
    }
}

fn settle_workspace(
    env: &mut [EnvVar],
    files: &[SeedFile],
    wanted: &PlanRequest,
    template: &TemplateDir,
) {
    for EnvVar {
        name,
        value,
        origin,
        ..
    } in env
    {
        let is_given = wanted.vars.get(name) == Some(value);
        let claimed = std::mem::replace(origin, Origin::Plugin);
        *origin = match (wanted.giver, claimed) {
            (Giver::Operator, _) if is_given => Origin::Operator,
            (Giver::Caller, _) if is_given => Origin::Caller,
            (_, Origin::Template { file, line }) => Origin::Template { file, line },
            _ if steering::reader(name).is_some() => {
                found(name, files, template).unwrap_or(Origin::Plugin)
            }
            _ => Origin::Plugin,
        };
    }
}

/// Where a variable stands in the `.env` files that may be a workspace's: those beside its files, then the root's.
fn found(name: &str, files: &[SeedFile], template: &TemplateDir) -> Option<Origin> {
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

/// The folders of the template that a seeded file is in.
fn folders(file: &SeedFile) -> impl Iterator<Item = &str> {
    let path = match &file.content {
        Content::Template { path, .. } => path.as_str(),
        Content::Inline(_) => "",
    };
    path.match_indices('/')
        .filter_map(|(end, _)| path.get(..end))
}

/// The last line that sets a variable, from 1 (`spec/org-template.md` §4).
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

    fn settled(giver: Giver, given: &[(&str, &str)], env: &[(&str, &str, Origin)]) -> Vec<Origin> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("role")).unwrap();
        std::fs::write(folder.path().join(".env"), "A=1\nexport PATH = x\nHOME=x\n").unwrap();
        std::fs::write(folder.path().join("role/.env"), "\u{feff}PATH=y\n").unwrap();
        let template = TemplateDir::open(folder.path()).unwrap();
        let pairs = given
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let wanted = PlanRequest {
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
        settle_workspace(&mut vars, &files, &wanted, &template);
        vars.into_iter().map(|var| var.origin).collect()
    }

    fn place(file: &str, line: u32) -> Origin {
        Origin::Template {
            file: file.to_owned(),
            line: Some(line),
        }
    }

    #[test]
    fn a_plugin_does_not_make_a_variable_the_operators() {
        let claims = [
            ("PATH", "/bin", Origin::Operator),
            ("PATH", "../configs", Origin::Operator),
            ("TOKEN", "x", Origin::Operator),
            ("LD_PRELOAD", "x", Origin::Operator),
            ("LD_PRELOAD", "x", Origin::Caller),
        ];
        let expected = [
            Origin::Operator,
            place("role/.env", 1),
            Origin::Plugin,
            Origin::Plugin,
            Origin::Plugin,
        ];
        let given = [("PATH", "/bin")];
        assert_eq!(settled(Giver::Operator, &given, &claims), expected);
    }

    #[test]
    fn who_asks_a_server_is_not_the_operator() {
        let claims = [("PATH", "/bin", Origin::Operator)];
        let given = [("PATH", "/bin")];
        assert_eq!(settled(Giver::Caller, &given, &claims), [Origin::Caller]);
    }

    #[test]
    fn the_place_is_the_plugins_or_else_where_the_files_have_it() {
        let said = [
            ("PATH", "y", place("elsewhere/.env", 7)),
            ("PATH", "y", Origin::Plugin),
            ("HOME", "x", Origin::Plugin),
        ];
        let expected = [
            place("elsewhere/.env", 7),
            place("role/.env", 1),
            place(".env", 3),
        ];
        assert_eq!(settled(Giver::Operator, &[], &said), expected);
    }
}

//! The standard import with changed steps, reading of YAML files, and the test harness.

use std::rc::Rc;

use orghost_plugin::standard::{self, Data, ListedPlugin, Settings, Steps};
use orghost_plugin::testing::Template;
use orghost_plugin::{
    Content, Description, Diagnostic, EnvVar, Origin, Plan, Plugin, Refusal, Request, SeedFile,
    TemplateFiles, WorkspaceAccess,
};

use crate::{brief, inline};

const TWO: &str = "\
name: O
plugin: house
defaults: {runtime: r, initial_prompt: Hello}
workspaces:
  - name: A
    children:
      - {name: B, model: m, category_routing: {x: [A]}, plugins: [p]}
";

fn describe(name: &str, version: &str) -> Description {
    Description {
        name: name.to_owned(),
        version: version.to_owned(),
        handles: vec![standard::DIALECT.to_owned()],
    }
}

struct House;

impl Plugin for House {
    fn describe() -> Description {
        describe("house", "1.0.0")
    }

    fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
        standard::import_with(files, request, &mut Rules { seen: Vec::new() })
    }
}

struct Rules {
    seen: Vec<String>,
}

impl Steps for Rules {
    fn settings(&mut self, settings: &mut Settings) -> Result<(), Refusal> {
        self.seen.push(settings.key().to_owned());
        if settings.name == "Forbidden" {
            return Err(settings.problem("name-forbidden", "not here").into());
        }
        if settings.parent() == Some("a") {
            settings.tier = 3;
            settings.model = None;
            settings.role = "child of a".to_owned();
            settings.initial_prompt = None;
            settings.max_concurrent_tasks = 5;
            settings.plugins.push(ListedPlugin::named("audit"));
            Rc::make_mut(&mut settings.category_routing).clear();
            let warning = settings.problem("changed", "the house rules apply");
            settings.warn(warning);
        }
        Ok(())
    }

    fn plan(&mut self, plan: &mut Plan) -> Result<(), Refusal> {
        plan.org.description = self.seen.join(" ");
        for workspace in &mut plan.workspaces {
            for (path, text) in [("notes.md", "one"), ("a.md", "a"), ("notes.md", "two")] {
                workspace.put_file(SeedFile {
                    path: path.to_owned(),
                    content: Content::Inline(text.into()),
                    secret: false,
                });
            }
            for (name, value) in [("Z", "1"), ("A", "1"), ("Z", "2")] {
                workspace.put_env(EnvVar {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    secret: false,
                    origin: Origin::Plugin,
                });
            }
        }
        Ok(())
    }
}

#[test]
fn a_change_of_a_step_is_in_the_plan_and_in_the_files() {
    let plan = Template::org(TWO).plan::<House>();
    assert_eq!(plan.org.description, "a a/b");
    let warnings: Vec<String> = plan.warnings.iter().map(brief).collect();
    assert_eq!(warnings, ["changed org.yaml:7:9 workspaces[0].children[0]"]);
    let [a, b] = &plan.workspaces[..] else {
        panic!("{plan:#?}")
    };
    assert!(inline(a, "config.yaml").contains("initial_prompt"));
    assert_eq!((b.tier, b.model.as_ref(), b.plugins.len()), (3, None, 2));
    assert_eq!(
        inline(b, "config.yaml"),
        "name: B\ndescription: child of a\nversion: \"1.0.0\"\ntier: 3\nruntime: r\nruntime_config:\n  timeout: 0\nplugins:\n- p\n- audit\nmax_concurrent_tasks: 5\n"
    );
    let paths: Vec<&str> = b.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a.md", "config.yaml", "notes.md"]);
    assert_eq!(inline(b, "notes.md"), "two");
    let env: Vec<(&str, &str)> = b
        .env
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .collect();
    assert_eq!(env, [("A", "1"), ("Z", "2")]);
}

#[test]
fn errors_of_a_step_are_reported_with_the_other_errors() {
    let errors = Template::org(
        "name: O\nworkspaces:\n  - {name: Forbidden, runtime: r}\n  - {name: B}\n  - {name: C, runtime: r, tier: 9}\n",
    )
    .errors::<House>();
    let errors: Vec<String> = errors.iter().map(brief).collect();
    assert_eq!(
        errors,
        [
            "name-forbidden org.yaml:3:5 workspaces[0]",
            "runtime-missing org.yaml:4:5 workspaces[1]",
            "tier-invalid org.yaml:5:33 workspaces[2].tier",
        ]
    );
}

#[test]
fn the_key_plugin_must_be_a_text() {
    let errors = Template::org("name: O\nplugin: [a]\nworkspaces: []").errors::<House>();
    let errors: Vec<String> = errors.iter().map(brief).collect();
    assert_eq!(errors, ["wrong-type org.yaml:2:9 plugin"]);
}

#[test]
fn read_yaml_resolves_includes_and_keeps_spellings() {
    let template = Template::of([
        ("d/a.yaml", "n: 1\nyes: !include b.yaml\nz: ~"),
        ("d/b.yaml", "- 010\n- true\n"),
    ]);
    let number = |number: u64| Data::Number(number.into());
    let list = vec![Data::Text("010".to_owned()), Data::Bool(true)];
    assert_eq!(
        standard::read_yaml(&template.files, "d/a.yaml"),
        Ok(Data::Map(vec![
            ("n".to_owned(), number(1)),
            ("yes".to_owned(), Data::List(list)),
            ("z".to_owned(), Data::Null),
        ]))
    );
    let codes = |path: &str| -> Vec<String> {
        let refusal = standard::read_yaml(&template.files, path).unwrap_err();
        refusal.iter().map(|problem| problem.code.clone()).collect()
    };
    assert_eq!(codes("none.yaml"), ["template-unreadable"]);
    assert_eq!(codes("../a.yaml"), ["path-invalid"]);
}

/// A plugin that breaks one rule of the contract, by number.
struct Broken<const RULE: u8>;

impl<const RULE: u8> Plugin for Broken<RULE> {
    fn describe() -> Description {
        match RULE {
            0 => describe("Not A Slug", "1.0.0"),
            1 => describe("a", "one"),
            _ => describe("a", "1.0.0"),
        }
    }

    fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
        let mut plan = standard::import_org(files, request)?;
        let last = plan.workspaces.len() - 1;
        match RULE {
            2 => plan.workspaces.swap(0, last),
            3 => plan.workspaces[last].tier = 0,
            4 => {
                let mut twin = plan.workspaces[last].clone();
                twin.key += "-twin";
                plan.workspaces.push(twin);
            }
            5 => plan.workspaces[0].key = "A".to_owned(),
            6 => plan.workspaces[0].files.reverse(),
            7 => return Err(Diagnostic::new("bad", &request.environment.granted[0].value).into()),
            8 => plan.org.name = format!("{:p}", Box::leak(Box::new(0_u8))),
            9 => plan.workspaces[0].workspace_access = WorkspaceAccess::None,
            _ => {}
        }
        Ok(plan)
    }
}

fn breaks<P: Plugin>() -> Option<String> {
    let template = Template::org(TWO)
        .file(
            "org.yaml",
            TWO.replace("- name: A", "- name: A\n    system_prompt: s"),
        )
        .grant("TOKEN", "canary-value");
    let run = || template.run::<P>();
    let panic = std::panic::catch_unwind(run).err()?;
    Some(*panic.downcast::<String>().unwrap())
}

#[test]
fn the_harness_panics_when_a_plugin_breaks_the_contract() {
    let panics_with = |found: Option<String>, part: &str| {
        let found = found.unwrap_or_else(|| panic!("the harness did not panic: {part}"));
        assert!(found.contains(part), "{found}");
    };
    panics_with(breaks::<Broken<0>>(), "is not a slug");
    panics_with(breaks::<Broken<1>>(), "is not of the form 1.2.3");
    panics_with(breaks::<Broken<2>>(), "is not before it");
    panics_with(breaks::<Broken<3>>(), "the tier is not 1 to 4");
    panics_with(breaks::<Broken<4>>(), "has the same name");
    panics_with(breaks::<Broken<5>>(), "not a path of slugs");
    panics_with(breaks::<Broken<6>>(), "not sorted by path");
    panics_with(breaks::<Broken<7>>(), "shows the value of TOKEN");
    panics_with(breaks::<Broken<8>>(), "the same output");
    assert_eq!(breaks::<Broken<9>>(), None);
}

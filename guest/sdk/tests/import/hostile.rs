//! Templates that try to exhaust time, memory or the stack: each is an error, in little time and with a small stack.

use crate::{Case, files, org};

/// Runs in a thread with a stack of 1 MiB, which is the size of the component's stack.
fn on_a_small_stack(case: impl FnOnce() -> Vec<String> + Send + 'static) -> Vec<String> {
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(case);
    thread.unwrap().join().unwrap()
}

fn code(errors: &[String]) -> &str {
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].split(' ').next().unwrap()
}

#[test]
fn a_document_that_aliases_multiply_is_an_error() {
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_eq!(code(&org(&bomb).errors()), "yaml-too-large");
}

#[test]
fn a_document_that_includes_multiply_is_an_error() {
    let mut case = files(&[("org.yaml", "name: O\nworkspaces: !include 0.yaml")]);
    for level in 0..12 {
        let includes = format!("- !include {}.yaml\n", level + 1).repeat(10);
        case = case.file(&format!("{level}.yaml"), &includes);
    }
    case = case.file("12.yaml", "x");
    // A file that is too large is left out, and then a file that includes it many levels above is too large too.
    assert_eq!(
        case.errors(),
        ["yaml-too-large 1.yaml:1:1", "yaml-too-large 7.yaml:1:1"]
    );
}

#[test]
fn a_document_that_merge_keys_multiply_is_an_error() {
    let keys: String = (0..5_000).map(|key| format!("  k{key}: v\n")).collect();
    let merges = "- {<<: *base}\n".repeat(5_000);
    let case = org(&format!("base: &base\n{keys}all:\n{merges}"));
    assert_eq!(code(&case.errors()), "yaml-too-large");
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for deep in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
    ] {
        let errors = on_a_small_stack(move || org(&deep).errors());
        assert!(
            matches!(code(&errors), "yaml-too-deep" | "yaml-syntax"),
            "{errors:?}"
        );
    }
}

#[test]
fn the_deepest_tree_that_is_allowed_fits_the_stack() {
    let tree = |levels: usize| {
        let open: String = (0..levels)
            .map(|level| format!("{{name: W{level}, children: ["))
            .collect();
        format!(
            "name: O\ndefaults: {{runtime: r}}\nworkspaces: [{open}{}]",
            "]}".repeat(levels)
        )
    };
    let count = on_a_small_stack(move || vec![org(&tree(32)).plan().workspaces.len().to_string()]);
    assert_eq!(count, ["32"]);
    let errors = on_a_small_stack(move || org(&tree(33)).errors());
    assert_eq!(code(&errors), "workspaces-too-deep");
    let errors = on_a_small_stack(move || org(&tree(60)).errors());
    assert_eq!(code(&errors), "yaml-too-deep");
    // Nested values in the configuration of an agent plugin.
    let config = format!("{}{}", "[".repeat(90), "]".repeat(90));
    let yaml = format!(
        "name: O\nworkspaces: [{{name: A, runtime: r, plugins: [{{source: p, config: {{x: {config}}}}}]}}]"
    );
    let found = on_a_small_stack(move || {
        vec![
            org(&yaml).one().plugins[0]
                .config
                .clone()
                .unwrap_or_default(),
        ]
    });
    assert_eq!(found, [format!("{{\"x\":{config}}}")]);
}

#[test]
fn the_number_of_workspaces_is_bounded() {
    let plan = |count: usize| {
        let list: String = (0..count)
            .map(|number| {
                format!(
                    "- {{name: W {}{}}}\n",
                    number % 100,
                    "!".repeat(number / 100)
                )
            })
            .collect();
        org(&format!(
            "name: O\ndefaults: {{runtime: r}}\nworkspaces:\n{list}"
        ))
    };
    let workspaces = plan(10_000).plan().workspaces;
    let keys: std::collections::BTreeSet<&str> =
        workspaces.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(
        keys.len(),
        10_000,
        "there are 100 slugs, each with 100 names"
    );
    assert_eq!(
        plan(10_001).errors(),
        ["too-many-workspaces org.yaml:10004:3 workspaces[10000]"]
    );
}

#[test]
fn the_size_and_number_of_files_are_bounded() {
    let comment = format!("#{}\n", "x".repeat(1 << 20));
    let mut case = org("name: O\nworkspaces: [!include 1.yaml, !include 2.yaml]");
    for file in ["1.yaml", "2.yaml"] {
        case = case.file(
            file,
            &format!("{}name: A{file}\nruntime: r", comment.repeat(5)),
        );
    }
    assert_eq!(case.errors(), ["yaml-too-large org.yaml:2:31"]);
    let list: String = (0..2_100)
        .map(|number| format!("- !include {number}.yaml\n"))
        .collect();
    let mut case = org(&format!(
        "name: O\ndefaults: {{runtime: r}}\nworkspaces:\n{list}"
    ));
    for number in 0..2_100 {
        case = case.file(&format!("{number}.yaml"), &format!("name: A{number}"));
    }
    assert_eq!(case.errors()[0], "too-many-files org.yaml:2003:3");
}

#[test]
fn lists_in_messages_are_short() {
    let references: String = (0..10_000).map(|number| format!("$A{number}/")).collect();
    let error = crate::workspace(&format!("workspace_dir: /{references}")).error();
    let expected =
        "has references without a value: A0, A1, A2, A3, A4, A5, A6, A7, A8, A9 and 9990 more";
    assert!(error.message.ends_with(expected), "{}", error.message);
}

#[test]
fn the_number_of_errors_is_bounded() {
    let list = "- {name: A, tier: 9}\n".repeat(3_000);
    let errors = org(&format!(
        "name: O\ndefaults: {{runtime: r}}\nworkspaces:\n{list}"
    ))
    .errors();
    assert_eq!(
        (errors.len(), errors[1_000].as_str()),
        (1_001, "too-many-problems")
    );
}

#[test]
fn the_size_of_generated_files_is_bounded() {
    let prompt = "x".repeat(100_000);
    let list: String = (0..500)
        .map(|number| format!("- {{name: A{number}}}\n"))
        .collect();
    let yaml =
        format!("name: O\ndefaults: {{runtime: r, initial_prompt: {prompt}}}\nworkspaces:\n{list}");
    assert_eq!(code(&org(&yaml).errors()), "plan-too-large");
}

#[test]
fn the_size_of_a_plan_that_a_few_lines_multiply_is_bounded() {
    let list = |lines: &str| {
        let one = |number| format!("- {{name: A{number}, external: true, url: http://x}}\n");
        let workspaces: String = (0..2_000).map(one).collect();
        format!("{lines}workspaces:\n{workspaces}")
    };
    let long = "x".repeat(99_000);
    let plan = |defaults: &str| {
        org(&list(&format!(
            "name: O\ndefaults: {{runtime: r, {defaults}}}\n"
        )))
    };
    let memories = plan(&format!("initial_memories: [{{content: {long}}}]"));
    assert_eq!(code(&memories.errors()), "plan-too-large");
    let config = plan(&format!("plugins: [{{source: p, config: {{k: {long}}}}}]"));
    assert_eq!(code(&config.errors()), "plan-too-large");
    let plugins: String = (0..5_000).map(|number| format!("p{number},")).collect();
    assert_eq!(
        code(&plan(&format!("plugins: [{plugins}]")).errors()),
        "plan-too-large"
    );
    let variables = plan("").file(".env", &format!("A={long}"));
    assert_eq!(code(&variables.errors()), "plan-too-large");
}

#[test]
fn texts_are_counted_as_often_as_they_are_used() {
    let text = "x".repeat(1 << 20);
    let aliases = |count: usize| {
        org(&format!(
            "name: O\nx: &x {text}\ny: [{}]\nworkspaces: []",
            "*x,".repeat(count)
        ))
    };
    assert_eq!(aliases(14).plan().workspaces.len(), 0);
    assert_eq!(aliases(16).errors(), ["yaml-too-large org.yaml:3:47"]);
    let merges = "- {<<: *x}\n".repeat(20);
    let case = org(&format!("name: O\nx: &x {{k: {text}}}\ny:\n{merges}"));
    assert_eq!(code(&case.errors()), "yaml-too-large");
    let includes = "- !include x.yaml\n".repeat(20);
    let case = files(&[
        ("org.yaml", &format!("name: O\ny:\n{includes}")),
        ("x.yaml", &text),
    ]);
    assert_eq!(code(&case.errors()), "yaml-too-large");
}

#[test]
fn a_prompt_file_is_counted_as_often_as_it_is_used() {
    let schedules: String = (0..200)
        .map(|number| format!("  - {{name: S{number}, cron_expr: '* * * * *', prompt_file: p}}\n"))
        .collect();
    let case = org(&format!(
        "name: O\nworkspaces:\n- name: A\n  runtime: r\n  schedules:\n{schedules}"
    ));
    let errors = case.file("p", &"x".repeat(100_000)).import().unwrap_err();
    let errors: Vec<String> = errors.iter().map(crate::brief).collect();
    // 167 of them fit into 16 MiB. Only the first one over the limit is reported.
    let first = "prompts-too-large org.yaml:173:55 workspaces[0].schedules[167].prompt_file";
    assert!(errors.iter().any(|error| error == first), "{errors:?}");
    let others = errors.iter().filter(|error| error.starts_with("prompts-"));
    assert_eq!(others.count(), 1);
}

#[test]
fn paths_of_fields_and_long_names_are_shortened_in_messages() {
    let open: String = (0..90)
        .map(|_| format!("{{{}: ", "k".repeat(400)))
        .collect();
    let items = "\"\\x01\",".repeat(3_000);
    let yaml = format!(
        "name: O\nworkspaces: [{{name: A, runtime: r, plugins: [{{source: p, config: {open}[{items}]{}}}]}}]",
        "}".repeat(90)
    );
    let errors = org(&yaml).import().unwrap_err();
    assert_eq!(errors.len(), 1_001);
    let field = errors[0].field.clone().unwrap();
    assert!(
        field.len() < 10_000 && field.ends_with("kkk…[0]"),
        "{field}"
    );
    let name = "n".repeat(501);
    let errors = org(&format!(
        "name: O\nworkspaces: [{{runtime: r, name: {name}}}]"
    ))
    .errors();
    assert_eq!(errors[0], "name-too-long org.yaml:2:33 workspaces[0].name");
}

/// A suggestion compares a name with hundreds of others, which takes long.
#[test]
fn the_number_of_suggestions_is_bounded() {
    let schedules: String = (0..1_000)
        .map(|number| format!("  - {{name: S{number}, cron_expr: '* * * * *', prompt: x, timezone: Europe/Berlim}}\n"))
        .collect();
    let case = org(&format!(
        "name: O\nworkspaces:\n- name: A\n  runtime: r\n  schedules:\n{schedules}"
    ));
    let errors = case.import().unwrap_err();
    let suggested = |error: &&orghost_plugin::Diagnostic| {
        error.message.contains("did you mean `Europe/Berlin`?")
    };
    assert_eq!(
        (errors.len(), errors.iter().filter(suggested).count()),
        (1_000, 100)
    );
}

#[test]
fn the_number_of_seeded_files_is_bounded() {
    let mut case: Case = org("name: O\nworkspaces: [{name: A, runtime: r, files_dir: d}]");
    for number in 0..4_990 {
        case.files.0.insert(format!("d/{number}"), Vec::new());
    }
    assert_eq!(case.one().files.len(), 4_991);
    case.files.0.insert("d/more".to_owned(), Vec::new());
    assert_eq!(code(&case.errors()), "too-many-files");
}

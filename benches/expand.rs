//! Compares the expander with `shellexpand` and a regular expression, with the same variables. Both alternatives do less:
//! they do not report unresolved or malformed references, and have no granted values.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

mod sides;
mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use org_import::{Environment, Variable};
use regex::{Captures, Regex};
use sides::Sides;
use table::Target;

const VARIABLES: [(&str, &str); 6] = [
    ("HOME", "/home/ada"),
    ("MODEL_KEY", "sk-0123456789abcdef0123456789abcdef"),
    ("ORG", "acme"),
    ("REGION", "eu-central-1"),
    ("SLACK_HOOK", "https://hooks.slack.com/services/T0/B0/x"),
    ("USER", "ada"),
];

struct Expanders {
    map: BTreeMap<&'static str, &'static str>,
    environment: Environment,
    regex: Regex,
}

impl Expanders {
    fn orghost(&self, text: &str) -> String {
        org_import::expand(text, &self.environment).text
    }

    fn shellexpand<'a>(&self, text: &'a str) -> Cow<'a, str> {
        shellexpand::env_with_context_no_errors(text, |name| self.map.get(name).copied())
    }

    fn regex<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.regex.replace_all(text, |found: &Captures<'_>| {
            let name = found.get(1).or_else(|| found.get(2));
            let value = name.and_then(|name| self.map.get(name.as_str()).copied());
            value.unwrap_or(&found[0]).to_owned()
        })
    }
}

fn expand(criterion: &mut Criterion) {
    let variables = VARIABLES.map(|(name, value)| Variable {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    let expanders = Expanders {
        map: VARIABLES.into(),
        environment: Environment {
            vars: variables.into(),
            granted: Vec::new(),
        },
        regex: Regex::new(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})").unwrap(),
    };
    let mut long = String::new();
    while long.len() < 100_000 {
        long.push_str("  - name: a channel of ${ORG} in $REGION, told to whoever listens\n");
        long.push_str("    url: ${SLACK_HOOK}/$USER?key=${MODEL_KEY}\n");
        writeln!(
            long,
            "    text: number {}, and nothing to expand here",
            long.len()
        )
        .unwrap();
    }
    let hostile = "${".repeat(100_000);

    for (title, samples, text) in [
        (
            "expand: short, two references",
            100,
            "/srv/${ORG}/home/$USER",
        ),
        ("expand: 100 KB, 3 000 references", 100, &long),
        ("expand: hostile, 100 000 times `${`", 10, &hostile),
    ] {
        // All three must give the same text.
        assert_eq!(expanders.orghost(text), expanders.shellexpand(text));
        assert_eq!(expanders.orghost(text), expanders.regex(text));
        Sides::new(criterion, title, samples, Duration::from_secs(2))
            .side("orghost", Target::Open, || expanders.orghost(text))
            .side("shellexpand", Target::Open, || expanders.shellexpand(text))
            .side("regex", Target::Open, || expanders.regex(text))
            .print();
    }
}

criterion_group!(benches, expand);
criterion_main!(benches);

//! Hostile templates: cases that check that a plugin answers each of them within the limits of a call, with a plan that keeps
//! the rules or with a list of errors.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use crate::limits;
use crate::plugin::sandbox::PluginInput;

use super::scratch::Scratch;
use super::{Check, Outcome, Part, rules};

type Make = fn(&Scratch) -> io::Result<()>;

/// The names of the cases, and the functions that write their templates.
const TEMPLATES: &[(&str, Make)] = &[
    ("no-entry", |_| Ok(())),
    ("empty-entry", |s| s.write("org.yaml", "")),
    ("only-a-comment", |s| s.write("org.yaml", "# nothing\n")),
    ("entry-is-a-folder", |s| {
        std::fs::create_dir(s.path().join("org.yaml"))
    }),
    ("entry-is-a-scalar", |s| s.write("org.yaml", "42\n")),
    ("two-documents", |s| {
        s.write("org.yaml", "name: A\n---\nname: B\n")
    }),
    ("not-utf8", |s| {
        s.write("org.yaml", b"name: \xff\xfe\xc3\x28\n")
    }),
    ("utf16", |s| {
        s.write("org.yaml", b"\xff\xfen\0a\0m\0e\0:\0 \0x\0")
    }),
    ("nul", |s| {
        s.write("org.yaml", b"name: \"a\0b\"\nworkspaces: []\n")
    }),
    ("control-characters", |s| {
        s.write(
            "org.yaml",
            b"name: \"a\x01\x1b[2J\x7f\"\nworkspaces: [{name: \"\x08\", runtime: x}]\n",
        )
    }),
    ("escaped-controls", |s| {
        s.write("org.yaml", "name: \"a\\0\\e[2J\\u2028\\x85\"\nworkspaces: [{name: \"\\u202Ea\", runtime: x, role: \"\\0\"}]\n")
    }),
    ("byte-order-mark", |s| {
        s.write(
            "org.yaml",
            "\u{feff}name: O\nworkspaces: [{name: A, runtime: x}]\n",
        )
    }),
    ("crlf", |s| {
        s.write("org.yaml", "name: O\r\nworkspaces:\r\n  - name: A\r\n    runtime: x\r\n    role: |\r\n      one\r\n      two\r\n")
    }),
    ("lone-cr", |s| {
        s.write("org.yaml", "name: O\rworkspaces: []\r")
    }),
    ("ten-thousand-workspaces", |s| {
        let mut org = String::from("name: O\ndefaults: {runtime: x}\nworkspaces:\n");
        (0..10_000).for_each(|number| org.push_str(&format!("- name: W{number}\n")));
        s.write("org.yaml", org)
    }),
    ("a-hundred-thousand-workspaces", |s| {
        let workspaces = "- {name: W}\n".repeat(100_000);
        s.write(
            "org.yaml",
            format!("name: O\ndefaults: {{runtime: x}}\nworkspaces:\n{workspaces}"),
        )
    }),
    ("a-thousand-levels-of-children", |s| {
        let open = "{name: W, runtime: x, children: [".repeat(1_000);
        s.write(
            "org.yaml",
            format!("name: O\nworkspaces: [{open}{}]\n", "]}".repeat(1_000)),
        )
    }),
    ("a-thousand-levels-of-indentation", |s| {
        let mut org = String::from("name: O\nworkspaces:\n");
        for level in 0..1_000 {
            let indent = " ".repeat(2 * level);
            org.push_str(&format!(
                "{indent}- name: W\n{indent}  runtime: x\n{indent}  children:\n"
            ));
        }
        s.write("org.yaml", org)
    }),
    ("deep-flow-sequences", |s| {
        s.write(
            "org.yaml",
            format!("name: {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        )
    }),
    ("unclosed-flow-sequences", |s| {
        s.write("org.yaml", "[".repeat(1_000_000))
    }),
    ("deep-flow-mappings", |s| {
        s.write("org.yaml", format!("x: {}", "{a: ".repeat(50_000)))
    }),
    ("deep-block-sequences", |s| {
        s.write("org.yaml", "- ".repeat(50_000))
    }),
    ("deep-complex-keys", |s| {
        s.write("org.yaml", "? ".repeat(50_000))
    }),
    ("alias-bomb", |s| {
        let mut org = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            org.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        s.write("org.yaml", org + "name: O\nworkspaces: *a11\n")
    }),
    ("merge-bomb", |s| {
        let mut org = String::from("m0: &m0 {a: 1, b: 2}\n");
        for level in 1..30 {
            let above = level - 1;
            org.push_str(&format!(
                "m{level}: &m{level} {{<<: [*m{above}, *m{above}], k{level}: *m{above}}}\n"
            ));
        }
        s.write("org.yaml", org + "name: O\nworkspaces: [*m29]\n")
    }),
    ("alias-to-itself", |s| {
        s.write("org.yaml", "name: O\nworkspaces: &w [*w]\n")
    }),
    ("alias-to-nothing", |s| {
        s.write("org.yaml", "name: *nothing\n")
    }),
    ("a-million-keys", |s| {
        let mut org = String::from("name: O\n");
        (0..1_000_000_u32).for_each(|number| org.push_str(&format!("{number:x}:\n")));
        s.write("org.yaml", org)
    }),
    ("duplicate-keys", |s| {
        s.write("org.yaml", format!("name: O\n{}", "a: 1\n".repeat(50_000)))
    }),
    ("a-huge-scalar", |s| {
        s.write(
            "org.yaml",
            format!("name: {}\nworkspaces: []\n", "x".repeat(7 << 20)),
        )
    }),
    ("a-huge-role", |s| {
        s.write(
            "org.yaml",
            format!(
                "name: O\nworkspaces: [{{name: A, runtime: x, role: \"{}\"}}]\n",
                "é ".repeat(1 << 20)
            ),
        )
    }),
    ("a-huge-key", |s| {
        s.write(
            "org.yaml",
            format!("name: O\n\"{}\": 1\nworkspaces: []\n", "k".repeat(1 << 20)),
        )
    }),
    ("a-huge-name", |s| {
        s.write(
            "org.yaml",
            format!(
                "name: O\nworkspaces: [{{name: {}, runtime: x}}]\n",
                "n".repeat(100_000)
            ),
        )
    }),
    ("huge-numbers", |s| {
        let nines = "9".repeat(10_000);
        s.write("org.yaml", format!("name: O\nworkspaces: [{{name: A, runtime: x, tier: {nines}, max_concurrent_tasks: -{nines}, idle_interval_seconds: 1e{nines}, canvas: {{x: {nines}, y: .nan}}}}]\n"))
    }),
    ("many-dollars", |s| {
        s.write("org.yaml", in_channel(&"${".repeat(100_000)))
    }),
    ("many-dollars-closed", |s| {
        s.write(
            "org.yaml",
            in_channel(&format!("{}}}", "${".repeat(100_000))),
        )
    }),
    ("many-references", |s| {
        s.write("org.yaml", in_channel(&"$A${A}".repeat(100_000)))
    }),
    ("include-itself", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [!include org.yaml]\n")
    }),
    ("include-loop", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [!include a.yaml]\n")?;
        s.write(
            "a.yaml",
            "name: A\nruntime: x\nchildren: [!include b/b.yaml]\n",
        )?;
        s.write(
            "b/b.yaml",
            "name: B\nruntime: x\nchildren: [!include ../a.yaml]\n",
        )
    }),
    ("include-bomb", |s| {
        s.write("org.yaml", "name: O\nworkspaces: !include f0.yaml\n")?;
        for level in 0..15 {
            let below = format!("!include f{}.yaml, ", level + 1).repeat(10);
            s.write(&format!("f{level}.yaml"), format!("[{below}]\n"))?;
        }
        s.write("f15.yaml", "{name: W, runtime: x}\n")
    }),
    ("include-chain", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [!include f0.yaml]\n")?;
        for level in 0..100 {
            s.write(
                &format!("f{level}.yaml"),
                format!(
                    "name: W\nruntime: x\nchildren: [!include f{}.yaml]\n",
                    level + 1
                ),
            )?;
        }
        Ok(())
    }),
    ("include-many-files", |s| {
        let file = |number| format!("f{number}.yaml");
        let include = |number| format!("- !include {}\n", file(number));
        let org: String = (0..=2_500).map(include).collect();
        s.write("org.yaml", format!("name: O\nworkspaces:\n{org}"))?;
        many(s, "f0.yaml", "name: W\nruntime: x\n", 2_500, file)
    }),
    ("include-escape", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [!include ../../../../etc/passwd]\n",
        )
    }),
    ("include-absolute", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [!include /etc/passwd]\n")
    }),
    ("include-odd-paths", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [!include '', !include .., !include 'a\\b', !include \"a\\0b\", !include ././., !include {a: b}, !include [x]]\n")
    }),
    ("include-symlink-out", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [!include link.yaml, !include folder/hostname]\n",
        )?;
        symlink("/etc/passwd", s.path().join("link.yaml"))?;
        symlink("/etc", s.path().join("folder"))
    }),
    ("symlink-loop", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role}, !include loop.yaml]\n",
        )?;
        std::fs::create_dir(s.path().join("role"))?;
        symlink("..", s.path().join("role/up"))?;
        symlink("loop.yaml", s.path().join("loop.yaml"))
    }),
    ("dangling-symlink", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x, initial_prompt_file: gone.md}, !include gone.yaml]\n")?;
        symlink("nowhere", s.path().join("gone.md"))?;
        symlink("nowhere", s.path().join("gone.yaml"))
    }),
    ("folders-for-files", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x, initial_prompt_file: prompt.md}, !include part.yaml]\n")?;
        ["prompt.md", "part.yaml", ".env"]
            .iter()
            .try_for_each(|name| std::fs::create_dir(s.path().join(name)))
    }),
    ("files-for-folders", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role}, {name: B, runtime: x, files_dir: role/below}]\n")?;
        s.write("role", "a file")
    }),
    ("pipes", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role, idle_prompt_file: pipe}, !include role/pipe]\n")?;
        s.write("role/kept.md", "kept")?;
        pipe(s, "role/pipe")
    }),
    ("env-is-a-pipe", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x}]\n")?;
        pipe(s, ".env")
    }),
    ("env-is-not-text", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x}]\n")?;
        s.write(
            ".env",
            b"A=\0\nB=\xff\xfe\n=\n==\nnot a name=1\nC=\x1b[2J\n",
        )
    }),
    ("a-huge-env", |s| {
        s.write(
            "org.yaml",
            "name: O\ndefaults: {runtime: x}\nworkspaces: [{name: A}, {name: B}, {name: C}]\n",
        )?;
        let mut env = String::new();
        (0..100_000).for_each(|number| env.push_str(&format!("V{number}={}\n", "x".repeat(40))));
        s.write(".env", env)
    }),
    ("files-too-large", |s| {
        s.write("org.yaml", "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role, initial_prompt_file: large.md}, !include large.yaml]\n")?;
        s.write("role/large.md", "")?;
        sparse(s, "role/large.md")?;
        sparse(s, "large.yaml")
    }),
    ("entry-too-large", |s| sparse(s, "org.yaml")),
    ("an-empty-folder", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role}]\n",
        )?;
        std::fs::create_dir(s.path().join("role"))
    }),
    ("odd-file-names", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role}]\n",
        )?;
        std::fs::create_dir(s.path().join("role"))?;
        for name in [
            &b"\xff\xfe"[..],
            b"new\nline",
            b"back\\slash",
            b" ",
            b"-rf",
            b"\x1b[2J",
            b".env.local",
            "é".as_bytes(),
        ] {
            std::fs::write(
                s.path()
                    .join("role")
                    .join(std::ffi::OsStr::from_bytes(name)),
                "x",
            )?;
        }
        Ok(())
    }),
    ("many-files", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role}]\n",
        )?;
        // One file more than a workspace can seed.
        many(s, "role/0", "", limits::SEED_FILES, |number| {
            format!("role/{number}")
        })
    }),
    ("deep-folders", |s| {
        s.write(
            "org.yaml",
            "name: O\nworkspaces: [{name: A, runtime: x, files_dir: d}]\n",
        )?;
        s.write(&format!("{}x", "d/".repeat(250)), "deep")
    }),
    ("wrong-types-everywhere", |s| s.write("org.yaml", WRONG)),
    ("odd-tags", |s| {
        s.write(
            "org.yaml",
            "name: !!binary aGk=\nworkspaces: !!set {a, b}\ndefaults: !<tag:x> {runtime: !e!x y}\n",
        )
    }),
    ("not-yaml", |s| {
        s.write("org.yaml", "\t- %&*!|>'\"@`{]: :\n  -\n? \n")
    }),
];

const WRONG: &str = "\
name: [a]
description: {a: b}
defaults: [1]
required_env: {a: b}
recommended_env: [[A], {any_of: {}}, 1]
global_memories: text
workspaces:
  - text
  - [list]
  - null
  - name: {a: b}
    runtime: [x]
    tier: [1]
    spawning: perhaps
    plugins: {a: b}
    schedules: {cron_expr: 1}
    channels: [[], 1, {config: [a], allowed_users: {a: b}}]
    category_routing: [a]
    canvas: [1, 2]
    initial_memories: {content: 1}
    children: {name: A}
    external: [true]
";

pub fn checks() -> Vec<Check> {
    let check = |(name, make): &(&'static str, Make)| {
        let make = *make;
        Check::new(Part::Contract, format!("hostile-{name}"), move |loaded| {
            let scratch = Scratch::new()?;
            make(&scratch)?;
            let answer = loaded
                .plugin
                .plan(&scratch.template, &PluginInput::default());
            Ok(Outcome::unless(&rules::broken(&answer, &scratch.template)))
        })
    };
    TEMPLATES.iter().map(check).collect()
}

fn in_channel(value: &str) -> String {
    format!(
        "name: O\nworkspaces: [{{name: A, runtime: x, channels: [{{type: slack, config: {{webhook_url: '{value}'}}}}]}}]\n"
    )
}

fn pipe(scratch: &Scratch, name: &str) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, scratch.path().join(name), kind, mode, 0)?;
    Ok(())
}

/// Writes one file, and `more` hard links to it, which are much cheaper than files.
fn many(
    scratch: &Scratch,
    first: &str,
    text: &str,
    more: usize,
    name: impl Fn(usize) -> String,
) -> io::Result<()> {
    scratch.write(first, text)?;
    let first = scratch.path().join(first);
    (1..=more).try_for_each(|number| std::fs::hard_link(&first, scratch.path().join(name(number))))
}

/// Writes a sparse file that is just above the size limit.
fn sparse(scratch: &Scratch, name: &str) -> io::Result<()> {
    std::fs::File::create(scratch.path().join(name))?.set_len(limits::TEMPLATE_FILE_BYTES + 1)
}

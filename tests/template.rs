//! Tests of reading a template: a plugin can read nothing outside the template's folder.

use std::sync::atomic::{AtomicBool, Ordering};

use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, PluginInput, Sandbox};
use orghost::template::bundle::Bundle;
use orghost::template::directory::TemplateDir;
use orghost::template::path::{Entry, EntryKind, FileError, TemplatePath};

use crate::support::{own_templates, shared_templates};

use crate::support::Operator;

fn open(operator: &Operator) -> TemplateDir {
    TemplateDir::open(&operator.home.path().join("template")).unwrap()
}

#[test]
fn paths_that_could_lead_out_are_refused() {
    for path in [
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "/",
        "a\\b",
        "a\0b",
        ".",
        "a/./b",
    ] {
        assert_eq!(
            TemplatePath::new(path),
            Err(FileError::InvalidPath),
            "{path:?}"
        );
    }
    for path in ["", "a", "a/b", "..a", "a..b", "...", "a b/ü"] {
        assert_eq!(TemplatePath::new(path).unwrap().as_str(), path);
    }
}

#[test]
fn links_are_followed_inside_and_refused_outside() {
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x"), ("deep/file", "inside")]);
    let secret = operator.file("secret", "outside");
    let folder = operator.home.path().join("template");
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap()
    };
    link("deep/file".as_ref(), "inner");
    link("deep".as_ref(), "inner-folder");
    link(&secret, "absolute");
    link("../secret".as_ref(), "relative");
    link(operator.home.path(), "up");
    link("loop".as_ref(), "loop");
    link("/proc/self/environ".as_ref(), "environ");
    let template = open(&operator);
    let read = |path: &str| {
        template
            .read(&TemplatePath::new(path).unwrap())
            .map(|file| file.bytes)
    };

    assert_eq!(read("inner").unwrap(), b"inside");
    assert_eq!(read("inner-folder/file").unwrap(), b"inside");
    for path in ["absolute", "relative", "up/secret", "loop", "environ"] {
        assert_eq!(read(path), Err(FileError::InvalidPath), "{path}");
    }
    assert_eq!(
        template.entries(&TemplatePath::new("up").unwrap()),
        Err(FileError::InvalidPath)
    );
    let names = template.entries(&TemplatePath::new("").unwrap()).unwrap();
    assert!(
        names
            .iter()
            .any(|entry| entry.name == "up" && entry.kind == EntryKind::Symlink)
    );
    assert!(names.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn only_regular_files_are_read_and_a_pipe_does_not_block() {
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x"), ("folder/file", "")]);
    let pipe = operator.home.path().join("template/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let template = open(&operator);
    let read = |path: &str| template.read(&TemplatePath::new(path).unwrap()).map(drop);
    assert_eq!(read("pipe"), Err(FileError::WrongKind));
    assert_eq!(read("folder"), Err(FileError::WrongKind));
    assert_eq!(read("missing"), Err(FileError::NotFound));
    assert_eq!(read("org.yaml/x"), Err(FileError::WrongKind));
}

/// Ends the loop of another thread when it is dropped, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A folder and a link to another place change their names all the time.
#[test]
fn a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere() {
    const TIMES: usize = 3_000;
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x"), ("deep/er/file", "inside")]);
    operator.file("outside/er/file", "outside");
    operator.file("outside/er/secret", "outside");
    let folder = operator.home.path().join("template");
    std::os::unix::fs::symlink("../outside", folder.join("other")).unwrap();
    let template = open(&operator);
    let path = |path: &str| TemplatePath::new(path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        scope.spawn(|| {
            let (one, other) = (folder.join("deep"), folder.join("other"));
            while !done.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, &one, here, &other, exchange).unwrap();
            }
        });
        let mut seen = [0, 0];
        for _ in 0..TIMES {
            match template.read(&path("deep/er/file")) {
                Ok(file) => {
                    assert_eq!(file.bytes, b"inside");
                    seen[0] += 1;
                }
                Err(error) => {
                    assert!(is_harmless(&error), "{error}");
                    seen[1] += 1;
                }
            }
            for listed in [
                template.entries(&path("deep/er")),
                template.names(&path("deep/er")),
            ] {
                match listed {
                    Ok(entries) => assert_eq!(entries.len(), 1, "{entries:?}"),
                    Err(error) => assert!(is_harmless(&error), "{error}"),
                }
            }
        }
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
    });
}

/// An error of a path that leads out, or that changed while it was resolved.
fn is_harmless(error: &FileError) -> bool {
    let changed = FileError::Unreadable(std::io::ErrorKind::WouldBlock.to_string());
    matches!(
        error,
        FileError::InvalidPath | FileError::NotFound | FileError::WrongKind
    ) || *error == changed
}

/// The size that a file has when it is opened says nothing about the bytes that are read.
#[test]
fn a_file_that_grows_and_shrinks_while_it_is_read_is_read_to_an_end() {
    const TIMES: usize = 500;
    const LARGE: usize = 100_000;
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x"), ("file", "")]);
    let file = operator.home.path().join("template/file");
    let template = open(&operator);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        scope.spawn(|| {
            let large = vec![b'a'; LARGE];
            while !done.load(Ordering::Relaxed) {
                std::fs::write(&file, &large).unwrap();
                std::fs::write(&file, b"a").unwrap();
            }
        });
        for _ in 0..TIMES {
            let read = template.read(&TemplatePath::new("file").unwrap());
            let bytes = read.unwrap().bytes;
            assert!(bytes.len() <= LARGE);
            assert!(bytes.iter().all(|byte| *byte == b'a'));
        }
    });
}

#[test]
fn a_large_folder_is_listed_to_its_end_and_a_too_large_one_is_refused() {
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x")]);
    let folder = operator.home.path().join("template/many");
    std::fs::create_dir(&folder).unwrap();
    let put = |number: usize| {
        std::fs::write(folder.join(format!("{number:05}{}", "x".repeat(200))), "12").unwrap();
    };
    (0..1_000).for_each(put);
    let template = open(&operator);
    let many = TemplatePath::new("many").unwrap();
    let entries = template.entries(&many).unwrap();
    assert_eq!(entries.len(), 1_000);
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    assert!(entries.iter().all(|entry| entry.size == 2));
    let named = template.names(&many).unwrap();
    assert!(named.iter().all(|entry| entry.kind == EntryKind::File));
    let names = |entries: &[Entry]| entries.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&named), names(&entries));

    (1_000..=orghost::limits::TEMPLATE_ENTRIES).for_each(put);
    assert_eq!(template.entries(&many), Err(FileError::TooLarge));
    assert_eq!(template.names(&many), Err(FileError::TooLarge));
}

#[test]
fn a_file_above_the_limit_is_refused() {
    let operator = Operator::new();
    operator.template(&[("org.yaml", "name: x")]);
    let file = std::fs::File::create(operator.home.path().join("template/large")).unwrap();
    file.set_len(orghost::limits::TEMPLATE_FILE_BYTES + 1)
        .unwrap();
    let large = TemplatePath::new("large").unwrap();
    assert!(matches!(
        open(&operator).read(&large),
        Err(FileError::TooLarge)
    ));
    file.set_len(orghost::limits::TEMPLATE_FILE_BYTES).unwrap();
    assert!(open(&operator).read(&large).is_ok());
}

/// A bundle in memory answers exactly like its folder, links and refusals included.
#[test]
fn a_bundle_reads_like_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("org.yaml", "name: A\n");
    put("deep/er/file", "x");
    put("deep/.env", "A=1\n");
    std::fs::create_dir(root.path().join("empty")).unwrap();
    let link = |target: &str, path: &str| {
        std::os::unix::fs::symlink(target, root.path().join(path)).unwrap();
    };
    link("deep/er", "folder");
    link("../org.yaml", "deep/up");
    link("../../etc/passwd", "deep/out");
    link("/etc/passwd", "absolute");
    link("nowhere", "dangling");
    link("loop", "loop");
    link("folder/file", "twice");
    let folder = TemplateDir::open(root.path()).unwrap();
    let bundle = folder.bundle().unwrap();
    let again = TemplateDir::of_bundle(bundle.clone().into())
        .bundle()
        .unwrap();
    assert_eq!(bundle.to_tar().unwrap(), again.to_tar().unwrap());
    let bundle = TemplateDir::of_bundle(bundle.into());
    let paths = [
        "",
        "org.yaml",
        "deep",
        "deep/er/file",
        "deep/.env",
        "empty",
        "empty/none",
        "folder",
        "folder/file",
        "deep/up",
        "deep/out",
        "absolute",
        "dangling",
        "loop",
        "twice",
        "none",
        "org.yaml/below",
        "deep/er/file/below",
        "dangling/x",
    ];
    for path in paths {
        let path = TemplatePath::new(path).unwrap();
        let read = |template: &TemplateDir| {
            template
                .read(&path)
                .map(|file| (file.bytes, file.executable))
        };
        assert_eq!(read(&folder), read(&bundle), "read {path:?}");
        let list = |template: &TemplateDir| {
            let kinds = template.entries(&path)?.into_iter();
            Ok::<_, FileError>(kinds.map(|e| (e.name, e.kind, e.size)).collect::<Vec<_>>())
        };
        assert_eq!(list(&folder), list(&bundle), "list {path:?}");
    }
}

#[test]
fn a_bundle_gives_the_same_plan() {
    let sandbox = Sandbox::new(None).unwrap();
    let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let mut templates = own_templates();
    templates.extend(shared_templates());
    let request = PluginInput {
        skip_external: true,
        ..PluginInput::default()
    };
    let mut plans = 0;
    for path in templates {
        let folder = TemplateDir::open(&path).unwrap();
        let bundle = TemplateDir::of_bundle(folder.bundle().unwrap().into());
        let plan = |template| {
            let plan = plugin
                .plan(template, &request)
                .map_err(|error| format!("{error:?}"));
            plan.map(|plan| serde_json::to_string(&plan.revealed()).unwrap())
        };
        let planned = plan(&folder);
        assert_eq!(planned, plan(&bundle), "{}", path.display());
        plans += usize::from(planned.is_ok());
    }
    // Equal errors alone would prove little.
    assert!(plans > 15, "only {plans} plans were compared");
}

/// Files that operating systems add to folders and archives.
const BY_PRODUCTS: [&str; 7] = [
    "._org.yaml",
    ".DS_Store",
    "__MACOSX/org.yaml",
    "role/._notes.md",
    "role/.ds_store",
    "role/Thumbs.db",
    "role/sub/Desktop.ini",
];

const WITH_ROLE: &str =
    "name: A\ndefaults: {runtime: x}\nworkspaces: [{name: W, files_dir: role}]\n";

#[test]
fn by_products_in_a_folder_are_left_out() {
    let operator = Operator::new();
    operator.template(&[("org.yaml", WITH_ROLE), ("role/notes.md", "mine")]);
    let clean = open(&operator).bundle().unwrap();
    operator.template(&BY_PRODUCTS.map(|path| (path, "x")));
    let folder = open(&operator);
    for path in BY_PRODUCTS {
        let read = folder.read(&TemplatePath::new(path).unwrap());
        assert_eq!(read.map(drop), Err(FileError::NotFound), "{path}");
    }
    let names = |path: &str| -> Vec<String> {
        let entries = folder.entries(&TemplatePath::new(path).unwrap()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(""), ["org.yaml", "role"]);
    assert_eq!(names("role"), ["notes.md", "sub"]);
    let mut dirty = folder.bundle().unwrap();
    assert_ne!(dirty, clean, "the folder that only a by-product is in");
    std::fs::remove_dir_all(operator.home.path().join("template/role/sub")).unwrap();
    dirty = folder.bundle().unwrap();
    assert_eq!(dirty, clean);
    let template = operator.home.path().join("template").display().to_string();
    let plan = operator
        .run(&["plan", &template, "--demo", "--json"])
        .exits(0)
        .json();
    let files = plan["workspaces"][0]["files"].as_array().unwrap();
    let paths: Vec<&str> = files.iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config.yaml", "notes.md"]);
}

#[test]
fn by_products_in_an_archive_are_left_out() {
    let packed = |files: &[(&str, &str)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let clean = Bundle::of_archive(&packed(&[
        ("org.yaml", WITH_ROLE),
        ("role/notes.md", "mine"),
    ]));
    let clean = clean.unwrap();
    // The tar of macOS adds files beside the top folder and in it.
    let mut dirty = vec![
        ("._M", "x"),
        ("M/org.yaml", WITH_ROLE),
        ("M/role/notes.md", "mine"),
        ("__MACOSX/M/._org.yaml", "x"),
    ];
    let inside = BY_PRODUCTS.map(|path| format!("M/{path}"));
    dirty.extend(inside.iter().map(|path| (path.as_str(), "x")));
    assert_eq!(Bundle::of_archive(&packed(&dirty)).unwrap(), clean);
    assert!(
        Bundle::of_archive(&packed(&[("._M", "x")])).is_err(),
        "the bundle has no other file"
    );
}

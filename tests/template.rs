//! A template's folder is closed: whatever a plugin asks for, nothing outside is read.

use orghost::template::{EntryKind, FileError, TemplateDir, TemplatePath};

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
fn what_is_no_file_is_not_read_and_a_pipe_does_not_block() {
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

#[test]
fn a_file_above_the_limit_is_refused_whole() {
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

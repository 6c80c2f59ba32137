//! Programs that break the order of provisioning must not compile. Each file in `tests/compile_fail/` is one such
//! program. Its first line is the expected compiler error; the line with `REJECTED` is where the error is.
//!
//! The test calls the compiler with the library that this test is linked with. A tool such as `trybuild` builds each
//! program as its own project and would compile wasmtime again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::root;

#[test]
fn programs_that_break_the_order_of_provisioning_do_not_compile() {
    let library = library();
    let folder = root().join("tests/compile_fail");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("//~ ").unwrap();
        let rejected = text.lines().position(|line| line.ends_with("// REJECTED"));
        let rejected = rejected.unwrap() + 1;
        let errors = compile(&library, &text);
        let first = errors.lines().next().unwrap_or_default();
        assert!(first.starts_with(expected), "{}: {errors}", file.display());
        let place = format!("<anon>:{rejected}:");
        assert!(errors.contains(&place), "{}: {errors}", file.display());

        // Without the rejected line, the program compiles, so nothing else in it is wrong.
        let without = text.replace(text.lines().nth(rejected - 1).unwrap(), "    todo!()");
        let errors = compile(&library, &without);
        assert!(!errors.contains("error"), "{}: {errors}", file.display());
    }
}

/// The compiler's messages for a program that uses the library.
fn compile(library: &Path, program: &str) -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = tempfile::tempdir().unwrap();
    let mut compiler = Command::new(rustc)
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "--cap-lints",
            "allow",
            "-",
        ])
        .arg("--out-dir")
        .arg(out.path())
        .arg("--extern")
        .arg(format!("orghost={}", library.display()))
        .arg("-L")
        .arg(format!(
            "dependency={}",
            library.parent().unwrap().display()
        ))
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = compiler.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, program.as_bytes()).unwrap();
    drop(input);
    let done = compiler.wait_with_output().unwrap();
    String::from_utf8(done.stderr).unwrap()
}

/// The newest build of the library beside this test binary.
fn library() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let builds = std::fs::read_dir(this.parent().unwrap()).unwrap();
    builds
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("liborghost-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
        .unwrap()
}

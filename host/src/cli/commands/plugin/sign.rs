//! `orghost plugin keygen` and `orghost plugin sign`: make key pairs and sign plugin files, in minisign's format.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use console::Term;
use serde_json::json;

use crate::cli::args::plugin::SignArgs;
use crate::cli::exit::Exit;
use crate::cli::render::text::{note, print_line};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::planning::planner::{read_plugin, signature_file};
use crate::plugin::catalog::signature::{SecretKey, SecretKeyError};
use crate::problem::{Class, Problem};

/// The environment variable with the password of a secret key.
const PASSWORD: &str = "ORGHOST_KEY_PASSWORD";

/// `orghost plugin keygen`.
///
/// # Errors
/// `key-file`: a file exists or cannot be written. `key-password`: the two passwords differ, or none can be read.
pub fn keygen(host: &Host, secret: &Path) -> Result<Exit, Problem> {
    let public = secret.with_extension("pub");
    if public == secret {
        return Err(about(
            secret,
            "the public key is written to `.pub`; give the secret key's file another name",
        ));
    }
    if let Some(there) = [secret, &public].into_iter().find(|file| file.exists()) {
        return Err(about(
            there,
            "the file exists, and keys are never overwritten",
        ));
    }
    let password = new_password(host)?;
    if password.is_none() {
        note(&format!(
            "the secret key has no password: anyone who can read {} can sign ({PASSWORD} sets a password)",
            secret.display()
        ));
    }
    let (text, key) = SecretKey::generate(password)?;
    write_new(secret, &text, 0o600)?;
    write_new(&public, &key.to_file(), 0o644)?;
    if host.json {
        print_json(&json!({
            "secret": secret, "public": public, "key": key, "id": key.id(),
        }))?;
    } else {
        print_line(&format!("secret   {}", secret.display()));
        print_line(&format!("public   {}", public.display()));
        print_line(&format!("key      {}", key.as_str()));
    }
    Ok(Exit::Done)
}

/// `orghost plugin sign`.
///
/// # Errors
/// The plugin or the key cannot be read, the password is missing or wrong, or the signature cannot be written.
pub fn sign(host: &Host, args: &SignArgs) -> Result<Exit, Problem> {
    let bytes = read_plugin(&args.file)?;
    let text = std::fs::read_to_string(&args.key)
        .map_err(|error| about(&args.key, &format!("it cannot be read: {error}")))?;
    let password = host.environment.text(PASSWORD).map(str::to_owned);
    let key = match SecretKey::open(&text, password) {
        Err(SecretKeyError::PasswordNeeded) if std::io::stdin().is_terminal() => {
            SecretKey::open(&text, Some(ask("password of the secret key: ")?))
        }
        opened => opened,
    };
    let key = key.map_err(|error| {
        let mut failure = Problem::from(error);
        for error in &mut failure.errors {
            error.file = Some(args.key.display().to_string());
        }
        failure
    })?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let signature = key.sign(&bytes, &name)?;
    let output = signature_file(&args.file);
    crate::atomic_file::write_atomically(&output, signature.as_bytes(), 0o666)
        .map_err(|error| about(&output, &format!("it cannot be written: {error}")))?;
    let public = key.public()?;
    if host.json {
        print_json(&json!({
            "file": args.file, "signature": output, "key": public, "id": public.id(),
        }))?;
    } else {
        print_line(&format!("signature  {}", output.display()));
        print_line(&format!("key        {}", public.as_str()));
    }
    Ok(Exit::Done)
}

fn new_password(host: &Host) -> Result<Option<String>, Problem> {
    if let Some(password) = host.environment.text(PASSWORD) {
        return Ok(Some(password.to_owned()));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let password = ask("password for the secret key (empty for none): ")?;
    if password.is_empty() {
        return Ok(None);
    }
    if ask("repeat the password: ")? != password {
        let diagnostic = Diagnostic::new("key-password", "the two passwords differ");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    Ok(Some(password))
}

fn ask(prompt: &str) -> Result<String, Problem> {
    let terminal = Term::stderr();
    let answer = terminal
        .write_str(prompt)
        .and_then(|()| terminal.read_secure_line());
    answer.map_err(|error| {
        let message = format!("no password can be read from the terminal: {error}");
        let diagnostic = Diagnostic::new("key-password", message);
        Problem::one(Class::Failed, diagnostic.help(format!("set {PASSWORD}")))
    })
}

fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), Problem> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| about(file, &format!("it cannot be written: {error}")))
}

fn about(file: &Path, what: &str) -> Problem {
    let message = format!("{}: {what}", file.display());
    let diagnostic = Diagnostic::new("key-file", message).file(file.display().to_string());
    Problem::one(Class::Invalid, diagnostic)
}

impl From<SecretKeyError> for Problem {
    fn from(error: SecretKeyError) -> Self {
        let (exit, code, help) = match &error {
            SecretKeyError::NotAKey => (
                Class::Invalid,
                "key-file",
                "`orghost plugin keygen FILE` makes a secret key",
            ),
            SecretKeyError::PasswordNeeded => (
                Class::Invalid,
                "key-password",
                "set ORGHOST_KEY_PASSWORD, or run the command on a terminal",
            ),
            SecretKeyError::Locked(_) => (
                Class::Invalid,
                "key-password",
                "give the password that was set when the key was made",
            ),
            SecretKeyError::Machine(_) => (Class::Failed, "key-machine", "try again"),
        };
        Self::one(exit, Diagnostic::new(code, error.to_string()).help(help))
    }
}

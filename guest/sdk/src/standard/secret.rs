//! Recognises files that may hold secrets by their names. It does not read them.

/// The kind of a file that may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Secret {
    /// A file of variables, such as `prod.env`.
    Variables,
    /// An example of a file of variables, such as `.env.example`.
    Example,
    /// A private key, or a file in which a program keeps passwords.
    Credentials,
}

/// The kind of a file or folder, by its name and the names of the folders above it.
pub(crate) fn by_name(path: &str) -> Option<Secret> {
    path.to_ascii_lowercase().split('/').find_map(part)
}

fn part(name: &str) -> Option<Secret> {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if name == ".envrc" || name.starts_with(".env.") || ends(&[".env"]) {
        let example = ends(&[".example", ".sample", ".template", ".dist"]);
        return Some(if example {
            Secret::Example
        } else {
            Secret::Variables
        });
    }
    let key = KEYS.iter().any(|prefix| name.starts_with(prefix)) && !ends(&[".pub"]);
    let known = key || ends(&SUFFIXES) || FILES.contains(&name) || FOLDERS.contains(&name);
    known.then_some(Secret::Credentials)
}

/// Beginnings of the names of ssh's private keys. A public key ends in `.pub`.
const KEYS: [&str; 4] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];

/// Endings of the names of private keys and of key stores.
const SUFFIXES: [&str; 8] = [
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
];

/// Files in which programs keep passwords and tokens.
const FILES: [&str; 12] = [
    ".boto",
    ".dockercfg",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".vault-token",
    "_netrc",
];

/// Folders in which programs keep passwords and tokens.
const FOLDERS: [&str; 6] = [".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_by_their_names() {
        for (path, secret) in [
            (".env", Some(Secret::Variables)),
            ("sub/.env.local", Some(Secret::Variables)),
            ("prod.env", Some(Secret::Variables)),
            (".envrc", Some(Secret::Variables)),
            (".env.example", Some(Secret::Example)),
            ("prod.env.sample", None),
            (".envoy.yaml", None),
            ("environment.md", None),
            ("id_rsa", Some(Secret::Credentials)),
            ("id_ed25519.bak", Some(Secret::Credentials)),
            ("id_rsa.pub", None),
            ("tls/server.KEY", Some(Secret::Credentials)),
            ("server.pem", Some(Secret::Credentials)),
            ("keyboard.md", None),
            (".netrc", Some(Secret::Credentials)),
            ("sub/.npmrc", Some(Secret::Credentials)),
            (".git-credentials", Some(Secret::Credentials)),
            (".aws", Some(Secret::Credentials)),
            ("x/.docker/config.json", Some(Secret::Credentials)),
            ("docker/config.json", None),
        ] {
            assert_eq!(by_name(path), secret, "{path}");
        }
    }
}

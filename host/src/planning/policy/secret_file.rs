//! Recognises files that may hold secrets, by their names. Reads no file.

/// Whether a path names a `.env` file, or is in the `.git` folder. Nothing of that name is seeded under `/configs`,
/// neither from the template nor from the plugin.
pub(super) fn is_private(path: &str) -> bool {
    path.split('/')
        .any(|part| part == ".git" || part == ".env" || part.starts_with(".env."))
}

/// Whether a path names a file with credentials: variables, private keys, or a program's passwords. Such a file is not
/// copied from the template into `/configs`; a plugin may write one from the variables that it was given.
pub(super) fn holds_credentials(path: &str) -> bool {
    path.split('/').any(|name| {
        let name = name.to_ascii_lowercase();
        let key = KEYS.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with(".pub");
        let known = NAMES.contains(&name.as_str());
        key || known || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    })
}

/// Private keys of ssh. The file with `.pub` is the public key.
const KEYS: [&str; 4] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];

const SUFFIXES: [&str; 9] = [
    ".env",
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
];

/// Files and folders in which programs keep credentials.
const NAMES: [&str; 19] = [
    ".aws",
    ".azure",
    ".boto",
    ".docker",
    ".dockercfg",
    ".envrc",
    ".git-credentials",
    ".gnupg",
    ".htpasswd",
    ".kube",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".ssh",
    ".keyring-token",
    "_netrc",
];

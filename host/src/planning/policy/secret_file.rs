//! Which files may hold secrets, by their names. It looks into none.

/// `.env` and its kin, and anything in a version control's own folder: nothing of that name stands under `/configs`,
/// whoever made it.
pub(super) fn is_private(path: &str) -> bool {
    path.split('/')
        .any(|part| part == ".git" || part == ".env" || part.starts_with(".env."))
}

/// What besides that no template has copied into `/configs`: files of variables, private keys, and what programs keep
/// their passwords in. A plugin may write such a file itself, from what it was given.
pub(super) fn holds_credentials(path: &str) -> bool {
    path.split('/').any(|name| {
        let name = name.to_ascii_lowercase();
        let key = KEYS.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with(".pub");
        let known = NAMES.contains(&name.as_str());
        key || known || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    })
}

/// Private keys of ssh; `.pub` is the public one.
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

/// Files and folders of programs.
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

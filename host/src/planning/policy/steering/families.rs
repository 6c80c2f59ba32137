//! The table of steering variables. The comment of each family names the manuals that its names come from.

use super::{Family, Letters};

/// All families.
pub const FAMILIES: &[Family] = &[
    LOADER,
    LIBC,
    SEARCH,
    SHELLS,
    PYTHON,
    NODE,
    NPM,
    PERL_AND_RUBY,
    JAVA,
    OTHER_INTERPRETERS,
    BUILDS,
    GIT,
    CALLED_PROGRAMS,
    TLS,
    PROXIES,
    FOLDERS,
    CONFIGURATIONS,
    SESSION,
];

/// ld.so(8), and what glibc clears for privileged programs (`sysdeps/generic/unsecvars.h`); dyld(1); IRIX's and Tru64's
/// `_RLD_*` are in sudo's list (`plugins/sudoers/env.c`).
const LOADER: Family = exact(
    "the dynamic loader",
    &[
        "LD_*",
        "DYLD_*",
        "_RLD*",
        "GLIBC_TUNABLES",
        "LIBPATH",
        "SHLIB_PATH",
    ],
);

/// The other variables that glibc clears for privileged programs; mallopt(3), jemalloc(3), gperftools; the options of sanitizers, which
/// name files to write.
const LIBC: Family = exact(
    "the C library",
    &[
        "GCONV_PATH",
        "GETCONF_DIR",
        "HOSTALIASES",
        "LOCALDOMAIN",
        "LOCPATH",
        "PATH_LOCALE",
        "MALLOC_*",
        "_RJEM_MALLOC_CONF",
        "TCMALLOC_*",
        "HEAPPROFILE",
        "CPUPROFILE",
        "NIS_PATH",
        "NLSPATH",
        "TEXTDOMAINDIR",
        "RES_OPTIONS",
        "RESOLV_*",
        "TZDIR",
        "ASAN_OPTIONS",
        "LSAN_OPTIONS",
        "MSAN_OPTIONS",
        "TSAN_OPTIONS",
        "UBSAN_OPTIONS",
    ],
);

/// environ(7): where programs are looked for, and which shell is called.
const SEARCH: Family = exact(
    "every program that searches for another program",
    &["PATH", "SHELL", "COMSPEC", "CDPATH", "EXECIGNORE"],
);

/// bash(1), "Shell Variables"; dash(1); zshparam(1); ksh(1); sudo's list. `BASH_FUNC_*` are bash's exported functions.
const SHELLS: Family = exact(
    "shells",
    &[
        "ENV",
        "BASH_*",
        "BASHOPTS",
        "SHELLOPTS",
        "IFS",
        "PS0",
        "PS1",
        "PS2",
        "PS3",
        "PS4",
        "PROMPT_COMMAND",
        "GLOBIGNORE",
        "FCEDIT",
        "FPATH",
        "HISTFILE",
        "INPUTRC",
        "MAILPATH",
        "NULLCMD",
        "READNULLCMD",
        "POSIXLY_CORRECT",
        "TMPPREFIX",
        "ZDOTDIR",
    ],
);

/// "Environment variables" of Python's manual, which all begin with `PYTHON`; pip's `PIP_<OPTION>`, uv's, Poetry's, conda's.
const PYTHON: Family = exact(
    "Python",
    &[
        "PYTHON*",
        "PIP_*",
        "PIPENV_*",
        "PIPX_*",
        "UV_*",
        "POETRY_*",
        "CONDA_*",
        "VIRTUAL_ENV",
        "VIRTUALENV_*",
    ],
);

/// "Environment variables" of node(1), Deno's and Bun's manuals; Electron's. `NODE_ENV` tells
/// frameworks whether this is `production`, and Node does not read it.
const NODE: Family = Family {
    harmless: &["NODE_ENV"],
    ..exact(
        "JavaScript runtimes",
        &[
            "NODE_*",
            "DENO_*",
            "BUN_*",
            "ELECTRON_*",
            "COREPACK_*",
            "YARN_*",
            "PNPM_*",
        ],
    )
};

/// npm's manual, config(7): `npm_config_foo`, in capitals or small letters.
const NPM: Family = Family {
    letters: Letters::AnyCase,
    ..exact("npm", &["NPM_CONFIG_*"])
};

/// perlrun(1); sudo's list; ruby(1), RubyGems' and Bundler's manuals.
const PERL_AND_RUBY: Family = exact(
    "Perl and Ruby",
    &[
        "PERL5*",
        "PERLLIB",
        "PERLIO*",
        "PERL_*",
        "RUBY*",
        "GEM_*",
        "BUNDLE_*",
        "BUNDLER_*",
    ],
);

/// "The JDK_JAVA_OPTIONS Environment Variable" of java(1); the JVM Tool Interface on `JAVA_TOOL_OPTIONS`; launch scripts.
const JAVA: Family = exact(
    "Java",
    &[
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "JAVA_OPTS",
        "JAVA_HOME",
        "JRE_HOME",
        "JDK_HOME",
        "CLASSPATH",
        "MAVEN_*",
        "GRADLE_*",
    ],
);

/// lua(1), php(1), the manuals of .NET (startup hooks, profilers), R, Julia, Erlang, Tcl, Guile, OCaml, GHC, Emacs, Vim.
const OTHER_INTERPRETERS: Family = exact(
    "interpreters",
    &[
        "LUA_*",
        "LUAROCKS_*",
        "PHPRC",
        "PHP_INI_SCAN_DIR",
        "COMPOSER_*",
        "DOTNET_*",
        "CORECLR_*",
        "COR_*",
        "COMPLUS_*",
        "COMPlus_*",
        "NUGET_*",
        "R_HOME",
        "R_LIBS*",
        "R_PROFILE*",
        "R_ENVIRON*",
        "JULIA_*",
        "ERL_*",
        "TCLLIBPATH",
        "TCL_LIBRARY",
        "GUILE_*",
        "OCAMLRUNPARAM",
        "CAMLRUNPARAM",
        "CAML_LD_LIBRARY_PATH",
        "GHCRTS",
        "EMACSLOADPATH",
        "VIM",
        "VIMINIT",
        "VIMRUNTIME",
        "EXINIT",
    ],
);

/// make(1); the manuals of Cargo, rustup and Go; the variables that name the compilers of build scripts.
const BUILDS: Family = exact(
    "build tools",
    &[
        "MAKEFLAGS",
        "MAKEFILES",
        "CC",
        "CXX",
        "CPP",
        "AR",
        "LD",
        "CARGO_*",
        "RUSTC",
        "RUSTC_*",
        "RUSTDOC*",
        "RUSTFLAGS",
        "RUSTUP_*",
        "GOBIN",
        "GOCACHE",
        "GODEBUG",
        "GOENV",
        "GOFLAGS",
        "GOINSECURE",
        "GONOSUMDB",
        "GOPATH",
        "GOPROXY",
        "GOROOT",
        "GOSUMDB",
        "GOTOOLCHAIN",
    ],
);

/// git(1), "Environment Variables"; ssh(1). The names of authors and committers are only text.
const GIT: Family = Family {
    harmless: &["GIT_AUTHOR_*", "GIT_COMMITTER_*"],
    ..exact(
        "git and ssh",
        &["GIT_*", "SSH_*", "SVN_*", "CVS_RSH", "RSYNC_RSH"],
    )
};

/// environ(7), less(1), man(1), sudo(8): programs that other programs call.
const CALLED_PROGRAMS: Family = exact(
    "programs that call other programs",
    &[
        "PAGER",
        "EDITOR",
        "VISUAL",
        "BROWSER",
        "LESS",
        "LESS_*",
        "LESSOPEN",
        "LESSCLOSE",
        "LESSEDIT",
        "LESSKEY*",
        "LESSSECURE*",
        "MANOPT",
        "MANPAGER",
        "MANPATH",
        "SUDO_*",
        "SYSTEMD_*",
        "PUPPETEER_EXECUTABLE_PATH",
        "CHROME_PATH",
        "CHROME_BIN",
    ],
);

/// openssl-env(7), curl(1), the manuals of Python's requests and of the AWS tools, NSS's key log, GnuTLS, GIO.
const TLS: Family = exact(
    "TLS libraries",
    &[
        "SSL_CERT_*",
        "SSLKEYLOGFILE",
        "OPENSSL_*",
        "REQUESTS_CA_BUNDLE",
        "CURL_*",
        "AWS_CA_BUNDLE",
        "GNUTLS_*",
        "NIX_SSL_CERT_FILE",
        "HTTPLIB2_CA_CERTS",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    ],
);

/// curl(1), wget(1); Python's `urllib` accepts capitals and small letters.
const PROXIES: Family = Family {
    letters: Letters::AnyCase,
    ..exact(
        "HTTP clients",
        &[
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "FTP_PROXY",
            "RSYNC_PROXY",
            "SOCKS_PROXY",
            "WS_PROXY",
            "WSS_PROXY",
        ],
    )
};

/// environ(7), the XDG base directory specification, terminfo(5).
const FOLDERS: Family = exact(
    "programs that look for a home, settings or temporary files",
    &[
        "HOME",
        "XDG_*",
        "TMPDIR",
        "TMP",
        "TEMP",
        "TEMPDIR",
        "TERMINFO*",
        "TERMCAP",
        "TERMPATH",
    ],
);

/// The manual of each tool: it takes its settings, and with them programs to call, from this file or peer.
const CONFIGURATIONS: Family = exact(
    "the tool that it configures",
    &[
        "DOCKER_CERT_PATH",
        "DOCKER_CONFIG",
        "DOCKER_CONTEXT",
        "DOCKER_HOST",
        "DOCKER_TLS_VERIFY",
        "KUBECONFIG",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "CLOUDSDK_*",
        "AZURE_CONFIG_DIR",
        "GNUPGHOME",
        "GPG_*",
        "HGRCPATH",
        "HG",
        "KRB5*",
        "LDAPCONF",
        "LDAPRC",
        "NETRC",
        "ODBCINI",
        "ODBCSYSINI",
        "PGSERVICEFILE",
        "PGSYSCONFDIR",
        "PGPASSFILE",
        "SASL_PATH",
        "TNS_ADMIN",
        "WGETRC",
    ],
);

/// systemd.exec(5), sd_listen_fds(3), dbus-service(1), X(7); modules that graphics libraries load.
const SESSION: Family = exact(
    "programs of the desktop session",
    &[
        "DBUS_*",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "NOTIFY_SOCKET",
        "LISTEN_*",
        "GTK_*",
        "GIO_*",
        "GST_*",
        "GDK_PIXBUF_MODULE_FILE",
        "QT_*",
        "LIBGL_DRIVERS_PATH",
        "OCL_ICD_*",
        "VK_*",
    ],
);

const fn exact(reader: &'static str, names: &'static [&'static str]) -> Family {
    Family {
        reader,
        names,
        harmless: &[],
        letters: Letters::Exact,
    }
}

//! What goes wrong, in words: the one place where errors of the rooms become messages.
//!
//! A message is printed once, on stderr: `nabe: error: …`, `caused by: …` for each cause, then hints.
//! Exit status: 1 failed, 2 the command line or an expression is wrong.

use std::error::Error as StdError;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// An error on its way to the user.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    /// The reader of our output has gone: nothing to say.
    Quiet,
}

/// What a verb returns.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// Something could not be done.
    pub fn failed(message: impl Display) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The user asked for something that makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    fn new(kind: Kind, message: impl Display) -> Self {
        Self { kind, message: message.to_string(), causes: Vec::new(), hints: Vec::new() }
    }

    /// With the chain of causes of `error`.
    pub fn because(mut self, error: &dyn StdError) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    /// With advice.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// A file that could not be read or written.
    pub fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::failed(format_args!("cannot {what} {}", path.display())).because(error)
    }

    /// What failed and why, for the middle of a sentence.
    pub fn in_a_line(&self) -> String {
        let parts = std::iter::once(self.message.as_str()).chain(self.causes.iter().map(String::as_str));
        parts.collect::<Vec<_>>().join(": ")
    }

    /// Writing our own output failed.
    pub fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Kind::Quiet, "");
        }
        Self::failed("cannot write the output").because(error)
    }

    /// Prints it and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if self.kind == Kind::Quiet {
            return ExitCode::SUCCESS;
        }
        let mut text = format!("nabe: error: {}\n", self.message);
        for cause in &self.causes {
            text.push_str(&format!("caused by: {cause}\n"));
        }
        if !self.hints.is_empty() {
            text.push('\n');
        }
        for hint in &self.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        eprint!("{text}");
        ExitCode::from(if self.kind == Kind::Usage { 2 } else { 1 })
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<nabe_filter::Diagnostic> for CliError {
    fn from(diagnostic: nabe_filter::Diagnostic) -> Self {
        Self::usage(diagnostic)
    }
}

impl From<nabe_probe::Error> for CliError {
    fn from(error: nabe_probe::Error) -> Self {
        let cause = error.source();
        let failed = Self::failed(&error);
        match cause {
            Some(cause) => failed.because(cause),
            None => failed,
        }
    }
}

impl From<nabe_state::Error> for CliError {
    fn from(error: nabe_state::Error) -> Self {
        let failed = Self::failed(&error);
        match error.source() {
            Some(cause) => failed.because(cause),
            None => failed,
        }
    }
}

impl From<nabe_container::ConfigError> for CliError {
    fn from(error: nabe_container::ConfigError) -> Self {
        Self::usage(error)
            .hint("engine settings come from flags, NABE_ENGINE_* variables and the config file")
    }
}

impl From<nabe_ui::Error> for CliError {
    fn from(error: nabe_ui::Error) -> Self {
        let wrong = Self::usage(&error);
        match error.nearest() {
            Some(near) => wrong.hint(format_args!("did you mean {near}?")),
            None => wrong.hint("`nabe fields` lists fields and presets"),
        }
    }
}

impl From<nabe_image::Error> for CliError {
    fn from(error: nabe_image::Error) -> Self {
        use nabe_image::Error as E;
        let wrong = match &error {
            E::Reference { .. } | E::Digest { .. } | E::Setting { .. } => Self::usage(&error),
            _ => Self::failed(&error),
        };
        let wrong = match error.source() {
            Some(cause) => wrong.because(cause),
            None => wrong,
        };
        match &error {
            E::Status { status: 401 | 403, host, .. } => wrong.hint(format_args!(
                "log in with `podman login {host}` or `docker login {host}`, or name --auth-file"
            )),
            E::Transport { host, source, .. } if source.to_string().contains("corrupt message") => {
                wrong.hint(format_args!("{host} does not speak TLS; --plain-http asks it without"))
            }
            E::Transport { host, source, .. } if source.to_string().contains("ertificate") => {
                match certificate_hint(host, &source.to_string()) {
                    Some(hint) => wrong.hint(hint),
                    None => wrong,
                }
            }
            E::Unknown { .. } => wrong.hint("`nabe images` lists what is there, `nabe pull` fetches"),
            E::InUse { .. } => wrong.hint("remove the container, or use --force"),
            E::Platform { .. } => wrong.hint("--platform os/architecture[/variant] chooses another"),
            _ => wrong,
        }
    }
}

/// What mends a certificate that rustls does not believe, by its words.
fn certificate_hint(host: &str, words: &str) -> Option<String> {
    let put = format!("name its CA with --ca FILE, or put it into /etc/containers/certs.d/{host}/ca.crt");
    let has = |word: &str| words.contains(word);
    Some(match () {
        () if has("UnknownIssuer") || has("BadSignature") => {
            format!("nobody whom this machine believes signed the certificate of {host}: {put}")
        }
        () if has("CaUsedAsEndEntity") => format!(
            "the certificate of {host} is a CA's, and such a server must be believed itself: name that very certificate with --ca FILE, or put it into /etc/containers/certs.d/{host}/ca.crt"
        ),
        () if has("NotValidForName") || has("not valid for name") => {
            format!(
                "the certificate is not for the name {host}: ask the registry by a name of the certificate"
            )
        }
        () if has("Expired") || has("expired") => {
            "renew the registry's certificate; is this machine's clock right?".into()
        }
        () if has("alert: CertificateRequired") || has("alert: BadCertificate") => format!(
            "{host} wants to see a certificate of ours: put client.cert and client.key into /etc/containers/certs.d/{host}/"
        ),
        () => return None,
    })
}

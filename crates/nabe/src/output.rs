//! The terminal: its width, colours, the pager, and the one write that a run makes.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use crate::error::{CliError, Result};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What stdout is.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns; `None` when nothing limits the width.
    pub width: Option<usize>,
    /// Rows; `None` when it is no terminal.
    pub height: Option<usize>,
    /// Whether to use colour.
    pub color: bool,
}

impl Terminal {
    /// Looks at stdout and the environment.
    pub fn detect(color: Color) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let size = is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let asked = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: match size {
                Some(size) if size.ws_col > 0 => Some(size.ws_col.into()),
                _ if is_terminal => columns.or(Some(80)),
                _ => None,
            },
            height: size.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0),
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => is_terminal && !asked && !dumb,
            },
        }
    }
}

/// Writes `text` to stdout in one go, through a pager when it is longer than the terminal.
pub fn page(text: &[u8], terminal: &Terminal, pager: bool) -> Result<()> {
    let long = terminal.height.is_some_and(|rows| text.iter().filter(|b| **b == b'\n').count() >= rows);
    if pager && long && through_pager(text) {
        return Ok(());
    }
    write(text)
}

/// Writes `text` to stdout.
pub fn write(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(|error| CliError::output(&error))
}

/// Whether a pager took the text.
fn through_pager(text: &[u8]) -> bool {
    let chosen = ["NABE_PAGER", "PAGER"].iter().find_map(|name| std::env::var(name).ok());
    let command = chosen.unwrap_or_else(|| "less".to_owned());
    if command.trim().is_empty() || command == "cat" {
        return false;
    }
    let child = Command::new("/bin/sh")
        .args(["-c", &command])
        // Quit when it fits, keep colours, chop long lines, leave the screen as it was.
        .env("LESS", std::env::var_os("LESS").unwrap_or_else(|| "FRSX".into()))
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return false };
    // A pager that is left, or was never there, must not take us with it.
    nabe_probe::own::ignore_sigpipe();
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(text));
    let status = child.wait();
    nabe_probe::own::default_sigpipe();
    // A pager that cannot be started is 127 of the shell, and has shown nothing.
    written.is_some() && status.is_ok_and(|status| status.code() != Some(127))
}

/// Whether the locale draws more than ASCII; a locale that is not set is taken for UTF-8, as most
/// containers have none.
pub fn utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    set.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Hostile text made harmless for people's eyes.
pub fn plain(text: &[u8]) -> String {
    let mut out = Vec::new();
    nabe_ui::view::escape::write(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// Tells on stderr what could not be seen, each thing once.
pub fn notes(notes: &[String]) {
    for (index, note) in notes.iter().enumerate() {
        if !notes[..index].contains(note) {
            eprintln!("nabe: note: {note}");
        }
    }
}

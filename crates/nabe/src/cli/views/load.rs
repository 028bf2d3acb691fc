//! Where views come from: a file that the user names, the user's folders, the built-in ones, chisels in
//! Lua.

use std::path::{Path, PathBuf};

use nabe_chisel::{BuiltIn, Setup, Spec, SpecError, View};

use crate::error::{CliError, Result};
use crate::output;

/// A view that was found.
pub(super) enum Found {
    /// Declared in a file: what it declares, and its text.
    Spec(Box<Spec>, String),
    /// Built in.
    BuiltIn(BuiltIn),
    /// A chisel in Lua.
    Lua(PathBuf),
}

/// A view of the user's folders.
pub(super) struct Own {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// What is printed of a declared view.
pub(super) struct Described {
    pub(super) view: BuiltIn,
    pub(super) about: String,
    pub(super) filter: String,
}

/// A declared view in the words of the built-in ones.
pub(super) fn describe(spec: &Spec) -> Described {
    Described {
        view: BuiltIn {
            name: spec.name.clone(),
            summary: spec.summary.clone(),
            category: spec.category.clone(),
            arguments: spec.arguments.clone(),
            declaration: None,
        },
        about: spec.about.clone(),
        filter: spec.filter.clone(),
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// Folders of view files, the user's first.
fn folders() -> Vec<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = config.or_else(|| Some(home()?.join(".config"))).map(|config| config.join("nabe/views"));
    own.into_iter().chain([PathBuf::from("/etc/nabe/views")]).collect()
}

/// Folders of chisels in Lua, as sysdig searches them.
pub(super) fn chisel_folders() -> Vec<PathBuf> {
    let more = std::env::var_os("SYSDIG_CHISEL_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    [PathBuf::from("chisels")]
        .into_iter()
        .chain(home().map(|home| home.join(".chisels")))
        .chain(more)
        .collect()
}

/// Views in the user's folders, by name.
pub(super) fn own() -> Vec<Own> {
    let mut all = Vec::new();
    let folders = folders().into_iter().map(|folder| (folder, "toml"));
    for (folder, end) in folders.chain(chisel_folders().into_iter().map(|folder| (folder, "lua"))) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).take(1 << 12) {
            if path.extension().is_some_and(|found| found == end) {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                all.push(Own { name: output::plain(name.as_bytes()), path });
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Finds a view by name or by file.
pub(super) fn find(name: &str) -> Result<Found> {
    let path = Path::new(name);
    if name.contains('/') || path.extension().is_some_and(|end| end == "toml" || end == "lua") {
        return file(path);
    }
    for folder in folders() {
        let path = folder.join(format!("{name}.toml"));
        if path.exists() {
            return file(&path);
        }
    }
    if let Some(view) = nabe_chisel::find(name) {
        return Ok(Found::BuiltIn(view));
    }
    let chisel = chisel_folders()
        .into_iter()
        .map(|folder| folder.join(format!("{name}.lua")))
        .find(|path| path.exists());
    match chisel {
        Some(path) => Ok(Found::Lua(path)),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> CliError {
    let wrong = CliError::usage(format_args!("there is no view {}", output::plain(name.as_bytes())));
    let mut names: Vec<String> = nabe_chisel::all().into_iter().map(|view| view.name).collect();
    names.extend(own().into_iter().map(|own| own.name));
    match nabe_event::field::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => wrong.hint(format_args!("did you mean {near}?")),
        None => wrong.hint("`nabe views` lists the views"),
    }
}

fn file(path: &Path) -> Result<Found> {
    if path.extension().is_some_and(|end| end == "lua") {
        return Ok(Found::Lua(path.to_owned()));
    }
    let text = read(path)?;
    let spec = Spec::parse(&text, &output::plain(path.display().to_string().as_bytes()))?;
    Ok(Found::Spec(Box::new(spec), text))
}

/// The longest file of a view or a chisel.
const MAX_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Result<String> {
    let about = |error: std::io::Error| CliError::file("read the view", path, &error);
    let length = std::fs::metadata(path).map_err(about)?.len();
    if length > MAX_BYTES {
        return Err(CliError::failed(format_args!("{} is longer than {MAX_BYTES} bytes", path.display())));
    }
    std::fs::read_to_string(path).map_err(about)
}

/// Makes the view that a run asks for.
pub(super) fn make(name: &str, setup: &Setup, stop: &crate::stream::stop::Stop) -> Result<Box<dyn View>> {
    match find(name)? {
        Found::Spec(spec, _) => Ok(Box::new(nabe_chisel::Declared::new(*spec, setup)?)),
        Found::BuiltIn(view) => match nabe_chisel::make(&view.name, setup) {
            Some(view) => Ok(view?),
            None => Err(unknown(name)),
        },
        Found::Lua(path) => lua(&path, setup, stop),
    }
}

#[cfg(feature = "lua")]
fn lua(path: &Path, setup: &Setup, stop: &crate::stream::stop::Stop) -> Result<Box<dyn View>> {
    let mut folders = chisel_folders();
    folders.extend(path.parent().map(Path::to_path_buf));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stop = stop.clone();
    let sources = Box::new(move |module: &str| {
        folders.iter().map(|folder| folder.join(format!("{module}.lua"))).find_map(|path| read(&path).ok())
    });
    let limits =
        nabe_chisel::lua::Limits { interrupted: Box::new(move || stop.is_asked()), ..Default::default() };
    Ok(Box::new(nabe_chisel::lua::Chisel::new(&name, &read(path)?, setup, sources, limits)?))
}

#[cfg(not(feature = "lua"))]
fn lua(path: &Path, _: &Setup, _: &crate::stream::stop::Stop) -> Result<Box<dyn View>> {
    Err(CliError::failed(format_args!("cannot run {}: this nabe was built without Lua", path.display()))
        .hint("build with `--features lua`"))
}

impl From<SpecError> for CliError {
    fn from(error: SpecError) -> Self {
        let wrong = Self::usage(&error);
        match error.hint {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }
}

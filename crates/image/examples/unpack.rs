//! The crate's way from a registry to a bundle, and the command that `benches/pull.sh` can measure before
//! the whole binary is built: `unpack [unpack|pull] … --root DIR --plain-http REF [DIR]`, as `nabe` has it.

use std::path::{Path, PathBuf};

use nabe_image::{Options, Settings, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings::default();
    let mut root = PathBuf::from("store");
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--root" => root = arguments.next().unwrap_or_default().into(),
            "--plain-http" => settings.set("plain_http", "*")?,
            "-q" | "--no-unpack" => {}
            _ => words.push(argument),
        }
    }
    let store = Store::open(&root)?;
    let reference = words.get(1).ok_or("a reference is missing")?.parse()?;
    let options = Options { platform: None, no_unpack: true };
    let pulled = nabe_image::pull(&store, &reference, &settings, &options, &())?;
    if let Some(target) = words.get(2) {
        nabe_image::bundle(&pulled.image, Path::new(target), &settings, &None)?;
    }
    println!("{}", pulled.image.id.config);
    Ok(())
}

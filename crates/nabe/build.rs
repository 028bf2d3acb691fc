//! Links from archives what every start would otherwise load as libraries of their own: a start of the program
//! takes a seventh less. A machine without the archives links the libraries.

use std::path::Path;
use std::process::Command;

/// Of libelf-dev, zlib1g-dev and the compiler itself.
const ARCHIVES: [&str; 3] = ["elf", "z", "gcc_eh"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CC");
    let is = |name: &str, value: Option<String>| std::env::var(name).ok() == value;
    // Only there does Rust bring its own linker, which takes archives in any order.
    if !is("CARGO_CFG_TARGET_ARCH", Some("x86_64".into())) || !is("HOST", std::env::var("TARGET").ok()) {
        return;
    }
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    for name in ARCHIVES {
        let asked = Command::new(&compiler).arg(format!("-print-file-name=lib{name}.a")).output();
        let Ok(answer) = asked else { continue };
        // What the compiler does not find it repeats without a directory.
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let Some(directory) = Path::new(&text).parent().filter(|directory| directory.is_absolute()) else {
            continue;
        };
        println!("cargo::rustc-link-search=native={}", directory.display());
        println!("cargo::rustc-link-lib=static:-bundle={name}");
    }
}

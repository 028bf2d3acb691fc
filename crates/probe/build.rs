//! Compiles the BPF objects, or takes the committed ones.
//!
//! With clang (14 or newer) `bpf/{nabe,events}.bpf.c` are compiled into `OUT_DIR`. Without clang, or
//! with `NABE_PREBUILT_BPF=1`, the committed `bpf/obj/*.bpf.o` are used. The committed objects are
//! refreshed from a build with the pinned clang by `NABE_REFRESH_BPF=1 cargo build -p nabe-probe`;
//! the output does not depend on the directory, so the two can be compared byte by byte.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Newest first: 19 is the one that the committed object is made with.
const CLANGS: &[&str] = &[
    "clang-19", "clang-20", "clang-21", "clang", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14",
];

const STRIP: &[&str] = &["-g", "-R", ".rel.BTF", "-R", ".rel.BTF.ext", "-R", ".llvm_addrsig"];

fn main() -> Result<(), Box<dyn Error>> {
    for variable in ["NABE_PREBUILT_BPF", "NABE_REFRESH_BPF", "NABE_CLANG"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=bpf");
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("bpf");
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let clang = if set("NABE_PREBUILT_BPF") { None } else { clang() };
    for (name, variable) in [("nabe", "BPF"), ("events", "EVENTS")] {
        let object = PathBuf::from(env::var("OUT_DIR")?).join(format!("{name}.bpf.o"));
        let committed = source.join(format!("obj/{name}.bpf.o"));
        match &clang {
            Some(clang) => {
                compile(clang, &source, name, &object)?;
                if set("NABE_REFRESH_BPF") {
                    fs::create_dir_all(source.join("obj"))?;
                    fs::copy(&object, &committed)?;
                }
            }
            None => {
                fs::copy(&committed, &object)?;
            }
        }
        // FNV-1a: names the object in the cache of relocated programs.
        let hash = fs::read(&object)?.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        println!("cargo:rustc-env=NABE_{variable}_OBJECT={}", object.display());
        println!("cargo:rustc-env=NABE_{variable}_HASH={hash}");
    }
    Ok(())
}

/// The clang to use: one that starts.
fn clang() -> Option<String> {
    let asked = env::var("NABE_CLANG").ok();
    let runs =
        |name: &str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    asked.into_iter().chain(CLANGS.iter().map(|name| (*name).to_owned())).find(|name| runs(name))
}

fn compile(clang: &str, source: &Path, name: &str, object: &Path) -> Result<(), Box<dyn Error>> {
    let include = env::var("DEP_BPF_INCLUDE")?;
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "aarch64" => "arm64",
        "x86_64" => "x86",
        other => other,
    }
    .to_owned();
    let output = Command::new(clang)
        .args(["-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-fno-unroll-loops"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg(format!("-I{include}"))
        .arg(format!("-ffile-prefix-map={}=.", source.display()))
        .arg(format!("-ffile-prefix-map={include}=."))
        .arg("-c")
        .arg(source.join(format!("{name}.bpf.c")))
        .arg("-o")
        .arg(object)
        .current_dir(source)
        .output()?;
    if !output.status.success() {
        return Err(format!("{clang} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Debug sections go, .BTF and .BTF.ext stay; libbpf does not look at their relocations. Without
    // a strip the object is only larger.
    let suffix = clang.strip_prefix("clang").unwrap_or_default();
    for strip in [format!("llvm-strip{suffix}"), "llvm-strip".to_owned()] {
        if Command::new(strip).args(STRIP).arg(object).status().is_ok_and(|status| status.success()) {
            break;
        }
    }
    Ok(())
}

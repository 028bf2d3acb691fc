//! The functions that chisels call.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value, Variadic};
use nabe_filter::{Lang, Program};

use super::value::{json, to_lua};
use super::{MAX_FIELDS, Shared};
use crate::aggregate::Operation;
use crate::declared::Declared;
use crate::field::Reader;
use crate::spec::{ColumnSpec, Spec};
use crate::table::pad;
use crate::template::Template;
use crate::unit::{self, Unit};
use crate::view::{Machine, Setup, View, ViewError, whole};

/// What `common`, `ansiterminal` and `dkjson` are made of.
const PRELUDE: &str = include_str!("prelude.lua");
/// Text that a chisel may print between two events.
const MAX_TEXT: usize = 64 << 20;

type Ref = Rc<RefCell<Shared>>;

fn wrong(text: impl core::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(text)
}

/// Makes a function of a table that touches the shared state.
macro_rules! functions {
    ($lua:expr, $shared:expr, $table:expr; $($name:literal => |$inner:ident, $args:pat, $type:ty| $body:expr;)*) => {
        $({
            let shared: Ref = Rc::clone($shared);
            let function = $lua.create_function(move |_lua, $args: $type| {
                #[allow(unused_mut, unused_variables, reason = "not every function needs it")]
                let mut $inner = shared.borrow_mut();
                $body
            })?;
            $table.set($name, function)?;
        })*
    };
}

/// Installs everything before the chisel is loaded.
pub(super) fn install(lua: &Lua, shared: &Ref) -> mlua::Result<()> {
    let globals = lua.globals();
    chisel_table(lua, shared)?;
    event_table(lua, shared)?;
    sysdig_table(lua, shared)?;
    printing(lua, shared)?;
    safe_os(lua)?;
    let modules = prelude(lua, shared)?;
    require(lua, shared, modules)?;
    // Nothing reads files; text is code, bytes are not.
    for name in ["dofile", "loadfile"] {
        globals.set(name, Value::Nil)?;
    }
    globals.get::<Table>("string")?.set("dump", Value::Nil)?;
    let load = lua.create_function(|lua, (text, name): (LuaString, Option<String>)| {
        let text = text.as_bytes().to_vec();
        let chunk = lua.load(text).set_name(name.unwrap_or_else(|| "=load".to_owned()));
        match chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function() {
            Ok(function) => Ok((Value::Function(function), Value::Nil)),
            Err(error) => Ok((Value::Nil, Value::String(lua.create_string(error.to_string())?))),
        }
    })?;
    globals.set("load", &load)?;
    globals.set("loadstring", load)
}

fn chisel_table(lua: &Lua, shared: &Ref) -> mlua::Result<()> {
    let chisel = lua.create_table()?;
    functions! { lua, shared, chisel;
        "request_field" => |inner, name, String| {
            if inner.readers.len() >= MAX_FIELDS {
                return Err(wrong("too many fields"));
            }
            // A field that no version has any more is one without values, so that old chisels run.
            let reader = match Reader::parse(&name) {
                Ok(reader) => reader,
                Err(_) if is_former(&name) => Reader::parse("evt.asynctype").map_err(wrong)?,
                Err(error) => {
                    let near = error.nearest().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    return Err(wrong(format!("{error}{near}")));
                }
            };
            inner.readers.push(reader);
            Ok(inner.readers.len())
        };
        "set_filter" => |inner, text, String| {
            Program::compile_of_events(&text, Lang::Auto).map_err(|error| wrong(format!("filter `{text}`: {error}")))?;
            inner.filter = text;
            Ok(())
        };
        "set_event_formatter" => |inner, format, String| {
            let (lenient, body) = match format.strip_prefix('*') {
                Some(body) => (true, body),
                None => (false, format.as_str()),
            };
            inner.formatter = Some((lenient, Template::of_format(body).map_err(wrong)?));
            Ok(())
        };
        "set_interval_s" => |inner, seconds, f64| { inner.interval_ns = Some(nanoseconds(seconds * 1e9)); Ok(()) };
        "set_interval_ns" => |inner, ns, f64| { inner.interval_ns = Some(nanoseconds(ns)); Ok(()) };
        "set_precise_interval_ns" => |inner, ns, f64| { inner.interval_ns = Some(nanoseconds(ns)); Ok(()) };
        "exec" => |inner, args, Variadic<String>| {
            let mut args = args.into_iter();
            inner.successor = args.next().map(|name| (name, args.collect()));
            Ok(())
        };
    }
    lua.globals().set("chisel", chisel)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn nanoseconds(ns: f64) -> u64 {
    (ns as u64).max(1_000_000)
}

/// Fields of classes that libsinsp has dropped.
fn is_former(name: &str) -> bool {
    ["span.", "evtin.", "tracer.", "mesos.", "marathon.", "k8s."].iter().any(|class| name.starts_with(class))
}

fn event_table(lua: &Lua, shared: &Ref) -> mlua::Result<()> {
    let event = lua.create_table()?;
    let field = {
        let shared = Rc::clone(shared);
        lua.create_function(move |lua, id: Value| {
            let at = match id {
                Value::Integer(at) => usize::try_from(at).ok(),
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                Value::Number(at) => Some(at as usize),
                _ => None,
            };
            let shared = shared.borrow();
            let cell = at.and_then(|at| shared.values.get(at.checked_sub(1)?));
            cell.map_or(Ok(Value::Nil), |cell| to_lua(lua, cell))
        })?
    };
    event.set("field", field)?;
    for (nth, name) in ["get_num", "get_type", "get_cpuid"].into_iter().enumerate() {
        let shared = Rc::clone(shared);
        let get = lua.create_function(move |lua, _: MultiValue| {
            shared.borrow().head.get(nth).map_or(Ok(Value::Nil), |cell| to_lua(lua, cell))
        })?;
        event.set(name, get)?;
    }
    functions! { lua, shared, event;
        "get_ts" => |inner, _, MultiValue| Ok(super::parts(inner.ts_ns));
    }
    lua.globals().set("evt", event)
}

fn sysdig_table(lua: &Lua, shared: &Ref) -> mlua::Result<()> {
    let sysdig = lua.create_table()?;
    functions! { lua, shared, sysdig;
        "set_filter" => |inner, text, String| {
            Program::compile_of_events(&text, Lang::Auto).map_err(|error| wrong(format!("filter `{text}`: {error}")))?;
            inner.filter = text;
            Ok(())
        };
        "set_snaplen" => |inner, bytes, f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            { inner.snaplen = (bytes as u32).min(65_000); }
            Ok(())
        };
        "is_live" => |inner, _, MultiValue| Ok(inner.setup.live);
        "is_tty" => |inner, _, MultiValue| Ok(inner.setup.terminal.is_some());
        "is_print_container_data" => |inner, _, MultiValue| Ok(inner.setup.containers);
        "get_output_format" => |inner, _, MultiValue| Ok(if inner.setup.json { "json" } else { "normal" });
        "set_output_format" => |inner, _, MultiValue| Ok(());
        "get_filter" => |inner, _, MultiValue| Ok(inner.setup.filter.clone());
        "get_evtsource_name" => |inner, _, MultiValue| Ok(inner.setup.source.clone());
        "get_read_progress" => |inner, _, MultiValue| Ok(0);
        "get_firstevent_ts" => |inner, _, MultiValue| Ok(super::parts(inner.first_ns));
        "get_lastevent_ts" => |inner, _, MultiValue| Ok(super::parts(inner.ts_ns));
        "make_ts" => |inner, (seconds, ns), (f64, f64)| Ok(format!("{seconds:.0}{ns:09.0}"));
        "end_capture" => |inner, _, MultiValue| { inner.ended = true; Ok(()) };
        "set_fatfile_dump_mode" => |inner, _, MultiValue| Ok(());
        "log" => |inner, _, MultiValue| Ok(());
        "udp_setpeername" => |inner, (host, port), (String, String)| { inner.statsd = format!("{host}:{port}"); Ok(()) };
        "udp_send" => |inner, data, LuaString| {
            if inner.datagrams.len() < 4096 {
                let to = inner.statsd.clone();
                inner.datagrams.push((to, data.as_bytes().to_vec()));
            }
            Ok(())
        };
    }
    for name in ["run_app", "run_sysdig"] {
        let refused = lua.create_function(move |_, _: MultiValue| -> mlua::Result<()> {
            Err(wrong(format!("sysdig.{name}() starts programs, which chisels may not do here")))
        })?;
        sysdig.set(name, refused)?;
    }
    let (terminal, machine) = (Rc::clone(shared), Rc::clone(shared));
    let terminal = lua.create_function(move |lua, _: MultiValue| {
        let (width, height) = terminal.borrow().setup.terminal.unwrap_or((80, 24));
        lua.create_table_from([("width", width), ("height", height)])
    })?;
    sysdig.set("get_terminal_info", terminal)?;
    let machine = lua.create_function(move |lua, _: MultiValue| {
        let table = lua.create_table()?;
        table.set("hostname", "")?;
        table.set("num_cpus", 0)?;
        table.set("memory_size_bytes", 0)?;
        table.set("max_pid", 0)?;
        table.set("source", machine.borrow().setup.source.clone())?;
        Ok(table)
    })?;
    sysdig.set("get_machine_info", machine)?;
    // Before the first event there is nobody.
    let empty = lua.create_function(|lua, _: MultiValue| lua.create_table())?;
    sysdig.set("get_thread_table", &empty)?;
    sysdig.set("get_container_table", empty)?;
    lua.globals().set("sysdig", sysdig)
}

/// `print` and `io.write`.
fn printing(lua: &Lua, shared: &Ref) -> mlua::Result<()> {
    let to_text: Function = lua.globals().get("tostring")?;
    let printer = |ends: bool| {
        let (shared, to_text) = (Rc::clone(shared), to_text.clone());
        lua.create_function(move |_, values: MultiValue| {
            let mut line = Vec::new();
            for (nth, value) in values.into_iter().enumerate() {
                if nth > 0 && ends {
                    line.push(b'\t');
                }
                let text: LuaString = to_text.call(value)?;
                line.extend_from_slice(&text.as_bytes());
            }
            if ends {
                line.push(b'\n');
            }
            let text = &mut shared.borrow_mut().text;
            if text.len() + line.len() > MAX_TEXT {
                return Err(wrong("too much was printed at once"));
            }
            text.append(&mut line);
            Ok(())
        })
    };
    lua.globals().set("print", printer(true)?)?;
    let io = lua.create_table()?;
    io.set("write", printer(false)?)?;
    io.set("flush", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    let refused = lua.create_function(|_, _: MultiValue| Ok((Value::Nil, "chisels have no files here")))?;
    for name in ["open", "popen", "lines", "read"] {
        io.set(name, &refused)?;
    }
    let stdout = lua.create_table()?;
    let write: Function = io.get("write")?;
    let method = lua.create_function(move |_, mut values: MultiValue| {
        values.pop_front();
        write.call::<()>(values)
    })?;
    stdout.set("write", method)?;
    stdout.set("flush", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    io.set("stdout", stdout)?;
    lua.globals().set("io", io)
}

/// The harmless part of `os`.
fn safe_os(lua: &Lua) -> mlua::Result<()> {
    let os = lua.create_table()?;
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let time = lua.create_function(move |_, _: MultiValue| Ok(now()))?;
    os.set("time", time)?;
    os.set("clock", lua.create_function(|_, _: MultiValue| Ok(0.0))?)?;
    os.set("getenv", lua.create_function(|_, _: MultiValue| Ok(Value::Nil))?)?;
    let exit = lua.create_function(|_, _: MultiValue| -> mlua::Result<()> {
        Err(wrong("the chisel called os.exit()"))
    })?;
    os.set("exit", exit)?;
    let refused =
        lua.create_function(|_, _: MultiValue| Ok((Value::Nil, "chisels start no programs here")))?;
    os.set("execute", refused)?;
    lua.globals().set("os", os)
}

fn prelude(lua: &Lua, shared: &Ref) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    let extend = lua.create_function(|lua, (text, width): (LuaString, f64)| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let width = (width as usize).min(4096);
        let mut out = Vec::new();
        if width > 0 {
            pad(&text.as_bytes(), width, &mut out);
        }
        lua.create_string(out)
    })?;
    native.set("extend", extend)?;
    native.set("bytes", lua.create_function(|_, bytes: f64| Ok(unit::bytes(bytes)))?)?;
    native.set("span", lua.create_function(|_, ns: f64| Ok(unit::time(ns)))?)?;
    let to_json = lua.create_function(|lua, value: Value| {
        let mut out = Vec::new();
        json(&value, 0, &mut out)?;
        lua.create_string(out)
    })?;
    native.set("json", to_json)?;
    native.set("make_ts", lua.create_function(|_, (s, ns): (f64, f64)| Ok(format!("{s:.0}{ns:09.0}")))?)?;
    native.set("color", shared.borrow().setup.color)?;
    native.set("is_tty", shared.borrow().setup.terminal.is_some())?;
    lua.globals().set("nabe", native)?;
    let modules = lua.load(PRELUDE).set_name("=prelude").eval()?;
    lua.globals().set("nabe", Value::Nil)?;
    Ok(modules)
}

/// `require`: the user's own modules first, then those of the prelude, then libraries.
fn require(lua: &Lua, shared: &Ref, modules: Table) -> mlua::Result<()> {
    let (shared, loaded) = (Rc::clone(shared), lua.create_table()?);
    let require = lua.create_function(move |lua, name: String| {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) || name.is_empty() {
            return Err(wrong(format!("`{name}` is no name of a module")));
        }
        let known: Value = loaded.get(name.as_str())?;
        if known != Value::Nil {
            return Ok(known);
        }
        let own = (shared.borrow().sources)(&name);
        let library: Value = lua.globals().get(name.as_str())?;
        let found: Value = if let Some(text) = own {
            let chunk = lua.load(text).set_name(format!("@{name}.lua"));
            chunk.set_mode(mlua::chunk::ChunkMode::Text).eval()?
        } else if let Some(module) = modules.get::<Option<Function>>(name.as_str())? {
            module.call(())?
        } else if library != Value::Nil {
            library
        } else {
            return Err(wrong(format!("there is no module `{name}`")));
        };
        let found = if found == Value::Nil { Value::Boolean(true) } else { found };
        loaded.set(name, &found)?;
        Ok(found)
    })?;
    lua.globals().set("require", require)
}

/// The threads of the machine that `filter` selects, with their descriptors, as sysdig gives them.
pub(super) fn threads(lua: &Lua, machine: &dyn Machine, filter: Option<String>) -> mlua::Result<Table> {
    let filter = filter.filter(|text| !text.trim().is_empty());
    let only = filter.map(|text| Program::compile_of_events(&text, Lang::Auto)).transpose();
    let only = only.map_err(|error| wrong(format!("filter: {error}")))?;
    const THREAD: &[(&str, &str)] = &[
        ("tid", "thread.tid"),
        ("pid", "proc.pid"),
        ("comm", "proc.name"),
        ("exe", "proc.exe"),
        ("exepath", "proc.exepath"),
        ("args", "proc.args"),
        ("cwd", "proc.cwd"),
        ("ptid", "proc.ppid"),
        ("uid", "user.uid"),
        ("gid", "group.gid"),
        ("username", "user.name"),
        ("fdlimit", "proc.fdlimit"),
        ("vmsize_kb", "proc.vmsize"),
        ("vmrss_kb", "proc.vmrss"),
        ("vmswap_kb", "proc.vmswap"),
        ("pfminor", "thread.pfminor"),
        ("pfmajor", "thread.pfmajor"),
        ("container_id", "container.id"),
        ("vtid", "thread.vtid"),
        ("vpid", "proc.vpid"),
    ];
    const DESCRIPTOR: &[(&str, &str)] = &[
        ("type", "fd.type"),
        ("name", "fd.name"),
        ("l4proto", "fd.l4proto"),
        ("cip", "fd.cip"),
        ("cport", "fd.cport"),
        ("sip", "fd.sip"),
        ("sport", "fd.sport"),
        ("is_server", "fd.is_server"),
    ];
    let readers = |names: &[(&'static str, &str)]| -> mlua::Result<Vec<(&'static str, Reader)>> {
        names.iter().map(|(key, name)| Ok((*key, Reader::parse(name).map_err(wrong)?))).collect()
    };
    let (mut of_thread, mut of_descriptor) = (readers(THREAD)?, readers(DESCRIPTOR)?);
    let (mut number, mut tid) =
        (Reader::parse("fd.num").map_err(wrong)?, Reader::parse("thread.tid").map_err(wrong)?);
    let mut environment = Reader::parse("proc.env").map_err(wrong)?;
    let table = lua.create_table()?;
    let mut rows: Vec<(i64, bool, Table)> = Vec::new();
    let mut result = Ok(());
    machine.threads(&mut |thread| {
        let made = (|| {
            let row = lua.create_table()?;
            for (key, reader) in &mut of_thread {
                row.set(*key, to_lua(lua, &super::value::harmless(reader.cell(thread), true))?)?;
            }
            if row.get::<Value>("username")? == Value::Nil {
                row.set("username", "<NA>")?;
            }
            let mut text = Vec::new();
            environment.cell(thread).write(&mut text);
            let words = text.split(|byte| *byte == b' ').map(|word| lua.create_string(word));
            row.set("env", lua.create_sequence_from(words.collect::<mlua::Result<Vec<_>>>()?)?)?;
            let selected = only.as_ref().is_none_or(|only| only.matches(thread));
            rows.push((whole(&tid.cell(thread)).unwrap_or(-1), selected, row));
            Ok::<_, mlua::Error>(())
        })();
        if result.is_ok() {
            result = made;
        }
    });
    result?;
    for (tid, selected, row) in rows {
        let descriptors = lua.create_table()?;
        let (mut any, mut result) = (false, Ok(()));
        machine.descriptors(tid, &mut |descriptor| {
            if only.as_ref().is_some_and(|only| !only.matches(descriptor)) {
                return;
            }
            any = true;
            let made = (|| {
                let one = lua.create_table()?;
                for (key, reader) in &mut of_descriptor {
                    one.set(*key, to_lua(lua, &super::value::harmless(reader.cell(descriptor), true))?)?;
                }
                if one.get::<Value>("name")? == Value::Nil {
                    one.set("name", "")?;
                }
                descriptors.set(whole(&number.cell(descriptor)).unwrap_or(-1), one)
            })();
            if result.is_ok() {
                result = made;
            }
        });
        result?;
        if selected || any {
            row.set("fdtable", descriptors)?;
            table.set(tid, row)?;
        }
    }
    Ok(table)
}

/// The containers of the machine, as sysdig gives them.
pub(super) fn containers(lua: &Lua, machine: &dyn Machine) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let mut result = Ok(());
    machine.containers(&mut |container| {
        let made = (|| {
            let one = lua.create_table()?;
            for (key, value) in [
                ("id", container.id),
                ("name", container.name),
                ("image", container.image),
                ("type", container.engine),
            ] {
                let mut value = value.as_bytes().to_vec();
                crate::table::plain(&mut value);
                one.set(key, lua.create_string(value)?)?;
            }
            table.push(one)
        })();
        if result.is_ok() {
            result = made;
        }
    });
    result.map(|()| table)
}

/// `chisel.exec("table_generator", keys, titles, value, title, filter, rows, unit)`.
pub(super) fn table_generator(name: &str, setup: &Setup) -> Option<Result<Box<dyn View>, ViewError>> {
    if name != "table_generator" {
        return None;
    }
    let word = |nth: usize| setup.args.get(nth).map_or("", String::as_str);
    let column = |title: &str, field: &str| ColumnSpec {
        title: title.to_owned(),
        fields: vec![field.to_owned()],
        width: 20,
        ..ColumnSpec::default()
    };
    let unit = match word(6) {
        "timepct" => Unit::Share,
        name => Unit::ALL.iter().find(|(known, _)| *known == name).map_or(Unit::None, |(_, unit)| *unit),
    };
    let value =
        ColumnSpec { operation: Some(Operation::Sum), unit, positive: true, ..column(word(3), word(2)) };
    let (keys, titles): (Vec<&str>, Vec<&str>) = (word(0).split(',').collect(), word(1).split(',').collect());
    if keys.len() != titles.len() {
        let problem = format!("{} keys have {} titles", keys.len(), titles.len());
        return Some(Err(ViewError::Argument { view: name.to_owned(), problem }));
    }
    let keys = keys.into_iter().zip(titles).map(|(field, title)| column(title, field));
    let spec = Spec {
        name: name.to_owned(),
        columns: [value].into_iter().chain(keys).collect(),
        filter: word(4).to_owned(),
        limit: word(5).parse().unwrap_or(0),
        ruled: true,
        ..Spec::default()
    };
    let setup = Setup { args: Vec::new(), ..setup.clone() };
    Some(Declared::new(spec, &setup).map(|view| Box::new(view) as Box<dyn View>))
}

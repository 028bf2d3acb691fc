//! Chisels in Lua, as users wrote them for sysdig: the tables `chisel`, `evt`, `sysdig` and `terminal`, the
//! callbacks `on_set_arg`, `on_init`, `on_capture_start`, `on_event`, `on_interval`, `on_capture_end`.
//!
//! The interpreter is LuaJIT, whose dialect sysdig's chisels are written in, with its compiler off: only
//! then can a loop be interrupted. A chisel has bounded memory, no files, no programs, no byte code and
//! no native code; what it prints goes to the view's [`Output`]. The user's interruption ends it at
//! the next few thousand instructions; one that catches even that is ended by the second signal.

mod api;
mod value;

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, VmState};

use crate::cell::Cell;
use crate::field::Reader;
use crate::template::Template;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError};

/// Fields that a chisel may ask for.
const MAX_FIELDS: usize = 4096;

/// What a chisel may use.
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Instructions between two looks at [`Self::interrupted`].
    pub instructions: u32,
    /// Whether the user asked for the end.
    pub interrupted: Box<dyn Fn() -> bool>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, instructions: 10_000, interrupted: Box::new(|| false) }
    }
}

/// Finds the text of a module or of another chisel by its name.
pub type Sources = Box<dyn Fn(&str) -> Option<String>>;

/// What a chisel and its host both touch.
struct Shared {
    setup: Setup,
    readers: Vec<Reader>,
    /// The values of the fields above, of the last event.
    values: Vec<Cell>,
    /// Number, type, processor of the last event.
    head: [Cell; 3],
    ts_ns: u64,
    first_ns: u64,
    filter: String,
    formatter: Option<(bool, Template)>,
    interval_ns: Option<u64>,
    snaplen: u32,
    /// What was printed: text of the chisel.
    text: Vec<u8>,
    datagrams: Vec<(String, Vec<u8>)>,
    statsd: String,
    /// Another chisel that takes the place of this one, with its arguments.
    successor: Option<(String, Vec<String>)>,
    ended: bool,
    sources: Sources,
}

/// A chisel in Lua.
pub struct Chisel {
    name: String,
    lua: Lua,
    shared: Rc<RefCell<Shared>>,
    head: [Reader; 3],
    /// Whether the script asks for tables of the machine at all.
    asks: bool,
    successor: Option<Box<dyn View>>,
    setup: Setup,
}

impl Chisel {
    /// Loads a chisel and gives it its arguments. `sources` finds what it requires.
    ///
    /// # Errors
    /// When it does not compile, fails, or does not take its arguments.
    pub fn new(
        name: &str,
        text: &str,
        setup: &Setup,
        sources: Sources,
        limits: Limits,
    ) -> Result<Self, ViewError> {
        let failed = |error: &mlua::Error| failure(name, error);
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::BIT | StdLib::JIT;
        let lua = Lua::new_with(libraries, LuaOptions::default()).map_err(|error| failed(&error))?;
        let shared = Rc::new(RefCell::new(Shared {
            setup: setup.clone(),
            readers: Vec::new(),
            values: Vec::new(),
            head: Default::default(),
            ts_ns: 0,
            first_ns: 0,
            filter: String::new(),
            formatter: None,
            interval_ns: None,
            snaplen: 0,
            text: Vec::new(),
            datagrams: Vec::new(),
            statsd: String::new(),
            successor: None,
            ended: false,
            sources,
        }));
        let loaded = (|| {
            lua.set_memory_limit(limits.memory_bytes)?;
            lua.load("jit.off(true, true) jit.off() jit = nil").exec()?;
            let interrupted = limits.interrupted;
            let triggers = HookTriggers::new().every_nth_instruction(limits.instructions.max(1));
            lua.set_global_hook(triggers, move |_, _| {
                if interrupted() { Err(mlua::Error::runtime(INTERRUPTED)) } else { Ok(VmState::Continue) }
            })?;
            api::install(&lua, &shared)?;
            let chunk =
                lua.load(text).set_name(format!("@{name}.lua")).set_mode(mlua::chunk::ChunkMode::Text);
            chunk.exec()
        })();
        loaded.map_err(|error| failed(&error))?;
        let mut chisel = Self {
            name: name.to_owned(),
            asks: text.contains("get_thread_table") || text.contains("get_container_table"),
            lua,
            shared,
            head: ["evt.num", "evt.type", "evt.cpu"].map(crate::builtin::reader),
            successor: None,
            setup: setup.clone(),
        };
        chisel.give_arguments()?;
        Ok(chisel)
    }

    /// Calls `on_set_arg` with each argument that the script declares.
    fn give_arguments(&mut self) -> Result<(), ViewError> {
        let wrong = |problem: String| ViewError::Argument { view: self.name.clone(), problem };
        let declared = self.lua.globals().get::<Option<mlua::Table>>("args").ok().flatten();
        let mut names = Vec::new();
        for argument in declared.iter().flat_map(|list| list.sequence_values::<mlua::Table>()).take(64) {
            let argument = argument.map_err(|error| failure(&self.name, &error))?;
            let name = argument.get::<String>("name").unwrap_or_default();
            names.push((name, argument.get::<Option<bool>>("optional").ok().flatten().unwrap_or(false)));
        }
        if let Some(extra) = self.setup.args.get(names.len()) {
            return Err(wrong(format!("takes {} arguments, `{extra}` is one too many", names.len())));
        }
        for (nth, (name, optional)) in names.iter().enumerate() {
            match self.setup.args.get(nth) {
                None if *optional => {}
                None => return Err(wrong(format!("needs {name}"))),
                Some(value) => {
                    let taken = self.call("on_set_arg", (name.as_str(), value.as_str()))?;
                    if taken == Some(false) {
                        return Err(wrong(format!("does not take `{value}` as {name}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls a callback; `None` when the script has none, else whether it said true.
    fn call(&self, callback: &str, arguments: impl mlua::IntoLuaMulti) -> Result<Option<bool>, ViewError> {
        let called = (|| {
            let Some(function) = self.lua.globals().get::<Option<Function>>(callback)? else {
                return Ok(None);
            };
            let answer: MultiValue = function.call(arguments)?;
            let truth = answer
                .front()
                .is_some_and(|value| !matches!(value, mlua::Value::Nil | mlua::Value::Boolean(false)));
            Ok(Some(truth))
        })();
        called.map_err(|error| failure(&self.name, &error))
    }

    /// The same while the machine can be asked.
    fn call_with(
        &self,
        callback: &str,
        arguments: impl mlua::IntoLuaMulti,
        machine: &dyn Machine,
    ) -> Result<Option<bool>, ViewError> {
        if !self.asks {
            return self.call(callback, arguments);
        }
        let mut called = Ok(None);
        let scoped = self.lua.scope(|scope| {
            let sysdig: mlua::Table = self.lua.globals().get("sysdig")?;
            let threads =
                scope.create_function(|lua, filter: Option<String>| api::threads(lua, machine, filter));
            sysdig.set("get_thread_table", threads?)?;
            let containers = scope.create_function(|lua, _: MultiValue| api::containers(lua, machine));
            sysdig.set("get_container_table", containers?)?;
            called = self.call(callback, arguments);
            Ok(())
        });
        scoped.map_err(|error| failure(&self.name, &error))?;
        called
    }

    /// Reads what the chisel asked for of an event.
    fn read(&mut self, event: &Event<'_>) {
        let shared = &mut *self.shared.borrow_mut();
        shared.ts_ns = event.ts_ns;
        if shared.first_ns == 0 {
            shared.first_ns = event.ts_ns;
        }
        let safe = shared.setup.safe;
        shared.values.clear();
        shared.values.extend(shared.readers.iter_mut().map(|reader| value::read(reader, event.fields, safe)));
        for (cell, reader) in shared.head.iter_mut().zip(&mut self.head) {
            *cell = reader.cell(event.fields);
        }
    }

    /// Hands on what was printed.
    fn hand_on(&self, out: &mut Output) {
        let shared = &mut *self.shared.borrow_mut();
        if !shared.text.is_empty() {
            out.push(crate::view::Piece::Text(core::mem::take(&mut shared.text)));
        }
        for (to, bytes) in shared.datagrams.drain(..) {
            out.push(crate::view::Piece::Datagram { to, bytes });
        }
    }

    /// A callback whose `false` means that the chisel gives up.
    fn must(&self, callback: &str, out: &mut Output) -> Result<(), ViewError> {
        let answer = self.call(callback, ());
        self.hand_on(out);
        if answer? == Some(false) {
            return Err(ViewError::Script {
                chisel: self.name.clone(),
                problem: format!("{callback}() says no"),
            });
        }
        Ok(())
    }

    /// Another chisel takes the place of this one.
    fn succeed(&mut self, out: &mut Output) -> Result<(), ViewError> {
        let Some((name, args)) = self.shared.borrow_mut().successor.take() else { return Ok(()) };
        let setup = Setup { args, ..self.setup.clone() };
        let mut view = match api::table_generator(&name, &setup) {
            Some(view) => view?,
            None => crate::builtin::make(&name, &setup).unwrap_or_else(|| {
                Err(ViewError::Script {
                    chisel: self.name.clone(),
                    problem: format!("there is no chisel `{name}`"),
                })
            })?,
        };
        view.start(out)?;
        self.successor = Some(view);
        Ok(())
    }
}

/// What a script says when the user ends it.
const INTERRUPTED: &str = "nabe was asked to end";

fn failure(chisel: &str, error: &mlua::Error) -> ViewError {
    let text = error.to_string();
    if text.contains(INTERRUPTED) {
        return ViewError::Interrupted { chisel: chisel.to_owned() };
    }
    // The first line says what and where; the rest is LuaJIT's stack.
    let mut problem: Vec<u8> = text.lines().next().unwrap_or_default().bytes().take(500).collect();
    crate::table::plain(&mut problem);
    ViewError::Script { chisel: chisel.to_owned(), problem: String::from_utf8_lossy(&problem).into_owned() }
}

#[allow(clippy::cast_precision_loss, reason = "Lua's numbers are doubles, and sysdig gives it these")]
fn parts(ns: u64) -> (f64, f64) {
    ((ns / 1_000_000_000) as f64, (ns % 1_000_000_000) as f64)
}

impl View for Chisel {
    fn name(&self) -> &str {
        &self.name
    }

    fn filter(&self) -> String {
        match &self.successor {
            Some(view) => view.filter(),
            None => self.shared.borrow().filter.clone(),
        }
    }

    fn snaplen(&self) -> u32 {
        let own = self.shared.borrow().snaplen;
        self.successor.as_ref().map_or(own, |view| view.snaplen().max(own))
    }

    fn interval_ns(&self) -> Option<u64> {
        match &self.successor {
            Some(view) => view.interval_ns(),
            None => self.shared.borrow().interval_ns,
        }
    }

    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        self.must("on_init", out)?;
        self.succeed(out)?;
        if self.successor.is_none() {
            self.must("on_capture_start", out)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        if let Some(view) = &mut self.successor {
            return view.event(event, out);
        }
        self.read(event);
        let answer = self.call_with("on_event", (), event.machine);
        let formatted = matches!(answer, Ok(None | Some(true)));
        {
            let Shared { formatter, text, .. } = &mut *self.shared.borrow_mut();
            let mut line = Vec::new();
            if let Some((lenient, template)) = formatter.as_mut().filter(|_| formatted)
                && template.write_strictly(event.fields, out.safe, *lenient, &mut line)
            {
                text.append(&mut line);
                text.push(b'\n');
            }
        }
        self.hand_on(out);
        answer?;
        Ok(if self.shared.borrow().ended { Flow::Stop } else { Flow::Go })
    }

    fn tick(&mut self, at: Moment, event: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        if let Some(view) = &mut self.successor {
            return view.tick(at, event, out);
        }
        self.read(event);
        let (seconds, nanoseconds) = parts(at.ts_ns);
        #[allow(clippy::cast_precision_loss, reason = "as above")]
        let answer = self.call_with("on_interval", (seconds, nanoseconds, at.delta_ns as f64), event.machine);
        self.hand_on(out);
        match answer? {
            Some(false) => Err(ViewError::Script {
                chisel: self.name.clone(),
                problem: "on_interval() says no".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn end(&mut self, at: Moment, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        if let Some(view) = &mut self.successor {
            return view.end(at, machine, out);
        }
        let (seconds, nanoseconds) = parts(at.ts_ns);
        #[allow(clippy::cast_precision_loss, reason = "as above")]
        let answer = self.call_with("on_capture_end", (seconds, nanoseconds, at.delta_ns as f64), machine);
        self.hand_on(out);
        answer.map(drop)
    }
}

#[cfg(test)]
mod tests;

//! spy_users, list_login_shells, shellshock_detect: what people do, and what is done to them.

use std::collections::HashMap;

use super::paint::{BLUE, GREEN, Home, Paint, is_host};
use super::{number, parsed, reader, some_text, text};
use crate::field::Reader;
use crate::table::pad;
use crate::view::{Event, Flow, Machine, Moment, Output, Setup, View, ViewError};

const ANCESTORS: usize = 16;
const MAX_PROCESSES: usize = 1 << 16;

/// Where a process stands below its shell.
#[derive(Clone, Copy)]
struct Place {
    /// Steps below the shell; `None` when no shell is above.
    depth: Option<i64>,
    shell: i64,
}

/// spy_users.
struct Spy {
    max_depth: Option<i64>,
    containers: bool,
    paint: Paint,
    kind: Reader,
    exe: Reader,
    args: Reader,
    path: Reader,
    user: Reader,
    time: Reader,
    pid: Reader,
    parent: Reader,
    home: Home,
    /// Name and process id of the ancestors, from the process itself.
    ancestors: Vec<(Reader, Reader)>,
    places: HashMap<i64, Place>,
}

pub(super) fn spy(name: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let depth = setup.args.first().is_some_and(|word| !word.starts_with("disable_color"));
    let ancestors = (0..=ANCESTORS)
        .map(|nth| (reader(&format!("proc.aname[{nth}]")), reader(&format!("proc.apid[{nth}]"))));
    Ok(Box::new(Spy {
        max_depth: if depth { parsed(name, setup, 0, "max_depth")? } else { None },
        containers: setup.containers,
        paint: Paint::of(setup),
        kind: reader("evt.type"),
        exe: reader("proc.exe"),
        args: reader("proc.args"),
        path: reader("evt.arg.path"),
        user: reader("user.name"),
        time: reader("evt.time.s"),
        pid: reader("proc.pid"),
        parent: reader("proc.ppid"),
        home: Home::new(),
        ancestors: ancestors.collect(),
        places: HashMap::new(),
    }))
}

impl Spy {
    /// Looks for a shell among the ancestors, `from` being the first of them.
    fn place(&mut self, event: &Event<'_>, from: usize) -> Place {
        let mut place = Place { depth: None, shell: -1 };
        for nth in from..from + ANCESTORS {
            let Some((name, pid)) = self.ancestors.get_mut(nth) else { break };
            let pid = number(pid, event);
            match (some_text(name, event), pid) {
                (None, None) => break,
                (Some(name), Some(pid)) if name.len() >= 2 && name.ends_with(b"sh") => {
                    let steps = i64::try_from(nth - from).unwrap_or(0);
                    let depth = if self.places.contains_key(&pid) { steps } else { 0 };
                    place = Place { depth: Some(depth), shell: pid };
                }
                _ => {}
            }
        }
        place
    }
}

impl View for Spy {
    fn name(&self) -> &str {
        "spy_users"
    }
    fn filter(&self) -> String {
        "((evt.type=execve and evt.dir=<) or (evt.type=chdir and evt.dir=< and proc.name contains sh and \
         not proc.name contains sshd)) and evt.failed=false"
            .to_owned()
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let Some(pid) = number(&mut self.pid, event) else { return Ok(Flow::Go) };
        let is_chdir = text(&mut self.kind, event) == b"chdir";
        let parent = if is_chdir { pid } else { number(&mut self.parent, event).unwrap_or(-1) };
        if self.places.len() >= MAX_PROCESSES {
            self.places.clear();
        }
        let above = match self.places.get(&parent) {
            Some(above) => *above,
            None => {
                let above = self.place(event, usize::from(!is_chdir));
                self.places.insert(parent, above);
                above
            }
        };
        let Some(depth) = above.depth else { return Ok(Flow::Go) };
        let here = *self.places.entry(pid).or_insert(Place { depth: Some(depth + 1), shell: above.shell });
        let Some(depth) = here.depth else { return Ok(Flow::Go) };
        let level = if is_chdir { depth } else { depth - 1 };
        if self.max_depth.is_some_and(|max| max >= 0 && level > max) {
            return Ok(Flow::Go);
        }
        let container = self.home.name(event);
        if self.containers {
            self.paint.begin(out, if is_host(&container) { GREEN } else { BLUE });
        }
        let step = if self.containers || is_chdir { 4 } else { 3 };
        let indent = usize::try_from(level.clamp(0, 64)).unwrap_or(0) * step;
        out.put(&format!("{}{} ", " ".repeat(indent), here.shell));
        out.put_value(&text(&mut self.time, event));
        out.put(" ");
        out.put_value(&text(&mut self.user, event));
        if self.containers {
            out.put("@");
            out.put_value(&container);
        }
        out.put(") ");
        if is_chdir {
            out.put("cd ");
            out.put_value(&text(&mut self.path, event));
        } else {
            out.put_value(&text(&mut self.exe, event));
            out.put(" ");
            out.put_value(&some_text(&mut self.args, event).unwrap_or_default());
        }
        out.put("\n");
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        self.paint.end(out);
        Ok(())
    }
}

/// list_login_shells.
struct Shells {
    command: Option<Vec<u8>>,
    arguments: Option<Vec<u8>>,
    containers: bool,
    session: Reader,
    exe: Reader,
    args: Reader,
    home: Home,
    /// Sessions in the order in which they were last seen to start something.
    found: Vec<(i64, Vec<u8>, Vec<u8>)>,
}

pub(super) fn shells(_: &'static str, setup: &Setup) -> Result<Box<dyn View>, ViewError> {
    let argument = |nth: usize| setup.args.get(nth).filter(|word| !word.is_empty() && *word != "*");
    Ok(Box::new(Shells {
        command: argument(0).map(|word| word.clone().into_bytes()),
        arguments: argument(1).map(|word| word.clone().into_bytes()),
        containers: setup.containers,
        session: reader("proc.loginshellid"),
        exe: reader("evt.arg.exe"),
        args: reader("evt.arg.args"),
        home: Home::new(),
        found: Vec::new(),
    }))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

impl View for Shells {
    fn name(&self) -> &str {
        "list_login_shells"
    }
    fn filter(&self) -> String {
        "evt.type=execve".to_owned()
    }
    fn event(&mut self, event: &Event<'_>, _: &mut Output) -> Result<Flow, ViewError> {
        let Some(session) = number(&mut self.session, event) else { return Ok(Flow::Go) };
        let Some(exe) = some_text(&mut self.exe, event) else { return Ok(Flow::Go) };
        if self.command.as_ref().is_some_and(|command| !contains(&exe, command)) {
            return Ok(Flow::Go);
        }
        let args = some_text(&mut self.args, event);
        if let (Some(wanted), Some(args)) = (&self.arguments, args)
            && !contains(&args, wanted)
        {
            return Ok(Flow::Go);
        }
        if self.found.len() < MAX_PROCESSES && !self.found.iter().any(|(found, ..)| *found == session) {
            let container = (self.home.name(event), self.home.id(event));
            self.found.push((session, container.0, container.1));
        }
        Ok(Flow::Go)
    }
    fn end(&mut self, _: Moment, _: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        match &self.command {
            Some(command) => {
                out.put("Shells containing ");
                out.put_value(command);
                out.put(":\n");
            }
            None => out.put("All shells:\n"),
        }
        for (session, container, id) in &self.found {
            out.put(&session.to_string());
            if self.containers {
                out.put(" ");
                out.put_value(container);
                out.put(" ");
                out.put_value(id);
            }
            out.put("\n");
        }
        Ok(())
    }
}

/// shellshock_detect.
struct Shellshock {
    parent: Reader,
    parent_pid: Reader,
    env: Reader,
    time: Reader,
}

pub(super) fn shellshock(_: &'static str, _: &Setup) -> Result<Box<dyn View>, ViewError> {
    Ok(Box::new(Shellshock {
        parent: reader("proc.pname"),
        parent_pid: reader("proc.ppid"),
        env: reader("proc.env"),
        time: reader("evt.time"),
    }))
}

/// The function in the environment, `() {` and what follows, as CVE-2014-6271 has it.
fn function(env: &[u8]) -> Option<&[u8]> {
    let at = env.windows(2).position(|window| window == b"()")?;
    let rest = env.get(at..)?;
    let behind = rest.get(2..)?;
    let body = behind.strip_prefix(b" ").unwrap_or(behind).strip_prefix(b"{")?;
    (!body.is_empty()).then_some(rest)
}

impl View for Shellshock {
    fn name(&self) -> &str {
        "shellshock_detect"
    }
    fn filter(&self) -> String {
        "(proc.name=bash or proc.name=sh) and evt.type=execve".to_owned()
    }
    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        out.put("TIME                  PROCNAME              PID     FUNCTION\n");
        Ok(())
    }
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        let kind = reader_is_execve(event);
        let Some(env) = some_text(&mut self.env, event).filter(|_| kind) else { return Ok(Flow::Go) };
        let Some(function) = function(&env) else { return Ok(Flow::Go) };
        let mut line = Vec::new();
        pad(&text(&mut self.time, event), 22, &mut line);
        pad(&text(&mut self.parent, event), 22, &mut line);
        pad(&text(&mut self.parent_pid, event), 8, &mut line);
        line.extend_from_slice(function);
        out.put_value(&line);
        out.put("\n");
        Ok(Flow::Go)
    }
}

/// The environment comes with the exit of execve, once.
fn reader_is_execve(event: &Event<'_>) -> bool {
    text(&mut reader("evt.type"), event).starts_with(b"execve") && text(&mut reader("evt.dir"), event) == b"<"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_in_the_environment_are_found() {
        assert_eq!(function(b"A=1 X=() { :; }; echo"), Some(&b"() { :; }; echo"[..]));
        assert_eq!(function(b"X=(){x"), Some(&b"(){x"[..]));
        assert_eq!(function(b"X=() x"), None);
        assert_eq!(function(b"X=() {"), None);
        assert_eq!(function(b""), None);
    }
}

//! Chisels of our own, on events that are a fixed subject.

use super::*;
use crate::view::{Nothing, Piece, Runner};

fn setup(args: &[&str]) -> Setup {
    Setup { args: args.iter().map(|word| (*word).to_owned()).collect(), ..Setup::default() }
}

fn chisel(text: &str, args: &[&str], limits: Limits) -> Result<Chisel, ViewError> {
    Chisel::new("mine", text, &setup(args), Box::new(|_| None), limits)
}

/// Runs a chisel on four events, half a second apart; gives what it printed.
fn run_with(text: &str, args: &[&str], limits: Limits) -> Result<String, ViewError> {
    let mut out = Output::new(&setup(args));
    let mut runner = Runner::new(Box::new(chisel(text, args, limits)?), &mut out)?;
    let subject = nabe_filter::sample::fixed();
    for nth in 0..4 {
        let event = Event { fields: &subject, ts_ns: 1_000_000_000 + nth * 500_000_000, machine: &Nothing };
        if runner.event(&event, &mut out)? == Flow::Stop {
            break;
        }
    }
    runner.end(&Nothing, &mut out)?;
    let mut text = Vec::new();
    for piece in out.take() {
        match piece {
            Piece::Text(piece) => text.extend(piece),
            Piece::Table(table) => table.text(true, &mut text),
            _ => {}
        }
    }
    Ok(String::from_utf8(text).unwrap())
}

#[track_caller]
fn says(text: &str, args: &[&str], expected: &str) {
    assert_eq!(run_with(text, args, Limits::default()).unwrap(), expected);
}

#[track_caller]
fn fails(text: &str, limits: Limits) -> ViewError {
    run_with(text, &[], limits).unwrap_err()
}

#[test]
fn callbacks_are_called_in_their_order() {
    says(
        "args = {{name='a'}, {name='b', optional=true}}
         function on_set_arg(name, value) print('arg', name, value) return true end
         function on_init() chisel.set_interval_s(1) print('init') return true end
         function on_capture_start() print('start') return true end
         n = 0
         function on_event() n = n + 1 return true end
         function on_interval(s, ns, delta) print('interval', s, ns, delta) return true end
         function on_capture_end(s, ns, delta) print('end', n, s, ns, delta) end",
        &["x"],
        "arg\ta\tx\ninit\nstart\ninterval\t2\t0\t1000000000\nend\t4\t2\t500000000\t1500000000\n",
    );
}

#[test]
fn modules_of_sysdig_are_there() {
    says(
        "require 'common'
         terminal = require 'ansiterminal'
         json = require 'dkjson'
         function on_init()
             print(extend_string('abc', 5) .. '|' .. extend_string('abcdef', 4) .. '|')
             print(format_bytes(2048), format_time_interval(1500), #split('a,b,c', ','), terminal.red)
             for k, v in pairs_top_by_val({a=1, b=3, c=2}, 2, function(t, x, y) return t[x] > t[y] end) do print(k, v) end
             print(json.encode({1, 'x', {a=true}}))
             print(string.format('%d', 3.7), math.log10(100), string.match('GET /x', '^%u+ (%g+)'))
             return true
         end",
        &[],
        "abc  |abc |\n2.00KB\t1.50us\t3\t\nb\t3\nc\t2\n[1,\"x\",{\"a\":true}]\n3\t2\t/x\n",
    );
}

#[test]
fn another_chisel_may_take_over() {
    let text = "function on_init()
        chisel.exec('table_generator', 'proc.name', 'Process', 'evt.count', '#', '', '10', 'none')
        return true
    end";
    let said = run_with(text, &[], Limits::default()).unwrap();
    assert!(said.starts_with("#                   Process             \n-----"), "{said}");
}

#[test]
fn a_chisel_that_gives_up_or_fails_says_where() {
    let error = fails("function on_init() return false end", Limits::default());
    assert_eq!(error.to_string(), "chisel mine: on_init() says no");
    let error = fails("x = = 1", Limits::default()).to_string();
    assert!(error.contains("mine.lua:1"), "{error}");
    let error = fails("function on_event() error('here') end", Limits::default()).to_string();
    assert!(error.contains("mine.lua:1: here"), "{error}");
    let error =
        fails("function on_init() chisel.request_field('proc.nane') return true end", Limits::default());
    assert!(error.to_string().contains("did you mean `proc.name`?"), "{error}");
}

#[test]
fn a_hostile_chisel_is_held() {
    // It wants all memory.
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let error =
        fails("local t = {} for i = 1, 1e9 do t[i] = tostring(i) .. 'xxxxxxxx' end", limits).to_string();
    assert!(error.contains("memory"), "{error}");
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    assert!(fails("x = string.rep('x', 1e9)", limits).to_string().contains("memory"));
    // It never ends.
    for text in [
        "while true do end",
        "function on_event() while true do end end",
        "local function f() return f() end f()",
    ] {
        let asked = std::cell::Cell::new(0);
        let interrupted = Box::new(move || {
            asked.set(asked.get() + 1);
            asked.get() > 100
        });
        let error = fails(text, Limits { interrupted, ..Limits::default() });
        assert_eq!(error, ViewError::Interrupted { chisel: "mine".into() }, "{text}");
    }
    // It wants out.
    for (text, answer) in [
        ("print(io.open('/etc/passwd'))", "nil\tchisels have no files here\n"),
        ("print(os.execute('true'))", "nil\tchisels start no programs here\n"),
        (
            "print(debug, ffi, package, jit, dofile, loadfile, string.dump)",
            "nil\tnil\tnil\tnil\tnil\tnil\tnil\n",
        ),
        ("print((pcall(require, '../x')))", "false\n"),
        ("print((loadstring('\\27LJ\\2\\2')))", "nil\n"),
        ("print(nabe)", "nil\n"),
    ] {
        let said = run_with(text, &[], Limits::default()).unwrap();
        let first = said.lines().next().unwrap_or_default();
        assert!(answer.starts_with(first) && !first.is_empty(), "{text}: {said}");
    }
}

//! What compiling and evaluating cost: `cargo run --release -p nabe-filter --example speed`.

use std::hint::black_box;
use std::time::Instant;

use nabe_event::field::{file as f, process as p};
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_filter::Program;

/// A subject that answers as fast as the real one: by a match on the field.
struct Row;

impl Fields for Row {
    fn get(&self, field: FieldId, _arg: Option<&[u8]>) -> Value<'_> {
        match field {
            p::NAME => Value::Text(b"nginx"),
            p::PID => Value::Int(1234),
            p::CMDLINE => Value::Text(b"nginx: worker process is shutting down /etc/nginx.conf"),
            p::CAP_EFFECTIVE => Value::Uint(1 << 21),
            p::RSS => Value::Uint(12_000_000),
            f::STATE => Value::Uint(10),
            f::TYPE => Value::Uint(1),
            f::SRC_PORT => Value::Int(443),
            f::DST_PORT => Value::Int(0),
            f::SRC_ADDR => Value::Ip(std::net::IpAddr::from([10, 1, 2, 3])),
            _ => Value::Missing(Missing::Subject),
        }
    }

    fn related(&self, _: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        Some((0..10).take_while(|_| visit(&Self)).count())
    }
}

fn main() {
    let sources = [
        "process.name == \"nginx\" && socket.state == listen",
        "socket.type == tcp && socket.state == established && socket.dstPort == 443",
        "process.cmdline.contains(\"shutting\") || process.cmdline.matches(\"^postgres: .* idle$\")",
        "process.name in [\"sh\", \"bash\", \"zsh\", \"nginx\"] && process.rss > 10MB && caps.has(\"SYS_ADMIN\")",
        "socket.srcAddr in cidr(\"10.0.0.0/8\") && socket.srcPort in [80, 443, 8080]",
        "process.files.exists(f, f.srcPort == 444)",
        "size(process.name) + 1 == 6 && process.name.upperAscii() == \"NGINX\"",
    ];
    for source in sources {
        let compile = time(2_000, || {
            let _ = black_box(Program::cel(black_box(source)));
        });
        let program = match Program::cel(source) {
            Ok(program) => program,
            Err(error) => {
                eprintln!("{error}");
                continue;
            }
        };
        let matches = time(2_000_000, || {
            let _ = black_box(program.matches(black_box(&Row)));
        });
        println!("compile {:7.1} us   evaluate {matches:7.1} ns   {source}", compile / 1000.0);
    }
}

/// Nanoseconds a call: the best of five rounds.
fn time(calls: u32, mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    best
}

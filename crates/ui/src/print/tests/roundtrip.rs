//! What machine formats print is read back; what people read keeps its bounds.

use proptest::prelude::*;

use super::{at, format, process, widest};
use crate::fixture::{Row, Texts, context, printed, table};
use crate::print::{Format, Options, print};
use crate::view::{Column, SortKey, Table};

/// The records of a CSV text, by the letter of RFC 4180; `None` for a field without value.
fn read_csv(text: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                let mut quoted = Vec::new();
                loop {
                    match bytes.next().expect("a quote is closed") {
                        b'"' if bytes.next_if_eq(&b'"').is_some() => quoted.push(b'"'),
                        b'"' => break,
                        byte => quoted.push(byte),
                    }
                }
                field = Some(quoted);
            }
            b',' => record.push(field.take()),
            b'\r' => {
                assert_eq!(bytes.next(), Some(b'\n'));
                record.push(field.take());
                records.push(std::mem::take(&mut record));
            }
            byte => field.get_or_insert_default().push(byte),
        }
    }
    assert!(record.is_empty() && field.is_none());
    records
}

fn read_tsv(field: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), field);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let kind = rest.chars().next().unwrap();
        rest = &rest[1..];
        match kind {
            't' => out.push(b'\t'),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            'u' => {
                let (number, after) = rest[1..].split_once('}').unwrap();
                let c = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            other => panic!("unknown escape {other}"),
        }
    }
    out
}

proptest! {
    #[test]
    fn csv_tsv_and_json_give_back_what_went_in(
        texts in prop::collection::vec(prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)], 1..6),
        number in any::<i64>(),
        unsigned in any::<u64>(),
    ) {
        let rows: Vec<Row> = texts
            .iter()
            .map(|text| {
                Row::default()
                    .with("process.name", text.clone())
                    .with("process.nice", number)
                    .with("file.inode", unsigned)
                    .with("process.args", Texts(texts.clone()))
            })
            .collect();
        let table = table("name,user,nice,inode,args", &rows);
        let number = number.to_string().into_bytes();
        let unsigned_text = unsigned.to_string().into_bytes();

        let mut out = Vec::new();
        print(&table, &context(), &format(Format::Csv), &mut out);
        let records = read_csv(&out);
        prop_assert_eq!(records.len(), texts.len() + 1);
        for (text, record) in texts.iter().zip(&records[1..]) {
            prop_assert_eq!(&record[..4], &[Some(text.clone()), None, Some(number.clone()), Some(unsigned_text.clone())]);
            let args = record[4].as_ref().unwrap();
            serde_json::from_slice::<Vec<String>>(args).unwrap();
        }

        let text = printed(&table, &format(Format::Tsv));
        prop_assert!(!text.chars().any(|c| c != '\n' && c != '\t' && crate::view::escape::is_hostile(c)));
        for (wanted, line) in texts.iter().zip(text.lines().skip(1)) {
            prop_assert_eq!(&read_tsv(line.split('\t').next().unwrap()), wanted);
        }

        let json: serde_json::Value = serde_json::from_str(&printed(&table, &format(Format::Json))).unwrap();
        for (index, text) in texts.iter().enumerate() {
            prop_assert_eq!(json[index]["name"].as_str().unwrap(), String::from_utf8_lossy(text));
            prop_assert_eq!(json[index]["inode"].as_u64(), Some(unsigned));
            let hex = json[index].get("name#hex").map(|hex| hex.as_str().unwrap().to_owned());
            let wanted: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(hex, std::str::from_utf8(text).is_err().then_some(wanted));
        }
    }

    #[test]
    fn tables_never_pass_their_width(texts in prop::collection::vec(any::<String>(), 0..5), width in 0usize..120) {
        let rows: Vec<Row> = texts
            .iter()
            .map(|text| {
                process(1, text, text, text).with("container.id", text.as_str()).with("container.name", text.as_str())
            })
            .collect();
        let mut columns = Column::parse_list("pid,user,name,rss,cmdline").unwrap();
        columns.push(Column::container());
        let mut table = Table::new(columns);
        rows.iter().for_each(|row| table.push(row));
        let text = printed(&table, &at(Some(width)));
        prop_assert_eq!(text.lines().count(), rows.len() + 1);
        prop_assert!(widest(&text) <= width, "{}", text);
        prop_assert!(!text.chars().any(|c| c != '\n' && crate::view::escape::is_hostile(c)));
    }

    #[test]
    fn sorting_is_stable_and_total(values in prop::collection::vec((0u64..4, "[a-c0-9]{0,3}"), 0..60)) {
        let columns = Column::parse_list("pid,rss,name").unwrap();
        let keys = SortKey::parse_list("-rss,name", &columns).unwrap();
        let mut table = Table::new(columns).with_sort(&keys);
        for (index, (rss, name)) in values.iter().enumerate() {
            table.push(&Row::default().with("process.pid", index as i64).with("process.rss", *rss).with("process.name", name.as_str()));
        }
        table.sort();
        let mut wanted: Vec<usize> = (0..values.len()).collect();
        wanted.sort_by(|a, b| {
            let ((x, p), (y, q)) = (&values[*a], &values[*b]);
            y.cmp(x).then_with(|| crate::view::sort::natural(p.as_bytes(), q.as_bytes()))
        });
        let text = printed(&table, &Options { header: false, format: Format::Tsv, ..at(None) });
        let got: Vec<usize> = text.lines().map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect();
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn natural_order_is_an_order(a in "[ab01]{0,4}", b in "[ab01]{0,4}", c in "[ab01]{0,4}") {
        use crate::view::sort::natural;
        let (a, b, c) = (a.as_bytes(), b.as_bytes(), c.as_bytes());
        prop_assert_eq!(natural(a, b), natural(b, a).reverse());
        prop_assert_eq!(natural(a, b).is_eq(), a == b);
        prop_assert!(natural(a, b).is_gt() || natural(b, c).is_gt() || natural(a, c).is_le());
    }
}

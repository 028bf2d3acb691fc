//! Parquet: a row for each event, in typed columns, for DuckDB, Spark, pandas and their kin.
//!
//! The columns are those of NDJSON, with `_` for the dot in names: `num`, `ts` (nanoseconds, UTC),
//! `cpu`, `dir`, `type`, `tid`, `proc_pid`, …, `args` (a JSON object). What has no value is null.
//! Rows are kept until a row group is full: [`ROWS`] rows or [`BYTES`] bytes of text, whichever comes
//! first. Pages are compressed with Snappy, which every reader has.
//!
//! Format: <https://parquet.apache.org/docs/file-format/>.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use nabe_event::field::event as e;
use nabe_event::raw::Event;
use nabe_event::{FieldId, Fields, Value};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::{Error, Export, field, ndjson};

/// Rows of a row group.
const ROWS: usize = 1 << 16;
/// Bytes of text of a row group.
const BYTES: usize = 16 << 20;

/// Where the library writes to, and we take from.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn move_to(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Time,
    Cpu,
    Direction,
    Field(FieldId),
    Arguments,
}

/// Values that are there.
#[derive(Debug)]
enum Values {
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
    Texts(Vec<ByteArray>),
}

/// A column of the row group that is gathered.
#[derive(Debug)]
struct Column {
    name: String,
    holds: Holds,
    values: Values,
    /// 1 for each row that has a value, 0 for others.
    present: Vec<i16>,
}

impl Column {
    fn new(name: &str, holds: Holds) -> Self {
        use nabe_event::value::Type as T;
        let values = match holds {
            Holds::Time | Holds::Cpu => Values::Numbers(Vec::new()),
            Holds::Direction | Holds::Arguments => Values::Texts(Vec::new()),
            Holds::Field(id) => match id.field().ty {
                T::Int | T::Uint | T::Symbol(_) | T::Mask(_) | T::Duration => Values::Numbers(Vec::new()),
                T::Bool => Values::Flags(Vec::new()),
                _ => Values::Texts(Vec::new()),
            },
        };
        Self { name: name.replace('.', "_"), holds, values, present: Vec::new() }
    }

    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let unsigned = matches!(self.holds, Holds::Field(id)
            if matches!(id.field().ty, nabe_event::value::Type::Uint));
        let (physical, logical) = match (&self.values, self.holds) {
            (_, Holds::Time) => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            (_, Holds::Arguments) => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            (Values::Numbers(_), _) => (Physical::INT64, Some(LogicalType::integer(64, !unsigned))),
            (Values::Flags(_), _) => (Physical::BOOLEAN, None),
            (Values::Texts(_), _) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let builder = Type::primitive_type_builder(&self.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        builder.build().map(Arc::new)
    }

    /// Takes a row in; returns the bytes of text that it adds.
    fn push(&mut self, event: &Event<'_>, fields: &dyn Fields) -> usize {
        let before = self.len();
        let added = match (self.holds, &mut self.values) {
            (Holds::Time, Values::Numbers(to)) => {
                to.push(i64::try_from(event.ts_ns).unwrap_or(i64::MAX));
                0
            }
            (Holds::Cpu, Values::Numbers(to)) => {
                to.push(event.cpu.into());
                0
            }
            (Holds::Direction, Values::Texts(to)) => text(to, if event.id.is_enter() { b">" } else { b"<" }),
            (Holds::Arguments, Values::Texts(to)) => {
                let mut json = Vec::new();
                ndjson::arguments(event, fields, &mut json);
                text(to, &json)
            }
            (Holds::Field(id), values) => take(values, id, &fields.get(id, None)),
            _ => 0,
        };
        self.present.push(i16::from(self.len() > before));
        added
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Numbers(values) => values.len(),
            Values::Flags(values) => values.len(),
            Values::Texts(values) => values.len(),
        }
    }

    /// Writes what was gathered, and begins again.
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let present = Some(self.present.as_slice());
        match (writer, &mut self.values) {
            (ColumnWriter::Int64ColumnWriter(writer), Values::Numbers(values)) => {
                writer.write_batch(values, present, None)?;
                values.clear();
            }
            (ColumnWriter::BoolColumnWriter(writer), Values::Flags(values)) => {
                writer.write_batch(values, present, None)?;
                values.clear();
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Texts(values)) => {
                writer.write_batch(values, present, None)?;
                values.clear();
            }
            _ => return Err(ParquetError::General(format!("column {} has another type", self.name))),
        }
        self.present.clear();
        Ok(())
    }
}

/// Keeps a text; bytes that are no UTF-8 become U+FFFD. Returns its length.
fn text(to: &mut Vec<ByteArray>, bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    to.push(ByteArray::from(text.as_bytes().to_vec()));
    text.len()
}

/// Keeps a field's value, if it has one; returns bytes of text.
fn take(to: &mut Values, id: FieldId, value: &Value<'_>) -> usize {
    match (to, value) {
        // Success is in the result already.
        (_, Value::Text(b"SUCCESS")) if id == e::RES => {}
        (Values::Numbers(to), Value::Int(number)) => to.push(*number),
        // The column is unsigned: the same bits.
        (Values::Numbers(to), Value::Uint(number)) => to.push(number.cast_signed()),
        (Values::Flags(to), Value::Bool(flag)) => to.push(*flag),
        (Values::Texts(to), Value::Text(bytes)) => return text(to, bytes),
        (Values::Texts(to), Value::Int(number)) => return text(to, number.to_string().as_bytes()),
        (Values::Texts(to), Value::Uint(number)) => return text(to, number.to_string().as_bytes()),
        (Values::Texts(to), Value::Ip(address)) => return text(to, address.to_string().as_bytes()),
        _ => {}
    }
    0
}

pub(crate) struct Parquet {
    columns: Vec<Column>,
    written: Written,
    writer: SerializedFileWriter<Written>,
    rows: usize,
    bytes: usize,
}

fn refused(error: ParquetError) -> Error {
    Error::Refused { format: "parquet", source: Box::new(error) }
}

impl Parquet {
    pub(crate) fn new() -> Result<Self, Error> {
        let own = [
            ("num", Holds::Field(e::NUM)),
            ("ts", Holds::Time),
            ("cpu", Holds::Cpu),
            ("dir", Holds::Direction),
            ("type", Holds::Field(e::TYPE)),
        ];
        let fields = ndjson::FIELDS.iter().map(|(key, name)| (*key, Holds::Field(field::id(name))));
        let all = own.into_iter().chain(fields).chain([("args", Holds::Arguments)]);
        let columns: Vec<Column> = all.map(|(name, holds)| Column::new(name, holds)).collect();
        let types = columns.iter().map(Column::schema).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let schema = Type::group_type_builder("event").with_fields(types).build().map_err(refused)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("nabe version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let written = Written::default();
        let writer = SerializedFileWriter::new(written.clone(), Arc::new(schema), Arc::new(properties))
            .map_err(refused)?;
        Ok(Self { columns, written, writer, rows: 0, bytes: 0 })
    }

    /// Writes the rows that are kept as a row group.
    fn end_group(&mut self, out: &mut Vec<u8>) -> Result<(), ParquetError> {
        if self.rows > 0 {
            let mut group = self.writer.next_row_group()?;
            for column in &mut self.columns {
                let Some(mut writer) = group.next_column()? else { break };
                column.write(writer.untyped())?;
                writer.close()?;
            }
            group.close()?;
            (self.rows, self.bytes) = (0, 0);
        }
        self.writer.flush()?;
        self.written.move_to(out);
        Ok(())
    }
}

impl Export for Parquet {
    fn event(&mut self, event: &Event<'_>, fields: &dyn Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        self.bytes += self.columns.iter_mut().map(|column| column.push(event, fields)).sum::<usize>();
        self.rows += 1;
        if self.rows >= ROWS || self.bytes >= BYTES {
            self.end_group(out).map_err(refused)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.end_group(out).map_err(refused)?;
        self.writer.finish().map_err(refused)?;
        self.writer.flush().map_err(|error| refused(error.into()))?;
        self.written.move_to(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nabe_event::Missing;
    use nabe_event::raw::Params;
    use nabe_event::table::EventId;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    /// An event's fields: its number, and a name that is no UTF-8.
    struct Few(u64);

    impl Fields for Few {
        fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
            match field {
                e::NUM => Value::Uint(self.0),
                e::TYPE => Value::Text(b"close"),
                e::RAWRES => Value::Int(-9),
                e::RES => Value::Text(if self.0 == 1 { b"SUCCESS" } else { b"EBADF" }),
                id if id == super::field::id("proc.name") => Value::Text(b"c\xffat"),
                _ => Value::Missing(Missing::Unset),
            }
        }
        fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
            None
        }
    }

    /// A file of so many events.
    fn written(events: u64) -> (SerializedFileReader<std::fs::File>, usize) {
        let id = EventId::SYSCALL_CLOSE_X;
        let mut data = (-9i64).to_le_bytes().to_vec();
        data.extend_from_slice(&7i64.to_le_bytes());
        let lengths = [8u16, 8].map(u16::to_le_bytes).concat();
        let params = Params::new(id, &lengths, &data).unwrap();
        let mut exporter = Parquet::new().unwrap();
        let (mut all, mut most) = (Vec::new(), 0);
        for number in 1..=events {
            let event = Event { id, cpu: 3, flags: 0, ts_ns: 1_000 + number, tid: 5, params };
            exporter.event(&event, &Few(number), &mut all).unwrap();
            most = most.max(exporter.rows);
        }
        exporter.finish(&mut all).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&all).unwrap();
        (SerializedFileReader::new(file).unwrap(), most)
    }

    #[test]
    fn rows_are_read_back() {
        let (reader, _) = written(2);
        let schema = reader.metadata().file_metadata().schema();
        let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
        assert_eq!(names[..6], ["num", "ts", "cpu", "dir", "type", "tid"]);
        let at = |name: &str| names.iter().position(|known| *known == name).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let row = &rows[1];
        assert_eq!(row.get_ulong(at("num")).unwrap(), 2);
        assert_eq!(row.get_long(at("ts")).unwrap(), 1_002);
        assert_eq!(row.get_long(at("cpu")).unwrap(), 3);
        assert_eq!(row.get_string(at("dir")).unwrap(), "<");
        assert_eq!(row.get_string(at("proc_name")).unwrap(), "c\u{fffd}at");
        assert_eq!(row.get_long(at("res")).unwrap(), -9);
        assert_eq!(row.get_string(at("error")).unwrap(), "EBADF");
        // No value, no text.
        assert!(row.get_string(at("container_name")).is_err());
        assert!(rows[0].get_string(at("error")).is_err());
        let args: serde_json::Value = serde_json::from_str(row.get_string(at("args")).unwrap()).unwrap();
        assert!(args.is_object(), "{args}");
    }

    #[test]
    fn an_empty_file_is_one() {
        assert_eq!(written(0).0.metadata().num_row_groups(), 0);
    }

    #[test]
    fn row_groups_are_bounded() {
        let events = ROWS as u64 + 17;
        let (reader, most) = written(events);
        let metadata = reader.metadata();
        assert!(most < ROWS);
        assert_eq!(metadata.num_row_groups(), 2);
        assert_eq!(metadata.file_metadata().num_rows(), i64::try_from(events).unwrap());
    }
}

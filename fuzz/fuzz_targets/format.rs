//! The format language: any text is refused with a place inside it, or becomes a format whose parts
//! hold what was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabe_filter::format::{FormatError, Template, Token};

fuzz_target!(|source: &str| {
    let format = match Template::parse(source) {
        Ok(format) => format,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            match error {
                FormatError::Cut { position }
                | FormatError::Unknown { position, .. }
                | FormatError::NoArgument { position, .. }
                | FormatError::FilterOnly { position, .. }
                | FormatError::Open { position, .. } => assert!(position <= source.len()),
                _ => {}
            }
            return;
        }
    };
    for token in &format.tokens {
        match token {
            Token::Text(text) => assert!(!text.is_empty() && text.len() <= source.len()),
            Token::Field(item) => {
                assert!(source.contains(&item.key));
                for transformer in &item.transformers {
                    let _ = transformer.of(b"a\x1b[31m\n\"\xff");
                    let _ = transformer.of(source.as_bytes());
                }
            }
        }
    }
});

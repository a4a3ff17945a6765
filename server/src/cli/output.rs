//! How lists are printed: a table for people, JSON, YAML and CSV for programs.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// How a list is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
    Csv,
}

/// The flag of every list.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct OutputArg {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Prints a list: as it is for programs, by chosen columns as table and CSV.
pub fn list<T: Serialize>(
    format: Format,
    items: &[T],
    columns: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(items)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(items)?,
        Format::Table => table(columns, &items.iter().map(row).collect::<Vec<_>>()),
        Format::Csv => csv(columns, &items.iter().map(row).collect::<Vec<_>>()),
    };
    print(&text)
}

/// Prints one thing: as it is for programs, field by field as table and CSV.
pub fn one(format: Format, thing: &Value) -> anyhow::Result<()> {
    let fields: Vec<(&String, String)> = thing
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, value)| (field, cell(value)))
        .collect();
    let text = match format {
        Format::Json => serde_json::to_string_pretty(thing)? + "\n",
        Format::Yaml => serde_yaml_ng::to_string(thing)?,
        Format::Table => {
            let rows = fields.into_iter();
            let rows: Vec<_> = rows
                .map(|(field, value)| vec![field.clone(), value])
                .collect();
            table(&["field", "value"], &rows)
        }
        Format::Csv => {
            let (columns, cells): (Vec<&str>, Vec<String>) = fields
                .into_iter()
                .map(|(field, value)| (field.as_str(), value))
                .unzip();
            csv(&columns, &[cells])
        }
    };
    print(&text)
}

/// Tells that something is done: in words, to programs as what it is now.
pub fn done(format: Format, thing: &Value, words: &str) -> anyhow::Result<()> {
    match format {
        Format::Table => print(words),
        format => one(format, thing),
    }
}

/// A value as a cell of a table.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Writes to standard output. A reader that has enough (`| head`) is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The text without what a terminal would obey: names come from others.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' => '\n',
            character if character.is_control() => '\u{FFFD}',
            character => character,
        })
        .collect()
}

fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let heads = columns.iter().map(|column| column.to_uppercase()).collect();
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|cell| printable(cell).replace('\n', " "));
        cells.collect::<Vec<_>>()
    });
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            lines
                .iter()
                .filter_map(|line| line.get(at))
                .map(|cell| width(cell))
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for (cell, room) in line.iter().zip(&widths) {
            let padding = room.saturating_sub(width(cell)) + 2;
            let _ = write!(written, "{cell}{:padding$}", "");
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

/// Places on a terminal: two for the characters of East Asia, one for others.
fn width(text: &str) -> usize {
    let wide = |character: char| matches!(character as u32, 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE4F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD);
    text.chars()
        .map(|character| 1 + usize::from(wide(character)))
        .sum()
}

/// RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe before it (threats.md, P4).
pub fn csv(columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = columns.join(",");
    text.push_str("\r\n");
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn csv_cell(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_of_a_table_stand_under_each_other() {
        let rows = [row(&["张三", "1"]), row(&["a\u{1b}[31m", "20"])];
        assert_eq!(
            table(&["name", "n"], &rows),
            "NAME    N\n张三    1\na\u{FFFD}[31m  20\n"
        );
    }

    #[test]
    fn csv_holds_any_text_and_no_formula() {
        let rows = [
            row(&["a,b", "say \"hi\"", "=1+1"]),
            row(&["@x", "-1", "two\nlines"]),
        ];
        assert_eq!(
            csv(&["a", "b", "c"], &rows),
            "a,b,c\r\n\"a,b\",\"say \"\"hi\"\"\",'=1+1\r\n'@x,'-1,\"two\nlines\"\r\n"
        );
    }
}

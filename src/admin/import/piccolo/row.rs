//! The table's columns, out of JSON as databases write it, or out of CSV.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::secret::Secret;

/// One row.
pub struct Row {
    pub place: String,
    /// The column `username` where a join brought it, else `user_id`.
    pub user: String,
    pub secret: Option<Secret<String>>,
    pub recovery_codes: Vec<String>,
    /// As the database wrote it: later ones sort behind.
    pub created: String,
    pub is_revoked: bool,
    pub last_code: Option<Secret<String>>,
}

/// The rows in `text`.
///
/// # Errors
/// Where it is neither a JSON array of them nor CSV with a line of column names.
pub fn rows(text: &str) -> Result<Vec<Row>, String> {
    let records = if text.trim_start().starts_with('[') { json(text)? } else { comma_separated(text)? };
    let rows = records.into_iter().enumerate().map(|(index, mut record)| {
        let place = format!("row {}", index + 1);
        let mut column = |name: &str| record.remove(name).filter(|text| !text.is_empty());
        let user = column("username").or_else(|| column("user_id"));
        Ok(Row {
            user: user.ok_or_else(|| format!("{place}: there is neither user_id nor username in it"))?,
            secret: column("secret").map(Secret::new),
            recovery_codes: array(&column("recovery_codes").unwrap_or_default()),
            created: column("created_at").unwrap_or_default(),
            is_revoked: column("revoked_at").is_some(),
            last_code: column("last_used_code").map(Secret::new),
            place,
        })
    });
    rows.collect()
}

type Record = BTreeMap<String, String>;

fn json(text: &str) -> Result<Vec<Record>, String> {
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_str(text).map_err(|error| {
        // Its own text may repeat what stands there.
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: this is not a JSON array of the rows of authenticator_secret")
    })?;
    let text = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    Ok(rows.into_iter().map(|row| row.into_iter().map(|(name, value)| (name, text(value))).collect()).collect())
}

fn comma_separated(text: &str) -> Result<Vec<Record>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let flawed = |error: csv::Error| {
        let line = error.position().map_or(0, csv::Position::line);
        format!("line {line}: this is neither a JSON array nor CSV with as many columns as its first line names")
    };
    let names = reader.headers().map_err(flawed)?.clone();
    if !names.iter().any(|name| name == "secret") {
        return Err("this is neither a JSON array nor CSV whose first line names the columns, secret among them".into());
    }
    let record = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(flawed)?;
        Ok(names.iter().zip(record.iter()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    reader.records().map(record).collect()
}

/// The elements of an array of hashes, as JSON or as PostgreSQL writes it.
fn array(text: &str) -> Vec<String> {
    let bare = text.trim().trim_start_matches(['[', '{']).trim_end_matches([']', '}']);
    // No hash has a comma, a quotation mark or a space in it.
    let elements = bare.split(',').map(|element| element.trim().trim_matches('"'));
    elements.filter(|element| !element.is_empty()).map(ToOwned::to_owned).collect()
}

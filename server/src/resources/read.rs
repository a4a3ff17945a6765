//! Reading a configuration file: text in, [`Resources`] out, or every reason why not.
//!
//! JSON is YAML too. Nothing is ignored: unknown fields, doubled keys, tags and what this build does not know yet are
//! refused by name. An error says the line and column where the parser knows them, and always the path.

use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};
use weir_api_types::{problem::FieldError, resources::Resources};

use super::{expand, place};
use crate::strict::Strict;

/// Sections and fields of the design that this build does not know yet, wherever they stand.
const NOT_BUILT: &[&str] = &[
    "alerts", "default", "plan", "plans", "rules", "script", "scripts",
];

/// What an error repeats of a file is bounded, in characters.
const MAX_PATH: usize = 200;
const MAX_MESSAGE: usize = 400;

/// Reads a file as it is, as the management API does: nothing is expanded.
pub fn parse(text: &str) -> Result<Resources, Vec<FieldError>> {
    read(text, &|text| Ok(text.to_owned()))
}

/// Reads a file whose `${UPPER_CASE}` are looked up: for the CLI, and for the file that `serve --resources` names.
pub fn parse_expanding<T: DeserializeOwned>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<T, Vec<FieldError>> {
    read(text, &|text| expand::expand(text, lookup))
}

/// The value of an environment variable, for [`parse_expanding`].
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

type Expand<'a> = &'a dyn Fn(&str) -> Result<String, expand::Missing>;

fn read<T: DeserializeOwned>(text: &str, expand: Expand<'_>) -> Result<T, Vec<FieldError>> {
    let mut document: Value =
        serde_yaml_ng::from_str(text).map_err(|error| vec![from_yaml("", &error)])?;
    if document.is_null() {
        return Err(vec![FieldError::new("", "the document is empty")]);
    }
    let mut errors = Vec::new();
    walk(&mut document, "", expand, &mut errors);
    if !errors.is_empty() {
        place::add(text, &mut errors);
        return Err(errors);
    }
    serde_path_to_error::deserialize(Strict(document)).map_err(|error| {
        let path = error.path().to_string();
        let mut refused = from_yaml(&path, error.inner());
        (refused.line, refused.column) = position(text, &path);
        vec![refused]
    })
}

/// Expands every text and refuses what is not built, collecting all that is wrong.
fn walk(value: &mut Value, path: &str, expand: Expand<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => match expand(text) {
            Ok(expanded) => *text = expanded,
            Err(missing) => errors.push(FieldError::new(path, missing)),
        },
        Value::Sequence(list) => {
            for (at, value) in list.iter_mut().enumerate() {
                walk(value, &format!("{path}[{at}]"), expand, errors);
            }
        }
        Value::Mapping(map) => walk_map(map, path, expand, errors),
        Value::Tagged(_) => errors.push(FieldError::new(path, "YAML tags have no meaning here")),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn walk_map(map: &mut Mapping, path: &str, expand: Expand<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in map.iter_mut() {
        let Some(key) = key.as_str() else {
            errors.push(FieldError::new(path, "the names of fields are texts"));
            continue;
        };
        let path = match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        if NOT_BUILT.contains(&key) {
            let message = format!("{key} is not built in this version");
            errors.push(FieldError::new(cut(&path, MAX_PATH), message));
        } else {
            walk(value, &path, expand, errors);
        }
    }
}

/// Where the field stands in the text. The text is read once more from its source, as a tree has no positions; where
/// that fails elsewhere (a variable instead of a number, say) there is none to give.
fn position(text: &str, path: &str) -> (Option<usize>, Option<usize>) {
    let source = serde_yaml_ng::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, Resources>(Strict(source)) {
        Err(error) if error.path().to_string() == path => match error.inner().location() {
            Some(at) => (Some(at.line()), Some(at.column())),
            None => (None, None),
        },
        _ => (None, None),
    }
}

/// The parser's own error with its position apart from its words, and without the text that was refused: a secret in
/// the wrong place must not end in a log.
fn from_yaml(path: &str, error: &serde_yaml_ng::Error) -> FieldError {
    let mut message = error.to_string();
    let location = error.location();
    if let Some(at) = &location {
        let suffix = format!(" at line {} column {}", at.line(), at.column());
        message = message.replace(&suffix, "");
    }
    if let Some(expected) = message
        .strip_prefix("invalid type: string ")
        .and_then(|rest| rest.rfind("\", expected ").map(|at| &rest[at + 3..]))
    {
        message = format!("invalid type: a text, {expected}");
    }
    let path = match path {
        "." => "",
        path => path,
    };
    FieldError {
        path: cut(path, MAX_PATH),
        message: cut(&message, MAX_MESSAGE),
        line: location.as_ref().map(serde_yaml_ng::Location::line),
        column: location.as_ref().map(serde_yaml_ng::Location::column),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Resources as YAML, so written that reading them with any environment gives them back.
pub fn write(resources: &Resources) -> Result<String, serde_yaml_ng::Error> {
    let mut document = serde_yaml_ng::to_value(resources)?;
    walk(
        &mut document,
        "",
        &|text| Ok(expand::escape(text)),
        &mut Vec::new(),
    );
    serde_yaml_ng::to_string(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<String> {
        let errors = parse(text).expect_err(text);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_built_is_refused_by_name_and_path() {
        let text = "
channels: [{name: a, default: true}]
tenants: [{name: t, plan: gold, keys: [{name: k, alerts: [], script: x}]}]
rules: []
";
        assert_eq!(
            refused(text),
            [
                "line 2 column 22: default is not built in this version (channels[0].default)",
                "line 3 column 21: plan is not built in this version (tenants[0].plan)",
                "line 3 column 50: alerts is not built in this version (tenants[0].keys[0].alerts)",
                "line 3 column 62: script is not built in this version (tenants[0].keys[0].script)",
                "line 4 column 1: rules is not built in this version (rules)",
            ]
        );
    }

    #[test]
    fn unknown_fields_doubled_keys_and_wrong_types_are_refused_with_their_place() {
        insta::assert_debug_snapshot!(
            [
                "channels:\n  - name: a\n    colour: red\n",
                "channels:\n  - name: a\n    name: b\n",
                "channels:\n  - name: a\n    enabled: maybe\n",
                "channels:\n  - name: a\n    kind: openia\n",
                "channels:\n  - name: a\n    credentials: sk-secret-in-the-wrong-place\n",
                "channels:\n  - name: a\n    credentials: [{value: x, keep: y}]\n",
                "channels:\n  - name: a\n    timeouts: {connect: 5 parsecs}\n",
                "models:\n  - name: m\n    prices: {input: 0.15}\n",
                "models:\n  - name: m\n    max_output_tokens: -1\n",
                "tenants:\n  - name: t\n    enabled: null\n",
                "tenants:\n  - name: t\n    name: *x\n",
                "tenants: !include /etc/passwd\n",
                "tenants:\n  - name: [\n",
                "colour: red\n",
                "- a\n",
                "",
            ]
            .map(|text| refused(text).join(" | "))
        );
    }

    #[test]
    fn a_missing_variable_is_named_with_its_path() {
        let text =
            "channels: [{name: a, credentials: ['${KEY}', '${NOT_SET}'], base_url: '${ALSO_NOT}'}]";
        let lookup = |name: &str| (name == "KEY").then(|| "sk-1".to_owned());
        let errors = parse_expanding::<Resources>(text, &lookup).expect_err("two are missing");
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "line 1 column 46: the environment has no variable NOT_SET (channels[0].credentials[1])",
                "line 1 column 61: the environment has no variable ALSO_NOT (channels[0].base_url)",
            ]
        );
        let channels = parse(text).expect("the server expands nothing").channels;
        let base = channels.and_then(|channels| channels[0].base_url.clone());
        assert_eq!(base.as_deref(), Some("${ALSO_NOT}"));
    }

    #[test]
    fn what_is_written_reads_the_same_in_any_environment() {
        let text = "tenants: [{name: '${HOME}', users: [{email: a@b.c, name: '$${x}', department: '${x}'}]}]";
        let resources = parse(text).expect("resources");
        let written = write(&resources).expect("YAML");
        let canary = |_: &str| Some("canary".to_owned());
        assert_eq!(parse_expanding(&written, &canary), Ok(resources));
    }
}

//! Where a field stands in a text: a document that has been read into a tree has paths and no lines.
//!
//! The text is read once more, along the path only, and the reading fails on purpose where the path ends: the parser says
//! where that was.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use weir_api_types::problem::FieldError;

/// Gives every error that has none its line and column: of its field, or of what the field is missing in.
pub fn add(text: &str, errors: &mut [FieldError]) {
    for error in errors.iter_mut().filter(|error| error.line.is_none()) {
        if let Some((line, column)) = of(text, &error.path) {
            (error.line, error.column) = (Some(line), Some(column));
        }
    }
}

/// Line and column of a path such as `tenants[0].keys[1].name`, both from 1.
fn of(text: &str, path: &str) -> Option<(usize, usize)> {
    let steps = steps(path)?;
    let source = serde_yaml_ng::Deserializer::from_str(text);
    let stopped = Seek(&steps).deserialize(source).err()?;
    let at = stopped.location()?;
    Some((at.line(), at.column()))
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, items) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !name.is_empty() {
            steps.push(Step::Field(name));
        }
        for item in items.split_terminator(']') {
            steps.push(Step::Item(item.strip_prefix('[')?.parse().ok()?));
        }
    }
    Some(steps)
}

/// Goes along the steps and fails where they end, or where the next one is missing.
#[derive(Clone, Copy)]
struct Seek<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    // What is neither a list nor a map is refused by the trait itself, which is what is wanted here.
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the end of the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Field(name), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        let last = rest.is_empty().then_some(*name);
        while let Some(found) = map.next_key_seed(Name { last })? {
            if found == *name {
                return map.next_value_seed(Seek(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom("missing"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Item(at), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*at {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Seek(rest))?;
        Err(A::Error::custom("missing"))
    }
}

/// A field's name; fails at the last one of a path, whose own place says more than that of its value.
struct Name<'a> {
    last: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        if self.last == Some(name) {
            return Err(E::custom("here"));
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
channels: []
tenants:
  - name: acme
    keys:
      - {name: one, value: x}
      - name: two
        limits:
          - metric: requests
";

    #[test]
    fn a_path_is_found_by_line_and_column() {
        for (path, place) in [
            ("tenants[0].keys[1].limits", (7, 9)),
            ("tenants[0].keys[0].value", (5, 21)),
            ("tenants[0].name", (3, 5)),
            ("tenants[0].keys[1]", (6, 9)),
            ("channels", (1, 1)),
            // What is missing is told where it is missed.
            ("tenants[0].keys[1].value", (6, 9)),
            ("models", (1, 1)),
            ("", (1, 1)),
        ] {
            assert_eq!(of(TEXT, path), Some(place), "{path}");
        }
        assert_eq!(of(TEXT, "tenants[x]"), None);
    }
}

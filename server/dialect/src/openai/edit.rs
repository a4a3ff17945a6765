//! The changes that the gateway makes to a request, in place: every byte that no edit names stays as the caller wrote it.
//!
//! A vendor's prompt cache compares prefixes of what it parsed, so order and spacing of the rest must survive.
//! All edits of a request are one pass over the body; without any, the body itself goes out.

use bytes::Bytes;

use crate::json::{Span, Splice, quoted, splice};

use super::ask::{Ask, Label};

/// What to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    /// The model's name at the upstream.
    pub model: Option<&'a str>,
    /// Ask for a usage chunk: `stream_options.include_usage` becomes true. For streamed requests.
    pub include_usage: bool,
    /// Take out `session_id` and `user_id`, on paths that have sessions.
    pub drop_labels: bool,
    /// Bound the output.
    pub bound: Option<Bound>,
}

/// An output bound to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which field.
    pub field: BoundField,
    /// How much.
    pub tokens: u32,
}

/// The two fields that bound output; newer models of OpenAI refuse the old one, other vendors may not know the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundField {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl BoundField {
    /// Its name, also for `x-weir-adjusted`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

impl Ask {
    /// The body with these edits. What already is as wanted is not touched.
    #[must_use]
    pub fn edited(&self, edits: &Edits<'_>) -> Bytes {
        let mut splices = Vec::new();
        let mut members = Vec::new(); // to insert at the body's start
        if let Some(name) = edits
            .model
            .filter(|&name| self.model.as_deref() != Some(name))
        {
            set(
                self.places.model,
                "model",
                quoted(name),
                &mut splices,
                &mut members,
            );
        }
        if edits.include_usage {
            self.ask_for_usage(&mut splices, &mut members);
        }
        if let Some(bound) = edits.bound {
            let place = match bound.field {
                BoundField::MaxTokens => self.places.max_tokens,
                BoundField::MaxCompletionTokens => self.places.max_completion_tokens,
            };
            set(
                place,
                bound.field.name(),
                bound.tokens.to_string(),
                &mut splices,
                &mut members,
            );
        }
        let mut left = self.places.members;
        if edits.drop_labels {
            left = left.saturating_sub(self.places.labels.len());
            let removed = removals(&self.body, &self.places.labels);
            splices.extend(removed.map(|span| Splice {
                span,
                with: String::new(),
            }));
        }
        if !members.is_empty() {
            let comma = if left > 0 { "," } else { "" };
            let with = members.join(",") + comma;
            splices.push(Splice {
                span: Span::at(self.places.inside),
                with,
            });
        }
        if splices.is_empty() {
            return self.body.clone();
        }
        splice(&self.body, splices).into()
    }

    fn ask_for_usage(&self, splices: &mut Vec<Splice>, members: &mut Vec<String>) {
        let wanted = "{\"include_usage\":true}".to_owned();
        let Some(options) = self.places.stream_options else {
            return members.push(format!("\"stream_options\":{wanted}"));
        };
        let (span, with) = match (options.members, options.include_usage) {
            (None, _) => (options.value, wanted),
            (_, Some(_)) if self.include_usage => return,
            (_, Some(value)) => (value, "true".to_owned()),
            (Some(others), None) => {
                let comma = if others > 0 { "," } else { "" };
                (
                    Span::at(options.value.start + 1),
                    format!("\"include_usage\":true{comma}"),
                )
            }
        };
        splices.push(Splice { span, with });
    }
}

/// Replaces a value where there is one, else notes a member to insert.
fn set(
    place: Option<Span>,
    name: &str,
    value: String,
    splices: &mut Vec<Splice>,
    members: &mut Vec<String>,
) {
    match place {
        Some(span) => splices.push(Splice { span, with: value }),
        None => members.push(format!("\"{name}\":{value}")),
    }
}

/// The spans that take these members out, each run of neighbours with one of the commas around it.
fn removals<'a>(body: &'a [u8], labels: &'a [Label]) -> impl Iterator<Item = Span> + 'a {
    let runs = labels.chunk_by(|one, next| next.index == one.index + 1);
    runs.filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        Some(match first.comma {
            Some(comma) => Span {
                start: comma,
                end: last.span.end,
            },
            None => Span {
                start: first.span.start,
                end: past_comma(body, last.span.end),
            },
        })
    })
}

/// Past the comma that follows, if one does.
fn past_comma(body: &[u8], end: usize) -> usize {
    let rest = body.get(end..).unwrap_or_default();
    match rest.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(place) if rest.get(place) == Some(&b',') => end + place + 1,
        _ => end,
    }
}

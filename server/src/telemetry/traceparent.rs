//! The header `traceparent` of W3C trace context: version, trace, parent, flags.
//!
//! It comes from outside, so what is not exactly the form of version 00 counts as no header at all. `tracestate` is not
//! read and passes as it came (`proxy::forward`); nothing of `baggage` goes on.

use std::{fmt, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The value of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traceparent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Traceparent {
    /// That of a span of Weir's own.
    pub(super) fn of(context: &SpanContext) -> Self {
        Self {
            trace: context.trace_id(),
            span: context.span_id(),
            flags: context.trace_flags(),
        }
    }

    /// As the parent of a span.
    pub(super) fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }
}

/// Anything that is not exactly a `traceparent` of version 00 counts as none.
#[derive(Debug)]
pub(super) struct NotATraceparent;

impl FromStr for Traceparent {
    type Err = NotATraceparent;

    fn from_str(header: &str) -> Result<Self, NotATraceparent> {
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let (trace, span, flags) = match header.split('-').collect::<Vec<_>>()[..] {
            ["00", trace, span, flags]
                if trace.len() == 32 && span.len() == 16 && flags.len() == 2 =>
            {
                (trace, span, flags)
            }
            _ => return Err(NotATraceparent),
        };
        if ![trace, span, flags]
            .iter()
            .all(|part| part.bytes().all(is_lower_hex))
        {
            return Err(NotATraceparent);
        }
        let parsed = Self {
            trace: TraceId::from_hex(trace).map_err(|_| NotATraceparent)?,
            span: SpanId::from_hex(span).map_err(|_| NotATraceparent)?,
            flags: u8::from_str_radix(flags, 16)
                .map(TraceFlags::new)
                .map_err(|_| NotATraceparent)?,
        };
        let is_zero = parsed.trace == TraceId::INVALID || parsed.span == SpanId::INVALID;
        if is_zero {
            Err(NotATraceparent)
        } else {
            Ok(parsed)
        }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "00-{}-{}-{:02x}",
            self.trace,
            self.span,
            self.flags.to_u8()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_good_header_is_written_as_it_was_read() {
        let read: Traceparent = GOOD.parse().expect("a traceparent");
        assert_eq!(read.to_string(), GOOD);
        assert!(read.context().is_remote() && read.context().is_sampled());
    }

    #[test]
    fn odd_traceparents_count_as_none() {
        for odd in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx: y",
        ] {
            assert!(odd.parse::<Traceparent>().is_err(), "{odd}");
        }
    }
}

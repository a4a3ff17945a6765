//! Requests that got no answer, or none that can be read: whether they may have been done all the same, and whether another try helps.

use std::io::ErrorKind;

use actix_http::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};

use super::exit::{Exit, Failure};

/// What became of such a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It was not sent: there was no connection, and the next time there may be one.
    NoConnection,
    /// It is not sent, however often that is tried.
    NotSent,
    /// It may have arrived; what was said to it is lost.
    NoAnswer,
    /// It may have arrived, and what is said to it can never be read.
    BadAnswer,
}

impl Lost {
    /// That of a request to which nothing was said.
    pub fn of_request(error: &SendRequestError) -> Self {
        match error {
            // Awc's word for a server that hangs up without an answer, too.
            SendRequestError::Connect(ConnectError::Disconnected) => Self::NoAnswer,
            // A certificate that does not fit, or a host that none can be for.
            SendRequestError::Connect(ConnectError::Io(error))
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::InvalidInput
                ) =>
            {
                Self::NotSent
            }
            SendRequestError::Connect(_) => Self::NoConnection,
            SendRequestError::Url(_) | SendRequestError::Http(_) => Self::NotSent,
            SendRequestError::Response(
                ParseError::Incomplete | ParseError::Timeout | ParseError::Io(_),
            ) => Self::NoAnswer,
            SendRequestError::Response(_) => Self::BadAnswer,
            _ => Self::NoAnswer,
        }
    }

    /// That of a request whose answer did not come whole.
    pub fn of_answer(error: &PayloadError) -> Self {
        match error {
            PayloadError::Incomplete(_) | PayloadError::Io(_) => Self::NoAnswer,
            _ => Self::BadAnswer,
        }
    }

    /// What to tell of it. To try again is safe where nothing was sent, or nothing is done twice.
    pub fn failure(self, repeats: Repeats, mut said: String) -> Failure {
        let may_be_done = matches!(self, Self::NoAnswer | Self::BadAnswer);
        match repeats {
            Repeats::Twice if may_be_done => {
                said.push_str("; what was asked for may have been done all the same");
            }
            Repeats::UnderItsKey if may_be_done => {
                said.push_str("; with the same idempotency key it is not done twice");
            }
            _ => {}
        }
        let exit = match self {
            Self::NoConnection => Exit::TryAgain,
            Self::NoAnswer if repeats != Repeats::Twice => Exit::TryAgain,
            Self::NoAnswer | Self::NotSent | Self::BadAnswer => Exit::Failed,
        };
        Failure::new(exit, said)
    }
}

/// What becomes of a request that is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It is answered again: nothing is changed by it.
    Anyhow,
    /// It is done once, as it has an idempotency key.
    UnderItsKey,
    /// It may be done twice.
    Twice,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn nothing_is_to_be_tried_again_that_may_be_done_or_cannot_help() {
        let connect = |kind: ErrorKind| {
            let error = ConnectError::Io(io::Error::from(kind));
            Lost::of_request(&SendRequestError::Connect(error))
        };
        let response = |error| Lost::of_request(&SendRequestError::Response(error));
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        let (no_connection, not_sent) = (Lost::NoConnection, Lost::NotSent);
        for (lost, known) in [
            (connect(ErrorKind::ConnectionRefused), no_connection),
            (connect(ErrorKind::UnexpectedEof), no_connection),
            (
                Lost::of_request(&SendRequestError::Connect(ConnectError::Timeout)),
                no_connection,
            ),
            (
                Lost::of_request(&SendRequestError::Connect(ConnectError::NoRecords)),
                no_connection,
            ),
            // Of rustls: a certificate that is for another name, or that nobody known has signed.
            (connect(ErrorKind::InvalidData), not_sent),
            (connect(ErrorKind::InvalidInput), not_sent),
            (
                Lost::of_request(&SendRequestError::Connect(ConnectError::Disconnected)),
                Lost::NoAnswer,
            ),
            (Lost::of_request(&SendRequestError::Timeout), Lost::NoAnswer),
            (
                Lost::of_request(&SendRequestError::Send(reset())),
                Lost::NoAnswer,
            ),
            (response(ParseError::Io(reset())), Lost::NoAnswer),
            (response(ParseError::Incomplete), Lost::NoAnswer),
            (response(ParseError::Version), Lost::BadAnswer),
            (
                Lost::of_answer(&PayloadError::Incomplete(None)),
                Lost::NoAnswer,
            ),
            (Lost::of_answer(&PayloadError::Io(reset())), Lost::NoAnswer),
            (Lost::of_answer(&PayloadError::Overflow), Lost::BadAnswer),
        ] {
            assert_eq!(lost, known);
        }
        // To a question, and to an order.
        for (lost, read, write) in [
            (Lost::NoConnection, Exit::TryAgain, Exit::TryAgain),
            (Lost::NotSent, Exit::Failed, Exit::Failed),
            (Lost::NoAnswer, Exit::TryAgain, Exit::Failed),
            (Lost::BadAnswer, Exit::Failed, Exit::Failed),
        ] {
            let of = |repeats| lost.failure(repeats, "no answer".to_owned());
            let (asked, done) = (of(Repeats::Anyhow), of(Repeats::Twice));
            assert_eq!((asked.exit, done.exit), (read, write), "{lost:?}");
            let may_be_done = matches!(lost, Lost::NoAnswer | Lost::BadAnswer);
            let said = done.said;
            assert_eq!(said.contains("may have been done"), may_be_done, "{said}");
            assert_eq!(asked.said, "no answer");
            let once = of(Repeats::UnderItsKey);
            assert_eq!(once.exit, read, "{lost:?}");
            assert_eq!(once.said.contains("not done twice"), may_be_done);
        }
    }
}

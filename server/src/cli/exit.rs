//! How a command ends, in codes that a script can tell apart.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// The same as clap's for a command line that it does not understand.
    Differs = 2,
    Absent = 3,
    NotAllowed = 4,
    Refused = 5,
    TryAgain = 6,
}

impl Exit {
    #[cfg(test)]
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Failed,
        Self::Differs,
        Self::Absent,
        Self::NotAllowed,
        Self::Refused,
        Self::TryAgain,
    ];

    /// That of an answer which is no success.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            404 | 410 => Self::Absent,
            408 | 429 | 502..=504 => Self::TryAgain,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// That of whatever went wrong.
    pub fn of(error: &anyhow::Error) -> Self {
        Failure::within(error).map_or(Self::Failed, |failure| failure.exit)
    }

    /// What it says, for the page of the commands.
    #[cfg(test)]
    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => {
                "it failed, in a way that has no code of its own; of a change whose answer was lost it says that it may have been done"
            }
            Self::Differs => "`diff` found differences, or the command line itself is wrong",
            Self::Absent => {
                "what the command is about is not there, or not for you to see; a link is over"
            }
            Self::NotAllowed => "the token is not known, or may not do this (401, 403)",
            Self::Refused => {
                "a file or an order cannot be done as it stands: a field is wrong, a name is taken, somebody was faster (other 4xx); or a credential or a value that was tried does not work"
            }
            Self::TryAgain => {
                "trying again is safe and may help: there was no connection, the answer to a question was lost, or the server says so (408, 429, 502, 503, 504)"
            }
        }
    }

    /// All of them as a table.
    #[cfg(test)]
    pub fn page() -> String {
        let rows = Self::ALL.map(|exit| format!("| {} | {} |\n", exit as u8, exit.meaning()));
        format!("| exit code | meaning |\n| --- | --- |\n{}", rows.concat())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Failure {
    pub exit: Exit,
    /// What is wrong, for whoever reads it.
    pub said: String,
    /// The server's code of it, where it answered with one.
    pub code: Option<String>,
}

impl Failure {
    /// One that the server has no code of.
    pub fn new(exit: Exit, said: String) -> Self {
        let code = None;
        Self { exit, said, code }
    }

    /// The one in an error, however deep it lies.
    pub fn within(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn what_went_wrong_is_found_however_deep_it_lies() {
        let failure = Failure::new(Exit::of_status(404), "there is no such key".to_owned());
        let error = Err::<(), _>(failure).context("one").context("two");
        assert_eq!(Exit::of(&error.expect_err("a failure")), Exit::Absent);
        assert_eq!(Exit::of(&anyhow::anyhow!("no disk")), Exit::Failed);
        for (status, exit) in [
            (401, Exit::NotAllowed),
            (408, Exit::TryAgain),
            (412, Exit::Refused),
            (429, Exit::TryAgain),
            (500, Exit::Failed),
            (503, Exit::TryAgain),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }
}

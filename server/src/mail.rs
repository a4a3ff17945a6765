//! Mail to people: invitations, and links to another password.
//!
//! One message at a time, over the SMTP server that the setting `smtp_url` names. What a message says is fixed but for the link and
//! names, and addresses are parsed before they stand in a header, so that none can bring a header of its own along
//! (threats.md, H9).

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};

use crate::secrets::Secret;

/// How long a message may take to be accepted.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The way to people.
#[derive(Debug, Clone)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the address is none that mail goes to: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error("the message cannot be written: {0}")]
    Message(#[from] lettre::error::Error),
    #[error("the mail server did not take the message: {0}")]
    Server(#[from] lettre::transport::smtp::Error),
    #[error("the mail server did not answer in time")]
    Timeout,
}

/// What a message says.
#[derive(Debug, Clone)]
pub struct Letter {
    pub subject: String,
    pub text: String,
}

impl Mail {
    /// A way over a server such as `smtps://user:password@mail.example:465`, or `smtp://mail.example:587?tls=required`.
    pub fn over(url: &Secret, from: &str) -> anyhow::Result<Self> {
        // What the parser quotes may hold the password.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose())
            .map_err(|_| {
                anyhow::anyhow!("it is no URL such as smtps://user:password@mail.example:465")
            })
            .context("setting `smtp_url`")?;
        Ok(Self {
            transport: builder.timeout(Some(TIMEOUT)).build(),
            from: from
                .parse()
                .with_context(|| format!("setting `mail_from`: {from:?} is no address"))?,
        })
    }

    /// Sends a letter, and waits until the server has accepted it.
    pub async fn send(&self, to: &str, letter: Letter) -> Result<(), Error> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.parse()?))
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text)?;
        let sent = tokio::time::timeout(TIMEOUT, self.transport.send(message)).await;
        sent.map_err(|_| Error::Timeout)??;
        Ok(())
    }
}

/// An invitation, with its link.
pub fn invitation(tenant: &str, inviter: &str, url: &str) -> Letter {
    Letter {
        subject: format!("You are invited to {}", line(tenant)),
        text: format!(
            "{} invites you to {} on Weir.\n\nThis link works once, for a week, and for you alone:\n\n{url}\n\n\
             `weir invitations accept` takes it, too.\n\nIf you do not know what this is about, do nothing.\n",
            line(inviter),
            line(tenant)
        ),
    }
}

/// A link to another password.
pub fn reset(url: &str) -> Letter {
    Letter {
        subject: "Set another password".to_owned(),
        text: format!(
            "Somebody asked for another password for your account on Weir.\n\nThis link works once, for half an hour:\n\n{url}\n\n\
             `weir password-reset take` takes it, too.\n\nIf it was not you, do nothing: your password stays as it is.\n"
        ),
    }
}

/// That something about somebody's way in is another now, as a whole sentence.
pub fn changed(what: &str) -> Letter {
    Letter {
        subject: "Your account was changed".to_owned(),
        text: format!(
            "{what}\n\nIf it was not you, tell an operator at once.\n",
            what = line(what)
        ),
    }
}

/// That somebody changes where a tenant's calls go, to one of its owners.
pub fn led_elsewhere(tenant: &str, who: &str) -> Letter {
    let (tenant, who) = (line(tenant), line(who));
    Letter {
        subject: format!("Where calls of {tenant} go was changed"),
        text: format!(
            "{who} changes channels or models of {tenant} on Weir.\n\nWhat is changed, now and in the next quarter of an hour, the audit \
             log says.\n\nIf you do not know of it, look there at once.\n"
        ),
    }
}

/// A name on one line.
fn line(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        let secret = "not-a-scheme://user:hunter2@host";
        let refused = Mail::over(&Secret::new(secret), "weir@weir.example").expect_err("refused");
        assert!(!format!("{refused:#}").contains("hunter2"));
        let good = Secret::new("smtps://user:hunter2@mail.example:465");
        assert!(Mail::over(&good, "Weir <weir@weir.example>").is_ok());
        assert!(Mail::over(&good, "nobody").is_err());
        let shown = format!(
            "{:?}",
            Mail::over(&good, "weir@weir.example").expect("a way")
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn no_address_brings_a_header_along() {
        let mail = Mail::over(&Secret::new("smtp://127.0.0.1:1"), "weir@weir.example");
        let mail = mail.expect("a way");
        for address in [
            "a@b.example\r\nBcc: all@weir.example",
            "a@b.example, c@d.example",
            "",
        ] {
            let sent = mail.send(address, reset("https://weir.example")).await;
            assert!(matches!(sent, Err(Error::Address(_))), "{address:?}");
        }
        let letter = invitation(
            "acme\r\nBcc: all@weir.example",
            "x\ny",
            "https://weir.example",
        );
        assert!(!letter.subject.contains(['\r', '\n']) && !letter.text.contains("\r\nBcc"));
    }
}

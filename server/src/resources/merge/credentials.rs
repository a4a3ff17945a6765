//! The credentials of a channel, and what becomes of them when the channel moves.
//!
//! A credential belongs to its channel's origin (threats.md, K1): another scheme, host or port drops the stored ones
//! unless the same file gives them anew. Keeping one by its id is not giving it.

use weir_api_types::secret::{Credential as Given, Secret as GivenSecret};

use super::{Merge, checks};
use crate::{
    catalog::{Channel, Credential},
    secrets::Secret,
    tenancy::{CredentialId, name},
};

const MAX_PER_CHANNEL: usize = 100;

impl Merge<'_> {
    /// Sets a channel's pool. A stored credential whose secret is given again keeps its id, so that nothing changes.
    pub(super) fn credentials(
        &mut self,
        path: &str,
        channel: &mut Channel,
        given: Option<&[Given]>,
        moved: bool,
    ) {
        let mut stored = std::mem::take(&mut channel.credentials);
        let Some(given) = given else {
            if !moved {
                channel.credentials = stored;
            }
            return;
        };
        let path = format!("{path}.credentials");
        if given.len() > MAX_PER_CHANNEL {
            self.refuse(path, format!("has more than {MAX_PER_CHANNEL} credentials"));
            return;
        }
        if moved {
            stored.clear();
        }
        for (at, given) in given.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Some(mut credential) = self.credential(&path, given, &mut stored, moved) else {
                continue;
            };
            credential.enabled = given.enabled;
            credential.name = match &given.name {
                Some(text) => self.accept(&format!("{path}.name"), name::normal(text)),
                None => None,
            };
            let doubled = channel.credentials.iter().any(|earlier| {
                credential.secret.is_some() && earlier.secret == credential.secret
                    || credential.name.is_some() && earlier.name == credential.name
            });
            if doubled {
                self.refuse(path, "has the secret or the name of an earlier one");
            } else {
                channel.credentials.push(credential);
            }
        }
    }

    fn credential(
        &mut self,
        path: &str,
        given: &Given,
        stored: &mut Vec<Credential>,
        moved: bool,
    ) -> Option<Credential> {
        let found = match &given.secret {
            GivenSecret::Keep(id) => {
                let found = stored.iter().position(|credential| credential.id.0 == *id);
                if found.is_none() {
                    self.refuse(path, missing(moved));
                    return None;
                }
                found
            }
            GivenSecret::Value(value) => {
                self.accept(path, checks::credential(value.expose()))?;
                stored.iter().position(|credential| {
                    let secret = credential.secret.as_ref();
                    secret.is_some_and(|secret| secret.expose() == value.expose())
                })
            }
        };
        match (found, &given.secret) {
            (Some(at), _) => Some(stored.remove(at)),
            (None, GivenSecret::Value(value)) => Some(Credential {
                id: CredentialId::random(),
                name: None,
                enabled: true,
                secret: Some(Secret::new(value.expose())),
            }),
            (None, GivenSecret::Keep(_)) => None,
        }
    }
}

fn missing(moved: bool) -> &'static str {
    if moved {
        "cannot be kept: it was given for another scheme, host or port; give its value again"
    } else {
        "is no stored credential of this channel; give its value"
    }
}

//! Why Weir itself ends a call that is under way: its key was revoked, a grant was withdrawn, or a stopping instance's
//! time is over.
//!
//! A call is watched from its first attempt to its last byte. Every other change of the configuration, expiry included,
//! counts from the next call.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Shared,
    error::Refusal,
    identify::{self, Caller},
};
use crate::{
    catalog::{Catalog, Model, Version},
    routing::{self, Candidate},
};

/// Watches for a reason to end one call.
#[derive(Clone)]
pub struct Ending {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    /// Where the call goes.
    candidate: Option<Candidate>,
    changes: watch::Receiver<Version>,
    out_of_time: watch::Receiver<bool>,
}

impl Ending {
    /// Watches over a call of this caller, who was identified by the given picture.
    pub fn of(
        shared: &Arc<Shared>,
        caller: &Caller,
        candidate: Option<&Candidate>,
        seen: &Arc<Catalog>,
    ) -> Self {
        let (mut changes, mut out_of_time) =
            (shared.catalog.subscribe(), shared.out_of_time.subscribe());
        // What happened between identification and now counts too: a body may have taken minutes to come.
        if !Arc::ptr_eq(&shared.catalog.peek(), seen) {
            changes.mark_changed();
        }
        out_of_time.mark_changed();
        Self {
            shared: Arc::clone(shared),
            caller: Arc::new(caller.clone()),
            candidate: candidate.cloned(),
            changes,
            out_of_time,
        }
    }

    /// Whether the call has to end now. Costs next to nothing while nothing has changed.
    pub fn due(&mut self) -> Option<Refusal> {
        // An error would mean that the sender has gone, and `shared` holds both.
        if self.out_of_time.has_changed().unwrap_or(false) {
            self.out_of_time.mark_unchanged();
            if *self.out_of_time.borrow() {
                return Some(Refusal::Stopping);
            }
        }
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            return self.revoked();
        }
        None
    }

    /// Waits until the call has to end. May be dropped and asked again.
    pub async fn reason(&mut self) -> Refusal {
        loop {
            if let Some(refusal) = self.due() {
                return refusal;
            }
            // Whoever wakes has seen the change: `due` would not see it again.
            let refusal = tokio::select! {
                Ok(()) = self.changes.changed() => self.revoked(),
                Ok(()) = self.out_of_time.changed() => {
                    self.out_of_time.borrow().then_some(Refusal::Stopping)
                }
                else => std::future::pending().await,
            };
            if let Some(refusal) = refusal {
                return refusal;
            }
        }
    }

    /// The call has been answered by this one.
    pub fn goes_to(&mut self, candidate: &Candidate) {
        self.candidate = Some(candidate.clone());
    }

    fn revoked(&self) -> Option<Refusal> {
        let catalog = self.shared.catalog.load();
        if !identify::still_allowed(&self.caller, &catalog) {
            return Some(Refusal::KeyDisabled);
        }
        // By the tenant's present grants; what its keys may use counts from the next call.
        let tenant = catalog.tenant(self.caller.tenant.id)?;
        let candidate = self.candidate.as_ref()?;
        let is_withdrawn =
            |model: &&Arc<Model>| model.owner.is_none() && !tenant.may_use_model(&model.name);
        if let Some(model) = candidate.model.as_ref().filter(is_withdrawn) {
            return Some(Refusal::ModelNotAllowed(model.name.clone()));
        }
        let channel = &candidate.channel;
        let is_granted = routing::is_granted(tenant, channel);
        (!is_granted).then(|| Refusal::ChannelNotFound(channel.name.clone()))
    }
}

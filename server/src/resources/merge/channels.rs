//! Channels of a file.

use std::collections::HashSet;

use weir_api_types::resources::Channel as Given;

use super::{Merge, checks};
use crate::{
    catalog::{Channel, channel::Base},
    tenancy::{ChannelId, Scope, TenantId, name},
};

impl Merge<'_> {
    /// Merges all channels and returns those that the file names.
    pub(super) fn channels(&mut self, given: &[Given]) -> HashSet<ChannelId> {
        let mut named = HashSet::new();
        for (at, given) in given.iter().enumerate() {
            let path = format!("channels[{at}]");
            let owner = self.owner(&path, given.tenant.as_deref());
            let name = self.accept(&format!("{path}.name"), name::channel(&given.name));
            let (Ok(owner), Some(name)) = (owner, name) else {
                continue;
            };
            let Some(channel) = self.channel(&path, owner, name, given) else {
                continue;
            };
            if !named.insert(channel.id) {
                self.refuse(format!("{path}.name"), "stands in this file twice");
            }
            let scope = Scope::Channel(channel.id);
            self.merged.picture.channels.insert(channel.id, channel);
            self.limits(&path, scope, given.limits.as_deref());
            self.budgets(&path, scope, given.budgets.as_deref());
        }
        named
    }

    fn channel(
        &mut self,
        path: &str,
        owner: Option<TenantId>,
        name: String,
        given: &Given,
    ) -> Option<Channel> {
        let stored = self.merged.picture.channel_of(owner, &name);
        let stored = stored.and_then(|id| self.merged.picture.channels.get(&id).cloned());
        let base = match &given.base_url {
            Some(url) => Some(self.accept(&format!("{path}.base_url"), Base::parse(url))?),
            None => None,
        };
        let old_origin = stored.as_ref().map(|channel| channel.base.origin());
        let mut channel = match (stored, given.kind, &base) {
            (Some(stored), _, _) => stored,
            (None, Some(kind), Some(base)) => Channel {
                id: ChannelId::random(),
                owner,
                name,
                kind,
                base: base.clone(),
                auth: Default::default(),
                credentials: Vec::new(),
                timeouts: Default::default(),
                retry: Default::default(),
                proxy_paths: None,
                settings: Default::default(),
                weight: 1,
                priority: 0,
                enabled: true,
                allowed_origin: None,
            },
            (None, kind, _) => {
                let field = if kind.is_none() { "kind" } else { "base_url" };
                self.refuse(format!("{path}.{field}"), "is needed for a new channel");
                return None;
            }
        };
        if let Some(base) = base {
            channel.base = base;
        }
        let moved = old_origin.is_some_and(|origin| origin != channel.base.origin());
        channel.kind = given.kind.unwrap_or(channel.kind);
        channel.settings = given.settings.unwrap_or(channel.settings);
        channel.priority = given.priority.unwrap_or(channel.priority);
        channel.enabled = given.enabled.unwrap_or(channel.enabled);
        self.shape(path, &mut channel, given);
        self.origin(path, &mut channel, given);
        self.credentials(path, &mut channel, given.credentials.as_deref(), moved);
        Some(channel)
    }

    /// Where a tenant's channel may lead (threats.md, S1 and S4).
    fn origin(&mut self, path: &str, channel: &mut Channel, given: &Given) {
        let at = format!("{path}.allowed_origin");
        match &given.allowed_origin {
            Some(Some(_)) if channel.owner.is_none() => {
                self.refuse(
                    at,
                    "is for the channels of tenants: an operator's own needs none",
                );
            }
            Some(Some(url)) => {
                let base = self.accept(&at, Base::parse(url));
                channel.allowed_origin = base.map(|base| base.origin());
            }
            Some(None) => channel.allowed_origin = None,
            None => {}
        }
        let is_plain = !channel.base.tls || channel.base.port != 443;
        if channel.is_guarded() && is_plain {
            self.refuse(
                format!("{path}.base_url"),
                "is https on port 443, unless an operator vouches for it in allowed_origin",
            );
        }
    }

    /// The fields that are checked by themselves.
    fn shape(&mut self, path: &str, channel: &mut Channel, given: &Given) {
        if let Some(auth) = &given.auth {
            if let Some(Err((field, refusal))) = auth.as_ref().map(checks::auth) {
                self.refuse(field_of(path, "auth", field), refusal);
            }
            channel.auth = auth.clone().unwrap_or_default();
        }
        if let Some(timeouts) = given.timeouts {
            if let Err((field, refusal)) = checks::timeouts(&timeouts) {
                self.refuse(field_of(path, "timeouts", field), refusal);
            }
            channel.timeouts = timeouts;
        }
        if let Some(retry) = &given.retry {
            self.accept(&format!("{path}.retry"), checks::retry(retry));
            channel.retry.clone_from(retry);
        }
        if let Some(paths) = &given.proxy_paths {
            let at = format!("{path}.proxy_paths");
            channel.proxy_paths = paths
                .as_ref()
                .map(|paths| self.list(&at, paths, checks::proxy_path));
        }
        if let Some(weight) = given.weight {
            self.accept(&format!("{path}.weight"), checks::weight(weight));
            channel.weight = weight;
        }
    }
}

fn field_of(path: &str, field: &str, inner: &str) -> String {
    match inner {
        "" => format!("{path}.{field}"),
        inner => format!("{path}.{field}.{inner}"),
    }
}

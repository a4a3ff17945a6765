//! Users of a tenant in a file. What belongs to the person is one for all tenants; role and groups are the tenant's.

use std::collections::BTreeMap;

use weir_api_types::resources::User as Given;

use super::{Merge, checks};
use crate::tenancy::{GroupId, Membership, Person, Scope, TenantId, UserId, name};

impl Merge<'_> {
    /// Merges a tenant's users.
    pub(super) fn users(&mut self, path: &str, tenant: TenantId, given: &[Given]) {
        let people = self.merged.picture.people.values();
        let mut ids: BTreeMap<String, UserId> = people
            .map(|person| (person.email.clone(), person.id))
            .collect();
        let mut seen = Vec::new();
        for (at, given) in given.iter().enumerate() {
            let path = format!("{path}.users[{at}]");
            let email = self.accept(&format!("{path}.email"), checks::email(&given.email));
            let Some(email) = email else { continue };
            if seen.contains(&email) {
                self.refuse(format!("{path}.email"), "stands in this tenant twice");
                continue;
            }
            seen.push(email.clone());
            let id = *ids.entry(email.clone()).or_insert_with(UserId::random);
            self.user(&path, tenant, id, email, given);
        }
    }

    fn user(&mut self, path: &str, tenant: TenantId, id: UserId, email: String, given: &Given) {
        let stored = self.merged.picture.people.get(&id).cloned();
        let is_unproven = stored.as_ref().is_some_and(|person| {
            !person.email_proven
                && !person.memberships.is_empty()
                && person.membership(tenant).is_none()
        });
        let mut person = stored.unwrap_or_else(|| Person {
            id,
            ..Person::new(email.clone())
        });
        // By the platform's word the address is theirs from now on; the ways in that another tenant's people may have go.
        person.email_proven |= is_unproven;
        let words = [
            ("name", &given.name, &mut person.name),
            ("department", &given.department, &mut person.department),
            ("contact", &given.contact, &mut person.contact),
        ];
        for (field, given, kept) in words {
            let Some(text) = given else { continue };
            let path = format!("{path}.{field}");
            if let Some(text) = self.accept(&path, checks::line(text)) {
                self.one_word(&email, field, &text, path);
                *kept = text;
            }
        }
        if let Some(enabled) = given.enabled {
            self.one_word(
                &email,
                "enabled",
                &enabled.to_string(),
                format!("{path}.enabled"),
            );
            person.enabled = enabled;
        }
        let mut membership = person
            .membership(tenant)
            .cloned()
            .unwrap_or_else(|| Membership {
                tenant,
                role: Default::default(),
                groups: Vec::new(),
            });
        if let Some(name) = &given.role {
            match self.merged.picture.role_named(tenant, name) {
                Some(role) => membership.role = role,
                None => self.refuse(format!("{path}.role"), "is no role that the tenant has"),
            }
        }
        if let Some(groups) = &given.groups {
            membership.groups = self.group_list(&format!("{path}.groups"), tenant, groups);
        }
        person.memberships.retain(|other| other.tenant != tenant);
        person.memberships.push(membership);
        person
            .memberships
            .sort_by_key(|membership| membership.tenant);
        self.merged.picture.people.insert(id, person);
        let scope = Scope::User(tenant, id);
        self.limits(path, scope, given.limits.as_deref());
        self.budgets(path, scope, given.budgets.as_deref());
    }

    fn group_list(&mut self, path: &str, tenant: TenantId, names: &[String]) -> Vec<GroupId> {
        let mut groups = Vec::new();
        for (at, text) in names.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Some(name) = self.accept(&path, name::normal(text)) else {
                continue;
            };
            match self.merged.picture.group_named(tenant, &name) {
                None => self.refuse(path, "there is no group of this name in the tenant"),
                Some(id) if groups.contains(&id) => self.refuse(path, "stands there twice"),
                Some(id) => groups.push(id),
            }
        }
        groups
    }

    /// A person's own fields are one for all tenants: a file that says two things about one is refused.
    fn one_word(&mut self, email: &str, field: &'static str, value: &str, path: String) {
        let key = (email.to_owned(), field);
        match self.people.get(&key).cloned() {
            Some((earlier, at)) if earlier != value => {
                self.refuse(
                    path,
                    format!("differs from {at}, and a person has one {field}"),
                );
            }
            Some(_) => {}
            None => drop(self.people.insert(key, (value.to_owned(), path))),
        }
    }
}

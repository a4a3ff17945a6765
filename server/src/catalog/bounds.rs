//! Limits or budgets by the thing they stand on.

use std::{hash::Hash, sync::Arc};

use crate::{
    hash::SharedIdMap,
    tenancy::{Budget, BudgetId, Limit, LimitId, Scope},
};

/// What the two have in common.
pub(super) trait Bound: Clone {
    type Id: Copy + Eq + Hash;

    fn id(&self) -> Self::Id;
    fn scope(&self) -> Scope;
    fn position(&self) -> u32;
}

/// All bounds of one kind.
#[derive(Debug, Clone)]
pub(super) struct Bounds<I, B> {
    by_scope: SharedIdMap<Scope, Arc<[B]>>,
    scopes: SharedIdMap<I, Scope>,
}

impl<I: Hash + Eq, B> Default for Bounds<I, B> {
    fn default() -> Self {
        Self {
            by_scope: SharedIdMap::default(),
            scopes: SharedIdMap::default(),
        }
    }
}

impl<B: Bound> Bounds<B::Id, B> {
    /// Those of a thing, in their order.
    pub fn on(&self, scope: Scope) -> &[B] {
        self.by_scope
            .get(&scope)
            .map(|bounds| &**bounds)
            .unwrap_or_default()
    }

    pub fn all(&self) -> impl Iterator<Item = &B> {
        self.by_scope.values().flat_map(|bounds| bounds.iter())
    }

    pub fn insert(&mut self, bound: B) {
        self.remove(bound.id());
        let scope = bound.scope();
        self.scopes.insert(bound.id(), scope);
        let mut bounds = self.on(scope).to_vec();
        let place = bounds.partition_point(|other| other.position() <= bound.position());
        bounds.insert(place, bound);
        self.by_scope.insert(scope, bounds.into());
    }

    pub fn remove(&mut self, id: B::Id) {
        let Some(scope) = self.scopes.remove(&id) else {
            return;
        };
        let others = self.on(scope).iter().filter(|bound| bound.id() != id);
        let others: Arc<[B]> = others.cloned().collect();
        if others.is_empty() {
            self.by_scope.remove(&scope);
        } else {
            self.by_scope.insert(scope, others);
        }
    }
}

impl Bound for Limit {
    type Id = LimitId;

    fn id(&self) -> LimitId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn position(&self) -> u32 {
        self.position
    }
}

impl Bound for Budget {
    type Id = BudgetId;

    fn id(&self) -> BudgetId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn position(&self) -> u32 {
        self.position
    }
}

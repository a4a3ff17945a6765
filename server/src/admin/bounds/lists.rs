//! The lists of bounds that an order makes, as the file of one thing.

use weir_api_types::{
    limit::{Budget as BudgetRule, Limit as LimitRule},
    resources::{Channel, Group, Key, Model, Platform, Resources, Tenant, User},
};

use super::super::error::ApiError;
use crate::{
    resources::{self, Edit, Laid, Picture},
    tenancy::Scope,
};

/// What a file says of a thing's bounds.
#[derive(Default)]
pub struct Lists {
    limits: Option<Vec<LimitRule>>,
    budgets: Option<Vec<BudgetRule>>,
}

impl Lists {
    /// Limits alone.
    pub fn limits(rules: Vec<LimitRule>) -> Self {
        Self {
            limits: Some(rules),
            ..Self::default()
        }
    }

    /// Budgets alone.
    pub fn budgets(rules: Vec<BudgetRule>) -> Self {
        Self {
            budgets: Some(rules),
            ..Self::default()
        }
    }
}

/// Lays them over what is stored. Errors name the fields of the order: `rule` is all that it says of a bound.
pub async fn lay(
    edit: Edit<'_>,
    before: &Picture,
    scope: Scope,
    lists: Lists,
) -> Result<Laid, ApiError> {
    let file = file(before, scope, lists);
    match edit.lay(before, before, &file, "").await {
        Ok(laid) => Ok(laid),
        Err(resources::Error::Refused(mut errors)) => {
            for error in &mut errors {
                // `tenants[0].keys[0].limits[2].per` is `rule.per` here.
                let rest = error.path.rsplit_once(']').map_or("", |(_, rest)| rest);
                error.path = format!("rule{rest}");
            }
            Err(ApiError::fields(errors))
        }
        Err(error) => Err(error.into()),
    }
}

/// The file that says these lists of one thing, and nothing else.
fn file(picture: &Picture, scope: Scope, lists: Lists) -> Resources {
    let Lists { limits, budgets } = lists;
    let name = picture.name_of(scope).unwrap_or_default().to_owned();
    let owner = picture.owner_of(scope);
    let owner = picture.tenant_name(owner).map(str::to_owned);
    let mut tenant = Tenant {
        name: owner.clone().unwrap_or_default(),
        ..Tenant::default()
    };
    let mut file = Resources::default();
    match scope {
        Scope::Platform => {
            file.platform = Some(Platform { limits });
            return file;
        }
        Scope::Channel(_) => {
            let channel = Channel {
                name,
                tenant: owner,
                limits,
                budgets,
                ..Channel::default()
            };
            file.channels = Some(vec![channel]);
            return file;
        }
        Scope::Model(_) => {
            let model = Model {
                name,
                tenant: owner,
                limits,
                ..Model::default()
            };
            file.models = Some(vec![model]);
            return file;
        }
        Scope::Tenant(_) => (tenant.limits, tenant.budgets) = (limits, budgets),
        Scope::Group(..) => {
            tenant.groups = Some(vec![Group {
                name,
                limits,
                budgets,
            }]);
        }
        Scope::User(..) => {
            tenant.users = Some(vec![User {
                email: name,
                limits,
                budgets,
                ..User::default()
            }]);
        }
        Scope::Key(..) => {
            tenant.keys = Some(vec![Key {
                name,
                limits,
                budgets,
                ..Key::default()
            }]);
        }
    }
    file.tenants = Some(vec![tenant]);
    file
}

//! The roles, and what nobody can give to themselves.

use weir_api_types::{manage::PlatformRole, resources::Role};

use super::*;
use crate::tenancy::TenantId;

fn caller(reach: Reach, permissions: Permissions) -> Caller {
    Caller::new(Subject::AdminToken, reach, permissions)
}

#[test]
fn no_role_of_a_tenant_reaches_the_platform() {
    let (own, other) = (TenantId::random(), TenantId::random());
    for role in Role::ALL {
        let caller = caller(Reach::Tenant(own), of_role(role));
        assert!(caller.reaches(Some(own)) && !caller.reaches(Some(other)) && !caller.reaches(None));
        for permission in Permission::ALL {
            assert!(
                !caller.may(*permission) || permission.is_for_tenants(),
                "{permission}"
            );
        }
    }
    // Not even where a row says so.
    let everything = of_platform_role(PlatformRole::PlatformAdmin);
    let caller = caller(Reach::Tenant(own), everything);
    assert!(caller.may(Permission::KeysWrite) && !caller.may(Permission::ResourcesWrite));
}

#[test]
fn nobody_gives_what_they_have_not() {
    let own = TenantId::random();
    let owner = caller(Reach::Tenant(own), of_role(Role::Owner));
    assert!(owner.may_grant(Some(own), of_role(Role::Finance)));
    assert!(!owner.may_grant(None, of_role(Role::Viewer)));
    assert!(!owner.may_grant(Some(TenantId::random()), of_role(Role::Viewer)));
    let viewer = caller(
        Reach::Platform,
        of_platform_role(PlatformRole::PlatformViewer),
    );
    assert!(viewer.may_grant(Some(own), of_role(Role::Viewer)));
    assert!(!viewer.may_grant(Some(own), of_role(Role::Owner)));
}

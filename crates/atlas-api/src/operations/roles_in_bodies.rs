//! Roles in bodies.

use tidemark_model::{OrgId, ProjectId, Role};

use crate::body::Body;
use crate::error::{ApiError, Result, Violation};

/// The roles of an API key in its organization; `None` if the body has none.
pub(super) fn parse_org(body: &Body<'_>, org: OrgId) -> Result<Option<Vec<Role>>> {
    parse(body, |role, name| {
        role.is_org_role()
            .then_some(role)
            .ok_or_else(|| ApiError::role_invalid_for_org(name, &org.to_string()))
    })
}

/// The roles of an API key in a project; `None` if the body has none.
pub(super) fn parse_group(body: &Body<'_>, project: ProjectId) -> Result<Option<Vec<Role>>> {
    parse(body, |role, name| {
        (!role.is_org_role())
            .then_some(role)
            .ok_or_else(|| ApiError::role_invalid_for_group(name, &project.to_string()))
    })
}

fn parse(body: &Body<'_>, check: impl Fn(Role, &str) -> Result<Role>) -> Result<Option<Vec<Role>>> {
    let Some(names) = body.texts("roles")? else {
        return Ok(None);
    };
    if names.is_empty() {
        return Err(ApiError::api_key_needs_roles());
    }
    let mut roles = Vec::with_capacity(names.len());
    for name in names {
        let role = Role::parse(name).ok_or_else(|| ApiError::invalid_enum_value(name))?;
        let role = check(role, name)?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(Some(roles))
}

/// Roles where all errors of a body are told together.
pub(super) fn parse_together(
    names: &[&str],
    fits: fn(Role) -> bool,
    violations: &mut Vec<Violation>,
) -> Vec<Role> {
    let mut roles = Vec::with_capacity(names.len());
    for name in names {
        match Role::parse(name).filter(|role| fits(*role)) {
            Some(role) if roles.contains(&role) => {}
            Some(role) => roles.push(role),
            None => violations.push(Violation {
                field: "_roles".to_owned(),
                description: format!("Invalid role name '{name}'. Must be a valid Role name."),
            }),
        }
    }
    roles
}

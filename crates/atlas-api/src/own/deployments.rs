//! `/groups/{groupId}/deployments`: deployments that somebody else runs.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tidemark_actions::deployments::{self, NewDeployment};
use tidemark_actions::instances::{self, Backups, ChangeInstanceError, CreateInstanceError};
use tidemark_catalog::{Deployment, Instance, InstanceFamily, Project, Reach};
use tidemark_model::{
    InstanceId, LinkSettings, ProbeReport, ReadFrom, Role, Secret, TlsSettings, format_instant,
    vault_of,
};

use super::ask::{Ask, put};
use super::instances::view;
use crate::api::Attacher;
use crate::body::Body;
use crate::error::{ApiError, Result};
use crate::operations::instances::instance::parse_name;

const ATTRIBUTES: &[&str] =
    &["connectionString", "name", "readFrom", "readRateMegabytes", "tls", "view"];
const TLS_ATTRIBUTES: &[&str] = &["caCertificates", "certificateKey", "certificateKeyPassword"];
/// The methods of the list, of one deployment, and of its probe.
const OF_LIST: &[&str] = &["POST", "GET", "HEAD", "OPTIONS"];
const OF_ONE: &[&str] = &["PATCH", "GET", "HEAD", "DELETE", "OPTIONS"];
const OF_PROBE: &[&str] = &["POST", "OPTIONS"];

/// What a request below `deployments` may be, if the path leads somewhere.
pub(super) fn methods(rest: &[&str]) -> Option<&'static [&'static str]> {
    match rest {
        [] => Some(OF_LIST),
        [_] => Some(OF_ONE),
        [_, "probe"] => Some(OF_PROBE),
        _ => None,
    }
}

/// Answers a request that is one of those.
pub(super) fn respond(
    ask: &Ask<'_>,
    project: &Project,
    rest: &[&str],
) -> Result<(StatusCode, Value)> {
    let is_reading = ask.incoming.method == Method::GET;
    if !is_reading && !ask.caller.may_in_project(project.org, project.id, Role::GroupOwner) {
        return Err(ApiError::not_authorized());
    }
    let desk = Desk { ask, project };
    match (&ask.incoming.method, rest) {
        (&Method::GET, []) => Ok((StatusCode::OK, desk.list()?)),
        (&Method::POST, []) => Ok((StatusCode::CREATED, desk.attach()?)),
        (&Method::GET, [name]) => Ok((StatusCode::OK, desk.show(name)?)),
        (&Method::PATCH, [name]) => Ok((StatusCode::OK, desk.update(name)?)),
        (&Method::DELETE, [name]) => Ok((StatusCode::ACCEPTED, desk.detach(name)?)),
        (&Method::POST, [name, "probe"]) => Ok((StatusCode::OK, desk.probe(name)?)),
        _ => Err(ApiError::unknown_route(ask.incoming.uri.path())),
    }
}

struct Desk<'a> {
    ask: &'a Ask<'a>,
    project: &'a Project,
}

impl Desk<'_> {
    fn attacher(&self) -> Result<&dyn Attacher> {
        self.ask.api.config.attacher.as_deref().ok_or_else(ApiError::unexpected)
    }

    fn find(&self, name: &str) -> Result<(Instance, Deployment)> {
        let not_found = || ApiError::deployment_not_found(name, self.project.id);
        let catalog = &self.ask.api.catalog;
        let instance = catalog.find_instance(self.project.id, name)?.ok_or_else(not_found)?;
        let found = catalog.find_deployment(instance.id)?.ok_or_else(not_found)?;
        Ok((instance, found))
    }

    fn list(&self) -> Result<Value> {
        let found = self.ask.api.catalog.list_deployments(self.project.id)?;
        let describe = |(instance, found): &(Instance, Deployment)| self.describe(instance, found);
        let items: Vec<Value> = found.iter().map(describe).collect::<Result<_>>()?;
        Ok(json!({ "results": items, "totalCount": found.len() }))
    }

    fn show(&self, name: &str) -> Result<Value> {
        let (instance, found) = self.find(name)?;
        self.describe(&instance, &found)
    }

    /// A deployment, or a part of one with where that is.
    fn describe(&self, instance: &Instance, found: &Deployment) -> Result<Value> {
        let mut body = describe(instance, found);
        if let Some(part) = &found.placement {
            let catalog = &self.ask.api.catalog;
            put(&mut body, "placedOn", catalog.load_instance(part.host)?.name.as_str().into());
            put(&mut body, "databasePrefix", part.prefix.as_str().into());
            if let Some(host) = catalog.find_deployment(part.host)? {
                put(&mut body, "address", host.reach.address.into());
                put(&mut body, "readFrom", host.reach.read_from.as_str().into());
            }
        }
        Ok(body)
    }

    /// Refuses to change how a part of a deployment is reached.
    fn check_whole(&self, name: &str, found: &Deployment) -> Result<()> {
        let Some(part) = &found.placement else { return Ok(()) };
        let host = self.ask.api.catalog.load_instance(part.host)?.name;
        Err(ApiError::part_of_deployment(name, host.as_str()))
    }

    /// Takes a deployment in, once it has answered.
    fn attach(&self) -> Result<Value> {
        let body = self.ask.incoming.json()?;
        let body = Body::new(&body)?;
        body.allow(ATTRIBUTES)?;
        let name = parse_name(&body)?;
        let family = parse_view(&body)?;
        let settings = LinkSettings {
            connection_string: Secret::new(body.required_text("connectionString")?),
            read_from: parse_read_from(&body)?.unwrap_or_default(),
            read_rate_megabytes: parse_rate(&body)?,
            tls: parse_tls(&body)?.unwrap_or_default(),
        };
        let (taken, api) =
            (self.ask.api.catalog.find_instance(self.project.id, name.as_str())?, self.ask.api);
        if taken.is_some() {
            return Err(ApiError::duplicate_cluster_name(name.as_str(), self.project.id));
        }
        let now = api.clock.now();
        let id = InstanceId::new(now);
        let (reach, report) = self.reach(id, &settings)?;
        let (project, what) = (self.project.id, name.to_string());
        let vault = vault_of(&api.config.vaults, (project, &self.project.name));
        let wanted = NewDeployment { id, project, name, family, reach, report, vault };
        self.ask.change("attachDeployment", |catalog| {
            deployments::attach(catalog, wanted.clone(), now).map_err(|error| match error {
                CreateInstanceError::NameTaken(name) => {
                    ApiError::duplicate_cluster_name(&name, project)
                }
                CreateInstanceError::NoProject => ApiError::group_not_found(project),
                CreateInstanceError::NoPortLeft | CreateInstanceError::NoPlace(_) => {
                    ApiError::unexpected()
                }
                CreateInstanceError::Catalog(error) => error.into(),
            })
        })?;
        self.show(&what)
    }

    /// Changes how a deployment is reached, once it has answered so.
    fn update(&self, name: &str) -> Result<Value> {
        let (instance, found) = self.find(name)?;
        self.check_whole(name, &found)?;
        let body = self.ask.incoming.json()?;
        let body = Body::new(&body)?;
        body.allow(ATTRIBUTES)?;
        if body.text("name")?.is_some_and(|given| given != name) {
            return Err(body.invalid("name"));
        }
        if body.text("view")?.is_some_and(|given| given != view(&instance)) {
            return Err(body.invalid("view"));
        }
        let connection_string = body.text("connectionString")?.map(Secret::new);
        let old = self.attacher()?.settings(&found);
        let settings = match (old, connection_string) {
            (Some(old), given) => LinkSettings {
                connection_string: given.unwrap_or(old.connection_string),
                read_from: parse_read_from(&body)?.unwrap_or(old.read_from),
                read_rate_megabytes: parse_rate(&body)?.or(old.read_rate_megabytes),
                tls: parse_tls(&body)?.unwrap_or(old.tls),
            },
            // What there was cannot be read any more: it is given anew.
            (None, Some(connection_string)) => LinkSettings {
                connection_string,
                read_from: parse_read_from(&body)?.unwrap_or(found.reach.read_from),
                read_rate_megabytes: parse_rate(&body)?.or(found.reach.read_rate),
                tls: parse_tls(&body)?.unwrap_or_default(),
            },
            (None, None) => return Err(body.missing("connectionString")),
        };
        let (reach, report) = self.reach(instance.id, &settings)?;
        let now = self.ask.api.clock.now();
        self.ask.change("updateDeployment", |catalog| {
            Ok(deployments::change_reach(catalog, instance.id, &reach, &report, now)?)
        })?;
        self.attacher()?.look_again(instance.id);
        self.show(name)
    }

    /// Looks at a deployment now; answers what that found.
    fn probe(&self, name: &str) -> Result<Value> {
        let (instance, found) = self.find(name)?;
        let attacher = self.attacher()?;
        let report = if found.placement.is_some() {
            attacher.probe_part(&found)
        } else {
            let settings = attacher
                .settings(&found)
                .ok_or_else(|| ApiError::missing_attribute("connectionString"))?;
            attacher.probe(&settings)
        };
        let report = report.map_err(|reason| ApiError::deployment_unreachable(&reason))?;
        let (api, now) = (self.ask.api, self.ask.api.clock.now());
        api.catalog
            .transact(|catalog| deployments::note_report(catalog, instance.id, &report, now))?;
        self.show(name)
    }

    /// Lets a deployment go. Its snapshots stay until their retention ends; it is not touched.
    fn detach(&self, name: &str) -> Result<Value> {
        let (instance, found) = self.find(name)?;
        let now = self.ask.api.clock.now();
        self.ask.change("detachDeployment", |catalog| {
            let detached = match found.placement {
                Some(_) => deployments::let_go(catalog, &instance, now),
                None => instances::delete(catalog, &instance, Backups::Retain, now),
            };
            detached.map_err(|error| match error {
                ChangeInstanceError::HoldsOthers => ApiError::holds_other_instances(name),
                ChangeInstanceError::RestoreInProgress => ApiError::restore_in_progress(),
                ChangeInstanceError::Protected => {
                    ApiError::termination_protected(name, self.project.id)
                }
                ChangeInstanceError::State(_) => ApiError::already_deleting(name),
                ChangeInstanceError::Catalog(error) => error.into(),
            })
        })?;
        self.describe(&instance, &found)
    }

    /// Probes and seals how a deployment is to be reached.
    fn reach(&self, id: InstanceId, settings: &LinkSettings) -> Result<(Reach, ProbeReport)> {
        let attacher = self.attacher()?;
        let report =
            attacher.probe(settings).map_err(|reason| ApiError::deployment_unreachable(&reason))?;
        let reach = Reach {
            address: settings.redacted(),
            sealed: attacher.seal(id, settings),
            read_from: settings.read_from,
            read_rate: settings.read_rate_megabytes,
        };
        Ok((reach, report))
    }
}

fn parse_view(body: &Body<'_>) -> Result<InstanceFamily> {
    Ok(match body.one_of("view", &["serverless", "flex", "cluster"])? {
        Some("flex") => InstanceFamily::Flex,
        Some("cluster") => InstanceFamily::Cluster,
        _ => InstanceFamily::Serverless,
    })
}

fn parse_read_from(body: &Body<'_>) -> Result<Option<ReadFrom>> {
    let words = ReadFrom::ALL.map(ReadFrom::as_str);
    Ok(body.one_of("readFrom", &words)?.and_then(ReadFrom::parse))
}

fn parse_rate(body: &Body<'_>) -> Result<Option<u32>> {
    let Some(rate) = body.integer("readRateMegabytes")? else { return Ok(None) };
    let rate = u32::try_from(rate).ok().filter(|rate| *rate > 0);
    rate.map(Some).ok_or_else(|| body.invalid("readRateMegabytes"))
}

fn parse_tls(body: &Body<'_>) -> Result<Option<TlsSettings>> {
    let Some(tls) = body.object("tls")? else { return Ok(None) };
    tls.allow(TLS_ATTRIBUTES)?;
    Ok(Some(TlsSettings {
        ca_certificates: tls.text("caCertificates")?.map(str::to_owned),
        certificate_key: tls.text("certificateKey")?.map(Secret::new),
        certificate_key_password: tls.text("certificateKeyPassword")?.map(Secret::new),
    }))
}

fn describe(instance: &Instance, found: &Deployment) -> Value {
    let reasons = found.condition.reasons();
    let mut body = json!({
        "address": found.reach.address,
        "id": instance.id.to_string(),
        "name": instance.name.as_str(),
        "readFrom": found.reach.read_from.as_str(),
        "reasons": reasons.lines().collect::<Vec<_>>(),
        "state": found.condition.as_str(),
        "stateSince": format_instant(found.condition_since),
        "view": view(instance),
    });
    if let Some(rate) = found.reach.read_rate {
        put(&mut body, "readRateMegabytes", rate.into());
    }
    if let Some(at) = found.probed_at {
        put(&mut body, "probedAt", format_instant(at).into());
    }
    if let Some(report) = &found.report {
        put(&mut body, "report", json!(report));
    }
    body
}

//! Where requests go.

mod access;
mod drill;
mod events;
mod fleet;
mod instance;
mod job;
mod restore;
mod schedule;
mod settings;
mod sign_in;

use http::Method;
use tidemark_catalog::{Instance, Project};

use crate::answer::{Answer, file, refresh, see, with_cookie};
use crate::asked::{Fields, encode};
use crate::language::Language;
use crate::problem::Problem;
use crate::session;
use crate::shown::Frame;
use crate::visit::{Visit, local};
use crate::{Console, Request};

const STYLE: &[u8] = include_bytes!("../assets/console.css");
const ICON: &[u8] = include_bytes!("../assets/icon.svg");
const HTMX: &[u8] = include_bytes!("../assets/htmx.min.js");
/// The cookie with the language that somebody chose.
const LANGUAGE: &str = "tidemark_language";
const LANGUAGE_SECONDS: u32 = 31_536_000;

/// Answers a request.
pub(crate) fn respond(console: &Console, request: &Request) -> Answer {
    let path = request.uri.path();
    match path {
        "/console/console.css" => return file("text/css; charset=utf-8", STYLE),
        "/console/icon.svg" => return file("image/svg+xml", ICON),
        "/console/htmx.min.js" => return file("text/javascript; charset=utf-8", HTMX),
        _ => {}
    }
    let frame = frame_of(console, request);
    if !matches!(request.method, Method::GET | Method::HEAD | Method::POST) {
        return Problem::Unknown.page(frame);
    }
    if path == "/language" && request.method == Method::POST && request.is_from_here() {
        return choose_language(request);
    }
    let visitor = match session::find(console, request) {
        Ok(visitor) => visitor,
        Err(error) => return Problem::from(error).page(frame),
    };
    let is_form = request.method == Method::POST;
    match (path, visitor) {
        ("/sign-in", _) if is_form => sign_in::enter(console, request, frame),
        ("/sign-in", None) => sign_in::show(request, frame, None),
        ("/sign-in", Some(_)) => see("/"),
        // The whole page is loaded again, which leads to signing in.
        (_, None) if request.is_by_itself() => refresh(),
        // What was wanted is found again after signing in.
        (_, None) => see(&format!("/sign-in?next={}", encode(&next_of(request)))),
        (_, Some(visitor)) => {
            let frame = Frame {
                visitor: Some(visitor.session.name.clone()),
                csrf: visitor.session.csrf.expose().to_owned(),
                ..frame
            };
            let form = request.form();
            if is_form && !visitor.sent(request, &form) {
                return Problem::Forged.page(frame);
            }
            let visit = Visit { console, request, visitor: &visitor, frame: frame.clone() };
            answer(visit, &form).unwrap_or_else(|problem| problem.page(frame))
        }
    }
}

/// Where somebody goes back to: of a form only its page.
fn next_of(request: &Request) -> String {
    if request.method == Method::GET {
        request.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()
    } else {
        "/".to_owned()
    }
}

fn frame_of(console: &Console, request: &Request) -> Frame {
    let chosen = request.cookie(LANGUAGE).and_then(Language::parse);
    let accepted = request.header("accept-language").unwrap_or_default();
    Frame {
        language: chosen.unwrap_or_else(|| Language::preferred(accepted)),
        visitor: None,
        csrf: String::new(),
        here: next_of(request),
        now: console.clock.now(),
        project: None,
    }
}

fn choose_language(request: &Request) -> Answer {
    let form = request.form();
    let language = form.get("language").and_then(Language::parse).unwrap_or(Language::English);
    let next = local(form.get("next").unwrap_or("/"));
    let code = language.code();
    let cookie =
        format!("{LANGUAGE}={code}; Path=/; Max-Age={LANGUAGE_SECONDS}; HttpOnly; SameSite=Lax");
    with_cookie(see(&next), &cookie)
}

fn answer(mut visit: Visit<'_>, form: &Fields) -> Result<Answer, Problem> {
    let parts = visit.request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_form = visit.request.method == Method::POST;
    match (&parts[..], is_form) {
        (["sign-out"], true) => return sign_in::leave(&visit, form),
        (["" | "projects"], false) => return fleet::choose(&visit),
        _ => {}
    }
    let ["projects", project, rest @ ..] = &parts[..] else { return Err(Problem::Unknown) };
    let project = visit.find_project(project)?;
    visit.frame.project = Some((project.id.to_string(), project.name.clone()));
    match (rest, is_form) {
        ([], false) => fleet::show(&visit, &project),
        (["jobs"], false) => job::list(&visit, &project),
        (["instances"], true) => fleet::create(&visit, &project, form),
        (["access"], false) => access::show(&visit, &project),
        (["access"], true) => access::change(&visit, &project, form),
        (["events"], false) => events::show(&visit, &project),
        (["settings"], false) => settings::show(&visit, &project),
        (["settings"], true) => settings::try_channel(&visit, &project, form),
        (["instances", name, rest @ ..], _) => {
            let instance = visit.find_instance(&project, name)?;
            answer_instance(&visit, (&project, &instance), (rest, is_form), form)
        }
        _ => Err(Problem::Unknown),
    }
}

fn answer_instance(
    visit: &Visit<'_>,
    of: (&Project, &Instance),
    (rest, is_form): (&[&str], bool),
    form: &Fields,
) -> Result<Answer, Problem> {
    match (rest, is_form) {
        ([], false) => instance::show(visit, of),
        (["timeline.svg"], false) => instance::timeline(visit, of.1),
        (["remove"], true) => instance::remove(visit, of, form),
        (["schedule"], false) => schedule::show(visit, of),
        (["schedule"], true) => schedule::change(visit, of, form),
        (["snapshots"], true) => instance::take_snapshot(visit, of),
        (["drills"], true) => drill::create(visit, of, form),
        (["drills", id], false) => drill::show(visit, of, id),
        (["restore"], false) => restore::ask(visit, of),
        (["restore", "plan"], false) => restore::plan(visit, of, &visit.request.query(), None),
        (["restore"], true) => restore::create(visit, of, form),
        (["jobs", id], false) => job::show(visit, of, id),
        (["jobs", id, "part"], false) => job::part(visit, of, id),
        (["jobs", id, "cancel"], true) => job::cancel(visit, of, id),
        _ => Err(Problem::Unknown),
    }
}

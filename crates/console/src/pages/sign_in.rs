//! Signing in and out.

use askama::Template;
use http::StatusCode;
use tidemark_catalog::SignOut;

use crate::answer::{Answer, page, see, with_cookie};
use crate::asked::Fields;
use crate::problem::Problem;
use crate::session::{self, Attempt};
use crate::shown::Frame;
use crate::visit::{AGAIN, Visit, local};
use crate::{Console, Request, Wait};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    f: Frame,
    next: String,
    name: String,
    error: Option<String>,
}

/// The page to sign in.
pub(crate) fn show(request: &Request, f: Frame, error: Option<&'static str>) -> Answer {
    let form = request.form();
    let query = request.query();
    let next = local(form.get("next").or(query.get("next")).unwrap_or("/"));
    let status = if error.is_some() { AGAIN } else { StatusCode::OK };
    let error = error.map(|id| f.t(id));
    let name = form.get("name").unwrap_or_default().to_owned();
    page(status, &SignInPage { f, next, name, error })
}

/// Takes credentials.
pub(crate) fn enter(console: &Console, request: &Request, f: Frame) -> Answer {
    let form = request.form();
    if !request.is_from_here() {
        return Problem::Forged.page(f);
    }
    match session::sign_in(console, request, &form) {
        Ok(Attempt::Signed(cookie)) => {
            with_cookie(see(&local(form.get("next").unwrap_or("/"))), &cookie)
        }
        Ok(Attempt::Refused(why, wait)) => {
            let mut answer = show(request, f, Some(why));
            answer.extensions_mut().insert(Wait(wait));
            answer
        }
        Err(error) => Problem::from(error).page(f),
    }
}

/// Ends the session, or all of them.
pub(crate) fn leave(visit: &Visit<'_>, form: &Fields) -> Result<Answer, Problem> {
    let everywhere =
        if form.get("everywhere").is_some() { SignOut::Everywhere } else { SignOut::Here };
    let cookie = session::sign_out(visit.console, visit.visitor, everywhere)?;
    Ok(with_cookie(see("/sign-in"), &cookie))
}

//! Who is signed in: a cookie that is kept nowhere but in the browser, and its hash in the records.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ring::digest;
use tidemark_catalog::{Catalog, CatalogError, ConsoleSession, SignOut};
use tidemark_model::{Caller, Secret, to_hex};

use crate::asked::Fields;
use crate::{Console, Request, SignedIn};

/// The cookie with the session.
const COOKIE: &str = "tidemark_session";
/// How long a session may not be used before it ends, and how long it lasts at most.
const IDLE: SignedDuration = SignedDuration::from_mins(30);
const LONGEST: SignedDuration = SignedDuration::from_hours(12);
/// A use is noted once in this time.
const NOTED: SignedDuration = SignedDuration::from_secs(60);

/// Somebody who is signed in.
pub(crate) struct Visitor {
    pub(crate) session: ConsoleSession,
    pub(crate) caller: Caller,
}

/// How an attempt to sign in ended.
pub(crate) enum Attempt {
    /// With this cookie.
    Signed(String),
    /// Why not: the id of a message; and how long the answer is to wait.
    Refused(&'static str, Duration),
}

fn hash(token: &str) -> String {
    to_hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// Who sends a request, if they are signed in.
pub(crate) fn find(console: &Console, request: &Request) -> Result<Option<Visitor>, CatalogError> {
    let Some(token) = request.cookie(COOKIE) else { return Ok(None) };
    let Some(session) = console.catalog.find_console_session(&hash(token))? else {
        return Ok(None);
    };
    let now = console.clock.now();
    if is_over(&session, now) {
        console.catalog.end_console_sessions(&session, SignOut::Here)?;
        return Ok(None);
    }
    // What was taken from the credentials since is taken from the session, too.
    let principal = (session.principal, session.org);
    let caller = console.gate.caller(principal, session.secret, request.address)?;
    let Some(caller) = caller else { return Ok(None) };
    // A page that only looks by itself is no sign of its reader.
    let is_used = !request.is_by_itself();
    if is_used && now.duration_since(session.seen_at) >= NOTED {
        console.catalog.note_console_session(&session.id, now)?;
    }
    Ok(Some(Visitor { session, caller }))
}

fn is_over(session: &ConsoleSession, now: Timestamp) -> bool {
    now.duration_since(session.seen_at) >= IDLE || now.duration_since(session.created_at) >= LONGEST
}

/// Signs somebody in.
pub(crate) fn sign_in(
    console: &Console,
    request: &Request,
    form: &Fields,
) -> Result<Attempt, CatalogError> {
    let (Some(name), Some(secret)) = (form.get("name"), form.get("secret")) else {
        return Ok(Attempt::Refused("sign-in-missing", Duration::ZERO));
    };
    let secret = Secret::new(secret.to_owned());
    let refused = |why| Ok(Attempt::Refused(why, Duration::ZERO));
    let (caller, account_secret) = match console.gate.sign_in(name, &secret, request.address)? {
        SignedIn::Known(caller, secret) => (caller, secret),
        SignedIn::Wrong(wait) => return Ok(Attempt::Refused("sign-in-wrong", wait)),
        SignedIn::NotFromHere => return refused("sign-in-not-from-here"),
        SignedIn::TooMany => return refused("sign-in-too-many"),
    };
    let now = console.clock.now();
    forget_old(&console.catalog, now)?;
    let token = Secret::random::<32>();
    console.catalog.insert_console_session(&ConsoleSession {
        id: hash(token.expose()),
        principal: caller.principal,
        secret: account_secret,
        org: caller.org,
        name: name.to_owned(),
        csrf: Secret::random::<32>(),
        created_at: now,
        seen_at: now,
    })?;
    Ok(Attempt::Signed(cookie(console, token.expose(), LONGEST.as_secs())))
}

fn forget_old(catalog: &Catalog, now: Timestamp) -> Result<(), CatalogError> {
    // A form outlives no session.
    catalog.forget_console_forms(now.saturating_sub(LONGEST).unwrap_or(now))?;
    catalog.forget_console_sessions(now.saturating_sub(IDLE).unwrap_or(now))
}

fn cookie(console: &Console, value: &str, seconds: i64) -> String {
    let secure = if console.is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Signs somebody out; answers the cookie that takes the old one away.
pub(crate) fn sign_out(
    console: &Console,
    visitor: &Visitor,
    everywhere: SignOut,
) -> Result<String, CatalogError> {
    console.catalog.end_console_sessions(&visitor.session, everywhere)?;
    Ok(cookie(console, "", 0))
}

impl Visitor {
    /// Whether a form carries what only a page for this visitor knows.
    pub(crate) fn sent(&self, request: &Request, form: &Fields) -> bool {
        let given = form.get("csrf").unwrap_or_default();
        let wanted = self.session.csrf.expose();
        // In a time that does not say where they differ.
        let differs = given.bytes().zip(wanted.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
        given.len() == wanted.len() && differs == 0 && request.is_from_here()
    }
}

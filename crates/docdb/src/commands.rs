//! The table of commands: names, what they need, and where they are.

mod aggregate;
mod apply_ops;
mod authenticate;
mod count;
mod create;
mod delete;
mod diagnostics;
mod distinct;
mod drop;
mod find;
mod find_and_modify;
mod get_more;
mod hello;
mod indexes;
mod insert;
mod list;
mod rename;
mod statistics;
mod update;
mod write;

use crate::auth::Privilege;
use crate::collections::Namespace;
pub(crate) use crate::context::Context;
use crate::error::Result;
pub(crate) use crate::reply::Reply;
use crate::request::Request;

type Run = fn(&mut Context<'_>, &Request<'_>) -> Result<Reply>;

/// A command.
pub(crate) struct Command {
    names: &'static [&'static str],
    pub(crate) privilege: Privilege,
    pub(crate) run: Run,
}

impl Command {
    /// Whether old drivers send it with OP_QUERY.
    pub(crate) fn is_handshake(&self) -> bool {
        self.names.contains(&"hello")
    }
}

const fn command(names: &'static [&'static str], privilege: Privilege, run: Run) -> Command {
    Command { names, privilege, run }
}

const COMMANDS: &[Command] = &[
    command(&["hello", "isMaster", "ismaster"], Privilege::Anyone, hello::run),
    command(&["ping"], Privilege::Anyone, diagnostics::ping),
    command(&["buildInfo", "buildinfo"], Privilege::Anyone, diagnostics::build_info),
    command(&["saslStart"], Privilege::Anyone, authenticate::start),
    command(&["saslContinue"], Privilege::Anyone, authenticate::continue_conversation),
    command(&["logout"], Privilege::Anyone, authenticate::logout),
    command(
        &["endSessions", "refreshSessions", "killSessions"],
        Privilege::Anyone,
        diagnostics::accept,
    ),
    command(&["startSession"], Privilege::Authenticated, diagnostics::start_session),
    command(&["connectionStatus"], Privilege::Anyone, diagnostics::connection_status),
    command(&["listCommands"], Privilege::Anyone, list_commands),
    command(&["whatsmyuri"], Privilege::Authenticated, diagnostics::whats_my_uri),
    command(&["getParameter"], Privilege::Authenticated, diagnostics::get_parameter),
    command(&["getCmdLineOpts"], Privilege::Authenticated, diagnostics::command_line),
    command(&["getLog"], Privilege::Authenticated, diagnostics::get_log),
    command(&["hostInfo"], Privilege::Authenticated, diagnostics::host_info),
    command(&["serverStatus"], Privilege::Authenticated, diagnostics::server_status),
    command(&["replSetGetStatus"], Privilege::Authenticated, diagnostics::replica_set_status),
    command(&["replSetGetConfig"], Privilege::Authenticated, diagnostics::replica_set_config),
    command(&["listDatabases"], Privilege::Authenticated, list::databases),
    command(&["listCollections"], Privilege::Authenticated, list::collections),
    command(&["listIndexes"], Privilege::Read, indexes::list),
    command(&["collStats", "collstats"], Privilege::Read, statistics::collection),
    command(&["dbStats", "dbstats"], Privilege::Read, statistics::database),
    command(&["find"], Privilege::Read, find::run),
    command(&["getMore"], Privilege::Authenticated, get_more::run),
    command(&["killCursors"], Privilege::Authenticated, get_more::kill),
    command(&["count"], Privilege::Read, count::run),
    command(&["distinct"], Privilege::Read, distinct::run),
    command(&["aggregate"], Privilege::Read, aggregate::run),
    command(&["insert"], Privilege::Write, insert::run),
    command(&["update"], Privilege::Write, update::run),
    command(&["delete"], Privilege::Write, delete::run),
    command(&["findAndModify", "findandmodify"], Privilege::Write, find_and_modify::run),
    command(&["create"], Privilege::Define, create::run),
    command(&["collMod"], Privilege::Manage, create::modify),
    command(&["drop"], Privilege::Define, drop::collection),
    command(&["dropDatabase"], Privilege::Manage, drop::database),
    command(&["createIndexes"], Privilege::Define, indexes::create),
    command(&["dropIndexes"], Privilege::Define, indexes::drop),
    command(&["renameCollection"], Privilege::Authenticated, rename::run),
    command(&["applyOps"], Privilege::Administer, apply_ops::run),
];

/// `listCommands`: by their first names, as far as they are not withheld.
fn list_commands(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    let names = COMMANDS.iter().filter_map(|command| command.names.first());
    let shown = names.filter(|name| !context.shared.withheld.has(name));
    let commands: bson::Document =
        shown.map(|name| ((*name).to_owned(), bson::doc! { "help": "" }.into())).collect();
    Ok(bson::doc! { "commands": commands }.into())
}

/// The collection that a command names by its UUID.
pub(crate) fn resolve(context: &Context<'_>, request: &Request<'_>) -> Result<Namespace> {
    find::namespace_of(request, &context.shared.engine.view()?)
}

/// The command that a client names.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.names.contains(&name))
}

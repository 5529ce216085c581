//! `tidemark login`, `logout` and `profiles`: which servers this user knows.

use clap::{ArgMatches, Command};

use crate::answers::{KnownServer, KnownServers, Project, Projects};
use crate::ask::{ask, ask_secret};
use crate::client::{Client, Method, of_folder};
use crate::command::{given, group, positional, text, with_output};
use crate::error::CliError;
use crate::output::Output;
use crate::profiles::{self, FIRST, Profile, Profiles};
use crate::table::Table;

pub(crate) fn command() -> Command {
    let command = Command::new("login")
        .about("Remember a server and the credentials to ask it with")
        .arg(text("profile", "NAME", "The name to remember them by [default]"))
        .arg(text("server", "URL", "The server's address"))
        .arg(text("public-key", "KEY", "The public part of an API key"))
        .arg(text("private-key", "KEY", "Its private part; asked for if it is not given"))
        .arg(text("client-id", "ID", "A service account instead"))
        .arg(text("client-secret", "SECRET", "Its secret; asked for if it is not given"))
        .arg(text(
            "data-dir",
            "DIR",
            "The data folder of a server on this machine, instead of all that",
        ))
        .arg(text("project", "ID|NAME", "The project [the only one]"))
        .arg(text("ca-file", "FILE", "Certificates to trust, as PEM"));
    with_output(command)
}

pub(crate) fn logout_command() -> Command {
    let command = Command::new("logout").about("Forget a server and its credentials").arg(text(
        "profile",
        "NAME",
        "Which [the default one]",
    ));
    with_output(command)
}

pub(crate) fn profiles_command() -> Command {
    let name = || positional("name", "NAME", "The profile");
    group("profiles", "The servers that this user knows")
        .subcommand(with_output(Command::new("list").about("List them")))
        .subcommand(with_output(
            Command::new("use").about("Use one when none is named").arg(name()),
        ))
}

/// Takes credentials, tries them, and remembers them.
pub(crate) fn login(matches: &ArgMatches) -> Result<(), CliError> {
    let output = Output::new(matches);
    let path = profiles::path()?;
    let mut known = Profiles::load(&path)?;
    let mut profile = take_profile(matches)?;
    let client = Client::of(&profile)?;
    let found = client.call(Method::Get, "/api/atlas/v2/groups?itemsPerPage=500", None)?;
    let projects: Projects = serde_json::from_value(found)?;
    let project = choose_project(&projects.results, profile.project.as_deref())?;
    profile.project = project.map(|project| project.id.clone());
    let name = given(matches, "profile").unwrap_or(FIRST).to_owned();
    let is_default = known.default.is_none() || known.profiles.is_empty() || name == FIRST;
    if is_default {
        known.default = Some(name.clone());
    }
    let server = profile.server.clone();
    known.profiles.insert(name.clone(), profile);
    known.save(&path)?;
    output.say(&format!("{server} is profile {name}, kept in {}", path.display()));
    match project {
        Some(project) => output.say(&format!("its project is {} ({})", project.name, project.id)),
        None if projects.results.is_empty() => {
            output.say("it has no project yet: make one with `tidemark projects create NAME`");
        }
        None => output.say("it has several projects: say which with --project, here or later"),
    }
    Ok(())
}

/// What flags say, and what is missing as it is typed.
fn take_profile(matches: &ArgMatches) -> Result<Profile, CliError> {
    let flag = |name: &str| given(matches, name).map(str::to_owned);
    let said = Profile {
        server: flag("server").unwrap_or_default(),
        project: flag("project"),
        public_key: flag("public-key"),
        private_key: flag("private-key"),
        client_id: flag("client-id"),
        client_secret: flag("client-secret"),
        ca_file: flag("ca-file").map(Into::into),
    };
    if let Some(folder) = given(matches, "data-dir") {
        return of_folder(folder, said);
    }
    let mut profile = said;
    if profile.server.is_empty() {
        profile.server = ask("Server [http://127.0.0.1:8080]: ")?;
        if profile.server.is_empty() {
            "http://127.0.0.1:8080".clone_into(&mut profile.server);
        }
    }
    if profile.client_id.is_some() {
        if profile.client_secret.is_none() {
            profile.client_secret = Some(ask_secret("Client secret: ")?.expose().to_owned());
        }
        return Ok(profile);
    }
    if profile.public_key.is_none() {
        profile.public_key = Some(ask("Public key: ")?);
    }
    if profile.private_key.is_none() {
        profile.private_key = Some(ask_secret("Private key: ")?.expose().to_owned());
    }
    Ok(profile)
}

/// The project that is meant, or the only one.
fn choose_project<'a>(
    projects: &'a [Project],
    wanted: Option<&str>,
) -> Result<Option<&'a Project>, CliError> {
    match (wanted, projects) {
        (Some(wanted), _) => {
            let found = projects.iter().find(|p| p.id == wanted || p.name == wanted);
            let names: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
            found.map(Some).ok_or_else(|| {
                CliError::usage(format!("the server shows no project {wanted}"))
                    .hint(format!("it shows: {}", names.join(", ")))
            })
        }
        (None, [only]) => Ok(Some(only)),
        (None, _) => Ok(None),
    }
}

/// Forgets a profile.
pub(crate) fn logout(matches: &ArgMatches) -> Result<(), CliError> {
    let path = profiles::path()?;
    let mut known = Profiles::load(&path)?;
    let name = given(matches, "profile").map(str::to_owned).or_else(|| known.default.clone());
    let Some(name) = name else {
        return Err(CliError::usage("no server is known").hint("`tidemark login` remembers one"));
    };
    known.find(Some(&name))?;
    known.profiles.remove(&name);
    if known.default.as_ref() == Some(&name) {
        known.default = known.profiles.keys().next().cloned();
    }
    known.save(&path)?;
    let output = Output::new(matches);
    output.say(&format!("profile {name} is forgotten"));
    if let Some(default) = &known.default {
        output.say(&format!("{default} is used when none is named"));
    }
    Ok(())
}

pub(crate) fn profiles(matches: &ArgMatches) -> Result<(), CliError> {
    let path = profiles::path()?;
    let mut known = Profiles::load(&path)?;
    match matches.subcommand() {
        Some(("use", matches)) => {
            let name = given(matches, "name").unwrap_or_default();
            known.find(Some(name))?;
            known.default = Some(name.to_owned());
            known.save(&path)?;
            Output::new(matches).say(&format!("{name} is used when none is named"));
            Ok(())
        }
        Some((_, matches)) => list(Output::new(matches), &known),
        None => Ok(()),
    }
}

fn list(output: Output, known: &Profiles) -> Result<(), CliError> {
    let describe = |(name, profile): (&String, &Profile)| KnownServer {
        profile: name.clone(),
        server: profile.server.clone(),
        project: profile.project.clone(),
        caller: profile
            .client_id
            .as_ref()
            .or(profile.public_key.as_ref())
            .cloned()
            .unwrap_or_default(),
        is_default: known.default.as_ref() == Some(name),
    };
    let results: Vec<KnownServer> = known.profiles.iter().map(describe).collect();
    let mut table = Table::new(&["PROFILE", "SERVER", "PROJECT", "CALLER"]);
    for server in &results {
        let mark = if server.is_default { "*" } else { "" };
        let project = server.project.clone().unwrap_or_default();
        let name = format!("{}{mark}", server.profile);
        table.row([name, server.server.clone(), project, server.caller.clone()]);
    }
    let is_empty = results.is_empty();
    let otherwise = "no server is known; `tidemark login` remembers one";
    output.list(&KnownServers { results }, (table, is_empty, otherwise))
}

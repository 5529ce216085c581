//! A command at work: the server that it asks, and how it speaks.

use clap::ArgMatches;
use jiff::Zoned;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Client, Method};
use crate::command::given;
use crate::error::CliError;
use crate::output::Output;

/// The two parts of the API.
const OWN: &str = "/api/tidemark/v1";
const ATLAS: &str = "/api/atlas/v2";

/// A command at work.
pub(crate) struct Session<'a> {
    pub(crate) matches: &'a ArgMatches,
    pub(crate) client: Client,
    pub(crate) output: Output,
    /// When it began, in the zone of this machine.
    pub(crate) now: Zoned,
}

impl<'a> Session<'a> {
    /// The server that the flags of a command name.
    pub(crate) fn new(matches: &'a ArgMatches) -> Result<Self, CliError> {
        let client = Client::new(matches)?;
        Ok(Self { matches, client, output: Output::new(matches), now: crate::when::now() })
    }

    /// The text of a flag.
    pub(crate) fn given(&self, name: &str) -> Option<&'a str> {
        given(self.matches, name)
    }

    /// The text of what must be given.
    pub(crate) fn required(&self, name: &str) -> &'a str {
        self.given(name).unwrap_or_default()
    }

    /// A path below the project in a part of the API.
    fn below(&self, root: &str, below: &str) -> Result<String, CliError> {
        Ok(format!("{root}/groups/{}{below}", self.client.project()?))
    }

    /// Gets what is below the project in Tidemark's own part of the API.
    pub(crate) fn get<T: DeserializeOwned>(&self, below: &str) -> Result<T, CliError> {
        self.call(Method::Get, below, None)
    }

    /// The same with a method and a body.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: Option<&Value>,
    ) -> Result<T, CliError> {
        let path = self.below(OWN, below)?;
        Ok(serde_json::from_value(self.client.call(method, &path, body)?)?)
    }

    /// Shows every line of an answer as it comes.
    pub(crate) fn stream(
        &self,
        method: Method,
        below: &str,
        body: &Value,
        mut each: impl FnMut(Value) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let path = self.below(OWN, below)?;
        self.client.stream(method, &path, body, |line| match line.get("error") {
            Some(error) => {
                Err(CliError::failed(error.as_str().unwrap_or("it failed")).hint("try again"))
            }
            None => each(line),
        })
    }

    /// Calls what is below the project in Atlas's part of the API.
    pub(crate) fn call_atlas<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: Option<&Value>,
    ) -> Result<T, CliError> {
        let path = self.below(ATLAS, below)?;
        Ok(serde_json::from_value(self.client.call(method, &path, body)?)?)
    }
}

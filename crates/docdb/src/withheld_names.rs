//! Reading what is to be withheld: names of abilities and of commands.

use std::str::FromStr;

use crate::commands;
use crate::withheld::{ABILITIES, Withheld};

impl FromStr for Withheld {
    type Err = String;

    /// Names of abilities and of commands, with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let check = |name: &str| {
            if ABILITIES.contains(&name) || commands::find(name).is_some() {
                return Ok(name.to_owned());
            }
            Err(format!("{name:?} is neither an ability ({}) nor a command", ABILITIES.join(", ")))
        };
        names.map(check).collect::<Result<_, _>>().map(Self::of)
    }
}

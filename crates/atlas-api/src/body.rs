//! Request bodies: attributes with their types, and errors that name them.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidemark_model::parse_instant;

use crate::error::{ApiError, Result};

/// How far in the future an end may be that users set, in days; exactly that far is too far.
const LONGEST_EXPIRATION_DAYS: i64 = 7;

/// An object of a request body.
pub(crate) struct Body<'a> {
    fields: &'a Map<String, Value>,
    /// The path to this object, with its dot.
    prefix: String,
}

impl<'a> Body<'a> {
    pub(crate) fn new(value: &'a Value) -> Result<Self> {
        let fields = value.as_object().ok_or_else(ApiError::invalid_json)?;
        Ok(Self { fields, prefix: String::new() })
    }

    fn name(&self, attribute: &str) -> String {
        format!("{}{attribute}", self.prefix)
    }

    /// Refuses attributes that are not known.
    pub(crate) fn allow(&self, known: &[&str]) -> Result<()> {
        match self.fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::invalid_attribute(&self.name(name))),
            None => Ok(()),
        }
    }

    /// A value; null counts as absent.
    fn get(&self, attribute: &str) -> Option<&'a Value> {
        self.fields.get(attribute).filter(|value| !value.is_null())
    }

    fn wrong_type(&self, attribute: &str) -> ApiError {
        ApiError::invalid_json_attribute(&self.name(attribute))
    }

    pub(crate) fn missing(&self, attribute: &str) -> ApiError {
        ApiError::missing_attribute(&self.name(attribute))
    }

    pub(crate) fn invalid(&self, attribute: &str) -> ApiError {
        ApiError::invalid_attribute(&self.name(attribute))
    }

    pub(crate) fn text(&self, attribute: &str) -> Result<Option<&'a str>> {
        self.get(attribute)
            .map(|value| value.as_str().ok_or_else(|| self.wrong_type(attribute)))
            .transpose()
    }

    pub(crate) fn required_text(&self, attribute: &str) -> Result<&'a str> {
        self.text(attribute)?.ok_or_else(|| self.missing(attribute))
    }

    pub(crate) fn flag(&self, attribute: &str) -> Result<Option<bool>> {
        self.get(attribute)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong_type(attribute)))
            .transpose()
    }

    pub(crate) fn integer(&self, attribute: &str) -> Result<Option<i64>> {
        self.get(attribute)
            .map(|value| value.as_i64().ok_or_else(|| self.wrong_type(attribute)))
            .transpose()
    }

    pub(crate) fn object(&self, attribute: &str) -> Result<Option<Body<'a>>> {
        let Some(value) = self.get(attribute) else {
            return Ok(None);
        };
        let fields = value.as_object().ok_or_else(|| self.wrong_type(attribute))?;
        Ok(Some(Body { fields, prefix: format!("{}.", self.name(attribute)) }))
    }

    /// The objects of an array.
    pub(crate) fn objects(&self, attribute: &str) -> Result<Option<Vec<Body<'a>>>> {
        let Some(value) = self.get(attribute) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(|| self.wrong_type(attribute))?;
        let mut objects = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let name = format!("{attribute}[{position}]");
            let fields = item.as_object().ok_or_else(|| self.wrong_type(&name))?;
            objects.push(Body { fields, prefix: format!("{}.", self.name(&name)) });
        }
        Ok(Some(objects))
    }

    /// The texts of an array.
    pub(crate) fn texts(&self, attribute: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(attribute) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(|| self.wrong_type(attribute))?;
        let text = |item: &'a Value| item.as_str().ok_or_else(|| self.wrong_type(attribute));
        items.iter().map(text).collect::<Result<_>>().map(Some)
    }

    /// An instant as RFC 3339 has it.
    pub(crate) fn instant(&self, attribute: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(attribute)? else {
            return Ok(None);
        };
        parse_instant(text).map(Some).ok_or_else(|| ApiError::invalid_date(text))
    }

    /// When something that users may end by themselves shall end: within a week.
    pub(crate) fn delete_after_date(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let Some(end) = self.instant("deleteAfterDate")? else {
            return Ok(None);
        };
        if end <= now {
            return Err(ApiError::expiration_in_past());
        }
        let seconds = end.as_second() - now.as_second();
        if seconds >= LONGEST_EXPIRATION_DAYS * 24 * 3_600 {
            return Err(ApiError::expiration_too_far(LONGEST_EXPIRATION_DAYS));
        }
        Ok(Some(end))
    }

    /// The names of all attributes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    /// An attribute as it is.
    pub(crate) fn value(&self, attribute: &str) -> Option<&'a Value> {
        self.fields.get(attribute)
    }

    /// Whether an attribute is given, be it as null.
    pub(crate) fn has(&self, attribute: &str) -> bool {
        self.fields.contains_key(attribute)
    }

    /// Refuses a value outside of an enumeration.
    pub(crate) fn one_of(&self, attribute: &str, values: &[&str]) -> Result<Option<&'a str>> {
        match self.text(attribute)? {
            Some(value) if !values.contains(&value) => Err(ApiError::invalid_enum_value(value)),
            value => Ok(value),
        }
    }
}

//! Request bodies: attributes with their types, and errors that name them.

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};

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

    /// Refuses a value outside of an enumeration.
    pub(crate) fn one_of(&self, attribute: &str, values: &[&str]) -> Result<Option<&'a str>> {
        match self.text(attribute)? {
            Some(value) if !values.contains(&value) => Err(ApiError::invalid_enum_value(value)),
            value => Ok(value),
        }
    }
}

//! What a request says: its path, its query, its form, its cookies.

use http::header::COOKIE;

use crate::Request;

/// The fields of a form or of a query, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The value of a field as it was typed.
    pub(crate) fn exact(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field, if it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// A text as a part of a path or a query.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Request {
    /// The parts of the path, decoded; what is no text is no part of ours.
    pub(crate) fn parts(&self) -> Vec<String> {
        let path = self.uri.path().trim_matches('/');
        path.split('/')
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect()
    }

    pub(crate) fn query(&self) -> Fields {
        Fields::parse(self.uri.query().unwrap_or_default())
    }

    pub(crate) fn form(&self) -> Fields {
        Fields::parse(&String::from_utf8_lossy(&self.body))
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether a script of a page asks, and not its reader.
    pub(crate) fn is_by_itself(&self) -> bool {
        self.header("hx-request").is_some()
    }

    /// Whether a form was sent by a page of ours, as far as the browser says.
    pub(crate) fn is_from_here(&self) -> bool {
        if let Some(site) = self.header("sec-fetch-site") {
            return site == "same-origin" || site == "none";
        }
        let Some(origin) = self.header("origin") else { return true };
        let host = self.header("host").unwrap_or_default();
        origin.split_once("://").is_some_and(|(_, of)| of == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_empty_ones_are_not_there() {
        let fields = Fields::parse("name=a+b%26c&empty=&twice=1&twice=2");
        assert_eq!(fields.get("name"), Some("a b&c"));
        assert_eq!((fields.get("empty"), fields.get("none")), (None, None));
        assert_eq!(fields.get("twice"), Some("1"));
    }
}

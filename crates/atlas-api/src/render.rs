//! JSON as the real service writes it: keys in alphabetical order, compact or pretty.

use serde_json::Value;

/// Compact bytes.
pub(crate) fn compact(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

/// Indented as Jackson does: two spaces, `"key" : value`, arrays in their line.
pub(crate) fn pretty(mut value: Value) -> String {
    value.sort_all_objects();
    let mut out = String::new();
    write_pretty(&mut out, &value, 0);
    out
}

fn write_pretty(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if fields.is_empty() => out.push_str("{ }"),
        Value::Array(items) if items.is_empty() => out.push_str("[ ]"),
        Value::Object(fields) => {
            for (position, (name, value)) in fields.iter().enumerate() {
                out.push_str(if position == 0 { "{" } else { "," });
                new_line(out, depth + 1);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(" : ");
                write_pretty(out, value, depth + 1);
            }
            new_line(out, depth);
            out.push('}');
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                out.push_str(if position == 0 { "[ " } else { ", " });
                write_pretty(out, item, depth);
            }
            out.push_str(" ]");
        }
        value => out.push_str(&value.to_string()),
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_and_pretty_is_jacksons() {
        let value = json!({ "b": [{ "y": 1, "x": "a\"b" }, 2], "a": {}, "c": [] });
        assert_eq!(compact(value.clone()), r#"{"a":{},"b":[{"x":"a\"b","y":1},2],"c":[]}"#);
        let expected = "{\n  \"a\" : { },\n  \"b\" : [ {\n    \"x\" : \"a\\\"b\",\n    \"y\" : 1\n  }, 2 ],\n  \"c\" : [ ]\n}";
        assert_eq!(pretty(value), expected);
    }
}

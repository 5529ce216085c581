//! Tables for people: columns as wide as they look on a terminal.

use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

/// A table with a head.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&title| title.to_owned()).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
            });
            padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// Bytes as people read them, in decimal units.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_letters_look() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["주문".to_owned(), "idle".to_owned()]);
        table.row(["orders".to_owned(), "idle".to_owned()]);
        assert_eq!(table.render(), "NAME    STATE\n주문    idle\norders  idle\n");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!((bytes(1_500_000), count(1_234_567)), ("1.50 MB".into(), "1,234,567".into()));
    }
}

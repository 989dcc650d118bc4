//! Columns of text.

/// Space between columns.
const GAP: usize = 3;

/// Rows laid out in columns as wide as their widest cell.
pub(crate) struct Table<const N: usize> {
    rows: Vec<([String; N], String)>,
}

impl<const N: usize> Table<N> {
    /// Starts a table with its header.
    pub(crate) fn new(header: [&str; N]) -> Self {
        Self {
            rows: vec![(header.map(str::to_owned), String::new())],
        }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push((cells, String::new()));
    }

    /// Adds whole lines below the last row.
    pub(crate) fn below(&mut self, lines: &str) {
        if let Some((_, below)) = self.rows.last_mut() {
            below.push_str(lines);
        }
    }

    /// Lays the table out, each line after `indent`.
    pub(crate) fn render(&self, indent: &str) -> String {
        let mut widths = [0; N];
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for (cells, below) in &self.rows {
            let mut line = indent.to_owned();
            for (cell, width) in cells.iter().zip(widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - cell.chars().count() + GAP));
            }
            text.push_str(line.trim_end());
            text.push('\n');
            text.push_str(below);
        }
        text
    }
}

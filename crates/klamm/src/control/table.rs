//! Tables for people.

use std::io::{self, Write};

/// Columns as wide as their widest cell, two spaces apart; lines end with their last cell.
pub(crate) fn write<const N: usize>(out: &mut impl Write, head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let cells = |row: &[String; N], i: usize| row.get(i).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(i, title)| rows.iter().map(|row| cells(row, i)).max().unwrap_or(0).max(title.len()))
        .collect();
    let mut line = |row: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            let missing = width.saturating_sub(cell.chars().count());
            text.extend(std::iter::repeat_n(' ', missing + 2));
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(head)?;
    for row in rows {
        line(row.each_ref().map(String::as_str))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_titles() {
        let mut out = Vec::new();
        let rows = [
            ["orders".to_owned(), "RUNNING".to_owned()],
            ["ä".to_owned(), String::new()],
        ];
        write(&mut out, ["NAME", "STATE"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME    STATE\norders  RUNNING\nä\n");
    }
}

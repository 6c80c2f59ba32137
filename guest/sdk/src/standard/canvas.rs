//! Computes the positions of workspaces on the canvas (org-template.md §9).

use crate::Canvas;

// All lengths are in pixels.
const LEAF_WIDTH: f64 = 300.0;
const LEAF_HEIGHT: f64 = 176.0;
const GUTTER: f64 = 14.0;
const HEADER: f64 = 130.0;
const PADDING: f64 = 16.0;

/// The rectangle of a workspace, with the rectangles of its children inside.
pub(crate) struct Tile {
    children: Vec<Tile>,
    width: f64,
    height: f64,
    /// The position of each child, relative to this tile.
    slots: Vec<(f64, f64)>,
}

impl Tile {
    /// A tile that fits its children, which stand in a grid of at most two columns.
    pub fn new(children: Vec<Self>) -> Self {
        if children.is_empty() {
            return Self {
                children,
                width: LEAF_WIDTH,
                height: LEAF_HEIGHT,
                slots: Vec::new(),
            };
        }
        let columns = children.len().min(2);
        let column = children.iter().map(|child| child.width).fold(0.0, f64::max);
        let mut slots = Vec::with_capacity(children.len());
        let mut y = HEADER;
        for row in children.chunks(columns) {
            let xs = (0..row.len()).map(|index| {
                if index == 0 {
                    PADDING
                } else {
                    PADDING + column + GUTTER
                }
            });
            slots.extend(xs.map(|x| (x, y)));
            y += row.iter().map(|child| child.height).fold(0.0, f64::max) + GUTTER;
        }
        let gutters = if columns == 2 { GUTTER } else { 0.0 };
        Self {
            width: 2.0 * PADDING + if columns == 2 { 2.0 * column } else { column } + gutters,
            height: y - GUTTER + PADDING,
            children,
            slots,
        }
    }

    /// Adds the absolute positions of this tile and of all tiles inside it, parents first.
    pub fn place(&self, (x, y): (f64, f64), positions: &mut Vec<Canvas>) {
        positions.push(Canvas { x, y });
        for (child, (dx, dy)) in self.children.iter().zip(&self.slots) {
            child.place((x + dx, y + dy), positions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(tile: &Tile) -> Vec<(f64, f64)> {
        let mut positions = Vec::new();
        tile.place((100.0, 50.0), &mut positions);
        positions.iter().map(|at| (at.x, at.y)).collect()
    }

    fn leaves(count: usize) -> Vec<Tile> {
        (0..count).map(|_| Tile::new(Vec::new())).collect()
    }

    #[test]
    fn children_are_laid_out_as_the_specification_says() {
        assert_eq!(positions(&Tile::new(leaves(0))), [(100.0, 50.0)]);
        let one = Tile::new(leaves(1));
        assert_eq!(positions(&one), [(100.0, 50.0), (116.0, 180.0)]);
        assert_eq!((one.width, one.height), (332.0, 322.0));
        let three = Tile::new(leaves(3));
        assert_eq!(
            positions(&three),
            [
                (100.0, 50.0),
                (116.0, 180.0),
                (430.0, 180.0),
                (116.0, 370.0)
            ]
        );
        assert_eq!((three.width, three.height), (646.0, 512.0));
        // A row is as high as its highest tile, and a column as wide as its widest tile.
        let mixed = Tile::new(vec![
            Tile::new(leaves(1)),
            Tile::new(leaves(0)),
            Tile::new(leaves(0)),
        ]);
        let expected = [
            (100.0, 50.0),
            (116.0, 180.0),
            (132.0, 310.0),
            (462.0, 180.0),
            (116.0, 516.0),
        ];
        assert_eq!(positions(&mixed), expected);
        assert_eq!((mixed.width, mixed.height), (710.0, 658.0));
    }
}

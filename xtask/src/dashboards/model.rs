//! Dashboards as tables: a dashboard has rows, a row has panels, a panel has queries.

/// A dashboard.
pub(super) struct Dashboard {
    /// The name of its files, and its identity in Grafana.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// A metric that only a host with something to show has: it offers the jobs and instances.
    pub shown_by: &'static str,
    pub variables: &'static [Variable],
    pub rows: &'static [Row],
}

/// A choice at the top of a dashboard, beside the data source, the job and the instance.
pub(super) struct Variable {
    /// The name, which is also that of the label.
    pub label: &'static str,
    pub title: &'static str,
    /// The metric whose label offers the values.
    pub metric: &'static str,
}

/// A heading, and the panels below it.
pub(super) struct Row {
    pub title: &'static str,
    pub panels: &'static [Panel],
}

/// A picture of the results of some queries.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub title: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    /// Width and height in Grafana's grid, which is 24 columns wide.
    pub size: (u32, u32),
    pub unit: Unit,
    pub queries: &'static [Query],
    /// The values from which on a number has this colour; it is green below them.
    pub thresholds: &'static [(f64, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The last value of each series.
    Stat,
    /// The last value of each series by its name alone.
    Name,
    /// Series over time.
    Lines,
    /// Series over time, one on top of the other.
    Stack,
    /// The labels of each series, and a column for each query.
    Table,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    PerSecond,
    /// A number between 0 and 1.
    Share,
    Seconds,
    Bytes,
}

/// A query and the name of its series.
#[derive(Clone, Copy)]
pub(super) struct Query {
    /// The query; [`HOST`] stands for the chosen jobs and instances.
    pub text: &'static str,
    /// The name of a series, or of the column in a table.
    pub legend: &'static str,
    pub look: Look,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    /// A dashed line of this colour, which others should stay below.
    Limit(&'static str),
    /// Drawn below zero.
    Below,
}

/// The word of a query for the chosen jobs and instances.
const HOST: &str = "HOST";
const CHOSEN: &str = r#"job=~"$job", instance=~"$instance""#;

pub(super) const fn query(text: &'static str, legend: &'static str) -> Query {
    Query { text, legend, look: Look::Plain }
}

impl Query {
    pub(super) const fn limit(self, color: &'static str) -> Self {
        Self { look: Look::Limit(color), ..self }
    }

    pub(super) const fn below(self) -> Self {
        Self { look: Look::Below, ..self }
    }

    /// The query as Grafana gets it, on one line.
    pub(super) fn expression(&self) -> String {
        let words: Vec<&str> = self.text.split_whitespace().collect();
        words.join(" ").replace(HOST, CHOSEN)
    }
}

const EMPTY: Panel = Panel {
    title: "",
    about: "",
    kind: Kind::Lines,
    size: (12, 8),
    unit: Unit::Number,
    queries: &[],
    thresholds: &[],
};
/// The rest of a panel with lines.
pub(super) const LINES: Panel = EMPTY;
/// The rest of a panel with a stack.
pub(super) const STACK: Panel = Panel { kind: Kind::Stack, ..EMPTY };
/// The rest of a panel with a number.
pub(super) const STAT: Panel = Panel { kind: Kind::Stat, size: (4, 4), ..EMPTY };
/// The rest of a panel with names.
pub(super) const NAME: Panel = Panel { kind: Kind::Name, size: (4, 4), ..EMPTY };
/// The rest of a table.
pub(super) const TABLE: Panel = Panel { kind: Kind::Table, ..EMPTY };

/// The place of a panel or heading in the grid.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

/// A heading or a panel.
pub(super) enum Item {
    Heading(&'static str),
    Panel(&'static Panel),
}

impl Dashboard {
    /// All headings and panels with their places: panels fill lines from left to right.
    pub(super) fn items(&self) -> Vec<(Place, Item)> {
        let (mut items, mut y) = (Vec::new(), 0);
        for row in self.rows {
            items.push((Place { x: 0, y, w: 24, h: 1 }, Item::Heading(row.title)));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in row.panels {
                let (w, h) = panel.size;
                if x + w > 24 {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                items.push((Place { x, y, w, h }, Item::Panel(panel)));
                (x, tallest) = (x + w, tallest.max(h));
            }
            y += tallest;
        }
        items
    }

    pub(super) fn panels(&self) -> impl Iterator<Item = &'static Panel> {
        self.rows.iter().flat_map(|row| row.panels)
    }
}

//! The timeline of an instance: snapshots and recoverable ranges, and which moment a place on it is.

use std::fmt::Write;

use jiff::Timestamp;
use tidemark_model::OplogSpan;

/// The picture's size.
pub(crate) const WIDTH: i64 = 960;
pub(crate) const HEIGHT: i64 = 96;
/// The shortest time that is drawn; then a place is a second.
const SHORTEST_SECONDS: i64 = 120;
/// How much closer a click looks.
const CLOSER: i64 = 12;

/// The time that is drawn, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Window {
    pub(crate) fn new(from: i64, to: i64) -> Self {
        Self { from, to: to.max(from.saturating_add(SHORTEST_SECONDS)) }
    }

    /// Everything that can be restored up to now.
    pub(crate) fn of(spans: &[OplogSpan], snapshots: &[Timestamp], now: Timestamp) -> Self {
        let first = spans.iter().map(|span| i64::from(span.first.seconds));
        let first = first.chain(snapshots.iter().map(|at| at.as_second())).min();
        let now = now.as_second();
        // A short history is drawn at its end: what comes is nothing to pick.
        Self::new(first.unwrap_or(now).min(now - SHORTEST_SECONDS), now)
    }

    fn length(self) -> i64 {
        (self.to - self.from).max(1)
    }

    fn place(self, second: i64) -> i64 {
        (second - self.from).clamp(0, self.length()) * WIDTH / self.length()
    }

    /// The second at a place.
    pub(crate) fn second_at(self, x: i64) -> i64 {
        // Upwards: `place` has rounded down.
        self.from + (x.clamp(0, WIDTH) * self.length() + WIDTH - 1) / WIDTH
    }

    /// The time around a second, closer.
    pub(crate) fn closer(self, second: i64) -> Self {
        let half = (self.length() / CLOSER / 2).max(SHORTEST_SECONDS / 2);
        Self::new(second - half, second + half)
    }
}

/// The picture; `picked` is marked.
pub(crate) fn draw(
    window: Window,
    (spans, snapshots): (&[OplogSpan], &[Timestamp]),
    picked: Option<i64>,
) -> String {
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"><style>
.gap {{ fill: #d9dee5 }} .span {{ fill: #2f7d5b }} .snapshot {{ fill: #1c4fa0 }} .picked {{ fill: #b3261e }} .tick {{ fill: #59636e; font: 12px sans-serif }}
@media (prefers-color-scheme: dark) {{ .gap {{ fill: #39424d }} .span {{ fill: #58b58a }} .snapshot {{ fill: #8db4f2 }} .picked {{ fill: #ff8a80 }} .tick {{ fill: #aab4bf }} }}
</style><rect class="gap" x="0" y="30" width="{WIDTH}" height="24" rx="3"/>"#
    );
    // A string takes everything.
    for span in spans {
        let (from, to) = (i64::from(span.first.seconds), i64::from(span.last.seconds));
        if to < window.from || from > window.to {
            continue;
        }
        let (x, end) = (window.place(from), window.place(to));
        let width = (end - x).max(2);
        let _ = write!(svg, r#"<rect class="span" x="{x}" y="30" width="{width}" height="24"/>"#);
    }
    for at in snapshots {
        let second = at.as_second();
        if (window.from..=window.to).contains(&second) {
            let x = window.place(second);
            let _ = write!(svg, r#"<circle class="snapshot" cx="{x}" cy="20" r="5"/>"#);
        }
    }
    if let Some(picked) = picked {
        let x = window.place(picked);
        let _ = write!(svg, r#"<rect class="picked" x="{}" y="10" width="2" height="54"/>"#, x - 1);
    }
    for (part, anchor) in [(0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end")] {
        let x = part * WIDTH / 4;
        let second = window.second_at(x);
        let at = Timestamp::from_second(second).unwrap_or_default();
        let form = if window.length() > 86_400 { "%m-%d %H:%M" } else { "%H:%M:%S" };
        let _ = write!(
            svg,
            r#"<text class="tick" x="{x}" y="80" text-anchor="{anchor}">{}</text>"#,
            at.strftime(form)
        );
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use tidemark_model::OplogTime;

    use super::*;

    #[test]
    fn a_click_is_a_moment_and_clicks_come_closer_to_the_second() {
        let mut window = Window::new(1_000_000, 1_000_000 + 7 * 86_400);
        let wanted = 1_000_000 + 300_123;
        let mut clicks = 0;
        while window.length() > WIDTH {
            let x = window.place(wanted);
            window = window.closer(window.second_at(x));
            clicks += 1;
        }
        assert!(clicks <= 4, "{clicks}");
        assert_eq!(window.second_at(window.place(wanted)), wanted);
    }

    #[test]
    fn gaps_stay_visible() {
        let span = |first, last| OplogSpan {
            first: OplogTime::new(first, 1),
            last: OplogTime::new(last, 1),
        };
        let spans = [span(1_000, 2_000), span(3_000, 4_000)];
        let window = Window::of(&spans, &[], Timestamp::from_second(4_000).unwrap());
        let svg = draw(window, (&spans, &[]), Some(1_500));
        assert_eq!(svg.matches(r#"class="span""#).count(), 2);
        assert!(svg.contains(r#"x="0" y="30" width="320""#) && svg.contains(r#"x="640""#), "{svg}");
        assert!(svg.contains("picked"));
    }
}

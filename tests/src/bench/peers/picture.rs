//! What was found, as an SVG: bars from zero, on scales without logarithms. It is readable in light and in
//! dark surroundings, and names the command that draws it.

use std::fmt::Write as _;

use super::super::thousands;
use super::{All, CROWDED, Contender, FLOCK, Figures, MANY, ONE};

const COMMAND: &str =
    "cargo run --release -p flock-tests --bin bench -- peers --svg docs/peers.svg";

/// In the picture's own units, about a pixel each.
const WIDTH: f64 = 820.0;
const MARGIN: f64 = 28.0;
/// Where bars begin, and where the longest one ends.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 640.0;
const HEAD: f64 = 104.0;
const ROW: f64 = 28.0;
const BAR: f64 = 17.0;
/// The title of a panel above its bars, and its scale below them.
const ABOVE: f64 = 34.0;
const BELOW: f64 = 44.0;
const FOOT: f64 = 34.0;

/// Lines of a scale, at most.
const LINES: f64 = 5.0;

const STYLE: &str = "\
    .ground{fill:#fff;stroke:#d0d7de} text{fill:#1f2328;font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif} \
    .bars{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round} \
    .title{font-size:18px;font-weight:600} .panel{font-size:14px;font-weight:600} \
    .faint{fill:#59636e;font-size:12px} .command{fill:#59636e;font:12px ui-monospace,'DejaVu Sans Mono',monospace} \
    .end{text-anchor:end} .middle{text-anchor:middle} .own{font-weight:600} \
    .line{stroke:#d0d7de;stroke-width:1} .bar{fill:#8c959f} .flock{fill:#0969da} \
    @media (prefers-color-scheme:dark){ \
    .ground{fill:#0d1117;stroke:#3d444d} text{fill:#f0f6fc} .faint,.command{fill:#9198a1} \
    .bars{stroke:#0d1117} .line{stroke:#3d444d} .bar{fill:#656c76} .flock{fill:#4493f8} }";

/// One figure of all contenders.
struct Panel {
    title: &'static str,
    /// Of the numbers on its scale.
    unit: &'static str,
    of: &'static str,
    value: fn(&Figures) -> f64,
    shown: fn(&Figures) -> String,
    /// How flock compares, behind the others' figures.
    ratio: bool,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "Calls per second, 256 in flight (more is better)",
        unit: "calls per second",
        of: MANY,
        value: |it| it.per_second,
        shown: |it| format!("{}/s", thousands(it.per_second as u64)),
        ratio: true,
    },
    Panel {
        title: "CPU time of both processes for one call, 256 in flight (less is better)",
        unit: "µs",
        of: MANY,
        value: |it| it.cpu_us,
        shown: |it| format!("{:.1} µs", it.cpu_us),
        ratio: false,
    },
    Panel {
        title: "Median time of a call, 1 in flight (less is better)",
        unit: "µs",
        of: ONE,
        value: |it| it.p50_us,
        shown: |it| format!("{:.0} µs", it.p50_us),
        ratio: false,
    },
];

pub(super) fn draw(all: &All) -> String {
    let panel = ABOVE + ROW * all.contenders.len() as f64 + BELOW;
    let height = HEAD + panel * PANELS.len() as f64 + FOOT;
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>Calls between two processes: flock and other Rust libraries</title>\n\
         <style>{STYLE}</style>\n"
    ));
    let (right, bottom) = (WIDTH - 1.0, height - 1.0);
    svg.put(format_args!(
        "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{right}\" height=\"{bottom}\" rx=\"8\"/>"
    ));
    svg.text("title", MARGIN, 38.0, "Calls between two processes: flock and other Rust libraries");
    let how = format!(
        "Two processes on the loopback, {} cores, bodies of {} bytes. Medians of {} rounds of {} s, taken in turn.",
        all.cores, all.bytes, all.rounds, all.span_s
    );
    svg.text("faint", MARGIN, 62.0, &how);
    if all.others > CROWDED {
        let part = all.others * 100.0;
        let how = format!("Other programs used {part:.0} % of the machine meanwhile: preliminary.");
        svg.text("faint", MARGIN, 80.0, &how);
    }
    let mut top = HEAD;
    for it in &PANELS {
        draw_panel(&mut svg, it, top, &all.contenders);
        top += panel;
    }
    svg.text("command", MARGIN, height - 20.0, COMMAND);
    svg.0 + "</svg>\n"
}

fn draw_panel(svg: &mut Svg, panel: &Panel, top: f64, contenders: &[Contender]) {
    svg.text("panel", MARGIN, top + 14.0, panel.title);
    let bars = top + ABOVE;
    let bottom = bars + ROW * contenders.len() as f64;
    let found = |it: &Contender| it.calls.get(panel.of).copied();
    let most = contenders.iter().filter_map(found).map(|it| (panel.value)(&it)).fold(0.0, f64::max);
    let step = step(most);
    // The scale ends where the longest bar does: what is behind that is for its figure.
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / most.max(f64::MIN_POSITIVE);
    let mut line = 0.0;
    while line <= most {
        let x = x(line);
        svg.put(format_args!(
            "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
            bars - 4.0
        ));
        svg.text("faint middle", x, bottom + 16.0, &scale(line));
        line += step;
    }
    svg.text("faint", x(most).max(RIGHT) + 14.0, bottom + 16.0, panel.unit);
    let mut y = bars;
    for it in contenders {
        let own = if it.name == FLOCK { " own" } else { "" };
        let text = y + BAR - 4.0;
        svg.text(&format!("end{own}"), LEFT - 10.0, text, &format!("{} {}", it.name, it.version));
        match found(it) {
            Some(figures) => {
                let class = if own.is_empty() { "bar" } else { "flock" };
                let width = x((panel.value)(&figures)) - LEFT;
                svg.put(format_args!(
                    "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>"
                ));
                let mut shown = (panel.shown)(&figures);
                if panel.ratio && own.is_empty() {
                    let _ = write!(shown, "  (flock {:.1} ×)", figures.flock_ratio);
                }
                svg.text(&format!("bars{own}"), LEFT + width + 8.0, text, &shown);
            }
            None => svg.text("faint bars", LEFT + 8.0, text, "not measured"),
        }
        y += ROW;
    }
}

/// From one line of a scale to the next: a one, two or five with zeros.
fn step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let least = most / LINES;
    let zeros = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * zeros);
    steps.into_iter().find(|step| *step >= least).unwrap_or(zeros * 10.0)
}

/// A number on a scale.
fn scale(number: f64) -> String {
    if number >= 1000.0 || number == 0.0 { thousands(number as u64) } else { format!("{number}") }
}

struct Svg(String);

impl Svg {
    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a text has no way to fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.put(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML has no way to say.
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all(name: &str, missing: bool) -> All {
        let figures =
            |per_second| Figures { per_second, cpu_us: 3.0, p50_us: 30.0, ..Figures::default() };
        let contender = |name: &str, rate: f64| Contender {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            missing: None,
            calls: [MANY, ONE].map(|key| (key.to_owned(), figures(rate))).into(),
        };
        let mut peer = contender(name, 100_000.0);
        if missing {
            (peer.missing, peer.calls) = (Some("gone".to_owned()), BTreeMap::new());
        }
        let contenders = vec![contender(FLOCK, 600_000.0), peer];
        All { rounds: 3, span_s: 0.8, bytes: 64, cores: 2, others: 0.0, contenders }
    }

    #[test]
    fn a_name_can_not_break_out_of_its_text() {
        let svg = draw(&all("<script>&\"\u{1}", false));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;  1.0.0"), "{svg}");
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let svg = draw(&all("peer", false));
        let width = |class: &str| -> f64 {
            let bar =
                svg.lines().find(|line| line.starts_with(&format!("<rect class=\"{class}\"")));
            let width = bar.and_then(|bar| bar.split("width=\"").nth(1)?.split('"').next());
            width.expect("a bar").parse().expect("a number")
        };
        assert!((width("flock") / width("bar") - 6.0).abs() < 0.01, "{svg}");
    }

    #[test]
    fn a_crowded_machine_is_owned_up_to() {
        let mut all = all("peer", false);
        assert!(!draw(&all).contains("preliminary"));
        all.others = 0.42;
        assert!(draw(&all).contains("Other programs used 42 % of the machine"));
    }

    #[test]
    fn who_was_not_measured_has_a_row_and_no_bar() {
        let svg = draw(&all("peer", true));
        assert!(!svg.contains("class=\"bar\""));
        assert_eq!(svg.matches("not measured").count(), PANELS.len());
    }

    #[test]
    fn scales_have_round_numbers() {
        assert_eq!([612_345.0, 95.0, 7.0, 1.0, 0.0].map(step), [200_000.0, 20.0, 2.0, 0.2, 1.0]);
        assert_eq!([0.0, 0.5, 40.0, 200_000.0].map(scale), ["0", "0.5", "40", "200,000"]);
    }
}

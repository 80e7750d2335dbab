//! The losses of a run, and a picture of them.

use std::fmt::Write;
use std::path::Path;

use mlx_core::io::write_atomically;

use crate::Result;

/// A step, and a loss.
pub type Point = (u64, f32);

/// The losses of a run by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Of each step, before it.
    pub training: Vec<Point>,
    /// Of the validation set, after a step; 0 is before the first.
    pub validation: Vec<Point>,
}

/// Sizes in pixels.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 450.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 45.0;

/// Points that a line is drawn through, at most; of more, means are drawn.
const MOST_POINTS: usize = 1000;

impl Curve {
    /// Forgets what came after a step.
    pub(super) fn truncate(&mut self, step: u64) {
        self.training.retain(|(at, _)| *at <= step);
        self.validation.retain(|(at, _)| *at <= step);
    }

    /// Writes the picture as SVG, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let svg = self.to_svg();
        Ok(write_atomically(path, |file| std::io::Write::write_all(file, svg.as_bytes()))?)
    }

    /// The picture: the loss of each step thin, its running mean and the validation loss thick.
    pub fn to_svg(&self) -> String {
        let training = thinned(&self.training);
        let mean = smoothed(&training);
        let finite = |points: &[Point]| points.iter().filter(|(_, loss)| loss.is_finite()).copied().collect();
        let validation: Vec<Point> = finite(&self.validation);
        let all = || training.iter().chain(&validation).map(|(_, loss)| f64::from(*loss));
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = match (low, high) {
            (low, high) if low > high => (0.0, 1.0),
            (low, high) if high - low < 1e-6 => (low - 0.5, high + 0.5),
            (low, high) => (low, high),
        };
        let unit = tick(high - low);
        let (low, high) = ((low / unit).floor() * unit, (high / unit).ceil() * unit);
        let last = training.iter().chain(&validation).map(|(step, _)| *step).max().unwrap_or(1).max(1);
        let x = |step: u64| LEFT + (WIDTH - LEFT - RIGHT) * step as f64 / last as f64;
        let y = |loss: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        // Writing to a string does not fail.
        let mut line = |text: String| {
            let _ = writeln!(svg, "{text}");
        };
        let digits = (-unit.log10().floor()).clamp(0.0, 6.0) as usize;
        let count = ((high - low) / unit).round() as u64;
        for index in 0..=count.min(50) {
            let loss = low + unit * index as f64;
            let at = y(loss);
            line(format!(
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
                WIDTH - RIGHT
            ));
            line(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.digits$}</text>",
                LEFT - 8.0,
                at + 4.0
            ));
        }
        let step_unit = (tick(last as f64).max(1.0)) as u64;
        for step in (0..=last).step_by(step_unit as usize) {
            let (at, below) = (x(step), HEIGHT - BOTTOM + 18.0);
            line(format!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{step}</text>"));
        }
        line(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>",
            WIDTH / 2.0,
            HEIGHT - 8.0
        ));
        let mut path = |points: &[Point], color: &str, width: f64| {
            let places: Vec<String> = points
                .iter()
                .map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(f64::from(*loss))))
                .collect();
            if !places.is_empty() {
                line(format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"/>",
                    places.join(" ")
                ));
            }
        };
        path(&training, "#a8c4e6", 1.0);
        path(&mean, "#2b6cb0", 2.0);
        path(&validation, "#d9661f", 2.0);
        for (step, loss) in &validation {
            line(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#d9661f\"/>",
                x(*step),
                y(f64::from(*loss))
            ));
        }
        line(format!(
            "<text x=\"{LEFT}\" y=\"22\" fill=\"#2b6cb0\">training loss</text>\n<text x=\"{}\" y=\"22\" \
             fill=\"#d9661f\">validation loss</text>\n</svg>",
            LEFT + 110.0
        ));
        svg
    }
}

/// Means of neighbours, where there are too many points, without those that are not finite.
fn thinned(points: &[Point]) -> Vec<Point> {
    let points: Vec<Point> = points.iter().filter(|(_, loss)| loss.is_finite()).copied().collect();
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |part: &[Point]| {
        let sum: f64 = part.iter().map(|(_, loss)| f64::from(*loss)).sum();
        (part[part.len() - 1].0, (sum / part.len() as f64) as f32)
    };
    points.chunks(size).map(mean).collect()
}

/// The mean of each point and those before it, which weigh less the farther back they are.
fn smoothed(points: &[Point]) -> Vec<Point> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 10.0).clamp(1.0, 20.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |(step, loss): &Point| {
        sum = keep * sum + f64::from(*loss);
        weight = keep * weight + 1.0;
        (*step, (sum / weight) as f32)
    };
    points.iter().map(&mut next).collect()
}

/// A distance between marks, of which there are 5 to 10: 1, 2 or 5 times a power of ten.
fn tick(range: f64) -> f64 {
    let power = 10f64.powf((range / 10.0).log10().floor());
    let fits = |factor: &f64| range / (power * factor) <= 10.0;
    power * [1.0, 2.0, 5.0].into_iter().find(|factor| fits(factor)).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers() {
        for (range, expected) in [(1.0, 0.1), (1.5, 0.2), (7.0, 1.0), (40.0, 5.0), (1000.0, 100.0)] {
            assert!((tick(range) / expected - 1.0).abs() < 1e-9, "{range}: {}", tick(range));
        }
    }

    #[test]
    fn a_picture_is_drawn_of_any_losses_within_its_frame() {
        let curves = [
            Curve::default(),
            Curve { training: vec![(1, f32::NAN)], validation: vec![] },
            Curve { training: vec![(1, 2.0)], validation: vec![(0, 2.0)] },
            Curve {
                training: (1..5000).map(|step| (step, 5.0 / (step as f32).sqrt())).collect(),
                validation: vec![(0, 5.1), (4999, 0.2), (2000, f32::INFINITY)],
            },
        ];
        for curve in curves {
            let svg = curve.to_svg();
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let places =
                svg.split("points=\"").skip(1).flat_map(|rest| rest.split('"').next().unwrap().split(' '));
            for place in places {
                let (x, y) = place.split_once(',').unwrap();
                let (x, y) = (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap());
                assert!(
                    (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                    "{place}"
                );
            }
        }
    }
}

//! Reads cron lines, which have five fields in the standard syntax (org-template.md §7). It computes no times.
//!
//! This is written by hand because every crate for it accepts more than runtimes do (seconds, years, `@daily`, `L`,
//! `W`, `#`), and its messages say less. A test compares this reader with `croner`.

struct Unit {
    name: &'static str,
    min: u32,
    max: u32,
    /// The names of the values, in order, beginning with the name of `min`. Empty when the values have no names.
    words: &'static [&'static str],
}

const fn unit(name: &'static str, min: u32, max: u32, words: &'static [&'static str]) -> Unit {
    Unit {
        name,
        min,
        max,
        words,
    }
}

const UNITS: [Unit; 5] = [
    unit("minute", 0, 59, &[]),
    unit("hour", 0, 23, &[]),
    unit("day of the month", 1, 31, &[]),
    unit(
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    unit(
        "day of the week",
        0,
        6,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// A valid cron line.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// The line with exactly one blank between the fields.
    pub text: String,
    /// The values of each unit on which the line fires.
    values: [Values; UNITS.len()],
}

/// A set of values of a unit, one bit for each. The largest value is 59.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Values(u64);

/// The largest number of days of each month, January first. February has 29 in leap years.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Line {
    /// Whether no date matches the line, as for 30 February. A line that also restricts the day of the week fires on
    /// either kind of day, and every month has all days of the week.
    pub fn never_fires(&self) -> bool {
        let [_, _, days, months, weekdays] = self.values;
        let any_weekday = (0..=6).all(|day| weekdays.has(day));
        let mut months = (1..).zip(DAYS).filter(|(month, _)| months.has(*month));
        any_weekday && !months.any(|(_, last)| (1..=last).any(|day| days.has(day)))
    }
}

impl Values {
    const NONE: Self = Self(0);

    fn has(self, value: u32) -> bool {
        self.0 >> value & 1 == 1
    }

    fn add(&mut self, value: u32) {
        self.0 |= 1 << value;
    }
}

/// Reads a line.
///
/// # Errors
/// When the line is not valid: the end of a sentence that says what is wrong.
pub(crate) fn read(line: &str) -> Result<Line, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() != UNITS.len() {
        let found = fields.len();
        return Err(match fields.first() {
            Some(first) if first.starts_with('@') => {
                "words such as `@daily` are not accepted".to_owned()
            }
            Some(first) if first.contains('=') => {
                "the time zone is a field of its own, `timezone`".to_owned()
            }
            _ if found == 6 => "it has six fields, and seconds are not accepted".to_owned(),
            _ => format!(
                "it has {found} field{}, and not five",
                if found == 1 { "" } else { "s" }
            ),
        });
    }
    let mut values = [Values::NONE; UNITS.len()];
    for ((unit, field), values) in UNITS.iter().zip(&fields).zip(&mut values) {
        for term in field.split(',') {
            unit.read(term, values)
                .map_err(|why| format!("the {} {why}", unit.name))?;
        }
    }
    Ok(Line {
        text: fields.join(" "),
        values,
    })
}

impl Unit {
    /// Reads `*`, `?`, a value or a range, each with or without a step. A value with a step stands for the range from
    /// it to the unit's largest value.
    fn read(&self, term: &str, values: &mut Values) -> Result<(), String> {
        let (range, step) = match term.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (term, None),
        };
        let every = match step {
            None => 1,
            Some(step) => digits(step)
                .filter(|step| *step > 0)
                .ok_or_else(|| format!("has the step `{step}`, which is not a number above 0"))?,
        };
        let (first, last) = if matches!(range, "*" | "?") {
            (self.min, self.max)
        } else if let Some((first, last)) = range.split_once('-') {
            (self.value(first)?, self.value(last)?)
        } else {
            let value = self.value(range)?;
            (value, if step.is_some() { self.max } else { value })
        };
        if first > last {
            return Err(format!("has the range `{range}`, which runs backwards"));
        }
        let every = usize::try_from(every).unwrap_or(usize::MAX);
        (first..=last)
            .step_by(every)
            .for_each(|value| values.add(value));
        Ok(())
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let word = |word: &&str| word.eq_ignore_ascii_case(text);
        let named = self
            .words
            .iter()
            .zip(self.min..)
            .find(|(name, _)| word(name))
            .map(|(_, value)| value);
        match named.or_else(|| digits(text)) {
            Some(value) if (self.min..=self.max).contains(&value) => Ok(value),
            Some(7) if self.max == 6 => Err("is 7, and Sunday is 0".to_owned()),
            Some(value) => Err(format!("is {value}, and not in {}-{}", self.min, self.max)),
            None if text.is_empty() => Err("has an empty part".to_owned()),
            None => Err(format!("has `{text}`, which is not a value")),
        }
    }
}

fn digits(text: &str) -> Option<u32> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_accepted_or_refused_with_a_reason() {
        for valid in [
            "* * * * *",
            "*/5 * * * *",
            "0,15,30,45 * * * *",
            "0 9-17/2 1,15 JAN-mar Mon-FRI",
            "5/15 0 ? * ?",
            "59 23 31 12 6",
            "0 0 1 1 0",
        ] {
            assert_eq!(read(valid).unwrap().text, valid);
        }
        assert_eq!(read("  0\t9 * *  1 ").unwrap().text, "0 9 * * 1");
        for (invalid, part) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("*", "1 field,"),
            ("0 * * * * *", "seconds"),
            ("@daily", "@daily"),
            ("CRON_TZ=UTC * * * * *", "timezone"),
            ("60 * * * *", "minute is 60"),
            ("* 24 * * *", "hour is 24"),
            ("* * 0 * *", "day of the month is 0"),
            ("* * 32 * *", "day of the month is 32"),
            ("* * * 13 *", "month is 13"),
            ("* * * * 7", "Sunday is 0"),
            ("* * * * fri-mon", "backwards"),
            ("10-5 * * * *", "backwards"),
            ("*/0 * * * *", "step"),
            ("*/x * * * *", "step"),
            ("*/ * * * *", "step"),
            ("/5 * * * *", "empty"),
            ("1,,2 * * * *", "empty"),
            ("1- * * * *", "empty"),
            ("1-2-3 * * * *", "`2-3`"),
            ("*-5 * * * *", "`*`"),
            ("-1 * * * *", "empty"),
            ("+1 * * * *", "`+1`"),
            ("* * L * *", "`L`"),
            ("* * 15W * *", "`15W`"),
            ("* * * * 5#2", "`5#2`"),
            ("mon * * * *", "minute has `mon`"),
            ("* * * * monday", "`monday`"),
            ("99999999999 * * * *", "not a value"),
        ] {
            let error = read(invalid).expect_err(invalid);
            assert!(error.contains(part), "{invalid:?}: {error}");
        }
    }

    #[test]
    fn a_line_whose_days_are_in_none_of_its_months_never_fires() {
        for (line, never) in [
            ("0 0 30 2 *", true),
            ("0 0 31 feb,apr,jun,sep,nov ?", true),
            ("0 0 30-31 2 *", true),
            ("0 0 31 4/5 */1", true),
            ("0 0 29 2 *", false),
            ("0 0 31 * *", false),
            ("0 0 28-31 2 *", false),
            ("0 0 31 4,5 *", false),
            ("0 0 */30 2 *", false),
            // This one fires on the Mondays of February.
            ("0 0 30 2 1", false),
            ("* * * * *", false),
        ] {
            assert_eq!(read(line).unwrap().never_fires(), never, "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_line_that_is_accepted_here_is_accepted_by_croner(line in "([0-9*?/,]|[0-9]-[0-9]|mon|FEB| ){1,12}( ([0-9*]|[0-9]/[1-9]|[1-6]-6|mon|feb)){1,5}") {
            if let Ok(Line { text: line, .. }) = read(&line) {
                // `croner` does not accept `?` in every field, and does not accept `*` among other values, which it
                // makes redundant.
                let field = |field: &str| match field.split(',').any(|term| matches!(term, "*" | "?")) {
                    true => "*".to_owned(),
                    false => field.replace('?', "*"),
                };
                let fields: Vec<String> = line.split(' ').map(field).collect();
                // Sloppy ranges are steps that begin at a value, as in `5/15`.
                let parser = croner::parser::CronParser::builder()
                    .seconds(croner::parser::Seconds::Disallowed)
                    .year(croner::parser::Year::Disallowed)
                    .sloppy_ranges(true)
                    .build();
                prop_assert!(parser.parse(&fields.join(" ")).is_ok(), "{line:?}");
            }
        }
    }
}

//! What `\w`, `\d`, `\s` and `\b` stand for.
//!
//! Sigma's regular expressions are PCRE's, where these are ASCII's alone ([specification], modifier `re`). The engine's
//! library takes them for those of every script, whose tables are 20 times as large, and leaves its fast automata where a
//! text with other letters meets a `\b`: whoever writes one into a command line would choose what a look at it costs.
//!
//! [specification]: https://sigmahq.io/sigma-specification/specification/sigma-appendix-modifiers.html

use regex_syntax::ast::{
    AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span, Visitor, parse::Parser, visit,
};

/// The same expression with the classes of ASCII. One that cannot be read stays as it is: the engine tells what is wrong.
pub(super) fn with_ascii_classes(expression: &str) -> String {
    let Ok(ast) = Parser::new().parse(expression) else {
        return expression.to_owned();
    };
    let mut written = expression.to_owned();
    let Ok(classes) = visit(&ast, Classes::default());
    for (span, class) in classes.into_iter().rev() {
        written.replace_range(span.start.offset..span.end.offset, class);
    }
    written
}

/// What is to be written where, from the left to the right.
#[derive(Default)]
struct Classes(Vec<(Span, &'static str)>);

impl Classes {
    fn perl(&mut self, class: &ClassPerl) {
        let written = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t-\r\x20]",
            (ClassPerlKind::Space, true) => r"[^\t-\r\x20]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, written));
    }
}

impl Visitor for Classes {
    type Output = Vec<(Span, &'static str)>;
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.perl(class),
            // Its opposite, ASCII's `\B`, would stand within letters: the library does not have it for text.
            Ast::Assertion(assertion) if assertion.kind == AssertionKind::WordBoundary => {
                self.0.push((assertion.span, r"(?-u:\b)"));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        if let ClassSetItem::Perl(class) = item {
            self.perl(class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn classes_are_those_of_ascii() {
        let check = |expression: &str, expected: &str| assert_eq!(with_ascii_classes(expression), expected);
        check(r"^\S+ -\w*c\b", r"^[^\t-\r\x20]+ -[0-9A-Za-z_]*c(?-u:\b)");
        check(r"[\w.-]+[^\s/]", r"[[0-9A-Za-z_].-]+[^[\t-\r\x20]/]");
        check(r"(?i:\d|\\w|[\W\D])", r"(?i:[0-9]|\\w|[[^0-9A-Za-z_][^0-9]])");
        check(r"\p{L}+é", r"\p{L}+é");
        check(r"not an (expression\w", r"not an (expression\w");
    }

    #[test]
    fn what_is_written_matches_as_before_where_all_is_ascii() {
        let texts = ["python3 -c x", "a\tb", "9_z", "-", "", "x.y", "a-b c"];
        for expression in [
            r"^\w+ -\w*c\b",
            r"[\w.]+[^\s/]$",
            r"\B",
            r"^\S+$",
            r"[\W\d]",
            r"\bz?",
            r"(?x) \S+ \s -c",
        ] {
            let before = Regex::new(expression).expect("an expression");
            let after = Regex::new(&with_ascii_classes(expression)).expect("an expression");
            for text in texts {
                assert_eq!(before.find(text), after.find(text), "{expression} in {text:?}");
            }
        }
    }
}

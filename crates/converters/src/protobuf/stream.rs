//! Messages whose fields stand in the order of their numbers, as every serializer writes them: written as JSON while they
//! are read, each field where it is due.
//!
//! A field out of order, one that comes twice, one that the schema does not know and wrong bytes are all the same here: a
//! failure, after which the record is scanned.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::plan::{Message, Node, Scalar, Step};
use super::scan::{Parts, value};
use super::transcode::{Writer, separate, text};
use super::wire::{Cursor, Span, malformed};
use crate::failure::Failure;

impl<'a> Writer<'a> {
    /// Appends the message that stands in `span`.
    pub(super) fn stream(
        &mut self,
        message: &'a Message,
        steps: &'a [Step],
        span: Span,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        self.scanner.enter(message)?;
        if steps.is_empty() {
            out.push(b'{');
        }
        let mut cursor = self.scanner.cursor(span);
        let mut steps = steps.iter();
        while !cursor.is_done() {
            let tag = cursor.raw_tag()?;
            let step = loop {
                let step = steps.next().ok_or_else(out_of_order)?;
                if tag == step.tag || tag == step.run_tag {
                    break step;
                }
                absent(step, out)?;
            };
            step.name.write(out);
            if step.is_repeated {
                self.elements(step, tag, &mut cursor, out)?;
            } else {
                self.one(step.node, &mut cursor, out)?;
            }
        }
        for step in steps {
            absent(step, out)?;
        }
        out.push(b'}');
        self.scanner.leave(message.is_head);
        Ok(())
    }

    #[inline]
    fn one(&mut self, node: Node, cursor: &mut Cursor<'a>, out: &mut Vec<u8>) -> Result<(), Failure> {
        match node {
            Node::Scalar(Scalar::String { is_strict }, _) => {
                let span = cursor.length()?;
                text(self.scanner.part(span.raw()), is_strict, out)
            }
            Node::Scalar(scalar, schema_type) => {
                let raw = value(scalar, cursor)?;
                if !self.scanner.counts(scalar, raw) {
                    return Err(out_of_order());
                }
                self.scalar(scalar, schema_type, raw, out)
            }
            node => {
                let span = cursor.length()?;
                self.node(node, Parts::One(span), out)
            }
        }
    }

    /// All elements of a list that follow each other, each with its tag or as runs; the first tag has been read.
    fn elements(
        &mut self,
        step: &Step,
        mut tag: u32,
        cursor: &mut Cursor<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        out.push(b'[');
        let start = out.len();
        loop {
            if tag == step.tag {
                separate(start, out);
                self.one(step.node, cursor, out)?;
            } else if let Node::Scalar(scalar, schema_type) = step.node {
                let mut run = self.scanner.cursor(cursor.length()?);
                while let Some(raw) = self.scanner.unpack(scalar, &mut run)? {
                    separate(start, out);
                    self.scalar(scalar, schema_type, raw, out)?;
                }
            }
            let mut ahead = *cursor;
            if ahead.is_done() {
                break;
            }
            tag = ahead.raw_tag()?;
            if tag != step.tag && tag != step.run_tag {
                break;
            }
            *cursor = ahead;
        }
        out.push(b']');
        Ok(())
    }
}

#[inline]
fn absent(step: &Step, out: &mut Vec<u8>) -> Result<(), Failure> {
    let absent = step.absent.as_ref().ok_or_else(out_of_order)?;
    absent.write(out);
    Ok(())
}

#[cold]
fn out_of_order() -> Failure {
    malformed("fields that are not in order").into()
}

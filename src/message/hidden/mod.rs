//! Text that a reader does not see and a program does: hidden by HTML and its styles, or made of characters that are not shown.
//!
//! Invariant: these are rules over what mail programs show by default; style sheets count as far as they go by class, id and element.
//! Work is linear in the text and the number of findings is bounded. What is uncertain (a background image, a colour that is not
//! understood) is not reported. `mso-hide:all` hides text in Outlook for Windows alone, and comments are no text, conditional ones included.
//!
//! | module | does |
//! | --- | --- |
//! | `found` | what was found: kinds, reasons, places |
//! | `colour`, `style` | values and declarations of CSS |
//! | `sheet` | style sheets of a page |
//! | `look` | whether the text of an element is seen |
//! | `characters`, `invisible` | characters that are not shown, and those that turn a text around |

mod characters;
mod colour;
mod found;
mod invisible;
mod look;
mod sheet;
mod style;

pub(super) use characters::{Characters, without_tags};
pub(crate) use found::HiddenText;
pub(super) use found::{Findings, Place};
pub(super) use look::Look;
pub(super) use sheet::Sheet;

#[cfg(test)]
mod tests;

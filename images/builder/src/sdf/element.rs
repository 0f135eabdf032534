//! One XML element: its attributes, checked one by one.

use roxmltree::Node;

use super::{Error, Place};

/// An element and the file it stands in.
#[derive(Clone, Copy)]
pub struct Element<'a, 'i> {
    pub node: Node<'a, 'i>,
    pub file: &'a str,
}

impl<'a, 'i> Element<'a, 'i> {
    pub fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub fn place(&self) -> Place {
        let position = self.node.document().text_pos_at(self.node.range().start);
        Place {
            line: position.row,
            column: position.col,
        }
    }

    pub fn error(&self, message: impl Into<String>) -> Error {
        Error {
            file: self.file.into(),
            place: Some(self.place()),
            element: self.name().into(),
            message: message.into(),
        }
    }

    /// Child elements; text between them is an error.
    pub fn children(&self) -> Result<Vec<Element<'a, 'i>>, Error> {
        let stray = self.node.children().find(|child| {
            child.is_text() && child.text().is_some_and(|text| !text.trim().is_empty())
        });
        if let Some(text) = stray {
            let text = text.text().unwrap_or_default().trim();
            return Err(self.error(format!("unexpected text '{text}': remove it")));
        }
        let elements = self.node.children().filter(|child| child.is_element());
        Ok(elements
            .map(|node| Element {
                node,
                file: self.file,
            })
            .collect())
    }

    pub fn no_children(&self) -> Result<(), Error> {
        match self.children()?.first() {
            Some(child) => Err(child.error(format!("not allowed in <{}>: remove it", self.name()))),
            None => Ok(()),
        }
    }

    /// All attributes must be among these.
    pub fn allow(&self, names: &[&str]) -> Result<(), Error> {
        match self
            .node
            .attributes()
            .find(|attribute| !names.contains(&attribute.name()))
        {
            Some(attribute) => Err(self.error(format!(
                "unknown attribute '{}': this element takes {}",
                attribute.name(),
                names.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// An attribute that Microkit knows and this kernel can't carry out.
    pub fn refuse(&self, attribute: &str, why: &str) -> Result<(), Error> {
        match self.node.attribute(attribute) {
            Some(_) => Err(self.error(format!("attribute '{attribute}': {why}"))),
            None => Ok(()),
        }
    }

    pub fn optional(&self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    pub fn required(&self, name: &str) -> Result<&'a str, Error> {
        match self.node.attribute(name) {
            Some("") => Err(self.error(format!("attribute '{name}' is empty"))),
            Some(value) => Ok(value),
            None => Err(self.error(format!("attribute '{name}' is missing: add {name}=\"…\""))),
        }
    }

    /// A number: decimal or, after 0x, hexadecimal; `_` may stand in between.
    pub fn number(&self, name: &str, text: &str) -> Result<u64, Error> {
        let digits = text.replace('_', "");
        let parsed = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        parsed.map_err(|_| {
            self.error(format!(
                "attribute '{name}': '{text}' is not a number (0 or more, decimal or 0x…)"
            ))
        })
    }

    pub fn required_number(&self, name: &str) -> Result<u64, Error> {
        self.number(name, self.required(name)?)
    }

    pub fn optional_number(&self, name: &str) -> Result<Option<u64>, Error> {
        self.optional(name)
            .map(|text| self.number(name, text))
            .transpose()
    }

    pub fn choice(&self, name: &str, choices: [&str; 2], default: usize) -> Result<bool, Error> {
        let Some(text) = self.optional(name) else {
            return Ok(default == 0);
        };
        match choices.iter().position(|choice| *choice == text) {
            Some(index) => Ok(index == 0),
            None => Err(self.error(format!(
                "attribute '{name}': '{text}' must be '{}' or '{}'",
                choices[0], choices[1]
            ))),
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        self.choice(name, ["true", "false"], usize::from(!default))
    }
}

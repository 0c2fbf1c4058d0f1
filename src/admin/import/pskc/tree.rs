//! Elements and attributes by their local names, in any case.

use super::Node;

/// The child elements called `name`.
pub fn children<'a>(node: Node<'a>, name: &'static str) -> impl Iterator<Item = Node<'a>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name().eq_ignore_ascii_case(name))
}

/// The first child element called `name`.
pub fn child<'a>(node: Node<'a>, name: &'static str) -> Option<Node<'a>> {
    children(node, name).next()
}

/// The element at the end of `path`, each a child of the one before.
pub fn find<'a>(node: Node<'a>, path: &[&str]) -> Option<Node<'a>> {
    path.iter().try_fold(node, |node, name| {
        node.children().find(|child| child.is_element() && child.tag_name().name().eq_ignore_ascii_case(name))
    })
}

/// The attribute called `name`.
pub fn attribute<'a>(node: Node<'a>, name: &str) -> Option<&'a str> {
    node.attributes()
        .find(|attribute| attribute.name().eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value().trim())
}

/// The text in the element, without the white space around it; `None` where there is none.
pub fn text<'a>(node: Node<'a>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

//! The `#[protection_domain]` attribute.
#![forbid(unsafe_code)]

use proc_macro::{TokenStream, TokenTree};

/// Makes a function the start of a protection domain:
/// `fn init() -> impl Handler`. Arguments, all optional: `stack_size = BYTES`
/// (a stack of the program's own in place of the one that system.xml gives).
#[proc_macro_attribute]
pub fn protection_domain(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let mut tokens = item.clone().into_iter();
    let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(i) if i.to_string() == "fn");
    let name = tokens.find(is_fn).and_then(|_| tokens.next());
    let Some(TokenTree::Ident(name)) = name else {
        return "compile_error!(\"#[protection_domain] goes before `fn init() -> impl Handler`\");"
            .parse()
            .unwrap_or_default();
    };
    let source =
        format!("::sel4_microkit::declare_protection_domain! {{ init = {name}, {attributes} }}");
    let mut output: TokenStream = source.parse().unwrap_or_default();
    output.extend(item);
    output
}

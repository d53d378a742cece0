"""One page of HTML and one of Markdown about a study."""

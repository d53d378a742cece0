"""The report of a study: a page of HTML and a summary in Markdown."""

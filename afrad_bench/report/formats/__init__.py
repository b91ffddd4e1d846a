"""A report on the terminal and as Markdown, CSV and HTML files."""

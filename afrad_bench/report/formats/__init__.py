"""Renderers of a report: terminal, and Markdown, CSV and HTML files."""

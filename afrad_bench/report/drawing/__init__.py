"""Figures: drawings as values, and their SVG and PNG files by matplotlib."""

"""Figures: what there is to draw as values, and SVG and PNG files by matplotlib."""

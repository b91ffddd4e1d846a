"""What the terminal shows but the report itself: errors, plans, progress, listings, comparisons."""

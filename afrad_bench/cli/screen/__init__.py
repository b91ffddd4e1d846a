"""Terminal output except the report: errors, plans, progress, listings, comparisons."""

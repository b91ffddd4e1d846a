"""From resolved rows to stored results: data and weights, the plan, and one cell after the other."""

"""From resolved rows to stored results: data and weights, the plan, and the run of each cell."""

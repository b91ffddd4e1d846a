"""What every section stands on: results laid out in a grid, their terms, verdicts, cautions and tables."""

"""Shared by all sections: results in a grid, their terms, verdicts, cautions and tables."""

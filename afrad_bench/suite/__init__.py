"""From a suite file to resolved rows: strict YAML, checked fields, profiles, variants and overrides."""

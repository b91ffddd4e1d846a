"""The measures, one module each; suites use the name of the module. No measure imports another."""

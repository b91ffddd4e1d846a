"""The measures, one file or folder each; its name is the name that suites use. No measure imports another."""

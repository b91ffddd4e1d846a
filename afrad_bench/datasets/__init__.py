"""The data sets, one file each; its name is the name that suites use."""

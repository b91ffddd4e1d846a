"""One module for each family of commands. Heavy imports are inside the commands, so that `--help` is fast."""

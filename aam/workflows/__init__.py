"""The work of each command: takes a configuration, returns a result, does not print."""

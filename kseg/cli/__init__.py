"""The console commands: thin, each readable as the outline of its program."""

"""The command line. Importing it is light: torch is imported by the commands that need it."""

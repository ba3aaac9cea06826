"""The command line: argument tables, the API client it talks through, and how results are shown."""

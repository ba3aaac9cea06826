"""What is on disk: the SQLite database with its migrations and single writer, and the append-only job logs."""

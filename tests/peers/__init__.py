"""Other people's programs as peers of ours."""

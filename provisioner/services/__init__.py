"""What talks: one socket or one set of routes in each module."""

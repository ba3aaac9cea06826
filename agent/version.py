"""The one place that holds the version of server and agent."""

VERSION = "0.1.0"

"""Everything that goes wrong on purpose in the agent, split by what the caller does next.

    AgentError
    ├── RenderError      a template is wrong: the job fails
    ├── TaskError        a task cannot be run as ordered: the job fails
    ├── ConfigError      the agent's own settings are wrong: it does not start
    ├── FileTrouble      a file that is sent or saved cannot be read or written
    ├── Stopped          the agent was told to stop: wind up
    ├── Nonsense         the server's answer cannot be understood
    ├── ServerAway       no usable answer: the same request may be sent again
    └── Refused          the server said no: sending it again changes nothing      4xx
        ├── Denied       token or ticket is not accepted                           401/403
        ├── Missing      there is no such thing                                    404/410
        └── Conflict     the state of the thing forbids it: look again             409

Anything else that is raised is a fault of the agent itself.
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all."""


class RenderError(AgentError):
    """A template cannot be rendered; `line` counts from 1 and is 0 when unknown."""

    def __init__(self, template: str, line: int, message: str) -> None:
        super().__init__(template, line, message)
        self.template = template
        self.line = line
        self.message = message

    def __str__(self) -> str:
        where = f"{self.template} line {self.line}" if self.line else self.template
        return f"template {where}: {self.message}"


class TaskError(AgentError):
    """A task cannot be run as ordered."""


class ConfigError(AgentError):
    """The agent's own settings are wrong or missing."""


class FileTrouble(AgentError):
    """A file of this machine that is being sent or saved cannot be read or written."""


class Stopped(AgentError):
    """The agent was told to stop while it waited."""


class Nonsense(AgentError):
    """An answer lacks what it must have: agent and server do not speak the same version."""


class ServerAway(AgentError):
    """No usable answer came: connection refused, a timeout, a broken reply or a 5xx."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Refused(AgentError):
    """The server answered with a 4xx; `body` is the decoded JSON of the answer, empty when it was none."""

    def __init__(self, status: int, code: str, detail: str, body: dict[str, object]) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.body = body

    def __str__(self) -> str:
        return f"{self.detail} ({self.status} {self.code})" if self.code else f"{self.detail} ({self.status})"


class Denied(Refused):
    """Token or ticket is not accepted."""


class Missing(Refused):
    """There is no such thing."""


class Conflict(Refused):
    """The state of the thing forbids it."""

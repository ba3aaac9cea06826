"""`provisioner login` and `logout`: get a token from the server and keep it for its owner only."""

from __future__ import annotations

from pathlib import Path

from provisioner.cli.client import Client, at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.tokens import token_file, token_for

PASSWORD_VARIABLE = "PROVISIONER_PASSWORD"


def _log_in(session: Session) -> None:
    options = session.options
    question = f"password of {options.username} on {session.server}: "
    password = ask_password(session, options.password_file, question, PASSWORD_VARIABLE)
    body = {"username": options.username, "password": password}
    token = Client(session.server).send("POST", at("login"), body).json()["token"]
    file = token_file(session.terminal.environment)
    file.save(session.server, token)
    if session.output.as_json:
        session.output.json({"server": session.server, "username": options.username, "token_file": str(file.path)})
    else:
        session.output.line(f"logged in to {session.server} as {options.username}; the login is kept in {file.path}")


def ask_password(session: Session, file: str | None, question: str, variable: str = "") -> str:
    """From a file, a variable, or asked for; never from the command line, where everybody can read it."""
    terminal = session.terminal
    if file == "-":
        return terminal.stdin.readline().rstrip("\r\n")
    if file:
        try:
            return Path(file).read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Failure(f"cannot read {file}: {reason}", object=file) from error
    kept = terminal.environment.get(variable) if variable else None
    if kept is not None:
        return kept
    if not terminal.stdin.isatty():
        raise Failure(
            "there is no terminal to ask for the password",
            f"use --password-file FILE (- is standard input){f' or {variable}' if variable else ''}",
            Exit.USAGE,
            code="usage",
        )
    return terminal.ask_secret(question)


def _log_out(session: Session) -> None:
    environment = session.terminal.environment
    token = token_for(session.server, environment)
    if token:
        Client(session.server, token).send("POST", at("logout"), {})
    token_file(environment).drop(session.server)
    session.output.line(f"logged out of {session.server}" if token else f"was not logged in to {session.server}")


LOGIN = Command(
    "login",
    "log in to the server and keep the login",
    _log_in,
    (
        argument("--username", default="admin", metavar="NAME", help="default: admin"),
        argument("--password-file", metavar="FILE", help="read the password from this file; - is standard input"),
    ),
)
LOGOUT = Command("logout", "end the login", _log_out)

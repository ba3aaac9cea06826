"""`provisioner users` and `tokens`: who may log in, and what programs use instead of a password."""

from __future__ import annotations

from provisioner.cli.access import ask_password
from provisioner.cli.changing import confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import exact_of
from provisioner.cli.exits import Exit


def _list_users(session: Session) -> None:
    users = list(session.client().pages(at("users")))
    if session.output.as_json:
        session.output.json(users)
        return
    session.output.table(
        ("NAME", "ROLE", "SINCE"),
        ((each["name"], each["role"], exact_of(each["created_at"])) for each in users),
        "no users",
    )


def _create_user(session: Session) -> None:
    options = session.options
    password = ask_password(session, options.password_file, f"password for {options.username}: ")
    body = {"name": options.username, "password": password}
    made = session.client().send("POST", at("users"), body).json()
    done(session, made, f"{made['name']} may log in")


def _set_password(session: Session) -> None:
    options = session.options
    body = {"password": ask_password(session, options.password_file, f"new password of {options.username}: ")}
    if options.current_file:
        body["current"] = ask_password(session, options.current_file, "")
    session.client().send("PUT", at("users", options.username, "password"), body)
    session.output.line(f"{options.username} has a new password; all older logins have ended")


def _delete_user(session: Session) -> Exit | None:
    name = session.options.username
    if not confirmed(session, f"delete user {name}?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("users", name)).json()
    done(session, gone, f"{name} may not log in any more")
    return None


def _list_tokens(session: Session) -> None:
    tokens = list(session.client().pages(at("tokens")))
    if session.output.as_json:
        session.output.json(tokens)
        return
    session.output.table(
        ("ID", "FOR", "OF", "UNTIL", "DESCRIPTION"),
        (
            (
                each["id"],
                each["purpose"],
                each["subject"],
                exact_of(each["expires_at"]) or "for ever",
                each["description"],
            )
            for each in tokens
        ),
        "no tokens",
    )


def _create_token(session: Session) -> None:
    options = session.options
    body = {"description": options.description, "days": options.days}
    made = session.client().send("POST", at("tokens"), body).json()
    if not session.output.as_json:
        session.output.remark("shown only this once:")
    done(session, made, made["token"])


def _revoke_token(session: Session) -> None:
    gone = session.client().send("DELETE", at("tokens", session.options.id)).json()
    done(session, gone, f"token {session.options.id} is good for nothing any more")


_NAME = argument("username", metavar="NAME", complete="users", help="the user's name")
_PASSWORD_FILE = argument(
    "--password-file", metavar="FILE", help="read the new password from this file; - is standard input"
)

USERS = (
    Command("list", "who may log in", _list_users),
    Command("create", "let somebody log in", _create_user, (_NAME, _PASSWORD_FILE)),
    Command(
        "set-password",
        "change a password, which ends older logins",
        _set_password,
        (
            _NAME,
            _PASSWORD_FILE,
            argument("--current-file", metavar="FILE", help="your own current password, when it is your own"),
        ),
    ),
    Command(
        "delete",
        "let somebody log in no more",
        _delete_user,
        (_NAME, argument("--yes", action="store_true", help="without asking")),
    ),
)
TOKENS = (
    Command("list", "all tokens, without their secrets", _list_tokens),
    Command(
        "create",
        "a token for a program that acts as you",
        _create_token,
        (
            argument("--description", default="", metavar="TEXT", help="what it is for"),
            argument("--days", type=float, default=90.0, metavar="N", help="good for so long; 0: for ever"),
        ),
    ),
    Command("revoke", "end a token", _revoke_token, (argument("id", metavar="ID", help="as `list` shows it"),)),
)

"""Where the login is kept: `~/.config/provisioner/token`, readable by its owner only, one line a server.

A line is `URL TOKEN`; a line with a token alone counts for every server. PROVISIONER_TOKEN comes before the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from provisioner.cli.exits import Failure

VARIABLE = "PROVISIONER_TOKEN"
_OWNER_ONLY = 0o600


class TokenFile:
    """The tokens of one user on this host."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, server: str) -> str:
        """The token for that server, else the one for every server, else ''."""
        tokens = self._read()
        return tokens.get(_plain(server)) or tokens.get("", "")

    def save(self, server: str, token: str) -> None:
        """Keep the token for that server, in place of an older one."""
        self._write({**self._read(), _plain(server): token})

    def drop(self, server: str) -> None:
        """Forget the token of that server, and one that counts for every server."""
        self._write({url: token for url, token in self._read().items() if url not in ("", _plain(server))})

    def _read(self) -> dict[str, str]:
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {self.path}: {error}", "mend or remove that file") from error
        words = [line.split() for line in lines if line.strip()]
        return {line[0] if len(line) > 1 else "": line[-1] for line in words}

    def _write(self, tokens: Mapping[str, str]) -> None:
        """All at once, and never readable by others, not even while it is written."""
        text = "".join(f"{url} {token}\n".lstrip() for url, token in tokens.items())
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY), "w") as file:
                file.write(text)
            fresh.replace(self.path)
        except OSError as error:
            raise Failure(
                f"cannot write {self.path}: {error.strerror}", "set XDG_CONFIG_HOME or free the way"
            ) from error


def token_file(environment: Mapping[str, str]) -> TokenFile:
    """The file of whoever runs us."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "~"), ".config")
    return TokenFile(Path(home).expanduser() / "provisioner" / "token")


def token_for(server: str, environment: Mapping[str, str]) -> str:
    """The token to send to that server; '' when there is none."""
    return environment.get(VARIABLE, "").strip() or token_file(environment).find(server)


def _plain(server: str) -> str:
    return server.rstrip("/").lower()

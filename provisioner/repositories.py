"""Install repositories that are passed on: which paths, how long a copy is good, where an upstream may send us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from provisioner.errors import Denied, NotFound

# Where the upstream says nothing: an index is asked for again after so long. Long enough for a storm, and short enough
# that an index and what it lists are of one moment.
FRESH_SECONDS = 60
LONGEST_FRESH_SECONDS = 86_400
MOST_REDIRECTS = 5
LONGEST_PATH = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# Names with a version or a digest in them: what is under them never changes.
_IMMUTABLE = re.compile(
    r"(?:.*/)?(?:by-hash/\w+/[0-9a-f]{32,128}|[^/]+\.(?:u?deb|d?rpm|apk|dsc|pkg\.tar\.(?:zst|xz)))", re.I
)
_BY_SHA256 = re.compile(r"(?:.*/)?by-hash/SHA256/([0-9a-f]{64})")
# Of a URL that names none.
_PORTS = {"http": 80, "https": 443}
_MAX_AGE = re.compile(r"(?:^|,)\s*(?:s-maxage|max-age)\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


def parse_upstreams(words: tuple[str, ...]) -> dict[str, str]:
    """NAME=URL by name, each URL with one slash at its end; ValueError naming what is wrong."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, url = word.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ValueError(f"{word!r} is not NAME=URL with a name of a-z, 0-9, '.', '_' and '-'")
        if name in found:
            raise ValueError(f"there are two repositories {name!r}")
        found[name] = _base(name, url)
    return found


def _base(name: str, url: str) -> str:
    parts = urlsplit(url)
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ValueError(f"repository {name}: {url!r} is not http://HOST[:PORT]/PATH or https://...")
    if parts.username or parts.password:
        raise ValueError(f"repository {name}: a login in the URL would be shown to everybody; there must be none")
    return url.rstrip("/") + "/"


def clean(path: str) -> str:
    """A path below a repository's base, decoded; raises Denied for one that could lead out of it, NotFound."""
    if len(path) > LONGEST_PATH:
        raise NotFound("the path is too long", object=path[:100])
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path) or "\\" in path:
        raise Denied(f"{path!r} has letters in it that no path has", code="path-refused")
    parts = path.split("/")
    if ".." in parts or "." in parts:
        raise Denied(f"{path!r} leads out of the repository", code="path-refused")
    kept = [part for part in parts if part]
    if not kept or path.endswith("/"):
        raise NotFound(f"{path!r} is a folder; folders are not listed", object=path)
    return "/".join(kept)


def url_of(base: str, path: str) -> str:
    """Where the upstream has a clean path."""
    return base + quote(path, safe="/+~:=@!$&'(),;*")


def followed(base: str, url: str, location: str) -> str:
    """Where a redirect leads; Denied when that is another server, for nobody has allowed us that one, or is no URL.

    From http to https of the same host is the same server.
    """
    mine = urlsplit(base)
    try:
        target = urljoin(url, location)
        other = urlsplit(target)
        ports = _port(mine), _port(other)
    except ValueError as error:
        raise Denied(f"{url} sends us to {location[:100]!r}, which is no URL: {error}", code="redirected") from error
    same = mine.scheme == other.scheme and ports[0] == ports[1]
    upgraded = (mine.scheme, other.scheme, *ports) == ("http", "https", 80, 443)
    if mine.hostname != other.hostname or not (same or upgraded):
        shown = f"{other.scheme}://{other.netloc.rpartition('@')[2]}/"
        raise Denied(
            f"the repository sends us to another server, {shown}: name that one in the setting", code="redirected"
        )
    return target


def _port(url: SplitResult) -> int | None:
    return _PORTS.get(url.scheme) if url.port is None else url.port


def server_of(url: str) -> str:
    """The server that a URL leads to: several repositories may be on one. That of http is that of https."""
    parts = urlsplit(url)
    port = _port(parts)
    return f"{parts.hostname}" if port in _PORTS.values() else f"{parts.hostname}:{port}"


def is_immutable(path: str) -> bool:
    """Whether what is under this path never changes, so that a copy is good for ever."""
    return _IMMUTABLE.fullmatch(path) is not None


def sha256_in(path: str) -> str:
    """The SHA-256 that the content of this path must have, '' when its name tells none."""
    found = _BY_SHA256.fullmatch(path)
    return found[1] if found else ""


def fresh_seconds(headers: Mapping[str, str]) -> int:
    """How long an index is good without asking, as its upstream says in `Cache-Control`."""
    said = headers.get("Cache-Control", "")
    if re.search(r"no-cache|no-store|must-revalidate\s*,?\s*$", said) and not _MAX_AGE.search(said):
        return 0
    found = _MAX_AGE.search(said)
    return min(int(found[1]), LONGEST_FRESH_SECONDS) if found else FRESH_SECONDS


def is_fresh(path: str, validated_at: float, seconds: int, now: float) -> bool:
    """Whether a copy can be given out without asking; one from the future was dated by a wrong clock."""
    return is_immutable(path) or 0 <= now - validated_at < seconds

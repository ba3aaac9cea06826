"""Paths, ages and redirects of install repositories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import Denied, NotFound, ProvisionerError
from provisioner.repositories import (
    FRESH_SECONDS,
    LONGEST_FRESH_SECONDS,
    clean,
    followed,
    fresh_seconds,
    is_fresh,
    is_immutable,
    parse_upstreams,
    server_of,
    sha256_in,
    url_of,
)

BASE = "http://mirror.example/debian/"
DIGEST = "ab" * 32


def test_upstreams_are_names_and_urls() -> None:
    assert parse_upstreams(("debian=http://mirror.example/debian", "el9=https://h:8443/")) == {
        "debian": BASE,
        "el9": "https://h:8443/",
    }
    assert parse_upstreams(()) == {}


@pytest.mark.parametrize(
    "words",
    [("debian",), ("=http://h/",), ("De=http://h/",), ("a/b=http://h/",), ("a=ftp://h/",), ("a=http://",), ("a=h/x",),
     ("a=http://h:x/",), ("a=http://h/?q",), ("a=http://h/#f",), ("a=http://u:p@h/",), ("a=http://h/", "a=http://i/")],
)  # fmt: skip
def test_what_is_no_upstream_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_upstreams(words)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("dists/stable/InRelease", "dists/stable/InRelease"), ("/a//b", "a/b"), ("a..b/...", "a..b/..."),
     ("pool/p_1:2+dfsg~1.deb", "pool/p_1:2+dfsg~1.deb")],
)  # fmt: skip
def test_a_path_below_the_base_is_itself(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", ".", "a/./b", "a\0b", "a\r\nHost: x", "a\\..\\b", "a\x7f"])
def test_a_path_that_could_lead_out_is_refused(path: str) -> None:
    with pytest.raises(Denied):
        clean(path)


@pytest.mark.parametrize("path", ["", "/", "dists/", "a" * 2000])
def test_a_folder_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        clean(path)


@given(st.text(max_size=60))
def test_whatever_is_asked_for_stays_below_the_base(path: str) -> None:
    try:
        url = url_of(BASE, clean(path))
    except (ProvisionerError, UnicodeEncodeError):
        return
    rest = url.removeprefix(BASE)
    assert url.startswith(BASE) and not set(rest) & set(" ?#\r\n\\") and ".." not in rest.split("/")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("other", "http://mirror.example/debian/dists/other"),
        ("/elsewhere/x", "http://mirror.example/elsewhere/x"),
        ("http://mirror.example/y", "http://mirror.example/y"),
        ("https://mirror.example/y", "https://mirror.example/y"),
    ],
)
def test_a_redirect_on_the_same_server_is_followed(location: str, target: str) -> None:
    assert followed(BASE, BASE + "dists/stable", location) == target


@pytest.mark.parametrize(
    ("base", "location"),
    [
        ("http://mirror.example/debian/", "http://mirror.example:80/y"),
        ("http://mirror.example:80/debian/", "http://MIRROR.example/y"),
        ("http://mirror.example:80/debian/", "https://mirror.example:443/y"),
        ("https://mirror.example/debian/", "https://mirror.example:443/y"),
        ("https://mirror.example:443/debian/", "//mirror.example/y"),
        ("http://mirror.example:8080/debian/", "http://mirror.example:8080/y"),
    ],
)
def test_the_port_that_a_url_has_anyway_need_not_be_named(base: str, location: str) -> None:
    assert followed(base, base + "dists/stable", location).lower().endswith("/y")


@pytest.mark.parametrize(
    ("base", "location"),
    [
        ("https://mirror.example/", "http://mirror.example/y"),
        ("https://mirror.example/", "http://mirror.example:443/y"),
        ("http://mirror.example/", "https://mirror.example:80/y"),
        ("http://mirror.example:8080/", "https://mirror.example/y"),
        ("http://mirror.example/", "ftp://mirror.example:80/y"),
        ("http://mirror.example:80/", "http://mirror.example:0/y"),
    ],
)
def test_a_port_that_is_another_scheme_s_is_another_server(base: str, location: str) -> None:
    with pytest.raises(Denied, match="another server"):
        followed(base, base + "x", location)


@pytest.mark.parametrize(
    "location",
    ["http://evil.example/x", "//evil.example/x", "http://mirror.example:8080/x", "file:///etc/passwd",
     "http://mirror.example@evil.example/", "https://mirror.example:444/"],
)  # fmt: skip
def test_a_redirect_to_another_server_is_refused_and_named(location: str) -> None:
    with pytest.raises(Denied, match="another server"):
        followed(BASE, BASE + "dists/stable", location)


@pytest.mark.parametrize("location", ["http://mirror.example:99999/x", "http://[::1/x", "http://mirror.example:x/"])
def test_a_redirect_to_what_is_no_url_is_refused(location: str) -> None:
    with pytest.raises(Denied, match="no URL"):
        followed(BASE, BASE + "dists/stable", location)


@pytest.mark.parametrize(
    ("path", "immutable"),
    [
        ("pool/main/a/apt_2.6.1_amd64.deb", True),
        ("Packages/k/kernel-5.14.0.x86_64.rpm", True),
        (f"dists/stable/main/binary-amd64/by-hash/SHA256/{DIGEST}", True),
        ("pool/main/x.udeb", True),
        ("dists/stable/InRelease", False),
        ("dists/stable/main/binary-amd64/Packages.xz", False),
        ("repodata/repomd.xml", False),
        ("images/netboot/vmlinuz", False),
    ],
)
def test_what_has_its_version_in_its_name_never_changes(path: str, immutable: bool) -> None:
    assert is_immutable(path) is immutable


def test_repositories_may_be_of_one_server() -> None:
    assert {server_of(url) for url in ("http://H/debian/", "http://h:80/security/", "https://h/")} == {"h"}
    assert server_of("http://h:8080/") != server_of("http://h/") != server_of("http://i/")


def test_a_name_can_tell_the_digest_of_its_content() -> None:
    assert sha256_in(f"dists/x/by-hash/SHA256/{DIGEST}") == DIGEST
    assert sha256_in(f"dists/x/by-hash/MD5Sum/{DIGEST[:32]}") == sha256_in("a.deb") == ""


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("", FRESH_SECONDS), ("max-age=120", 120), ("public, max-age=5, must-revalidate", 5), ("no-cache", 0),
     ("no-store", 0), ("max-age=99999999", LONGEST_FRESH_SECONDS), ("s-maxage=7", 7), ("nonsense", FRESH_SECONDS)],
)  # fmt: skip
def test_the_upstream_says_how_long_a_copy_is_good(said: str, seconds: int) -> None:
    assert fresh_seconds({"Cache-Control": said}) == seconds


def test_a_copy_is_fresh_for_that_long_and_one_from_the_future_is_not() -> None:
    assert is_fresh("InRelease", 100.0, 60, 159.0) and not is_fresh("InRelease", 100.0, 60, 160.0)
    assert not is_fresh("InRelease", 100.0, 60, 99.0) and is_fresh("a.deb", 100.0, 0, 99.0)

"""The vault: seals secure values so that nobody reads them who has the database but not the key file.

A sealed value is `{"$sealed": "KEY:DATA"}`: which key, then base64 of nonce and AES-256-GCM of the value's JSON. The
key file holds one key a line (base64 of 32 bytes); the last one seals, all of them open.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from provisioner.errors import ProvisionerError, SettingError
from provisioner.params import SEAL, change_values, is_sealed

T = TypeVar("T")

KEY_BYTES = 32
_NONCE_BYTES = 12
_REMEDY = "put back the key file that belongs to this database (setting secrets.key_file)"


class VaultError(ProvisionerError):
    """A sealed value cannot be opened: its key is not there, or it was tampered with."""

    code = "sealed"


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def _id(key: bytes) -> str:
    return sha256(b"provisioner key id" + key).hexdigest()[:12]


class Vault:
    """Seals with the last of its keys and opens with all of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_id(key): AESGCM(key) for key in keys}
        self._newest = _id(keys[-1])
        self._keys = tuple(keys)

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """A key for another purpose than sealing out of each of its keys, the newest first."""
        return tuple(hmac_digest(key, purpose.encode(), "sha256") for key in reversed(self._keys))

    def seal(self, value: Any) -> dict[str, str]:
        """The value, sealed."""
        nonce = os.urandom(_NONCE_BYTES)
        data = self._ciphers[self._newest].encrypt(nonce, msgspec.json.encode(value), self._newest.encode())
        return {SEAL: f"{self._newest}:{b64encode(nonce + data).decode()}"}

    def open(self, value: Any) -> Any:
        """The plain value of a sealed one, any other value as it is; raises VaultError."""
        if not is_sealed(value):
            return value
        key, _, text = value[SEAL].partition(":")
        if key not in self._ciphers:
            raise VaultError(f"a secure value was sealed with key {key!r}, which the key file does not have; {_REMEDY}")
        try:
            data = b64decode(text, validate=True)
            plain = self._ciphers[key].decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], key.encode())
        except (InvalidTag, NotBase64, ValueError) as error:
            raise VaultError(f"a secure value sealed with key {key!r} was changed or damaged; set it again") from error
        return msgspec.json.decode(plain)

    def opened(self, value: T) -> T:
        """A machine or content object with its values plain, to be checked; what cannot be opened stays sealed."""

        def try_open(_: str, each: Any) -> Any:
            try:
                return self.open(each)
            except VaultError:
                return each

        return change_values(value, try_open)

    def knows(self, value: Any) -> bool:
        """Whether it has the key of a sealed value."""
        return value[SEAL].partition(":")[0] in self._ciphers

    def is_fresh(self, value: Any) -> bool:
        """Whether a value is sealed with the key that seals now."""
        return is_sealed(value) and value[SEAL].partition(":")[0] == self._newest


def open_vault(file: Path, *, needed: bool) -> Vault:
    """The vault of a key file, which is made when it is not there.

    `needed` says that there are values that only an old key opens: then a missing file is a SettingError. So are a file
    that others may read, and one that holds no keys.
    """
    try:
        mode = file.stat().st_mode
        if mode & 0o027:
            raise SettingError(
                f"key file {file}: others may read or change it (mode {mode & 0o777:o}); run: chmod 600 {file}",
                object=str(file),
            )
        return Vault(_read(file))
    except FileNotFoundError as error:
        if needed:
            raise SettingError(
                f"there is no key file {file}, but the database holds secure values sealed with it; {_REMEDY}",
                object=str(file),
            ) from error
    except OSError as error:
        raise SettingError(f"cannot read the key file {file}: {error.strerror}", object=str(file)) from error
    key = new_key()
    write_keys(file, [key])
    return Vault([key])


def rotate(file: Path) -> int:
    """Add a new key, which seals from the next start on; returns how many there are now."""
    keys = _existing(file)
    write_keys(file, [*keys, new_key()])
    return len(keys) + 1


def drop_old(file: Path) -> int:
    """Remove all keys but the last; returns how many were removed. Nothing sealed with them can be opened again."""
    keys = _existing(file)
    write_keys(file, keys[-1:])
    return len(keys) - 1


def _existing(file: Path) -> list[bytes]:
    try:
        return _read(file)
    except OSError as error:
        raise SettingError(f"cannot read the key file {file}: {error.strerror}", object=str(file)) from error


def _read(file: Path) -> list[bytes]:
    keys = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            key = b64decode(text, validate=True)
        except NotBase64:
            key = b""
        if len(key) != KEY_BYTES:
            raise SettingError(f"{file}:{number}: is no key; a key is base64 of {KEY_BYTES} bytes", object=str(file))
        keys.append(key)
    if not keys:
        raise SettingError(f"the key file {file} holds no key; {_REMEDY}", object=str(file))
    return keys


def write_keys(file: Path, keys: Sequence[bytes]) -> None:
    """Put the keys in the file, whole or not at all, for its owner only; raises SettingError."""
    beside = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as written:
            written.writelines(b64encode(key) + b"\n" for key in keys)
            written.flush()
            if file.exists():
                # Whoever adds a key may be another user than the one the server runs as.
                os.fchown(written.fileno(), file.stat().st_uid, file.stat().st_gid)
            os.fsync(written.fileno())
        beside.replace(file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingError(f"cannot write the key file {file}: {error.strerror}", object=str(file)) from error

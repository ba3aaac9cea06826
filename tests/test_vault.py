"""The vault: what is sealed is opened only with its key, and keys are kept carefully."""

import os
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import SettingError
from provisioner.params import is_sealed
from provisioner.vault import Vault, VaultError, drop_old, new_key, open_vault, rotate, write_keys

KEY, OTHER = bytes(range(32)), bytes(32)
VAULT = Vault([KEY])
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)  # fmt: skip


@given(documents)
def test_whatever_is_sealed_comes_out_again(value):
    sealed = VAULT.seal(value)
    assert is_sealed(sealed) and VAULT.open(sealed) == value


def test_the_same_value_is_sealed_differently_each_time():
    assert VAULT.seal("hush") != VAULT.seal("hush")


def test_a_plain_value_is_opened_as_it_is():
    assert VAULT.open({"a": 1}) == {"a": 1}


def test_a_value_sealed_with_another_key_is_refused():
    with pytest.raises(VaultError, match="which the key file does not have; put back the key file"):
        VAULT.open(Vault([OTHER]).seal("hush"))


@pytest.mark.parametrize("text", ["x", "", "AAAA", "A" * 100, "=", "ä"])
def test_a_value_that_was_changed_is_refused(text):
    key = VAULT.seal("hush")["$sealed"].partition(":")[0]
    with pytest.raises(VaultError, match="was changed or damaged; set it again"):
        VAULT.open({"$sealed": f"{key}:{text}"})


def test_the_last_key_seals_and_all_of_them_open():
    old, both = Vault([OTHER]), Vault([OTHER, KEY])
    sealed = old.seal("hush")
    assert both.open(sealed) == "hush" and both.knows(sealed) and not both.is_fresh(sealed)
    assert both.is_fresh(both.seal("hush")) and not old.knows(both.seal("hush"))
    assert not both.is_fresh("plain")


def test_a_key_file_is_made_for_its_owner_only(tmp_path):
    file = tmp_path / "secret.key"
    sealed = open_vault(file, needed=False).seal("hush")
    assert file.stat().st_mode & 0o777 == 0o600
    assert open_vault(file, needed=True).open(sealed) == "hush"
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_key_file_that_is_needed_is_not_made_anew(tmp_path):
    file = tmp_path / "secret.key"
    with pytest.raises(SettingError, match="there is no key file .*, but the database holds secure values"):
        open_vault(file, needed=True)
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path, mode):
    file = tmp_path / "secret.key"
    write_keys(file, [KEY])
    file.chmod(mode)
    with pytest.raises(SettingError, match=f"others may read or change it .*run: chmod 600 {file}"):
        open_vault(file, needed=False)


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"short\n", b64encode(bytes(31)), b"\xff\xfe"])
def test_a_key_file_without_keys_is_refused(tmp_path, text):
    file = tmp_path / "secret.key"
    write_keys(file, [KEY])
    file.write_bytes(text)
    with pytest.raises(SettingError, match="no key"):
        open_vault(file, needed=False)


def test_rotating_adds_a_key_and_opens_what_was_sealed_before(tmp_path):
    file = tmp_path / "secret.key"
    before = open_vault(file, needed=False)
    sealed = before.seal("hush")
    assert rotate(file) == 2
    after = open_vault(file, needed=True)
    assert after.open(sealed) == "hush" and not after.is_fresh(sealed)
    assert file.stat().st_mode & 0o777 == 0o600


def test_dropping_old_keys_leaves_the_last(tmp_path):
    file = tmp_path / "secret.key"
    sealed = open_vault(file, needed=False).seal("hush")
    rotate(file)
    kept = open_vault(file, needed=True).seal("hush")
    assert drop_old(file) == 1
    assert open_vault(file, needed=True).open(kept) == "hush"
    assert not open_vault(file, needed=True).knows(sealed)


def test_a_file_that_is_not_there_cannot_be_rotated(tmp_path):
    with pytest.raises(SettingError, match="cannot read the key file .*gone: No such file"):
        rotate(tmp_path / "gone")


def test_a_key_file_that_cannot_be_written_is_a_setting_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="key file"):
        open_vault(tmp_path / "file" / "secret.key", needed=False)


def test_a_key_cut_short_by_a_crash_leaves_the_old_file(tmp_path):
    file = tmp_path / "secret.key"
    write_keys(file, [KEY])
    (tmp_path / ".secret.key.new").write_bytes(b"half")
    write_keys(file, [KEY, new_key()])
    assert len(file.read_bytes().splitlines()) == 2 and os.listdir(tmp_path) == ["secret.key"]

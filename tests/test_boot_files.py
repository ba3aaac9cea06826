"""A boot environment says which of its files are missing."""

from provisioner.boot_files import BootFiles
from provisioner.model.content import BootArch, Bootenv

NET = Bootenv(name="net", arch={"amd64": BootArch("net/vmlinuz", ("net/a.img", "net/b.img"))})


def test_a_file_that_is_not_there_is_named_with_its_field_and_folder(tmp_path):
    (tmp_path / "net").mkdir()
    for name in ("vmlinuz", "a.img"):
        (tmp_path / "net" / name).write_bytes(b"x")
    assert BootFiles(tmp_path).missing(NET) == (
        f"arch.amd64.initrds[1]: there is no file 'net/b.img' below {tmp_path}",
    )
    (tmp_path / "net" / "b.img").write_bytes(b"x")
    assert BootFiles(tmp_path).missing(NET) == ()


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net" / "vmlinuz").mkdir(parents=True)
    assert len(BootFiles(tmp_path).missing(NET)) == 3


def test_a_bootenv_of_the_own_disk_needs_none(tmp_path):
    assert BootFiles(tmp_path / "nowhere").missing(Bootenv(name="local")) == ()


def test_a_name_that_no_file_can_have_is_missing(tmp_path):
    for name in ("x" * 5000, "a\0b"):
        assert len(BootFiles(tmp_path).missing(Bootenv(name="b", arch={"amd64": BootArch(name)}))) == 1

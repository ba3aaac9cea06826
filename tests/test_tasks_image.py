"""Task image-write: what it writes, and that what it refuses stays as it was, byte for byte."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.file_server import MACHINE_ID, TOKEN, FileServer
from tests.peers.programs import missing
from tests.shipped_scripts import load_module, run_script, shipped, task_context, write_task

CONTENT = shipped()
MIB = 1024 * 1024
URL = "/files/images/debian-12.img.zst"
ANY = [{"disk": "any", "expires_at": "2999-01-01T00:00:00Z"}]
EXPIRED = [{"disk": "any", "expires_at": "2000-01-01T00:00:00Z"}]
OTHER = [{"disk": "/dev/other", "expires_at": "2999-01-01T00:00:00Z"}]


def plain_image() -> bytes:
    """6.5 MiB: a partition table, noise that does not compress, a run of zeros, noise."""
    noise = Random(1).randbytes
    return noise(510) + b"\x55\xaa" + noise(3 * MIB - 512) + bytes(2 * MIB) + noise(3 * MIB // 2)


PLAIN = plain_image()


def packed(*command: str) -> bytes:
    return subprocess.run(command, input=PLAIN, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def zst(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("image") / "x.img"
    path.write_bytes(PLAIN)
    return subprocess.run(["zstd", "-qc", str(path)], capture_output=True, check=True).stdout


@pytest.fixture
def server(zst: bytes) -> Iterator[FileServer]:
    files = {URL: zst, f"{URL}.sha256": f"{hashlib.sha256(zst).hexdigest()}  debian-12.img.zst\n".encode()}
    with FileServer(files=files).running() as running:
        yield running


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(12 * MIB)
    return path


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(Random(2).randbytes(12 * MIB))
    return path


def write(server: FileServer, disk: Path, **params: Any) -> subprocess.CompletedProcess[str]:
    folder = disk.parent / "task"
    folder.mkdir()
    context = task_context(CONTENT, {"image/disk": str(disk), **params}, server.url)
    return run_script(write_task(CONTENT, "image-write", context, folder), server.url)


# --- what is written


def test_a_blank_disk_gets_the_image_and_the_log_shows_progress(server: FileServer, blank: Path) -> None:
    done = write(server, blank)
    assert done.returncode == 0, done.stderr
    assert blank.read_bytes() == PLAIN + bytes(12 * MIB - len(PLAIN))
    assert "fetched " in done.stdout and "written 6 MiB, 100 %, " in done.stdout and " MiB/s" in done.stdout
    assert (blank.parent / "task" / ".progress").read_text() == "100\n"


def test_a_disk_that_a_grant_names_is_overwritten_and_its_old_labels_are_gone(server: FileServer, full: Path) -> None:
    server.machine["erase_grants"] = ANY
    done = write(server, full)
    assert done.returncode == 0, done.stderr
    data = full.read_bytes()
    assert data[: len(PLAIN)] == PLAIN and data[-MIB:] == bytes(MIB)


@pytest.mark.parametrize("command", [("gzip", "-c"), ("xz", "-0c"), ("cat",)], ids=["gzip", "xz", "plain"])
def test_other_packings_are_known_by_their_first_bytes(server: FileServer, blank: Path, command: tuple[str]) -> None:
    data = packed(*command)
    server.files["/other"] = data
    params = {"image/url": f"{server.url}/other", "image/sha256": hashlib.sha256(data).hexdigest().upper()}
    done = write(server, blank, **params)
    assert done.returncode == 0, done.stderr
    assert blank.read_bytes()[: len(PLAIN)] == PLAIN


def test_the_sha256_of_the_param_needs_no_file_beside_the_image(server: FileServer, blank: Path, zst: bytes) -> None:
    del server.files[f"{URL}.sha256"]
    done = write(server, blank, **{"image/sha256": hashlib.sha256(zst).hexdigest()})
    assert done.returncode == 0, done.stderr


# --- what is refused leaves the disk as it was


def tampered(server: FileServer) -> None:
    server.files[URL] = server.files[URL][:5000] + b"!" + server.files[URL][5001:]


def truncated(server: FileServer) -> None:
    server.files[URL] = server.files[URL][:-1000]


def without_image(server: FileServer) -> None:
    del server.files[URL]


def without_sum(server: FileServer) -> None:
    del server.files[f"{URL}.sha256"]


def nonsense_sum(server: FileServer) -> None:
    server.files[f"{URL}.sha256"] = b"<html>\n"


def empty_sum(server: FileServer) -> None:
    server.files[f"{URL}.sha256"] = b""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (tampered, "SHA-256 of the image is "),
        (truncated, "SHA-256 of the image is "),
        (without_image, "debian-12.img.zst: the server says 404"),
        (without_sum, "debian-12.img.zst.sha256: the server says 404"),
        (nonsense_sum, "debian-12.img.zst.sha256 holds no SHA-256"),
        (empty_sum, "debian-12.img.zst.sha256 holds no SHA-256"),
    ],
)
def test_a_bad_image_costs_no_disk(
    server: FileServer, full: Path, fault: Callable[[FileServer], None], message: str
) -> None:
    server.machine["erase_grants"] = ANY
    fault(server)
    before = full.read_bytes()
    done = write(server, full)
    assert done.returncode == 1 and message in done.stderr and done.stderr.startswith("refused: ")
    assert full.read_bytes() == before


@pytest.mark.parametrize(
    ("grants", "why"),
    [([], "the machine has none"), (EXPIRED, "expired at"), (OTHER, "names another disk")],
    ids=["none", "expired", "another disk"],
)
def test_a_disk_with_data_and_no_valid_grant_is_left_alone(
    server: FileServer, full: Path, grants: list[dict[str, str]], why: str
) -> None:
    server.machine["erase_grants"] = grants
    before = full.read_bytes()
    done = write(server, full)
    assert done.returncode == 1 and why in done.stderr
    assert full.read_bytes() == before
    assert URL not in server.requests  # refused before anything is fetched


def test_a_grant_that_ends_while_the_image_is_fetched_counts_no_more(server: FileServer, full: Path) -> None:
    server.machine["erase_grants"] = ANY
    server.next_machine = {"erase_grants": []}
    before = full.read_bytes()
    done = write(server, full)
    assert done.returncode == 1 and "the machine has none" in done.stderr
    assert URL in server.requests and full.read_bytes() == before


def test_a_server_that_does_not_know_us_is_a_refusal(server: FileServer, full: Path) -> None:
    server.statuses = [401]
    before = full.read_bytes()
    done = write(server, full)
    assert done.returncode == 1 and f"machines/{MACHINE_ID}: the server says 401" in done.stderr
    assert full.read_bytes() == before


# --- the parts


@pytest.fixture
def parts(tmp_path: Path) -> ModuleType:
    return modules(tmp_path)[0]


def modules(tmp_path: Path) -> tuple[ModuleType, ModuleType, ModuleType]:
    folder = tmp_path / "parts"
    folder.mkdir(exist_ok=True)
    write_task(CONTENT, "image-write", task_context(CONTENT, {}), folder)
    image, talk, disks = (load_module(folder / f"{name}.py") for name in ("image", "server", "disks"))
    return image, talk, disks


def client(tmp_path: Path, server: FileServer, patience_seconds: float = 60) -> Any:
    """A client whose pauses pass at once."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    talk = modules(tmp_path)[1]
    return talk.Server(server.url, TOKEN, patience_seconds=patience_seconds, sleep=sleep, clock=lambda: now[0])


def whole(client: Any, url: str) -> bytes:
    return b"".join(client.stream(url)[1])


@pytest.mark.parametrize("ranges", [True, False], ids=["from where it stopped", "from the start"])
def test_an_interrupted_transfer_goes_on(server: FileServer, tmp_path: Path, zst: bytes, ranges: bool) -> None:
    server.cut_after, server.cuts, server.ranges = MIB + 123, 1, ranges
    assert whole(client(tmp_path, server), server.url + URL) == zst
    assert server.requests.count(URL) == 2


def test_a_transfer_that_always_ends_early_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.cut_after, server.cuts, server.ranges = MIB, 10_000, False
    _, talk, _ = modules(tmp_path)
    it = client(tmp_path, server)
    with pytest.raises(Exception, match=f"cannot be had: it ended after {MIB} of ") as caught:
        whole(it, server.url + URL)
    assert type(caught.value).__name__ == talk.ServerError.__name__


def test_a_server_that_comes_back_is_waited_for(server: FileServer, tmp_path: Path, zst: bytes) -> None:
    server.statuses = [500, 503]
    assert whole(client(tmp_path, server), server.url + URL) == zst


def test_the_token_goes_to_our_server_only(server: FileServer, tmp_path: Path) -> None:
    _, talk, _ = modules(tmp_path)
    elsewhere = talk.Server("http://192.0.2.1:8091", TOKEN)
    assert elsewhere.text(f"{server.url}{URL}.sha256")


def test_an_image_is_kept_when_there_is_room_and_fetched_again_when_not(
    server: FileServer, tmp_path: Path, zst: bytes, parts: ModuleType
) -> None:
    sha256 = hashlib.sha256(zst).hexdigest()
    for room, requests in ((10**10, 1), (len(zst), 2)):
        server.requests.clear()
        image = parts.fetch(client(tmp_path, server), server.url + URL, sha256, str(tmp_path), room)
        assert b"".join(image.pieces()) == zst
        assert server.requests.count(URL) == requests


def test_an_image_that_changes_between_fetching_and_writing_leaves_no_partition_table(
    server: FileServer, tmp_path: Path, blank: Path, zst: bytes
) -> None:
    image_module, _, disks = modules(tmp_path)
    it = client(tmp_path, server)
    image = image_module.fetch(it, server.url + URL, hashlib.sha256(zst).hexdigest(), str(tmp_path), 0)
    changed = bytearray(PLAIN)
    changed[0] ^= 1
    server.files[URL] = subprocess.run(["zstd", "-qc"], input=bytes(changed), capture_output=True, check=True).stdout
    disk = disks.choose(str(blank), [])
    with pytest.raises(image_module.ImageError, match="SHA-256 of the image is"):
        image_module.write(image, disk)
    assert disks.holdings(disk) == []


def test_bytes_that_do_not_unpack_are_told_with_the_program(
    server: FileServer, tmp_path: Path, blank: Path, parts: ModuleType
) -> None:
    broken = b"\x28\xb5\x2f\xfd" + bytes(100)
    server.files["/broken"] = broken
    sha256 = hashlib.sha256(broken).hexdigest()
    image = parts.fetch(client(tmp_path, server), f"{server.url}/broken", sha256, str(tmp_path), 0)
    with pytest.raises(parts.ImageError, match=r"zstd cannot unpack the image \(exit code 1\)"):
        parts.write(image, modules(tmp_path)[2].choose(str(blank), []))


def test_the_unpacked_size_is_read_from_the_header(parts: ModuleType, tmp_path: Path) -> None:
    for size in (1, 255, 256, 70_000, 3 * MIB):
        (tmp_path / "x").write_bytes(bytes(size))
        data = subprocess.run(["zstd", "-qc", str(tmp_path / "x")], capture_output=True, check=True).stdout
        assert parts.unpacked_size(data.ljust(32, b"\0")) == size
    assert parts.unpacked_size(packed("zstd", "-qc")[:32]) == 0
    assert parts.unpacked_size(b"\x1f\x8b" + bytes(30)) == 0


# --- a real block device


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A loop device of 64 MiB that scans its partitions."""
    backing = tmp_path / "backing"
    with backing.open("wb") as file:
        file.truncate(64 * MIB)
    made = subprocess.run(["losetup", "-fP", "--show", str(backing)], capture_output=True, text=True, check=False)
    if made.returncode:
        missing(f"no loop devices here: {made.stderr.strip()}")
    device = made.stdout.strip()
    yield Path(device)
    subprocess.run(["losetup", "-d", device], check=True)


def test_a_block_device_gets_the_image(server: FileServer, loop: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = run_on(loop, server, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    with loop.open("rb") as file:
        assert file.read(len(PLAIN)) == PLAIN


def run_on(device: Path, server: FileServer, folder: Path) -> subprocess.CompletedProcess[str]:
    context = task_context(CONTENT, {"image/disk": str(device)}, server.url)
    return run_script(write_task(CONTENT, "image-write", context, folder), server.url)


def test_an_image_that_does_not_fit_is_refused_before_anything_is_written(
    server: FileServer, loop: Path, tmp_path: Path, zst: bytes
) -> None:
    image_module, _, disks = modules(tmp_path)
    it = client(tmp_path, server)
    image = image_module.fetch(it, server.url + URL, hashlib.sha256(zst).hexdigest(), str(tmp_path), 0)
    small = replace(disks.choose(str(loop), []), size=MIB)
    with pytest.raises(image_module.ImageError, match=f"the image needs {len(PLAIN)} bytes, disk .* has {MIB}"):
        image_module.write(image, small)
    assert disks.holdings(disks.choose(str(loop), [])) == []


def test_a_mounted_disk_is_refused_whatever_is_granted(server: FileServer, loop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(loop)], check=True)
    mounted = subprocess.run(["mount", str(loop), str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        missing(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        (folder / "file").write_text("precious")
        os.sync()
        server.machine["erase_grants"] = ANY
        (tmp_path / "run").mkdir()
        done = run_on(loop, server, tmp_path / "run")
        assert done.returncode == 1 and "cannot be had for itself" in done.stderr
        assert (folder / "file").read_text() == "precious"
    finally:
        subprocess.run(["umount", str(folder)], check=True)

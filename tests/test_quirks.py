"""Quirks of firmware: which rows fit whom, and which effect counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provisioner.errors import Invalid
from provisioner.firmware import BootClient, ClientKind
from provisioner.loaders import LOADERS, NO_LOADER
from provisioner.model.content import Param
from provisioner.params import check_schema, validate
from provisioner.quirks import USUAL, Behaviour, NameIn, Quirk, VendorOptions, behaviour, read_quirks

PARAM = Path(__file__).parent.parent / "content/base/params/boot/quirks.yaml"
UUID = b"\0\x44\x45\x4c\x4c" + bytes(12)
CLIENT = BootClient(ClientKind.PXE, 7, "52:54:00:77:00:01", UUID, "PXEClient:Arch:00007:UNDI:003000")


def shipped():
    return yaml.safe_load(PARAM.read_text())


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"oui": ["52:54:00"]}, True),
        ({"oui": ["52-54-00"]}, True),
        ({"oui": ["AA:BB:CC", "52:54:00:77"]}, True),
        ({"oui": ["AA:BB:CC"]}, False),
        ({"class": ["PXEClient:Arch:00007"]}, True),
        ({"class": ["HTTPClient"]}, False),
        ({"arch": [7, 9]}, True),
        ({"arch": [0]}, False),
        ({"uuid": ["44454C4C"]}, True),
        ({"uuid": ["4445-4c"]}, True),
        ({"uuid": ["00"]}, False),
        ({"client": ["pxe"]}, True),
        ({"client": ["http", "ipxe"]}, False),
        ({"oui": ["52:54:00"], "arch": [0]}, False),
    ],
)
def test_a_row_fits_when_all_that_it_names_fits(match, fits):
    found = behaviour(CLIENT, read_quirks([{"match": match, "echo_uuid": False}]))
    assert found.echo_uuid is not fits


def test_a_card_without_a_uuid_fits_no_row_that_wants_one():
    rows = read_quirks([{"match": {"uuid": ["44"]}, "echo_uuid": False}])
    assert behaviour(BootClient(ClientKind.PXE, 7, CLIENT.mac), rows) is USUAL


def test_the_first_row_that_has_an_effect_decides_it():
    rows = read_quirks(
        [
            {"match": {}, "name_in": "header"},
            {"match": {}, "name_in": "options", "vendor_options": "never", "loader": "grub"},
        ]
    )
    assert behaviour(CLIENT, rows) == Behaviour(
        name_in=NameIn.HEADER, vendor_options=VendorOptions.NEVER, loader="grub"
    )


def test_without_a_row_everything_is_as_usual():
    assert behaviour(CLIENT, ()) is USUAL


@pytest.mark.parametrize(
    "rows", ["nonsense", [{"loader": "grub"}], [{"match": {"mac": ["x"]}}], [{"match": {}, "name_end": "0xff"}]]
)
def test_a_row_that_cannot_be_is_refused_with_its_place(rows):
    with pytest.raises(Invalid, match="boot/quirks: .*"):
        read_quirks(rows)


# --- the rows that are shipped --------------------------------------------------------------------------------


def test_the_shipped_rows_fit_their_schema_and_are_read():
    param = Param(name="boot/quirks", schema=shipped()["schema"], default=shipped()["default"])
    assert check_schema(param) == []
    assert all(isinstance(row, Quirk) and row.note for row in read_quirks(param.default))


def test_the_schema_knows_the_loaders_and_the_effects_that_there_are():
    item = shipped()["schema"]["items"]["properties"]
    assert item["loader"]["enum"] == ["undionly", "snponly", "ipxe", "shim", "grub", "none"]
    assert set(item["loader"]["enum"]) == {*LOADERS, NO_LOADER}
    assert set(item) == set(Quirk.__struct_fields__)


def test_the_loader_param_knows_the_loaders_that_there_are():
    read = yaml.safe_load((PARAM.parent / "loader.yaml").read_text())
    param = Param(name="boot/loader", schema=read["schema"])
    assert check_schema(param) == []
    for name in (*LOADERS, NO_LOADER, ["ipxe", "grub"]):
        assert validate("boot/loader", name, param) == []
    for wrong in ("lilo", [], ["grub", "grub"], ["none"], 7):
        assert validate("boot/loader", wrong, param) != []


def test_dell_uefi_reads_its_file_from_the_header_alone():
    assert behaviour(CLIENT, read_quirks(shipped()["default"])).name_in is NameIn.HEADER


def test_peers_1_hpe_uefi_is_answered_on_port_67_in_proxy_mode_as_well():
    client = BootClient(ClientKind.PXE, 7, "94:18:82:00:00:01")
    assert behaviour(client, read_quirks(shipped()["default"])).answer_request


def test_a_raspberry_pi_is_offered_nothing_made_for_a_bios():
    client = BootClient(ClientKind.PXE, 0, "dc:a6:32:00:00:01")
    assert behaviour(client, read_quirks(shipped()["default"])).loader == NO_LOADER

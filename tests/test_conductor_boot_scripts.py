"""Scripts that are kept: right for as long as nothing in them changes."""

from __future__ import annotations

import pytest

from agent.errors import RenderError
from provisioner.conductor.boot_context import BootContext, Reached
from provisioner.conductor.boot_scripts import IPXE, Dialect, Scripts
from provisioner.model.content import BootArch, Bootenv, Template
from provisioner.model.machines import Machine
from tests.parts import MAC, OPERATOR, OTHER_MAC

REACHED = Reached("10.0.0.1", "http://10.0.0.1:8091")


@pytest.fixture
def scripts(parts):
    return Scripts(parts.catalog, parts.boot_context, most=2)


def text(scripts, script, ticket="T", mac=MAC):
    return scripts.text(script, mac, REACHED, IPXE, ticket).decode()


async def test_a_script_is_rendered_once_and_each_ticket_put_in(scripts):
    script = scripts.find(MAC, None, REACHED, IPXE)
    assert scripts.find(MAC, None, REACHED, IPXE) is script
    assert "ticket=T1\n" in text(scripts, script, "T1") and "ticket=T2\n" in text(scripts, script, "T2")


async def test_the_kept_script_is_what_rendering_anew_makes(parts, scripts):
    script = scripts.find(MAC, None, REACHED, IPXE)
    context = parts.boot_context.of_script(MAC, None, script.bootenv, REACHED, "T1")
    assert text(scripts, script, "T1") == parts.boot_context.render(IPXE.boot, context)


async def test_a_machine_that_changed_gets_a_new_script(parts, scripts):
    machine = await parts.ready(bootenv="local", name="n1")
    before = scripts.find(MAC, parts.ledger.get(Machine, machine), REACHED, IPXE)
    await parts.change(machine, bootenv="discovery")
    after = scripts.find(MAC, parts.ledger.get(Machine, machine), REACHED, IPXE)
    assert "exit 1" in text(scripts, before) and "vmlinuz" in text(scripts, after)


async def test_new_content_makes_new_scripts(parts, scripts):
    before = scripts.find(MAC, None, REACHED, IPXE)
    await parts.catalog.put(Template(name="mine", contents="x"), OPERATOR)
    assert scripts.find(MAC, None, REACHED, IPXE) is not before


async def test_each_address_by_which_we_are_reached_has_its_own(scripts):
    other = Reached("10.9.0.1", "http://10.9.0.1:8091")
    assert "10.9.0.1" in text(scripts, scripts.find(MAC, None, other, IPXE))
    assert "10.9.0.1" not in text(scripts, scripts.find(MAC, None, REACHED, IPXE))


async def test_each_boot_loader_has_its_own(parts, scripts):
    await parts.catalog.put(Template(name="boot/other", contents="linux {{ kernel_url }}\n"), OPERATOR)
    other = Dialect("boot/other", "boot/other", "boot/other", "boot/other")
    script = scripts.find(MAC, None, REACHED, other)
    assert scripts.text(script, MAC, REACHED, other, "T") == b"linux http://10.0.0.1:8091/files/discovery/vmlinuz\n"


@pytest.mark.parametrize("use", ["{{ ticket | sha256 }}", "{{ ticket[:5] }}", "{{ ticket }} {{ ticket | length }}"])
async def test_a_template_that_works_with_its_ticket_gets_the_real_one(parts, scripts, use):
    arch = {"amd64": BootArch("k", (), use)}
    await parts.catalog.put(Bootenv(name="odd", arch=arch), OPERATOR)
    context = BootContext(parts.ledger, parts.catalog, parts.renderer, "odd")
    scripts = Scripts(parts.catalog, context)
    ticket = "A" * 48
    made = scripts.text(scripts.find(MAC, None, REACHED, IPXE), MAC, REACHED, IPXE, ticket).decode()
    expected = parts.renderer.render("x", {"x": use}, {"ticket": ticket})
    assert f"/files/k {expected}\n" in made


async def test_only_so_many_are_kept_and_those_used_last(scripts):
    first = scripts.find(MAC, None, REACHED, IPXE)
    second = scripts.find(OTHER_MAC, None, REACHED, IPXE)
    assert scripts.find(MAC, None, REACHED, IPXE) is first
    scripts.find("52:54:00:00:00:03", None, REACHED, IPXE)
    assert scripts.find(MAC, None, REACHED, IPXE) is first
    assert scripts.find(OTHER_MAC, None, REACHED, IPXE) is not second


async def test_what_cannot_be_rendered_is_not_kept(parts, scripts):
    machine = await parts.ready(bootenv="picky")
    for _ in range(2):
        with pytest.raises(RenderError, match="needed"):
            scripts.find(MAC, parts.ledger.get(Machine, machine), REACHED, IPXE)

"""Events as sentences."""

from datetime import UTC, datetime

import pytest

from provisioner.events import KINDS, Event
from provisioner.services.ui_events import action_words, tell, tone

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(kind, key="", by="", **data):
    return Event(id=7, time=NOW, kind=kind, key=key, by=by, data=data)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event("dhcp.discover", firmware="UEFI x64"), "Asked for an address (UEFI x64)"),
        (
            event("dhcp.discover", ignored="no free address", detail="pool rack"),
            "Asked for an address; not answered: no free address, pool rack",
        ),
        (event("dhcp.offer", "10.0.0.9"), "Was offered 10.0.0.9"),
        (
            event("dhcp.offer", "10.0.0.9", request="DISCOVER", firmware="UEFI x64", boot_file="ipxe/snponly.efi"),
            "Was offered 10.0.0.9 (UEFI x64, boot file ipxe/snponly.efi)",
        ),
        (event("dhcp.ack", request="INFORM"), "Asked for options only and was told them"),
        (event("dhcp.request", "10.0.0.9"), "Asked to use 10.0.0.9"),
        (
            event("dhcp.ack", "10.0.0.9", lease_seconds=3600, boot_file="ipxe/snponly.efi"),
            "Was given 10.0.0.9 (for 1 h, boot file ipxe/snponly.efi)",
        ),
        (event("dhcp.nak", "10.0.0.9", reason="wrong network"), "Was refused 10.0.0.9: wrong network"),
        (
            event("dhcp6.advertise", "fd00::9", lease_seconds=3600, boot_file="http://[fd00::1]/x"),
            "Was offered fd00::9 (boot file http://[fd00::1]/x)",
        ),
        (event("dhcp6.advertise", reason="no free address"), "Was refused an address: no free address"),
        (event("dhcp6.reply", "fd00::9", request="RENEW", lease_seconds=3600), "Was given fd00::9 (for 1 h)"),
        (event("dhcp6.reply", "fd00::9", request="CONFIRM"), "Has the right address here: fd00::9"),
        (event("dhcp6.reply", request="INFORMATION_REQUEST"), "Was told options without an address"),
        (
            event("dhcp6.rebind", "fd00::9", ignored="an address that another server gave"),
            "Asked any server to keep its IPv6 address; not answered: an address that another server gave",
        ),
        (event("tftp.read", "ipxe/a.efi", bytes=0, size_only=True), "Asked for the size of ipxe/a.efi by TFTP"),
        (
            event("tftp.read", "ipxe/undionly.kpxe", bytes=287_744, seconds=0.412),
            "Fetched ipxe/undionly.kpxe by TFTP (288 kB in 0.4 s)",
        ),
        (event("http.error", "x", message="no such file"), "Could not fetch x by HTTP: no such file"),
        (event("boot.render", "discovery", protocol="tftp"), "Was told to boot discovery (script by TFTP)"),
        (event("boot.local", "local"), "Was told to boot its own disk"),
        (
            event("boot.loader", "ipxe", failed="snponly", times=2),
            "Is given the boot loader ipxe from now on: snponly was loaded 2 times and never came up",
        ),
        (event("dhcp.proxy", "x.efi"), "Was told beside another DHCP server to load x.efi"),
        (
            event("dhcp.proxy", "", boot="it may not"),
            "Asked what to boot beside another DHCP server and was told nothing (it may not)",
        ),
        (event("boot.error", "x", message="no kernel"), "Could not be told to boot x: no kernel"),
        (event("agent.register", score=0), "Registered (new machine)"),
        (event("agent.register", score=3), "Registered (recognised)"),
        (
            event("agent.hello", bootenv="local", hostname="n1", expected_bootenv="discovery"),
            "Agent came up in local (n1, should be in discovery)",
        ),
        (event("agent.reboot", "local"), "Agent reboots it into local"),
        (event("agent.lost", reason="silent for 60 s"), "Its agent was not heard of: silent for 60 s"),
        (event("machine.workflow", workflow="deploy", before=""), "Was given workflow deploy"),
        (event("machine.workflow", workflow="", before="deploy"), "Its workflow deploy was taken away"),
        (event("machine.stage", stage="none"), "Entered stage none"),
        (event("machine.bootenv", bootenv="local", before="discovery"), "Is to boot local from now on (was discovery)"),
        (event("machine.runnable", runnable=True), "May run"),
        (event("machine.runnable", runnable=False, waiting_for="boot of x"), "Must wait: boot of x"),
        (event("machine.complete", workflow="deploy"), "Finished workflow deploy"),
        (event("machine.update", fields=["name", "params"]), "Was changed: name, params"),
        (event("boot.held", "m", reason="it looks like n1"), "Is held at boot: it looks like n1"),
        (event("machine.retry", "n1", task="image", retry=2), "Tries task image again after a pause (retry 2)"),
        (event("machine.repair", "n1", task="image", repairs=["a", "b"]), "Repairs what made task image fail: a, b"),
        (event("machine.stop", "n1", entry="image"), "Was stopped before image"),
        (
            event("machine.restart", "n1", workflow="deploy", stage="write"),
            "Begins its work anew (deploy, at stage write)",
        ),
        (event("machine.resume", "n1"), "Goes on at its task"),
        (event("machine.revoke", "n1", disk="any"), "May not have any disk erased any more"),
        (event("machine.clash", "aa:bb", reason="twins"), "A newcomer with MAC aa:bb is held: twins"),
        (event("machine.resolve", "n1", macs=["aa:bb"]), "Was said to be the newcomer that was held (aa:bb)"),
        (event("param.reveal", "power/password"), "The secret value of power/password was shown"),
        (event("job.asset", "j1", task="image", name="a.txt", size=2048), "Task image handed in a.txt (2 kB)"),
        (event("machine.inventory", changed=False), "Reported its inventory, unchanged"),
        (
            event("machine.grant", disk="any", expires_at="2026-03-01T16:00:00Z"),
            "May have any disk erased (until 2026-03-01 16:00 UTC)",
        ),
        (event("job.create", "j", task="image", attempt=2), "Task image was handed out (attempt 2)"),
        (event("job.start", "j", task="image", resumed="incomplete"), "Task image goes on"),
        (
            event("job.end", "j", task="image", state="failed", exit_code=1, message="no disk"),
            "Task image failed (exit code 1): no disk",
        ),
        (
            event("job.end", "j", task="image", state="finished", exit_state="reboot"),
            "Task image finished (then reboot)",
        ),
        (event("job.end", "j", task="stage:write", state="finished", message="x"), "Went on with stage write"),
        (event("job.cancel", "j", task="image", reason="wrong one"), "Task image was told to stop: wrong one"),
        (
            event("power.request", "power-cycle"),
            "Asked its BMC: switch it off and on again; when it is off, switch it on",
        ),
        (event("power.done", "power-on", message="is on"), "Power on: is on"),
        (event("power.error", "next-boot-pxe", message="no answer"), "Next boot PXE failed: no answer"),
        (event("content.load"), "Content loaded"),
    ],
)
def test_an_event_is_told_in_a_sentence(told, text):
    assert tell(told).text == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_told_without_any_data(kind):
    told = tell(event(kind))
    assert told.text
    assert "None" not in told.text
    assert told.source == kind.partition(".")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_a_surprising_shape_is_no_reason_to_fail(kind):
    names = (
        "bytes",
        "seconds",
        "fields",
        "score",
        "lease_seconds",
        "task",
        "state",
        "exit_code",
        "workflow",
        "attempt",
    )
    assert tell(event(kind, **dict.fromkeys(names, {"odd": [1]}))).text


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (event("job.end", task="a", state="finished"), "good"),
        (event("job.end", task="a", state="failed"), "bad"),
        (event("job.end", task="stage:a", state="finished"), "faint"),
        (event("job.end", task="stage:a", state="failed"), "bad"),
        (event("job.create", task="a"), "faint"),
        (event("machine.runnable", runnable=False, waiting_for="boot of local"), "plain"),
        (event("machine.runnable", runnable=False, waiting_for="task 'a' failed"), "warn"),
        (event("power.error"), "bad"),
        (event("dhcp.ack"), "plain"),
    ],
)
def test_the_tone_says_what_needs_attention(told, wanted):
    assert tone(told) == wanted


def test_jobs_and_content_are_linked():
    assert tell(event("job.end", "j1", task="a", state="failed")).link == "/jobs/j1"
    assert tell(event("object.put", "tasks/group/a")).link == "/content/tasks/group/a"
    assert tell(event("object.put", "subnets/rack")).link == "/leases"
    assert tell(event("object.put", "users/admin")).link == ""


def test_only_people_are_named_as_causes():
    assert tell(event("machine.update", by="user:admin")).by == "admin"
    assert tell(event("machine.update", by="machine:1234")).by == ""


def test_actions_have_names_for_people():
    assert [action_words(name) for name in ("power-off-soft", "next-boot-pxe")] == ["Power off soft", "Next boot PXE"]

"""The index finds the same machine that looking at all of them would find."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from provisioner.conductor.recognition import Recognition
from provisioner.identity import best_match, marks
from provisioner.model.machines import Identity, Machine
from tests.parts import MAC, OTHER_MAC, opened

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEW = st.sampled_from(["", "A1", "B2", "C3"])
MARKERS = st.lists(st.sampled_from(["d1", "d2"]), unique=True, max_size=2).map(tuple)
IDENTITIES = st.builds(Identity, dmi_uuid=FEW, serial=FEW, board_serial=FEW, chassis_serial=FEW, disk_markers=MARKERS)
CARDS = st.sets(st.sampled_from(["a", "b"])).map(sorted)


class Known:
    """What Recognition needs of a ledger."""

    def __init__(self):
        self.machines = {}
        self.tell = None

    def observe(self, cls, observer):
        self.tell = observer

    def get(self, cls, key):
        return self.machines.get(key)

    def put(self, machine):
        old = self.machines.get(machine.id)
        self.machines[machine.id] = machine
        self.tell(old, machine)


@given(
    known=st.lists(st.tuples(st.integers(0, 4), IDENTITIES, CARDS), max_size=8),
    seen=IDENTITIES,
    macs=st.sets(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b"]))),
)
def test_it_agrees_with_looking_at_every_machine(known, seen, macs):
    ledger = Known()
    recognition = Recognition(ledger)
    for number, identity, cards in known:
        owned = tuple(f"{number}{card}" for card in cards)
        name = f"m{number}"
        ledger.put(Machine(id=name, name=name, created_at=NOW, updated_at=NOW, identity=identity, macs=owned))
    having = [mark for each in ledger.machines.values() for mark in marks(each.macs, each.identity)]
    shared = {mark for mark in having if having.count(mark) > 1}
    sought = tuple(f"{number}{card}" for number, card in sorted(macs))
    assert recognition.best(sought, seen) == best_match(ledger.machines.values(), sought, seen, shared)


async def test_it_follows_what_the_ledger_decides(tmp_path):
    async with opened(tmp_path) as parts:
        recognition = Recognition(parts.ledger)
        machine = (await parts.register(MAC)).machine
        assert recognition.best((MAC,), Identity()).machine.id == machine.id
        await parts.change(machine.id, macs=(OTHER_MAC,))
        assert recognition.best((MAC,), Identity()) is None

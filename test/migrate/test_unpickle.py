"""The unpickler for old sessions: it reads what old sessions hold, and runs nothing."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import os
import pickle
import pickletools
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import pytest

from session2.migrate import Unpickler, Unreadable
from session2.migrate.known import KNOWN, Made, Standin
from session2.migrate.opcodes import MOST_DEPTH
from session2.migrate.unpickle import MOST_BYTES

VALUES: list[Any] = [
    None, True, 3, -1.5, 2 ** 70, "text", "Käse", b"\x80\xff", bytearray(b"ab"), 2j, [1, [2]], (1, 2), {"a": {"b": 1}},
    {1, 2}, frozenset({"a"}), OrderedDict(a=1), defaultdict(list, a=[1]), deque([1, 2]), Counter("aab"),
    datetime.datetime(2026, 11, 28, 20, 15, tzinfo=datetime.timezone.utc), datetime.date(2016, 1, 1),
    datetime.time(1, 2, 3), datetime.timedelta(1, 2), decimal.Decimal("9.90"), uuid.uuid4(),
    ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::1"),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_sessions_hold_comes_back_as_it_was(value: Any, protocol: int) -> None:
    found = Unpickler().loads(pickle.dumps(value, protocol))
    assert (type(found), found) == (type(value), value)


def test_what_is_in_itself_comes_back_so() -> None:
    loop: list[Any] = [1]
    loop.append({"loop": loop})
    found = Unpickler().loads(pickle.dumps(loop))
    assert found[1]["loop"] is found


class Shell:
    """What runs a command when it is unpickled plainly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_nothing_and_is_named(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"a": Shell(f"touch {tmp_path}/here")}, protocol)
    with pytest.raises(Unreadable, match=r"it needs (posix|nt)\.system"):
        Unpickler().loads(data)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(data)
    assert list(tmp_path.iterdir()) != []


HOSTILE = {
    "called with nothing": b"cos\ngetcwd\n)R.",
    "instance": b"(S'id'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'id'\no.",
    "new object": b"\x80\x02cos\nsystem\n\x8c\x02id\x85\x81.",
    "a class itself": b"cos\nsystem\n.",
    "a known class itself": b"cdatetime\ntimedelta\n.",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.",
    "getattr": b"cbuiltins\ngetattr\n(S'a'\nS'b'\ntR.",
    "import": b"cbuiltins\n__import__\n(S'os'\ntR.",
    "our own": b"csession2.migrate.unpickle\nimport_module\n(S'this'\ntR.",
    "a name with a dot": b"\x80\x04\x8c\x08builtins\x8c\x0cstr.__init__\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "another object": b"Pname\n.",
    "built upon": b"cuuid\nUUID\n}S'__init__'\ncos\nsystem\nsb.",
    "set on a function": b"c_codecs\nencode\n(N}S'_make'\ncos\nsystem\nstb.",
    "set on a class": b"cbuiltins\nlist\n(N}S'append'\ncos\nsystem\nstb.",
    "many bytes": b"cbuiltins\nbytes\nI10000000\n\x85R.",
    "many bytes again": b"cbuiltins\nbytearray\nI10000000\n\x85R.",
    "base of another": b"ccopyreg\n_reconstructor\n(cbuiltins\nlist\ncbuiltins\nlist\n]tR.",
    "a factory": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R.",
    "a known factory": b"ccollections\ndefaultdict\nc_codecs\nencode\n\x85R.",
    "long memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "long frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "long text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "long number": pickle.dumps(1 << 1_000_000),
    "nothing": b"", "no pickle": b"hello", "no end": b"\x80\x02]", "too much taken": b"0.", "mark": b"(.",
    "empty stack": b".",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_no_hostile_or_damaged_pickle_is_read(data: bytes) -> None:
    before = list.append, uuid.UUID.__init__
    with pytest.raises(Unreadable):
        Unpickler().loads(data)
    assert (list.append, uuid.UUID.__init__) == before


def test_nothing_can_be_set_on_what_a_pickle_may_call() -> None:
    for name, known in KNOWN.items():
        if not (isinstance(known, type) and issubclass(known, Standin)):
            with pytest.raises((AttributeError, TypeError)):
                setattr(known, "__init__", None)  # noqa: B010 (as an unpickler does)
            assert isinstance(known, Made) or known.__module__ in ("builtins", "collections", "datetime"), name


@pytest.mark.parametrize("nest", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner},
                                  lambda inner: frozenset({inner}) if isinstance(inner, frozenset) else frozenset()])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_how_deep_values_lie_is_bounded(nest: Any, protocol: int) -> None:
    def nested(levels: int) -> bytes:
        value = nest(None)
        for _ in range(levels):
            value = nest(value)
        return pickle.dumps(value, protocol)

    Unpickler().loads(nested(60))
    with pytest.raises(Unreadable, match="deep"):
        Unpickler().loads(nested(MOST_DEPTH + 1))


def test_a_tower_of_tuples_does_not_take_the_stack() -> None:
    """Hashing it would end the process."""
    with pytest.raises(Unreadable, match="deep"):
        Unpickler().loads(b"\x80\x04)" + b"\x85" * 3_000_000 + b"N\x86\x8f\x94(h\x00\x90.")


def test_a_laugh_is_not_written_out_a_billion_times() -> None:
    value: Any = "ha"
    for _ in range(100):
        value = [value, value]
    with pytest.raises(Unreadable, match="values"):
        Unpickler().loads(pickle.dumps(value))


def _in_itself(value: Any, levels: int = 24) -> bytes:
    """Return the opcodes of a value whose parts are one another, so that it has two to the `levels` parts."""
    for _ in range(levels):
        value = type(value)([value, value])
    return pickle.dumps(value, 2)[2:-1]


def _filled_from(kind: bytes, size: int, times: int) -> bytes:
    """Return a pickle that has many values of this kind made of one list."""
    items = b"".join(b"J" + number.to_bytes(4, "little") for number in range(size))
    return b"\x80\x02]q\x01(" + items + b"e0]((" + (b"c" + kind + b"\nh\x01\x85R") * times + b"le."


@pytest.mark.parametrize("data", [
    b"\x80\x02}" + _in_itself((1,)) + b"K\x01s.", b"\x80\x04\x8f(" + _in_itself((1,)) + b"\x90.",
    b"\x80\x02cbuiltins\nset\n]" + _in_itself((1,)) + b"a\x85R.",
    *(b"\x80\x02c" + name + b"\n" + _in_itself([1]) + b"\x85R." for name in (
        b"builtins\nstr", b"decimal\nDecimal", b"ipaddress\nIPv4Address", b"ipaddress\nIPv6Address")),
    *(_filled_from(kind, 5_000, 5_000) for kind in (
        b"builtins\nlist", b"builtins\nset", b"builtins\nfrozenset", b"collections\ndeque", b"builtins\ntuple")),
], ids=lambda data: f"{len(data)} bytes")
def test_a_small_pickle_takes_neither_time_nor_memory(data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"to hash them|far more than they are|damaged"):
        Unpickler().loads(data)


@pytest.mark.parametrize("data", [
    *(pickle.dumps(OrderedDict(a=1), 2)[:-1] + b"}X\x05\x00\x00\x00items" + hiding + b"sb."
      for hiding in (b"K\x05", b"cbuiltins\nlist\n")),
    pickle.dumps(uuid.UUID(int=5), 2).replace(b"K\x05", b"J\xff\xff\xff\xff"),
])
def test_what_was_made_to_fail_later_is_damaged(data: bytes) -> None:
    with pytest.raises(Unreadable, match="damaged"):
        Unpickler().loads(data)


@pytest.mark.parametrize("place", [b"p1000000\n", b"r\x40\x42\x0f\x00"])
def test_a_place_in_the_memo_that_is_far_off_is_refused(place: bytes) -> None:
    with pytest.raises(Unreadable, match="made to do harm"):
        Unpickler().loads(b"N" + place + b".")


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_numbers_far_back_in_a_long_pickle_are_no_long_numbers(protocol: int) -> None:
    value = {"text": "long" * 5000, "visits": 5, "large": 2 ** 70}
    assert Unpickler().loads(pickle.dumps(value, protocol)) == value


def test_a_pickle_that_is_too_large_is_refused() -> None:
    with pytest.raises(Unreadable, match="larger"):
        Unpickler().loads(pickle.dumps(bytes(MOST_BYTES)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_was_cut_is_refused(protocol: int) -> None:
    data = pickletools.optimize(pickle.dumps({"a": [1, "text", datetime.date(2026, 1, 1)]}, protocol))
    for length in range(len(data)):
        with pytest.raises(Unreadable):
            Unpickler().loads(data[:length])


def test_attributes_are_read_whatever_the_class() -> None:
    """The application of Python 2 may be no more; its class is not needed."""
    assert Unpickler().attributes(b"(ishop.sessions\nShopSession\n(dS'user'\nS'joe'\nsb.") == {"user": "joe"}
    slots = b"\x80\x02cshop\nSlots\n)\x81N}X\x01\x00\x00\x00aK\x01s\x86b."
    assert Unpickler().attributes(slots) == {"a": 1}
    both = b"\x80\x02cshop\nBoth\n)\x81}X\x01\x00\x00\x00bK\x02s}X\x01\x00\x00\x00aK\x01s\x86b."
    assert Unpickler().attributes(both) == {"a": 1, "b": 2}


def test_an_object_that_is_more_than_its_attributes_is_refused() -> None:
    for data in (b"cos\nsystem\n(S'id'\ntR}S'id'\nS'a'\nsb.", b"(S'id'\nios\nsystem\n}S'id'\nS'a'\nsb."):
        with pytest.raises(Unreadable, match=r"it needs os\.system"):
            Unpickler().attributes(data)


@pytest.mark.parametrize("value", [{"a": 1}, [1], None, OrderedDict(a=1), datetime.date(2026, 1, 1)])
def test_what_is_no_object_has_no_attributes(value: Any) -> None:
    with pytest.raises(Unreadable, match="holds no object"):
        Unpickler().attributes(pickle.dumps(value))


class Basket:
    def __init__(self, goods: list[str]) -> None:
        self.goods = goods


def test_only_classes_that_are_allowed_are_made() -> None:
    data = pickle.dumps([Basket(["bread"]), Basket(["salt"])])
    name = f"{Basket.__module__}.Basket"
    with pytest.raises(Unreadable, match=f"--allow {name}"):
        Unpickler().loads(data)
    assert [each.goods for each in Unpickler([name]).loads(data)] == [["bread"], ["salt"]]


@pytest.mark.parametrize(("name", "why"), [("no_such_module.Thing", "cannot be imported: ModuleNotFoundError"),
                                           ("os.NoSuchClass", "cannot be imported: AttributeError"),
                                           ("os.system", "no class")])
def test_what_is_allowed_and_cannot_be_made_is_told(name: str, why: str) -> None:
    module, _, attribute = name.rpartition(".")
    with pytest.raises(Unreadable, match=why):
        Unpickler([name]).loads(f"c{module}\n{attribute}\n.".encode())


def test_a_strange_name_does_nothing_to_a_terminal() -> None:
    with pytest.raises(Unreadable, match="something with a strange name"):
        Unpickler().loads(b"c\x1b[2Jo\ns\n.")


def test_text_of_python_2_is_text_if_it_is_utf_8_or_of_the_encoding_named() -> None:
    data = b"\x80\x02]q\x01(U\x05K\xc3\xa4seU\x04K\xe4see."
    assert Unpickler().loads(data) == ["Käse", b"K\xe4se"]
    assert Unpickler(encoding="latin-1").loads(data) == ["Käse", "Käse"]


@pytest.mark.parametrize("year", [2016, 2026, 1999])
def test_times_of_python_2_are_read_with_any_encoding(year: int) -> None:
    raw = bytes([year >> 8, year & 255, 11, 28, 20, 15, 0, 0, 0, 0])
    data = b"\x80\x02cdatetime\ndatetime\nq\x01U\n" + raw + b"\x85R."
    for encoding in ("", "latin-1"):
        assert Unpickler(encoding=encoding).loads(data) == datetime.datetime(year, 11, 28, 20, 15)


def test_no_message_repeats_what_is_in_a_session() -> None:
    for data in (b"(S'secret'\nios\nsystem\n.", b"\x80\x02U\x06secretsecretU"):
        with pytest.raises(Unreadable) as caught:
            Unpickler().loads(data)
        assert "secret" not in str(caught.value)

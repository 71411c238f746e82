"""Runs a pickle's opcodes over plain containers and our own stand-ins: nothing named is ever imported.

A pickle is a program. Here a name in it is text until the caller's table says which function of ours it
stands for; calls reach those functions only, and the states that follow an object reach our own classes
only. What a pickle makes is bounded by what it says: it takes one step a byte at most, its steps, open
brackets and copies are counted, and keys are small, so that no short file takes long or much memory.
"""

import codecs
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from aufer_jax.errors import UserError

MOST_STEPS = 5_000_000  # a checkpoint with an optimizer has about 100,000
MOST_OPEN = 500  # brackets within brackets
_MOST_KEY = 16  # items of a tuple that is a key
_MOST_DIGITS = 1024  # bytes of a whole number

_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_EMPTY: dict[bytes, Callable] = {b"]": list, b"}": dict, b"\x8f": set}
_BYTES = {b"C": "<B", b"B": "<I", b"\x8e": "<Q", b"\x96": "<Q"}
_TEXTS = {b"\x8c": "<B", b"X": "<I", b"\x8d": "<Q"}
_OLD_STRINGS = {b"U": "<B", b"T": "<i"}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_PUTS = {b"q": "<B", b"r": "<I"}
_GETS = {b"h": "<B", b"j": "<I"}


class Name:
    """A name of a pickle, "module.name", and the function of ours that calls of it reach."""

    __slots__ = ("full", "function")

    def __init__(self, full: str, function: Callable | None = None):
        self.full, self.function = full, function


class Inert:
    """Stands for an object of the training script; whatever makes or fills it is read past."""

    def __init__(self, *_: Any):
        pass


class Filled:
    """A stand-in that the state after it fills; its value then takes its place."""

    def fill(self, state: Any) -> Any:
        """Takes the state that a pickle gives to an object; refused unless a class knows better."""
        raise UserError(f"a state for {type(self).__name__}")


class Reader:
    """Reads pickles from `file`, of which `size` bytes are left.

    `named(full)` answers a global, `stored(pid)` a persistent id.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        named: Callable[[str], Any],
        stored: Callable[[Any], Any],
    ):
        self.file, self.left = file, size
        self.named, self.stored = named, stored

    def load(self) -> Any:
        """The value of the next pickle."""
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._places: dict[
            int, list[int]
        ] = {}  # of stand-ins in the memo that are still to be filled
        for _ in range(MOST_STEPS):
            code = self.take(1)
            if code == b".":
                value = self._pop()
                if isinstance(value, Filled):
                    raise UserError("an array without content")
                return value
            self._step(code)
        raise UserError(f"a pickle of more than {MOST_STEPS:,} steps")

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many."""
        if not 0 <= count <= self.left:
            raise UserError(f"it ends early: {count} bytes wanted, {self.left} left")
        self.left -= count
        data = self.file.read(count)
        if len(data) != count:
            raise UserError("it ends early")
        return data

    def _line(self) -> bytes:
        line = self.file.readline(self.left)
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise UserError("it ends early")
        return line[:-1]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def _pop(self) -> Any:
        if not self._stack:
            raise UserError("a damaged pickle: its stack is empty")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise UserError("a damaged pickle: its stack is empty")
        return self._stack[-1]

    def _since_mark(self) -> list[Any]:
        if not self._outer:
            raise UserError("a damaged pickle: a closing bracket without an opening one")
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _step(self, code: bytes) -> None:
        push = self._append
        if code in _TEXTS:
            push(self.take(self._number(_TEXTS[code])).decode("utf-8", "surrogatepass"))
        elif code in _PUTS:
            self._put(self._number(_PUTS[code]))
        elif code in _GETS:
            self._get(self._number(_GETS[code]))
        elif code == b"\x94":
            self._put(len(self._memo))
        elif code in _NUMBERS:
            push(self._number(_NUMBERS[code]))
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
        elif code in _EMPTY:
            push(_EMPTY[code]())
        elif code in _BYTES:
            data = self.take(self._number(_BYTES[code]))
            push(bytearray(data) if code == b"\x96" else data)
        elif code in _OLD_STRINGS:
            push(self.take(self._number(_OLD_STRINGS[code])).decode("latin1"))
        elif code in _TUPLES:
            push(tuple(reversed([self._pop() for _ in range(_TUPLES[code])])))
        elif code in _STEPS:
            _STEPS[code](self)
        else:
            raise UserError(f"no pickle of tensors or arrays: opcode {code!r}")

    def _append(self, value: Any) -> None:
        self._stack.append(value)

    # --- Names, calls and states --------------------------------------------------------------------

    def _global(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._append(self.named(f"{module}.{name}"))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise UserError("a damaged pickle: a name that is no text")
        self._append(self.named(f"{module}.{name}"))

    def _call(self, called: Any, arguments: Any) -> None:
        if not isinstance(called, Name) or called.function is None or type(arguments) is not tuple:
            raise UserError("a call of what is no function that is read")
        try:
            self._append(called.function(*arguments))
        except UserError:
            raise
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
            raise UserError(f"{called.full} with arguments that are not its own") from error

    def _reduce(self) -> None:
        arguments, called = self._pop(), self._pop()
        self._call(called, arguments)

    def _with_keywords(self) -> None:
        _, _, called = self._pop(), self._pop(), self._pop()
        if not isinstance(called, Name) or called.function is not Inert:
            raise UserError("a call with keywords")
        self._call(called, ())

    def _instance(self) -> None:
        items = self._since_mark()
        module, name = self._line().decode(), self._line().decode()
        self._call(self.named(f"{module}.{name}"), tuple(items))

    def _object(self) -> None:
        called, *arguments = self._since_mark() or [None]
        self._call(called, tuple(arguments))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Filled):
            filled = target.fill(state)
            self._stack[-1] = filled
            for key in self._places.pop(id(target), ()):
                if self._memo.get(key) is target:
                    self._memo[key] = filled
        elif not isinstance(target, Inert | dict):  # what else hangs on a dict is not read
            raise UserError(f"a state for {_kind(target)}")

    def _persistent(self) -> None:
        self._append(self.stored(self._pop()))

    # --- Containers ---------------------------------------------------------------------------------

    def _mark(self) -> None:
        if len(self._outer) >= MOST_OPEN:
            raise UserError(f"containers within containers, more than {MOST_OPEN} deep")
        self._outer.append(self._stack)
        self._stack = []

    def _tuple(self) -> None:
        self._append(tuple(self._since_mark()))

    def _list(self) -> None:
        self._append(self._since_mark())

    def _dict(self) -> None:
        items = self._since_mark()
        self._append({})
        self._set_items(items)

    def _frozenset(self) -> None:
        self._append(frozenset(map(_key, self._since_mark())))

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Inert):
            raise UserError(f"items for {_kind(target)}")

    def _add(self) -> None:
        items, target = self._since_mark(), self._top()
        if type(target) is set:
            target.update(map(_key, items))
        elif not isinstance(target, Inert):
            raise UserError(f"items for {_kind(target)}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if len(items) % 2 or not isinstance(target, dict | Inert):
            raise UserError(f"keys and values for {_kind(target)}")
        if isinstance(target, dict):
            target.update(pairs(zip(items[::2], items[1::2], strict=True)))

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    # --- Memo ---------------------------------------------------------------------------------------

    def _put(self, key: int) -> None:
        value = self._top()
        self._memo[key] = value
        if isinstance(value, Filled):
            self._places.setdefault(id(value), []).append(key)

    def _get(self, key: int) -> None:
        if key not in self._memo:
            raise UserError("a damaged pickle: it refers to what it does not hold")
        self._append(self._memo[key])

    # --- Numbers and texts of the oldest protocols --------------------------------------------------

    def _int_line(self) -> None:
        line = self._line()
        value = {b"00": False, b"01": True}.get(line)
        self._append(int(line) if value is None else value)

    def _long_line(self) -> None:
        self._append(int(self._line().removesuffix(b"L")))

    def _long(self, form: str) -> None:
        count = self._number(form)
        if count > _MOST_DIGITS:
            raise UserError(f"a whole number of {count} bytes")
        self._append(int.from_bytes(self.take(count), "little", signed=True))

    def _string_line(self) -> None:
        text = self._line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in b"\"'":
            raise UserError("a damaged pickle: a text without quotes")
        self._append(codecs.escape_decode(text[1:-1])[0].decode("latin1"))  # type: ignore[attr-defined]


def pairs(items: Any) -> dict[Any, Any]:
    """A dict of pairs, if their keys are fit to be keys."""
    return {_key(key): value for key, value in items}


def _key(value: Any, depth: int = 2) -> Any:
    """A key as it is; not one that takes long to hash: containers shared within containers, long numbers."""
    kind = type(value)
    if kind is tuple and depth and len(value) <= _MOST_KEY:
        return tuple(_key(item, depth - 1) for item in value)
    if (kind is int and value.bit_length() > 64) or kind not in _KEYS:
        raise UserError(f"a key that is {_kind(value)}")
    return value


_KEYS = (str, bytes, int, float, bool, complex, type(None))


def _kind(value: Any) -> str:
    return value.full if isinstance(value, Name) else f"of the type {type(value).__name__}"


_STEPS: dict[bytes, Callable[[Reader], Any]] = {
    b"(": Reader._mark,
    b"0": lambda r: r._pop() if r._stack else r._since_mark(),
    b"1": Reader._since_mark,
    b"2": lambda r: r._append(r._top()),
    b"\x80": lambda r: r.take(
        1
    ),  # which protocol it is, and how long a frame: the opcodes say it all
    b"\x95": lambda r: r.take(8),
    b"c": Reader._global,
    b"\x93": Reader._stack_global,
    b"R": Reader._reduce,
    b"\x81": Reader._reduce,
    b"\x92": Reader._with_keywords,
    b"i": Reader._instance,
    b"o": Reader._object,
    b"b": Reader._build,
    b"Q": Reader._persistent,
    b"t": Reader._tuple,
    b"l": Reader._list,
    b"d": Reader._dict,
    b"\x91": Reader._frozenset,
    b"a": lambda r: r._extend([r._pop()]),
    b"e": lambda r: r._extend(r._since_mark()),
    b"\x90": Reader._add,
    b"s": Reader._set_item,
    b"u": lambda r: r._set_items(r._since_mark()),
    b"p": lambda r: r._put(int(r._line())),
    b"g": lambda r: r._get(int(r._line())),
    b"I": Reader._int_line,
    b"L": Reader._long_line,
    b"F": lambda r: r._append(float(r._line())),
    b"\x8a": lambda r: r._long("<B"),
    b"\x8b": lambda r: r._long("<i"),
    b"S": Reader._string_line,
    b"V": lambda r: r._append(r._line().decode("raw-unicode-escape")),
}

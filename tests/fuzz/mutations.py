"""Damage, repeatable by its generator: to bytes, and to JSON, tables and archives as such.

Damage that knows a format leaves the rest of it whole, so that what reads the file gets far enough
to meet it: members of archives keep their checksums, the lengths of headers fit.
"""

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_DEEP, _LONG, _HUGE = "@deep@", "@long@", "@huge@"  # stand for what json.dumps cannot write
_VALUES = (
    None, True, 0, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, float("nan"), float("inf"), "",
    " ", "0", "\ud800", "a\0b", "../../escaped", "/dev/zero", "\u202e\ufeff", "x" * 5000, [], {},
    [[]], [None], {"": None}, _DEEP, _LONG, _HUGE,
)  # fmt: skip
_WRITTEN = {
    f'"{_DEEP}"': "[" * 60_000 + "]" * 60_000,
    f'"{_LONG}"': "9" * 5000,  # more digits than Python reads
    f'"{_HUGE}"': "1e999999",
}
_CELLS = (
    "", "x", '"', '"a"b', "a,b,c", "\t\t\t\t\t\t", "9" * 5000, "-1", "nan", "\0", "x" * 140_000,
    "\ufeff", "\u2028", "\x85", "../../escaped", "/dev/zero", "\ud800",
)  # fmt: skip
_EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**64 - 1)
_STRUCTURES = 60  # of a hundred files in a known format, those that are damaged as such

Random = np.random.Generator


def damage(name: str, content: bytes, rng: Random) -> bytes:
    """The content of a file, changed in one to three places, by what its name ends in."""
    kinds = [kind for suffix, kind in _KINDS.items() if name.endswith(suffix)]
    change = kinds[0] if kinds and rng.integers(100) < _STRUCTURES else of_bytes
    for _ in range(rng.integers(1, 4)):
        content = change(content, rng)
    return content


def of_bytes(content: bytes, rng: Random) -> bytes:
    """Any file, without regard to what its bytes mean."""
    data = bytearray(content)
    if not data:
        return rng.bytes(16)
    at = _place(data, rng)
    end = min(at + int(2 ** rng.uniform(0, 12)), len(data))
    _CHANGES[int(rng.integers(len(_CHANGES)))](data, at, end, rng)
    return bytes(data)


def _flip(data: bytearray, at: int, end: int, rng: Random) -> None:
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= 1 << int(rng.integers(8))


def _randomise(data: bytearray, at: int, end: int, rng: Random) -> None:
    data[at:end] = rng.bytes(end - at)


def _fill(data: bytearray, at: int, end: int, rng: Random) -> None:
    data[at:end] = bytes([int(rng.choice([0, 255, 32, 10]))]) * (end - at)


def _cut_end(data: bytearray, at: int, end: int, rng: Random) -> None:
    del data[at:]


def _cut_start(data: bytearray, at: int, end: int, rng: Random) -> None:
    del data[:at]


def _cut_out(data: bytearray, at: int, end: int, rng: Random) -> None:
    del data[at:end]


def _insert(data: bytearray, at: int, end: int, rng: Random) -> None:
    data[at:at] = rng.bytes(end - at)


def _copy(data: bytearray, at: int, end: int, rng: Random) -> None:
    other = _place(data, rng)
    data[other:other] = data[at:end]


def _copy_over(data: bytearray, at: int, end: int, rng: Random) -> None:
    other = _place(data, rng)
    data[other : other + end - at] = data[at:end]


def _set_number(data: bytearray, at: int, end: int, rng: Random) -> None:
    """An integer of 1 to 8 bytes becomes an extreme one."""
    size = int(rng.choice([1, 2, 4, 8]))
    number = _EXTREMES[int(rng.integers(len(_EXTREMES)))] % 2 ** (8 * size)
    data[at : at + size] = number.to_bytes(size, "little" if rng.integers(2) else "big")


_CHANGES = (_flip, _randomise, _fill, _cut_end, _cut_start, _cut_out, _insert, _copy, _copy_over,
            _set_number)  # fmt: skip


def of_json(content: bytes, rng: Random) -> bytes:
    """One value becomes another, is doubled, moved, or left out."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return of_bytes(content, rng)
    text = json.dumps(_changed(value, rng), ensure_ascii=bool(rng.integers(2)))
    for mark, written in _WRITTEN.items():
        text = text.replace(mark, written)
    start = "\ufeff" if rng.integers(20) == 0 else ""
    return (start + text).encode("utf-8", "surrogatepass")


def of_json_lines(content: bytes, rng: Random) -> bytes:
    """One line, as `of_json`."""
    lines = content.split(b"\n")
    at = int(rng.integers(len(lines)))
    lines[at] = of_json(lines[at], rng)
    return b"\n".join(lines)


def of_table(content: bytes, rng: Random) -> bytes:
    """A table or list of lines: a cell or row more or less, one of another kind."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    at, cell = int(rng.integers(len(lines))), str(rng.choice(np.array(_CELLS, object)))
    between = next((mark for mark in ("\t", ",", " ") if mark in lines[at]), ",")
    cells = lines[at].split(between)
    match rng.integers(6):
        case 0:
            cells.append(cell)
        case 1:
            cells.pop()
        case 2:
            cells[int(rng.integers(len(cells)))] = cell
        case 3:
            lines.insert(at, lines[at])
        case 4:
            lines[0] = "\ufeff" + lines[0]
        case _:
            cells = cells[::-1]
    lines[at] = between.join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def of_pickle(content: bytes, rng: Random) -> bytes:
    """A pickle of dicts, lists and texts, one value changed as `of_json` does."""
    value = pickle.loads(content)  # ours, or made of ours by this function
    return pickle.dumps(_changed(value, rng), protocol=int(rng.integers(5)))


def of_zip(content: bytes, rng: Random) -> bytes:
    """A member is changed, left out or doubled; its checksum is right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    at = int(rng.integers(len(members)))
    name, data = members[at]
    match rng.integers(12):
        case 0:
            members.pop(at)
        case 1:
            members.append((name, of_bytes(data, rng)))
        case 2:
            members[at] = "../../escaped", data
        case _:
            members[at] = name, of_bytes(data, rng)
    stored = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.integers(4) == 0 else zipfile.ZIP_STORED
    with zipfile.ZipFile(stored, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stored.getvalue()


def of_safetensors(content: bytes, rng: Random) -> bytes:
    """The header, as `of_json`; its length is right again."""
    size = int.from_bytes(content[:8], "little")
    header = of_json(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


_KINDS: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": of_json,
    "_METADATA": of_json,  # orbax's
    "_sharding": of_json,
    "process_0": of_json,
    ".jsonl": of_json_lines,
    ".csv": of_table,
    ".txt": of_table,
    ".pkl": of_pickle,
    ".pth": of_zip,
    ".pt": of_zip,
    ".safetensors": of_safetensors,
}
"""By the ends of files' names."""


def _place(data: bytes | bytearray, rng: Random) -> int:
    """Somewhere in it: half of the time near the beginning or the end, where headers are."""
    match rng.integers(4):
        case 0:
            return min(int(2 ** rng.uniform(0, 9)) - 1, len(data) - 1)
        case 1:
            return max(len(data) - int(2 ** rng.uniform(0, 9)), 0)
    return int(rng.integers(len(data)))


def _changed(value: Any, rng: Random) -> Any:
    """One value in it replaced, doubled, or left out; or the whole of it."""
    places = list(_places(value))
    other_value = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
    if not places or rng.integers(20) == 0:
        return other_value
    inside, key = places[int(rng.integers(len(places)))]
    match rng.integers(8):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, list):
            inside.insert(key, inside[key])
        case 2:
            other, other_key = places[int(rng.integers(len(places)))]
            inside[key] = copy.deepcopy(other[other_key])
        case 3 if isinstance(inside, dict):
            inside[str(other_value)] = inside.pop(key)
        case _:
            inside[key] = other_value
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value, with each of its keys or places."""
    if isinstance(value, dict | list):
        for key, inside in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inside)

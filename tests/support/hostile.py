"""Checkpoints made to run code, to crash, to hang or to swell whoever reads them: name -> bytes.

All are small, and each must be refused in one sentence (or read, where it says so) within seconds.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable

FLOATS = struct.pack("<6f", *range(6))  # the storage "0"


def archive(
    content: bytes = b"",
    *,
    storages: dict[str, bytes] | None = None,
    byteorder: bytes = b"little",
    packing: int = zipfile.ZIP_STORED,
) -> bytes:
    """A checkpoint with the pickle `content` as PyTorch lays it out, storage "0" holds 0..5."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as members:
        members.writestr("a/data.pkl", content)
        members.writestr("a/byteorder", byteorder)
        for key, numbers in {"0": FLOATS, **(storages or {})}.items():
            members.writestr(f"a/data/{key}", numbers)
    return file.getvalue()


def value(thing: object) -> bytes:
    """The instructions that push a plain value."""
    return pickle.dumps(thing, protocol=2)[2:-1]


def call(name: str, *arguments: bytes) -> bytes:
    """The instructions that call a global, "module.name", with what others push."""
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def storage(key: str = "0", kind: str = "FloatStorage") -> bytes:
    """The instructions that push a storage."""
    names = value("storage") + f"ctorch\n{kind}\n".encode() + value(key) + value("cpu")
    return b"(" + names + value(6) + b"tQ"


def tensor(
    offset: object = 0, size: object = (2,), stride: object = (1,), of: bytes = b""
) -> bytes:
    """The instructions that push a tensor, a view of a storage."""
    parts = (of or storage(), value(offset), value(size), value(stride))
    return call("torch._utils._rebuild_tensor_v2", *parts, value(False), value(None))


def state(**values: bytes) -> bytes:
    """The pickle of a dictionary whose values others push."""
    pairs = b"".join(value(name) + pushed for name, pushed in values.items())
    return b"\x80\x02}(" + pairs + b"u."


def beside(pushed: bytes) -> bytes:
    """A checkpoint whose weights are sound, with something beside them."""
    return archive(state(model=b"}" + value("weight") + tensor() + b"s", args=pushed))


# What is beside the weights, and must not decide about them: all of these are read.
HARMLESS: dict[str, bytes] = {
    "path": beside(call("pathlib.PosixPath", value("data"), value("clips"))),
    "timedelta": beside(call("datetime.timedelta", value(1), value(2))),
    "datetime": beside(call("datetime.datetime", value("0123456789"))),
    "random state": beside(call("numpy.random._pickle.__randomstate_ctor", value("MT19937"))),
    "array": beside(call("numpy._core.multiarray._reconstruct", b"cnumpy\nndarray\n", value((0,)))),
    "enum": beside(call("project.Colour", value(1))),
    "enum of Python 3.11.0": beside(call("builtins.getattr", b"cmodule\nColour\n", value("RED"))),
    "enum of a folder named code": beside(call("code.Colour", value(1))),
    "class of a file named timeit": beside(call("timeit.Timings", value(1))),
    "method of a dictionary": beside(call("builtins.getattr", b"}", value("clear"))),
    "method of a tensor": beside(call("builtins.getattr", tensor(), value("mean"))),
    "arguments of a text": beside(b"cnumpy\ndtype\n" + value("f4") + b"R"),
    "range": beside(call("builtins.range", value(0), value(9), value(1))),
    "slice": beside(call("builtins.slice", value(0), value(9), value(None))),
    "complex": beside(call("builtins.complex", value(0.5), value(1.5))),
    "bytearray": beside(call("builtins.bytearray", value("abc"), value("latin-1"))),
    "partial": beside(
        call("functools.partial", b"cmodule\nf\n") + b"(cmodule\nf\n" + value(()) + b"}NtbR"[:-1]
    ),
    "call of what a call gave": beside(call("functools.partial", b"cm\nf\n") + b")R"),
    "uuid": beside(b"cuuid\nUUID\n)\x81}" + value("int") + value(7) + b"sb"),
    "namespace": beside(b"cargparse\nNamespace\n)\x81}" + value("lr") + value(0.1) + b"sb"),
    "omegaconf": beside(b"comegaconf.dictconfig\nDictConfig\n)\x81}" + value("_content") + b"}sb"),
    "old class": beside(b"ccopy_reg\n_reconstructor\n(cmodule\nKind\nc__builtin__\nobject\nNtR"),
    "subclass of a dictionary": beside(b"cmodule\nConfig\n)\x81" + value("a") + value(1) + b"s"),
    "set": beside(call("builtins.set", value([1, 2]))),
    "keys of tuples": beside(b"}(" + value((1, (2, 3))) + value(4) + b"u"),
    "quantized": beside(call("torch._utils._rebuild_qtensor", storage(kind="QInt8Storage"))),
    "lost tensor": beside(tensor(of=storage("9"))),
    "sparse": beside(call("torch._utils._rebuild_sparse_tensor", value(1), value((2,)))),
    "old instance": beside(b"(imodule\nKind\n}b"),
    "lambda of a library": beside(call("dill._dill._create_function", value("code"))),
}

_SHELL = value("touch hostile")

# Calls of which one runs code where a pickle is simply loaded.
_CALLS: dict[str, bytes] = {
    "os.system": call("os.system", _SHELL),
    "posix.system": call("posix.system", _SHELL),
    "nt.system": call("nt.system", _SHELL),
    "os.popen": call("os.popen", _SHELL),
    "os.execvp": call("os.execvp", value("touch"), value(["touch", "hostile"])),
    "os.remove": call("os.remove", value("hostile")),
    "subprocess.Popen": call("subprocess.Popen", value(["touch", "hostile"])),
    "subprocess.check_output": call("subprocess.check_output", value(["touch", "hostile"])),
    "pty.spawn": call("pty.spawn", _SHELL),
    "builtins.eval": call("__builtin__.eval", value("open('hostile', 'w')")),
    "builtins.exec": call("builtins.exec", value("open('hostile', 'w')")),
    "builtins.open": call("builtins.open", value("hostile"), value("w")),
    "builtins.compile": call("builtins.compile", value("1"), value("a"), value("eval")),
    "builtins.__import__": call("builtins.__import__", value("antigravity")),
    "builtins.setattr": call("builtins.setattr", b"cnumpy\nfloat32\n", value("a"), value(1)),
    "importlib.import_module": call("importlib.import_module", value("antigravity")),
    "runpy.run_path": call("runpy.run_path", value("hostile.py")),
    "shutil.rmtree": call("shutil.rmtree", value("hostile")),
    "socket.create_connection": call("socket.create_connection", value(("localhost", 9))),
    "ctypes.CDLL": call("ctypes.CDLL", value("libc.so.6")),
    "webbrowser.open": call("webbrowser.open", value("file:///hostile")),
    "pickle.loads": call("pickle.loads", value("cos\nsystem\n(S'touch hostile'\ntR.")),
    "marshal.loads": call("marshal.loads", value("abc")),
    "torch.load": call("torch.load", value("hostile.pth")),
    "torch.hub.load": call("torch.hub.load", value("hostile/hostile"), value("model")),
    "os.system by INST": b"(" + _SHELL + b"ios\nsystem\n",
    "os.system by OBJ": b"(cos\nsystem\n" + _SHELL + b"o",
    "os.system by STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93" + _SHELL + b"\x85R",
    "os.system as a tensor's rebuild": call(
        "torch._tensor._rebuild_from_type_v2",
        *(b"cos\nsystem\n", b"ctorch\nTensor\n", _SHELL + b"\x85", b"}"),
    ),
}


def _weight(pushed: bytes) -> bytes:
    return archive(state(weight=pushed))


def _modules(count: int) -> bytes:
    """`count` modules of TorchScript, each the next one's `a` and `b`: 2 ** count ways."""
    new = b"c__torch__\nM\n)\x81"
    inner = b"\x80\x02" + new + b"q\x00"
    for i in range(count):
        child = b"h" + bytes([i])
        inner += b"0" + new + b"q" + bytes([i + 1])
        inner += b"}(" + value("a") + child + value("b") + child + b"ub"
    return archive(inner + b".")


def _directory(entries: int) -> bytes:
    """A zip whose list of members is long, though none is there."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *(0,) * 9, 1, *(0,) * 6) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(entry) * entries, 4, 0)
    return b"PK\3\4" + entry * entries + end


def _arguments(pushed: bytes, name: str = "collections.OrderedDict") -> bytes:
    """Many calls of one global with the same arguments."""
    module, _, name = name.rpartition(".")
    start = b"\x80\x02" + pushed + f"q\x00c{module}\n{name}\nq\x01".encode()
    return archive(start + b"h\x01h\x00R0" * 30_000 + b".")


def _claims(size: int, position: int) -> bytes:
    """A checkpoint whose data.pkl claims `size` bytes in the list of members."""
    whole = bytearray(archive(state(weight=tensor())))
    entry = whole.index(b"PK\1\2")
    struct.pack_into("<L", whole, entry + position, size)
    return bytes(whole)


def _flipped() -> bytes:
    """A weight's byte is not what its checksum says."""
    whole = archive(state(weight=tensor()))
    return whole.replace(FLOATS, FLOATS[:-1] + b"\x7f")


def _twice() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as members:
            for folder in ("a", "b"):
                members.writestr(f"{folder}/data.pkl", state(weight=tensor()))
        return file.getvalue()


_POWER = value("a") + b"\x85" + b"2\x86" * 60  # (t, t) of (t, t) of ...: 2 ** 60 leaves
_BINPUT = b"r" + struct.pack("<I", 2**31)

# Each must be refused in one sentence.
HOSTILE: dict[str, Callable[[], bytes]] = {
    **{f"call {name}": lambda pushed=pushed: beside(pushed) for name, pushed in _CALLS.items()},
    "tensor of a tensor": lambda: _weight(tensor(of=tensor(), size=(2**40,))),
    "tensor of a number": lambda: _weight(tensor(of=value(1))),
    "tensor of a text": lambda: _weight(tensor(of=value("0"))),
    "tensor beyond its storage": lambda: _weight(tensor(size=(7,))),
    "tensor behind its storage": lambda: _weight(tensor(offset=6, size=(1,))),
    "tensor far behind": lambda: _weight(tensor(offset=2**62, size=(1,))),
    "tensor of overflowing size": lambda: _weight(tensor(size=(2**32, 2**32), stride=(0, 0))),
    "tensor of overflowing stride": lambda: _weight(tensor(size=(2,), stride=(2**62,))),
    "tensor of huge numbers": lambda: _weight(tensor(size=(10**4000,))),
    "tensor of negative stride": lambda: _weight(tensor(stride=(-1,))),
    "tensor of negative offset": lambda: _weight(tensor(offset=-1)),
    "tensor of negative size": lambda: _weight(tensor(size=(-2,))),
    "tensor of fractional size": lambda: _weight(tensor(size=(1.5,))),
    "tensor of truth for a size": lambda: _weight(tensor(size=(True,))),
    "tensor of too many axes": lambda: _weight(tensor(size=(1,) * 99, stride=(1,) * 99)),
    "tensor of unequal axes": lambda: _weight(tensor(size=(2, 2))),
    "tensor without numbers": lambda: _weight(tensor(size=(0, 2**62, 2**62), stride=(1, 1, 1))),
    "tensor repeated": lambda: _weight(tensor(size=(2**50,), stride=(0,))),
    "tensor of overlaps": lambda: _weight(tensor(size=(2,) * 31, stride=(0,) * 31)),
    "tensor of power sizes": lambda: _weight(
        call("torch._utils._rebuild_tensor_v2", storage(), value(0), _POWER, value((1,)))
    ),
    "storage of a path": lambda: _weight(tensor(of=storage("../../etc/passwd"))),
    "storage of odd length": lambda: archive(
        state(weight=tensor(of=storage("1"))), storages={"1": b"abc"}
    ),
    "storage that is none": lambda: _weight(tensor(of=value(("storage", 1, 2)) + b"Q")),
    "storage by number": lambda: _weight(tensor(of=value(7) + b"Q")),
    "weight of an unknown kind": lambda: _weight(call("torch._utils._rebuild_qtensor", storage())),
    "weight of an array": lambda: _weight(call("numpy._core.multiarray._reconstruct", value(1))),
    "weight of a huge number": lambda: _weight(b"\x8b" + struct.pack("<I", 999) + b"\x7f" * 999),
    "whole model": lambda: archive(b"\x80\x02cproject\nNet\n)\x81}" + value("_modules") + b"}sb."),
    "extension": lambda: archive(b"\x80\x02\x82\x01."),
    "buffer of elsewhere": lambda: archive(b"\x80\x05\x97."),
    "instructions of no kind": lambda: archive(b"\x80\x02\xff."),
    "empty pickle": archive,
    "no end": lambda: archive(b"\x80\x02}"),
    "end at once": lambda: archive(b"."),
    "name with line breaks": lambda: archive(b"\x80\x02}" + value("a\n\x1b[31mb") + b"Ns."),
    "byteorder of Babel": lambda: archive(state(weight=tensor()), byteorder=b"middle"),
    "byteorder of megabytes": lambda: archive(state(weight=tensor()), byteorder=b"a" * 2**20),
    "bzip2": lambda: archive(state(weight=tensor()), packing=zipfile.ZIP_BZIP2),
    "LZMA": lambda: archive(state(weight=tensor()), packing=zipfile.ZIP_LZMA),
    "claimed size": lambda: _claims(2**31, 24),
    "claimed place": lambda: _claims(2**31, 42),
    "checksum": _flipped,
    "two archives in one": _twice,
    "no members": lambda: b"PK\5\6" + bytes(18),
    "member of no name": lambda: archive(state(weight=tensor(of=storage("")))),
    "PK and nothing": lambda: b"PK",
    "web page": lambda: b"<!DOCTYPE html><html>not found</html>",
    "pointer of Git LFS": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


# Files that could hang or swell their reader; each must be refused in one sentence too.
SWELLING: dict[str, Callable[[], bytes]] = {
    "power of tuples": lambda: archive(b"\x80\x02" + _POWER + b"."),
    "power of tuples as weight": lambda: _weight(_POWER),
    "power of tuples as name": lambda: archive(b"\x80\x02}" + _POWER + tensor() + b"s."),
    "power of modules": lambda: _modules(60),
    "module in itself": lambda: archive(
        b"\x80\x02c__torch__\nM\n)\x81q\x00}" + value("a") + b"h\x00sb."
    ),
    "modules without end": lambda: archive(
        b"\x80\x02" + b"c__torch__\nM\n)\x81}U\x01a" * 20_000 + b"}" + b"sb" * 20_000 + b"."
    ),
    "long texts as modules": lambda: archive(
        b"\x80\x02c__torch__\nM\n)\x81q\x00}" + value("a" * 10**6) + b"h\x00sb."
    ),
    "memo at 2 ** 31": lambda: archive(b"\x80\x02}" + _BINPUT + b"."),
    "memo at 10 ** 18": lambda: archive(b"\x80\x02}p1000000000000000000\n."),
    "memo of nothing": lambda: archive(b"\x80\x02h\x05."),
    "nested lists": lambda: archive(b"\x80\x02" + b"]" * 10**7 + b"a" * 10**7 + b"."),
    "nested lists, packed": lambda: archive(
        b"\x80\x02" + b"]" * 10**7 + b"a" * 10**7 + b".", packing=zipfile.ZIP_DEFLATED
    ),
    "nested tuples": lambda: archive(b"\x80\x02)" + b"\x85" * 290_000 + b"."),
    "nested dictionaries": lambda: archive(
        b"\x80\x02" + b"}U\x01a" * 90_000 + b"}" + b"s" * 90_000 + b"."
    ),
    "nested rebuilds": lambda: _weight(
        b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00" + b"(h\x00N" * 50_000 + b"t" * 50_000 + b"R"
    ),
    "nested tuples as name": lambda: archive(b"\x80\x04)" + b"\x85" * 280_000 + b"\x8c\x01a\x93."),
    "nested tuples as storage": lambda: _weight(
        tensor(of=b"(" + b")" + b"\x85" * 280_000 + value("0") * 4 + b"tQ")
    ),
    "nested tensors": lambda: archive(
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00"
        + b"h\x00(" * 40_000
        + b"N"
        + b"NNNtR" * 40_000
        + b"."
    ),
    "text as arguments": lambda: _arguments(value("a" * 10**6)),
    "many arguments": lambda: _arguments(b"(" + b"N" * 150_000 + b"t"),
    "many arguments in a list": lambda: _arguments(b"(" + b"N" * 150_000 + b"l"),
    "many arguments of a rebuild": lambda: _arguments(
        b"(ctorch._utils\n_rebuild_tensor\nN(" + b"N" * 100_000 + b"tt",
        "torch._tensor._rebuild_from_type_v2",
    ),
    "many sets": lambda: archive(b"\x80\x04" + b"\x8f" * 10**6 + b"."),
    "many dictionaries": lambda: archive(b"\x80\x02" + b"}" * 10**6 + b"."),
    "many globals": lambda: archive(
        b"\x80\x02" + b"".join(b"c%d\nb\n" % i for i in range(300_000)) + b"."
    ),
    "many marks": lambda: archive(b"\x80\x02" + b"(" * 10**6 + b"."),
    "long names of globals": lambda: archive(
        b"\x80\x04" + value("a" * 10**6) + b"\x94" + b"h\x00h\x00\x93" * 90_000 + b"."
    ),
    "long texts encoded": lambda: archive(
        b"\x80\x02"
        + (value("a" * 10**6) + b"q\x00c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R" * 60_000)
        + b"."
    ),
    "many pairs": lambda: archive(
        b"\x80\x02"
        + (value([("a", 1)] * 5000) + b"q\x00ccollections\nOrderedDict\nq\x01")
        + b"h\x01h\x00\x85R" * 60_000
        + b"."
    ),
    "colliding numbers": lambda: archive(
        b"\x80\x02}("
        + b"".join(b"\x8a\x10%bN" % (i * (2**61 - 1)).to_bytes(16, "little") for i in range(90_000))
        + b"u."
    ),
    "number of 10 ** 6 digits": lambda: archive(b"\x80\x02L" + b"9" * 10**6 + b"L\n."),
    "number of 8 MB": lambda: archive(
        b"\x80\x02\x8b" + struct.pack("<I", 2**23) + b"\x7f" * 2**23 + b"."
    ),
    "text of 2 ** 31": lambda: archive(b"\x80\x02X" + struct.pack("<I", 2**31) + b"a."),
    "text of 2 ** 60": lambda: archive(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a."),
    "bytes of 2 ** 60": lambda: archive(b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"a."),
    "frame of 2 ** 60": lambda: archive(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"."),
    "text out of wide letters": lambda: archive(
        b"\x80\x02X" + struct.pack("<I", 2**23) + b"a" * (2**23 - 4) + "\U0001f600".encode() + b"."
    ),
    "many faults": lambda: archive(state(**{f"n{i}": value(None) for i in range(5000)})),
    "message of 2 MB": lambda: _weight(call("a" * 10**6 + "." + "b" * 10**6)),
    "deflate bomb": lambda: archive(
        state(weight=tensor(of=storage("1"))),
        storages={"1": bytes(2**28)},
        packing=zipfile.ZIP_DEFLATED,
    ),
    "deflate bomb as pickle": lambda: archive(
        b"\x80\x02" + b"N0" * 2**25 + b".", packing=zipfile.ZIP_DEFLATED
    ),
    "million members": lambda: _directory(10**6),
}


def _safetensors(header: bytes, numbers: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + numbers


_ENTRY = b'"%b":{"dtype":"%b","shape":[%b],"data_offsets":[%b]}'

# Each must be refused in one sentence.
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "header of 2 ** 63": lambda: struct.pack("<Q", 2**63) + b"{}",
    "header of 50 MB": lambda: struct.pack("<Q", 50 * 2**20) + b"{" + b" " * 100,
    "header of no JSON": lambda: _safetensors(b"{garbage"),
    "header of a list": lambda: _safetensors(b"[1, 2]"),
    "header of brackets": lambda: _safetensors(b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
    "no tensors": lambda: _safetensors(b"{}"),
    "beyond the end": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"F32", b"9", b"0,36") + b"}"),
    "backwards": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"F32", b"1", b"4,0") + b"}", b"0000"),
    "overflowing shape": lambda: _safetensors(
        b"{" + _ENTRY % (b"a", b"F32", b"4294967296,4294967296", b"0,0") + b"}"
    ),
    "negative shape": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"F32", b"-1", b"0,4") + b"}"),
    "FP8": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"F8_E4M3", b"4", b"0,4") + b"}", b"0000"),
    "FP8 of scales": lambda: _safetensors(
        b"{" + _ENTRY % (b"a", b"F8_E8M0", b"4", b"0,4") + b"}", b"0000"
    ),
    "FP4": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"F4", b"8", b"0,4") + b"}", b"0000"),
    "unknown type": lambda: _safetensors(b"{" + _ENTRY % (b"a", b"X99", b"1", b"0,4") + b"}"),
    "many tensors": lambda: _safetensors(
        b"{" + b",".join(_ENTRY % (b"%d" % i, b"F32", b"0", b"0,0") for i in range(200_000)) + b"}"
    ),
    "same name": lambda: _safetensors(
        b"{" + b",".join([_ENTRY % (b"a", b"F32", b"1", b"0,4")] * 2) + b"}", b"00000000"
    ),
}

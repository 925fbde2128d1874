"""The kinds of input that are damaged and read."""

from tests.fuzz import annotated, checkpoints, filmed, hostiles, indexes
from tests.fuzz.kind import Kind

KINDS = {
    kind.name: kind
    for kind in (
        Kind("pth", checkpoints.make_pth, checkpoints.read),
        Kind("safetensors", checkpoints.make_safetensors, checkpoints.read),
        Kind("orbax", checkpoints.make_orbax, checkpoints.read),
        Kind("index", indexes.make, indexes.read),
        Kind("annotations", annotated.make, annotated.read, damaged=annotated.SUFFIXES),
        Kind("videos", filmed.make, filmed.read),
        Kind(
            "hostile",
            hostiles.make,
            hostiles.read,
            limit_s=2,
            limit_mib=64,
            limit_sizes=4,
            inputs=hostiles.CHECKPOINTS,
        ),
        Kind("captions", hostiles.make_captions, annotated.read, inputs=hostiles.PICKLES),
    )
}
"""By name."""

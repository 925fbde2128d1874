"""The kinds of input that are damaged and read."""

from tests.fuzz import annotated, filmed, hostiles, indexes, weights
from tests.fuzz.kind import Kind

KINDS = {
    kind.name: kind
    for kind in (
        Kind("pth", weights.make_pth, weights.read),
        Kind("safetensors", weights.make_safetensors, weights.read),
        Kind("orbax", weights.make_orbax, weights.read),
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

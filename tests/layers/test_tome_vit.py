"""ToMe inside image transformers built from our layers, against the patched timm originals."""

import re

import golden
import jax
import numpy as np
import pytest
import recipe
from parameters import slow
from timm_vit import ViT, parameters

from tokmerge_jax import merging
from tokmerge_jax.merging import schedule


def run(case, spec, proportional):
    """Logits, final tokens and what each block recorded."""
    vit = case.config["timm_vit"]
    special = 1 + vit.get("distilled", False)
    count = (vit["img_size"] // 16) ** 2 + special
    r = schedule.resolve(spec, vit["depth"], count, merging.most("tome", special))
    mergers = merging.per_layer("tome", r, special)
    model = ViT(
        vit["num_classes"], vit["embed_dim"], vit["num_heads"], mergers, special, proportional
    )
    params = parameters(case.weights(), vit["embed_dim"], vit["depth"], special)
    shape, seed = (3, vit["img_size"], vit["img_size"]), case.spec["seed"] + 1
    count = int(re.findall(r"i < (\d+)", case.spec["inputs"]["image"])[0])
    image = np.stack([recipe.video(shape, seed=seed + 100 * i) for i in range(count)])
    apply = jax.jit(lambda p, x: model.apply({"params": p}, x, mutable=["intermediates"]))
    (logits, tokens), seen = apply(params, image.transpose(0, 2, 3, 1))
    blocks = [
        {k: v[0] for k, v in seen["intermediates"][f"block_{i}"].items()} for i in range(len(r))
    ]
    return logits, tokens, blocks, mergers


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())


CASES = [
    (name, tag, form)
    for name in ("tome-vit", "tome-vit-plain", "tome-deit")
    for case in [golden.load(name)]
    for tag in case.config["schedules"]
    for form in (["prop", "plain"] if len(case.config["prop_attn"]) == 2 else [""])
]
LIGHT = {("tome-vit", "r5"), ("tome-vit-plain", "r3"), ("tome-deit", "r20")}


@pytest.mark.parametrize(("name", "tag", "form"), slow(CASES, lambda case: case[:2] not in LIGHT))
def test_equals_patched_timm(name, tag, form):
    case = golden.load(name)
    spec = case.config["schedules"][tag]
    spec = tuple(spec) if case.config["schedule_kinds"][tag] == "tuple" else spec
    prefix = "/".join(filter(None, [tag, form])) + "/"
    expected = {k[len(prefix) :]: v for k, v in case.arrays.items() if k.startswith(prefix)}
    logits, tokens, blocks, mergers = run(case, spec, proportional=form != "plain")
    close(logits, expected["logits"])
    assert [b["out"].shape[1] for b in blocks] == expected["counts"].tolist()
    for i, (record, merger) in enumerate(zip(blocks, mergers, strict=True)):
        check_block(record, merger, expected, f"block{i}/")
    if "origin" in expected:
        np.testing.assert_array_equal(tokens.origin, expected["origin"])
        np.testing.assert_array_equal(tokens.size, expected["size"])


@pytest.mark.slow
def test_full_size_equals_patched_timm():
    case = golden.load("tome-vit-base")
    ((tag, r),) = case.config["schedules"].items()
    expected = {k.removeprefix(f"{tag}/"): v for k, v in case.arrays.items()}
    logits, tokens, blocks, _ = run(case, r, proportional=True)
    close(logits[:, :64], expected["logits"])
    close(jax.nn.logsumexp(logits, axis=1), expected["logsumexp"])
    assert [b["out"].shape[1] for b in blocks] == expected["counts"].tolist()
    close([np.linalg.norm(b["out"]) for b in blocks], expected["block_norms"])
    close(tokens.x[:, expected["rows"]], expected["last"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])
    np.testing.assert_array_equal(tokens.size, expected["size"])


def check_block(record, merger, expected, prefix):
    arrays = {k[len(prefix) :]: v for k, v in expected.items() if k.startswith(prefix)}
    if "mean" in arrays:
        close(record["out"].mean(axis=1), arrays["mean"])
    else:
        close(record["out"], arrays["out"])
    if "metric" in arrays:
        keys = record["evidence"].keys
        close(keys, arrays["metric"])
        check_decisions(bipartite(keys, merger.r, merger.class_tokens), arrays)


bipartite = jax.jit(merging.matching.bipartite, static_argnums=(1, 2))


def check_decisions(ours, theirs):
    """The original numbers even and odd tokens apart, the kept even ones first."""
    kept = np.asarray(ours.kept)
    even = kept[kept % 2 == 0].reshape(len(kept), -1)
    np.testing.assert_array_equal(even, 2 * theirs["kept"])
    np.testing.assert_array_equal(ours.source, 2 * theirs["source"])
    np.testing.assert_array_equal(ours.target, even.shape[1] + theirs["target"])

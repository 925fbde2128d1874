"""The weights that their authors publish, by name: where they are, and for which configuration.

An entry's address is documented by its source; weights whose address could not be confirmed are not
listed. Numbers to expect are in the configurations (`config.published`).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """Published weights.

    Attributes:
      address: "hf://OWNER/REPOSITORY/FILE" on the Hugging Face Hub, or an https address.
      config: the name of a configuration that they fit.
      licence: the licence of the repository that publishes them.
      source: where the address is documented.
      sha256: the digest of the file; "" = not published: it is kept at the first download.
      check: the numbers of `tasks.check`; () = not computed yet, since the file could not be had.
    """

    address: str
    config: str
    licence: str
    source: str
    sha256: str = ""
    check: tuple[float, ...] = ()

    @property
    def file(self) -> str:
        """The name of the file; on the Hub with its folders, since names repeat there."""
        on_hub = self.address.startswith("hf://")
        return self.address.split("/", 4)[4] if on_hub else self.address.rpartition("/")[2]


_INTERNVIDEO_ZOO = "OpenGVLab/InternVideo, multi_modality/MODEL_ZOO.md"


def _umt(file: str, config: str) -> Known:
    folder = "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/umt/multi_modality"
    zoo = "OpenGVLab/unmasked_teacher, multi_modality/MODEL_ZOO.md"
    return Known(f"{folder}/{file}_25m.pth", config, "MIT", zoo)


def _umt_actions() -> dict[str, Known]:
    """UMT's recognition weights, and those that their fine-tuning started from."""
    folder = "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/umt/single_modality"
    zoo = "OpenGVLab/unmasked_teacher, single_modality/MODEL_ZOO.md"
    known = {}
    for size in ("b16", "l16"):
        k400, ssv2 = f"umt_k400_{size}", f"umt_ssv2_{size}"
        files = {
            k400: ("ptk710_ftk710_ftk400", k400),
            ssv2: ("ptk710_ftk710_ftssv2", ssv2),
            f"umt_k710_{size}": ("ptk710_ftk710", k400),
            f"umt_videos_{size}": ("ptk710", ssv2),
        }
        for name, (file, config) in files.items():
            known[name] = Known(f"{folder}/{size}_{file}_f8_res224.pth", config, "MIT", zoo)
    return known


def _testa(repository: str, file: str, config: str) -> Known:
    address = f"hf://ShuhuaiRen/TESTA_model_base_{repository}/testa_model_base_{file}.pth"
    return Known(address, config, "MIT", "RenShuhuai-Andy/TESTA, README.md")


def _clip(file: str, config: str, sha256: str) -> Known:
    address = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"
    return Known(address, config, "MIT", "openai/CLIP, clip/clip.py", sha256)


def _pe_core(size: str) -> dict[str, Known]:
    address = f"hf://facebook/PE-Core-{size}/PE-Core-{size}.pt"
    name = f"pe_core_msrvtt_{size.partition('-')[0].lower()}"
    source = "facebookresearch/perception_models, core/vision_encoder/pe.py"
    return {name: Known(address, name, "Apache-2.0", source)}


def _videoprism(size: str, patches: str, frames: int) -> dict[str, Known]:
    repository = f"google/videoprism-lvt-{size}-f{frames}r288"
    address = f"hf://{repository}/flax_lvt_{size}_f{frames}r288_repeated.npz"
    source = "google-deepmind/videoprism, videoprism/models.py"
    name = f"videoprism_msrvtt_{patches}"
    return {name: Known(address, name, "CC-BY-4.0", source)}


def _internvideo2(size: str) -> dict[str, Known]:
    """The video transformer and the head; the text transformer is MobileCLIP's, for all sizes."""
    folder, upper = "hf://OpenGVLab/InternVideo2_distillation_models", size.upper()
    config, zoo = f"internvideo2_msrvtt_{size}", _INTERNVIDEO_ZOO
    vision = f"{folder}/stage1/{upper}/{upper}_dist_1B_stage2/pytorch_model.bin"
    head = f"{folder}/clip/{upper}/pytorch_model.bin"
    return {
        f"internvideo2_vision_{size}": Known(vision, config, "Apache-2.0", zoo),
        f"internvideo2_head_{size}": Known(head, config, "Apache-2.0", zoo),
    }


def _fine_tuned() -> dict[str, Known]:
    """UMT's weights of each data set. Its list names no L/16 file of MSVD-QA and SSV2-template."""
    retrieval = ("msrvtt", "msvd", "anet", "didemo", "lsmdc", "ssv2_label")
    files = {
        f"{data}_{size}": f"ret_{data}_{size}" for data in retrieval for size in ("b16", "l16")
    }
    files["ssv2_template_b16"] = "ret_ssv2_tpl_b16"
    files |= {f"msrvtt_mc_{size}": f"ret_msrvtt_{size}" for size in ("b16", "l16")}
    questions = ("msrvtt_qa_b16", "msrvtt_qa_l16", "msvd_qa_b16", "anet_qa_b16", "anet_qa_l16")
    files |= {name: f"qa_{name.replace('_qa', '')}" for name in questions}
    return {name: _umt(file, name) for name, file in files.items()}


KNOWN: Mapping[str, Known] = {
    **_fine_tuned(),
    "umt_b16": _umt("b16", "msrvtt_b16"),
    "umt_l16": _umt("l16", "msrvtt_l16"),
    **_umt_actions(),
    "testa_queryd_f32": _testa("QuerYD_retrieval_ft", "queryd_f32_f1p12", "testa_queryd_f32"),
    "testa_didemo_f32": _testa("DiDeMo_retrieval_ft", "didemo_f32_f1p12", "testa_didemo_f32"),
    "testa_anet_f32": _testa("ActivityNet_retrieval_ft", "anet_f32_f1p12", "testa_anet_f32"),
    "testa_condmov_f32": _testa(
        "CondensedMovies_retrieval_ft", "cm_f32_f1p12", "testa_condmov_f32"
    ),
    "testa_pretrain": _testa("pretrain", "pretrain", "testa_pretrain"),
    "blip_base": Known(
        "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/"
        "model_base_capfilt_large.pth",
        "testa_pretrain",
        "BSD-3-Clause",
        "salesforce/BLIP, README.md",
    ),
    **_pe_core("T16-384"),
    **_pe_core("S16-384"),
    **_pe_core("B16-224"),
    **_pe_core("L14-336"),
    **_pe_core("G14-448"),
    **_videoprism("base", "b18", 16),
    **_videoprism("large", "l18", 8),
    **_internvideo2("s14"),
    **_internvideo2("b14"),
    **_internvideo2("l14"),
    "internvideo2_msrvtt_l14": Known(
        "hf://OpenGVLab/InternVideo2_CLIP_S/model.safetensors",
        "internvideo2_msrvtt_l14",
        "Apache-2.0",
        _INTERNVIDEO_ZOO,
    ),
    "mobileclip_blt": Known(
        "https://docs-assets.developer.apple.com/ml-research/datasets/mobileclip/mobileclip_blt.pt",
        "internvideo2_msrvtt_b14",
        "Apple's model licence, research only",
        "apple/ml-mobileclip, README.md",
    ),
    "clip_msrvtt_b32": _clip(
        "ViT-B-32.pt",
        "clip_msrvtt_b32",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    ),
    "clip_msrvtt_b16": _clip(
        "ViT-B-16.pt",
        "clip_msrvtt_b16",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    "clip_msrvtt_l14": _clip(
        "ViT-L-14.pt",
        "clip_msrvtt_l14",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    ),
}
"""Name -> weights. A configuration's own weights have its name; the others are to start from."""

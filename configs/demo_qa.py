"""The demo's question answering: colour, shape, direction, count and order in drawn clips.

The weights were trained from the retrieval demo's, merging as they do here, by:
  python scripts/prepare_data.py --dataset demo
  python scripts/convert.py --config configs/demo.py --reverse \\
      --source demo/tokmerge_jax_demo/demo.safetensors --target demo_torch.safetensors
  python scripts/train.py --config configs/demo_qa.py --config.checkpoint=demo_torch.safetensors \\
      --config.output=results/demo_qa_training --export demo_qa.safetensors --half
"""

from configs import demo
from configs.base import vid_tldr_qa
from tokmerge_jax import demo_files


def get_config():
    retrieval = demo.get_config()
    config = vid_tldr_qa.get_config("b16")
    config.checkpoint = demo_files.path("demo_qa.safetensors")
    config.model.vision.update(retrieval.model.vision)
    config.model.text.update(retrieval.model.text)
    config.model.merger.r = (100, 60)
    config.model.dropout = 0.0
    config.data.dataset = "demo_qa"
    config.data.vocabulary = retrieval.data.vocabulary
    config.data.max_text_length = 16
    config.data.max_answer_length = 4
    config.eval.batch_size = 25
    config.train.batch_size = 20
    config.train.questions_per_video = 15
    config.train.epochs = 16
    config.train.learning_rate = 6e-4
    config.train.image_size_min_scale = 0.9
    config.train.remat = False
    config.train.flip = False  # left would become right
    return config.lock()

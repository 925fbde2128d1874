"""The demo's question answering: colour, shape, direction, count and order in drawn clips.

Target: accuracy 83.2 (README.md), without merging 83.3.
Checkpoint: demo/tokmerge_jax_demo/demo_qa.safetensors, the default.
Protocol: 5 questions about each of 200 drawn test clips, 43 answers; 8 frames.
Command: tokmerge eval --config demo_qa

The weights were trained from those of demo:plain, without merging, by:
  tokmerge prepare --dataset demo --splits mixed
  tokmerge convert --config demo:plain --reverse \\
      --source demo/tokmerge_jax_demo/demo_plain.safetensors --target demo_torch.safetensors
  tokmerge train --config demo_qa --config.checkpoint=demo_torch.safetensors \\
      --config.model.merger.name=none \\
      --config.output=results/demo_qa_training --export demo_qa_first.safetensors --half
and then once more, so that the transformer learns shapes too:
  tokmerge train --config demo_qa --config.checkpoint=demo_qa_first.safetensors \\
      --config.model.merger.name=none --config.train.epochs=4 --config.train.warmup_epochs=0.1 \\
      --config.train.backbone_rate=0.5 --config.output=results/demo_qa_further_training \\
      --export demo_qa.safetensors --half
"""

from tokmerge_jax import demo_files
from tokmerge_jax.config import umt
from tokmerge_jax.configs import demo


def get_config() -> umt.QuestionAnswering:
    retrieval = demo.get_config()
    return umt.QuestionAnswering(
        checkpoint=demo_files.path("demo_qa.safetensors"),
        model=umt.Model(
            vision=retrieval.model.vision,
            text=retrieval.model.text,
            merger=umt.Merger(r=(100, 60)),
            dropout=0.0,
        ),
        data=umt.QuestionData(
            dataset="demo_qa",
            vocabulary=retrieval.data.vocabulary,
            max_text_length=16,
            max_answer_length=4,
        ),
        eval=umt.AnsweringOptions(batch_size=25, first_piece=2),
        train=umt.AnswerTraining(
            split="mixed",
            batch_size=20,
            questions_per_video=15,
            epochs=7,
            warmup_epochs=0.5,
            learning_rate=6e-4,
            backbone_rate=0.1,
            image_size_min_scale=0.9,
            remat=False,
            flip=False,  # left would become right
        ),
    )

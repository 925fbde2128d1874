"""Evaluates retrieval, multiple choice, question answering or action recognition.

Examples:
  tokmerge eval --config msrvtt_b16 --config.checkpoint=weights/msrvtt_b16
  tokmerge eval --config msrvtt_qa_b16 --config.checkpoint=weights/msrvtt_qa
  tokmerge eval --config demo --config.model.merger.name=none
  tokmerge eval --config tdsclip_ssv2_b16 --config.checkpoint=weights/ssv2

Keys that are often set (--config.KEY=VALUE; all of them: tokmerge_jax/config/):
  checkpoint            a folder of `tokmerge convert`, or a .pth or .safetensors file
  output                folder of the results, also s3://BUCKET/FOLDER or gs:// (docs/clusters.md);
                        default results/<name of the configuration>
  model.merger.name     none switches merging off
  model.merger.r        number of tokens that merge in each block: 600,200,100
  data.folder           folder of `tokmerge prepare`; default data
  data.on_broken        skip leaves out unreadable videos; default stop
  eval.batch_size       number of videos encoded at a time
  eval.rerank           False switches re-ranking off (retrieval)
  eval.top_k            number of candidates to re-rank, or of answers to score completely
  data.answers          another answer list (question answering)
  eval.answering        generate generates answers, rank ranks those in the list (TESTA)
  data.clips            number of clips per video (action recognition)
  data.crops            number of crops per clip: 1, 3, 5 or 10
  dtype                 float32 or bfloat16; default bfloat16 on accelerators

Features, scores and rankings are written as they are computed: after a stop or kill, the same
command resumes. For action recognition, `confusion.png` shows the confusion matrix.
"""

import rich

from tokmerge_jax import command_line, hosts
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation import published, report
from tokmerge_jax.tasks import evaluation, kept


def main(config: Config) -> None:
    """Evaluates, prints tables, writes results.json, scores.npz and, for actions, a picture."""
    system = kept.build(config)
    source, params = evaluation.inputs(system)
    folder = command_line.output(config)
    with command_line.resumable():
        results = evaluation.evaluate(
            command_line.config_name(),
            system,
            params,
            source,
            folder,
            publication=command_line.publication(),
        )
    if hosts.number():  # process 0 reports
        return
    rich.print(report.table(results), *report.mistakes(results))
    if rows := results.get("published"):
        rich.print(published.table(rows))
    if picture := evaluation.draw(system, results, source, folder):
        print(f"Drew {picture}")
    print(f"Results are in {folder}")


def run() -> None:
    """Runs the command."""
    command_line.run(main, several=True)

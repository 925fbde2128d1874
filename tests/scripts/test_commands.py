"""The command `tokmerge`: its help, its doors, its list of configurations, its completion."""

import subprocess
import sys

import pytest
import script

import tokmerge_jax
from tokmerge_jax import commands
from tokmerge_jax.commands import configs
from tokmerge_jax.config import files
from tokmerge_jax.config.published import SHIFT, UNMERGED, Published

DOORS = {path.stem: path for path in (script.ROOT / "scripts").glob("*.py")}
NO_SCRIPT = {"benchmark", "completion", "configs", "export", "serve", "weights"}


def tokmerge(*arguments):
    """`tokmerge ARGUMENTS`, in a process of its own."""
    return script.run("tokmerge_jax/__main__", *arguments)


def test_help_lists_every_command_and_imports_no_library():
    code = "import sys; from tokmerge_jax import commands; commands.main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    *shown, modules = done.stdout.splitlines()
    for name in commands.names():
        assert any(line.split() == [name, *commands.summary(name).split()] for line in shown)
    assert not {"absl", "jax", "numpy", "rich"} & {*modules.split()}
    assert max(map(len, shown)) <= 100


def test_each_command_has_a_script_that_runs_it():
    named = {
        path.read_text().partition('commands.run("')[2].partition('"')[0] for path in DOORS.values()
    }
    assert named == {*commands.names()} - NO_SCRIPT


def test_version():
    assert tokmerge("--version").stdout == f"tokmerge_jax {tokmerge_jax.__version__}\n"


@pytest.mark.parametrize("name", commands.names())
def test_both_doors_show_the_same_help(name):
    done = tokmerge(name, "--help")
    assert commands.summary(name) in done.stdout
    assert f"tokmerge {name}" in done.stdout
    if name in NO_SCRIPT:
        return
    door = "prepare_data" if name == "prepare" else name
    other = script.run(door, "--help").stdout
    for spelling in (f"scripts/{door}.py", f"{door}.py"):
        other = other.replace(spelling, f"tokmerge {name}")
    assert " ".join(other.split()) == " ".join(done.stdout.split())


def test_an_unknown_command_is_one_sentence():
    done = tokmerge("evl", "--config=demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "'evl' is not a command of tokmerge; did you mean eval?\n"
    assert tokmerge("qqq").stderr == "'qqq' is not a command of tokmerge; see tokmerge --help\n"


@pytest.mark.parametrize("count", [0, -1])
def test_launch_of_no_process_is_one_sentence(count):
    done = tokmerge("launch", f"--processes={count}", "eval")
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: --processes {count} must be at least 1\n")


def test_launch_with_a_negative_number_of_devices_is_one_sentence():
    done = tokmerge("launch", "--processes=1", "--devices=-2", "eval")
    assert done.returncode == 2
    assert done.stderr.endswith("error: --devices -2 must be 0 or more\n")


def test_a_licence_without_a_model_card_is_refused():
    done = tokmerge("convert", "--config=demo", "--source=a", "--target=b", "--license=mit")
    assert done.returncode == 2
    assert done.stderr.startswith("--license is for the model card of --push; add --push")


def test_an_export_to_an_object_store_is_refused():
    pytest.importorskip("s3fs")
    done = tokmerge("train", "--config=demo", "--export=s3://bucket/a.safetensors")
    assert done.returncode == 2
    assert done.stderr.startswith("s3://bucket/a.safetensors: exports need a local folder")


def test_a_mistake_is_reported_as_by_the_script():
    runs = [tokmerge("convert", "--config=demo"), script.run("convert", "--config=demo")]
    for done in runs:
        assert (done.returncode, done.stderr) == (2, runs[0].stderr)
    assert runs[0].stderr == "--source is missing; name the weights to convert, see --help\n"


def test_configurations_are_listed_with_task_cost_and_number():
    done = tokmerge("configs", "msrvtt*b16")
    _, *rows, star = (line.split() for line in done.stdout.splitlines())
    assert star[:2] == ["*", "published"]
    assert rows == [
        ["msrvtt_b16", "retrieval", "177.8", "59%", *["harmonic", "mean", "of", "R@1", "50.8"]],
        ["msrvtt_mc_b16", "multiple", "choice", *["303.1", "100%", "accuracy", "96.3"]],
        ["msrvtt_qa_b16", "questions", *["188.4", "62%", "accuracy", "44.9*"]],
    ]
    assert "no configuration is named 'no_such*'" in tokmerge("configs", "no_such*").stderr


def test_weights_are_listed_with_licence_number_and_address():
    lines = tokmerge("weights").stdout.splitlines()
    place = lines.index("msrvtt_qa_l16: configuration msrvtt_qa_l16, MIT, accuracy 47.1*")
    assert lines[place + 1].endswith("/umt/multi_modality/qa_msrvtt_l16_25m.pth")
    assert "umt_b16: configuration msrvtt_b16, MIT" in lines


def test_a_number_of_the_same_settings_is_preferred():
    plain, merged = (
        Published("all", "top-1", n, SHIFT, c) for n, c in ((50.0, UNMERGED), (49.0, {}))
    )
    assert configs.published([plain, merged]) == "top-1 49"
    assert configs.published([plain]) == "top-1 50*"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ev"], ["eval"]),
        (["se"], ["search", "search_schedule", "serve"]),
        (["eval", "--config", "msrvtt_q"], ["msrvtt_qa_b16", "msrvtt_qa_l16"]),
        (["eval", "--config", "=", "demo_te"], ["demo_tempme", "demo_testa"]),
        (["eval", "--config", "="], files.names()),
        (["eval", "--config=demo_te"], ["--config=demo_tempme", "--config=demo_testa"]),
        (["eval", "--video", "c"], []),
    ],
)
def test_bash_completes_commands_and_configurations(words, completed):
    lines = tokmerge("completion", "bash").stdout
    typed = " ".join(f"'{word}'" for word in ["tokmerge", *words])
    code = f'COMP_WORDS=({typed}) COMP_CWORD={len(words)}; _tokmerge; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", lines + code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == completed


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_the_same_names(shell):
    lines = tokmerge("completion", shell).stdout
    for names in (commands.names(), files.names()):
        assert f'"{" ".join(names)}"' in lines

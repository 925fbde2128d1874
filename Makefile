# make demo: install, draw clips, recognise movements, find clips by text and ask about them, with
# and without merging, compare mergers, and draw what was merged and what it costs.
# make docs: the site in build/site. make test, make check: what a change has to pass. make fuzz:
# thousands of damaged files, each read or refused in one sentence. PYTHON names the interpreter to
# install with.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install test docs check fuzz demo demo-tempme demo-testa demo-tdsclip demo-search

install: .venv/developer

demo: .venv/user
	$(BIN)/python scripts/prepare_data.py --dataset demo --folder data --splits test
	$(BIN)/python scripts/prepare_data.py --dataset demo_moves --folder data --splits test
	$(BIN)/python scripts/eval.py --config configs/demo_moves.py --config.model.merger.name=none --config.output=results/demo_moves_unmerged
	$(BIN)/python scripts/eval.py --config configs/demo_moves.py --config.output=results/demo_moves
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.name=none --config.output=results/demo_unmerged
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.output=results/demo
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.name=tome --config.output=results/demo_by_tome
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.name=random --config.output=results/demo_by_random
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.r=50,30 --config.output=results/demo_less
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.name=tome --config.model.merger.r=50,30 --config.output=results/demo_less_by_tome
	$(BIN)/python scripts/eval.py --config configs/demo.py --config.model.merger.name=random --config.model.merger.r=50,30 --config.output=results/demo_less_by_random
	$(BIN)/python scripts/eval.py --config configs/demo.py:plain --config.model.merger.name=none --config.output=results/demo_plain_unmerged
	$(BIN)/python scripts/eval.py --config configs/demo.py:plain --config.output=results/demo_plain
	$(BIN)/python scripts/eval.py --config configs/demo.py:plain --config.model.merger.name=tome --config.output=results/demo_plain_by_tome
	$(BIN)/python scripts/eval.py --config configs/demo.py:plain --config.model.merger.name=random --config.output=results/demo_plain_by_random
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.name=none --config.output=results/demo_qa_unmerged
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.output=results/demo_qa
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.name=tome --config.output=results/demo_qa_by_tome
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.name=random --config.output=results/demo_qa_by_random
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.r=50,30 --config.output=results/demo_qa_less
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.name=tome --config.model.merger.r=50,30 --config.output=results/demo_qa_less_by_tome
	$(BIN)/python scripts/eval.py --config configs/demo_qa.py --config.model.merger.name=random --config.model.merger.r=50,30 --config.output=results/demo_qa_less_by_random
	$(BIN)/python scripts/compare.py results/demo_unmerged results/demo_less results/demo results/demo_less_by_tome results/demo_by_tome results/demo_less_by_random results/demo_by_random --picture results/demo/costs.png
	$(BIN)/python scripts/compare.py results/demo_plain_unmerged results/demo_plain results/demo_plain_by_tome results/demo_plain_by_random
	$(BIN)/python scripts/compare.py results/demo_qa_unmerged results/demo_qa_less results/demo_qa results/demo_qa_less_by_tome results/demo_qa_by_tome results/demo_qa_less_by_random results/demo_qa_by_random --picture results/demo_qa/costs.png
	$(BIN)/python scripts/compare.py results/demo_moves_unmerged results/demo_moves
	$(BIN)/python scripts/visualize.py --config configs/demo.py --config.output=results/demo

# The small CLIP of the demo without merging, with ToMe and with random merging of 3 and of 5 tokens
# in every block, and TempMe tuned on it.
demo-tempme: .venv/user
	$(BIN)/python scripts/prepare_data.py --dataset demo --folder data --splits test
	$(BIN)/python scripts/eval.py --config configs/demo_clip.py --config.output=results/demo_clip
	$(BIN)/python scripts/eval.py --config configs/demo_clip.py --config.model.merger.name=tome --config.model.merger.r=3 --config.output=results/demo_tome
	$(BIN)/python scripts/eval.py --config configs/demo_clip.py --config.model.merger.name=random --config.model.merger.r=3 --config.output=results/demo_random
	$(BIN)/python scripts/eval.py --config configs/demo_clip.py --config.model.merger.name=tome --config.model.merger.r=5 --config.output=results/demo_tome_more
	$(BIN)/python scripts/eval.py --config configs/demo_clip.py --config.model.merger.name=random --config.model.merger.r=5 --config.output=results/demo_random_more
	$(BIN)/python scripts/eval.py --config configs/demo_tempme.py --config.output=results/demo_tempme
	$(BIN)/python scripts/compare.py results/demo_clip results/demo_tome results/demo_tome_more results/demo_random results/demo_random_more results/demo_tempme --picture results/demo_tempme/costs.png

# A small TESTA on longer clips of several events, some of them short: 8 frames, in which nothing
# merges, by weights trained for them; then 32 frames, by others: nothing merges, frames, patches of
# frames, both.
demo-testa: .venv/user
	$(BIN)/python scripts/prepare_data.py --dataset demo_long --folder data --splits test
	$(BIN)/python scripts/eval.py --config configs/demo_testa.py:plain --config.output=results/demo_testa/plain_8
	$(BIN)/python scripts/eval.py --config configs/demo_testa.py --config.model.merger.name=none --config.output=results/demo_testa/none
	$(BIN)/python scripts/eval.py --config configs/demo_testa.py --config.model.merger.r=0 --config.output=results/demo_testa/frames
	$(BIN)/python scripts/eval.py --config configs/demo_testa.py --config.model.merger.frames=0 --config.output=results/demo_testa/patches
	$(BIN)/python scripts/eval.py --config configs/demo_testa.py --config.output=results/demo_testa/both
	cd results/demo_testa && $(CURDIR)/$(BIN)/python $(CURDIR)/scripts/compare.py none plain_8 frames patches both --picture costs.png
	$(BIN)/python scripts/visualize.py --config configs/demo_testa.py --config.output=results/demo_testa/both

# Actions that only the order of frames tells: by the mean of a frozen CLIP's frames, by a small
# TDS-CLIP beside it, and by that with 3 and with 5 tokens that merge in each block of CLIP.
demo-tdsclip: .venv/user
	$(BIN)/python scripts/prepare_data.py --dataset demo_actions --folder data --splits test
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py:average --config.output=results/demo_tdsclip/average
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py --config.output=results/demo_tdsclip/tdsclip
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py --config.model.merger.name=tome --config.output=results/demo_tdsclip/tdsclip_tome
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py --config.model.merger.name=random --config.output=results/demo_tdsclip/tdsclip_random
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py --config.model.merger.name=tome --config.model.merger.r=5 --config.output=results/demo_tdsclip/tdsclip_tome_more
	$(BIN)/python scripts/eval.py --config configs/demo_tdsclip.py --config.model.merger.name=random --config.model.merger.r=5 --config.output=results/demo_tdsclip/tdsclip_random_more
	cd results/demo_tdsclip && $(CURDIR)/$(BIN)/python $(CURDIR)/scripts/compare.py average tdsclip tdsclip_tome tdsclip_tome_more tdsclip_random tdsclip_random_more --picture costs.png

# Films of several clips, their index, and a server whose page is opened and asked, and that stops.
demo-search: .venv/user
	$(BIN)/python -m pip install --quiet --editable '.[serve]'
	$(BIN)/python demo/search.py draw data/demo_films
	$(BIN)/tokmerge search index --config demo --videos data/demo_films --index results/demo_search --window 2 --stride 1
	$(BIN)/python demo/search.py open results/demo_search

test: .venv/developer
	$(BIN)/python -m pytest

docs: .venv/developer
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site
	@echo "build/site/index.html"

check: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

fuzz: .venv/developer
	$(BIN)/python -m tests.fuzz

# The two files stand for what is installed; a newer pyproject.toml installs again. A Python without
# ensurepip (Debian's, Colab's) makes no environment with pip: its own pip installs one there.
.venv/user: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
	  echo "$(PYTHON) is older than Python 3.11, or missing; name another: make PYTHON=python3.13" >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv || { \
	  $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv install --quiet pip; }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/developer: .venv/user
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

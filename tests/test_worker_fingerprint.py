"""The fingerprint: all that decides about bits, the same for each process of one set-up, another after any change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker import fingerprint as module
from worker.fingerprint import ROOT, TRAINER, fingerprint
from worker.tensorflow_setup import XLA_FLAGS, prepare_tensorflow, with_ours

prepare_tensorflow(1)


def test_it_names_versions_threads_device_and_processor() -> None:
    found = fingerprint(1)
    assert found["threads"] == 1
    assert found["device"] == "CPU"
    assert found["processor"]
    assert {"tensorflow", "keras", "numpy", "trainer", "processor_features", "options"} < set(found)
    assert json.loads(json.dumps(found)) == found  # it is stored as JSON


@pytest.mark.parametrize("inherits", [True, False])
def test_another_process_of_the_same_set_up_has_the_same(inherits: bool) -> None:
    """Whether or not it inherits the options of XLA that this one has set."""
    environment = dict(os.environ)
    if not inherits:
        environment["XLA_FLAGS"] = environment["XLA_FLAGS"].removeprefix(XLA_FLAGS).strip()
    code = (
        "import json; from worker.tensorflow_setup import prepare_tensorflow; prepare_tensorflow(1); "
        "from worker.fingerprint import fingerprint; print(json.dumps(fingerprint(1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == fingerprint(1)


def test_our_options_of_xla_come_once_and_before_those_of_the_environment() -> None:
    assert with_ours("") == XLA_FLAGS
    assert with_ours(with_ours("--xla_one=1")) == with_ours("--xla_one=1") == f"{XLA_FLAGS} --xla_one=1"
    assert with_ours("/a/file/of/options") == "/a/file/of/options"  # as XLA reads it


PREPARED = "from worker.tensorflow_setup import prepare_tensorflow; prepare_tensorflow(1); "
PRODUCT = "import tensorflow as tf; tf.function(lambda x: x * x, jit_compile=True)(tf.ones((60, 100)))"


@pytest.mark.parametrize(("code", "tiles"), [(PREPARED + PRODUCT, False), (PRODUCT, True)], ids=["ours", "without"])
def test_the_compiler_works_in_tiles_only_without_our_options(code: str, tiles: bool, tmp_path: Path) -> None:
    environment = {**os.environ, "XLA_FLAGS": f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    written = [path.read_text() for path in tmp_path.glob("*.mlir")]
    assert written
    assert any("tiled_emitter" in each for each in written) is tiles


def test_other_threads_are_another_set_up() -> None:
    assert fingerprint(1) != fingerprint(2)


def test_other_code_of_the_trainer_is_another_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in TRAINER:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    before = fingerprint(1)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert fingerprint.__wrapped__(1) == before
    with (tmp_path / TRAINER[-1]).open("a") as code:
        code.write("\n")
    assert fingerprint.__wrapped__(1) != before


def test_every_module_the_training_loop_stands_on_is_part_of_it() -> None:
    code = (
        "import sys; before = set(sys.modules); import worker.training; "
        "print('\\n'.join(sorted(m for m in set(sys.modules) - before if m.split('.')[0] in ('worker', 'models'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {name.replace(".", "/") + ".py" for name in done.stdout.split() if "." in name}
    of_no_bits = {
        *("models/errors.py", "models/spec.py", "models/presets.py", "models/tables.py", "models/clock.py"),
        *("models/arms.py", "models/checkpoints.py", "models/events.py", "models/datasets.py", "models/settings.py"),
        *("models/stored_arrays.py", "models/validation.py", "models/lanes.py"),
        *("models/scopes.py", "models/owners.py", "models/passwords.py", "models/misspelt.py"),
    }
    assert files - of_no_bits <= set(TRAINER)

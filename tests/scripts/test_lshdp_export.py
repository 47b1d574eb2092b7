# Exporting models from PyTorch: what is refused and with which words, and that lshdp trains what was exported to PyTorch's weights.
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

try:
    import h5py  # noqa: F401
    import torch
    from torch import nn
except ImportError:  # scripts/setup.sh --baselines
    torch = None
else:
    import compare_weights
    import lshdp_export
    from experiments.own_models import eager, gpt

LSHDP = sys.argv.pop(1) if len(sys.argv) > 1 else str(ROOT / "build/lshdp")
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np"]
LIMIT = 300  # seconds: against hanging alone


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=LIMIT, env=os.environ | {"OMP_NUM_THREADS": "1"})


if torch is not None:

    class ByValue(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else -self.linear(x)

    class FixedBatch(nn.Linear):
        def forward(self, x):
            return super().forward(x.reshape(int(x.shape[0]), 4)) + torch.zeros(int(x.shape[0]), 1)

    class CountsRuns(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x):
            self.runs += 1
            return super().forward(x)

    class Centred(nn.Linear):
        def forward(self, x):
            return super().forward(x - x.mean(0))

    class ChangesInput(nn.Linear):
        def forward(self, x):
            return super().forward(x.mul_(2))

    class WithUnused(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.spare = nn.Parameter(torch.ones(2))

    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), x


@unittest.skipIf(torch is None, "h5py or PyTorch's Python module is not there: scripts/setup.sh --baselines")
class Export(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        torch.manual_seed(0)

    def export(self, *modules, **more):
        return lshdp_export.export(list(modules), path=self.folder / "m.lshdp", **{"example": torch.randn(2, 4), **more})

    def refused(self, words, *modules, **more):
        with self.assertRaisesRegex(lshdp_export.Refused, words):
            self.export(*modules, **more)
        self.assertFalse((self.folder / "m.lshdp").exists())

    def test_refuses_by_the_modules_name_what_ranks_could_not_repeat(self):
        linear = nn.Linear(4, 4)
        self.refused(r"1\.0 \(Dropout\) draws random numbers; .*model\.eval\(\)", linear, nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 3)))
        self.refused(r"1 \(BatchNorm1d\) changes its buffer .*group or layer norm", linear, nn.BatchNorm1d(4))
        self.refused("changes its buffer runs", CountsRuns(4, 3))
        self.refused("0 mixes the samples of a batch", Centred(4, 3))
        self.refused("fails with another number of samples", nn.Sequential(linear, nn.BatchNorm1d(4, track_running_stats=False)))
        self.refused(r"0 \(ByValue\) decides in Python by the values", ByValue())
        self.refused("the number of samples", FixedBatch(4, 3))
        self.refused("changes its input in place", ChangesInput(4, 3))
        self.refused("no output depends on 0.spare", WithUnused(4, 3))
        self.refused("returns tuple", Pair(4, 3))
        self.refused("no parameter", nn.ReLU())
        self.refused("float64", linear.double())

    def test_refuses_losses_and_examples_that_lshdp_does_not_have(self):
        linear = nn.Linear(4, 3)
        self.refused("regression", linear, loss="regression")
        self.refused("one of", linear, loss="ctc")
        self.refused("two samples", linear, example=torch.randn(1, 4))
        self.refused("images only", nn.Embedding(5, 3), example=torch.zeros(2, 4, dtype=torch.int64))
        self.refused(r"logits \[samples, context", nn.Sequential(nn.Embedding(5, 3), nn.Flatten()), example=torch.zeros(2, 4, dtype=torch.int64), loss="tokens")

    def test_takes_constants_shared_parameters_and_modules_that_have_none(self):
        frozen = nn.BatchNorm1d(4).eval().requires_grad_(False)
        tied = nn.Linear(4, 4)
        described = self.export(nn.Flatten(), tied, nn.ReLU(), frozen, nn.Dropout(0.5).eval(), tied, nn.Linear(4, 3))
        self.assertEqual([block["name"] for block in described["blocks"]], ["0+1+2+3+4+5", "6"])
        described = self.export(tied, nn.Sequential(nn.Linear(4, 4), tied), nn.Linear(4, 3))
        self.assertEqual(described["blocks"][1]["borrowed"], ["0.weight", "0.bias"])
        self.assertEqual(described["types"], ["float32", "float64", "bfloat16", "float16"])

    def test_blocks_that_are_alike_share_one_program(self):
        described = self.export(*(nn.Sequential(nn.Linear(4, 4), nn.GELU()) for _ in range(5)))
        self.assertEqual([block["program"] for block in described["blocks"]], [0] * 5)
        self.assertEqual(len(described["programs"]), 1)

    def test_names_of_parameters_are_those_of_the_model(self):
        net = nn.ModuleDict({"stem": nn.Linear(4, 4), "head": nn.Linear(4, 3)})
        described = self.export(net["stem"], net["head"], model=net)
        self.assertEqual([p["name"] for block in described["blocks"] for p in block["parameters"]], list(net.state_dict()))

    def test_training_on_three_ranks_gives_the_weights_of_pytorch(self):
        source = gpt.model(vocabulary=13, context=8, width=8, heads=2, layers=2)
        described = lshdp_export.export(path=self.folder / "gpt.lshdp", **source)
        data, out = self.folder / "data.h5", self.folder / "trained.safetensors"
        made = run(LSHDP, "data", "synthetic-tokens", "--count", 12 * 8 + 1, "--vocab", 13, "--out", data)
        self.assertEqual(made.returncode, 0, made.stderr)
        (self.folder / "layout.json").write_text(json.dumps({"version": 1, "replicas": [{"batch": 12, "micro_batches": [5, 7], "stages": [
            {"rank": rank, "start": block, "end": block + 1} for block, rank in enumerate((1, 0, 2, 1))]}]}))
        wanted = self.trained_by_pytorch(source, described, data)
        for arguments in (["--batches", "7,4,1", "--mode", "fsdp"], ["--layout", self.folder / "layout.json"]):
            done = run(*MPIRUN, 3, LSHDP, "train", "--model", self.folder / "gpt.lshdp", "--data", data, "--steps", 4, "--lr", "1e-2",
                       "--precision", "fp64", "--save", out, *arguments)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            found = compare_weights.read(out)
            self.assertEqual(found.keys(), wanted.keys())
            for name, value in wanted.items():
                self.assertLess(abs(found[name] - value).max(), 1e-11, name)

    def trained_by_pytorch(self, source, described, data):
        """The weights by name after the same steps in float64."""
        blocks = lshdp_export.blocks.make_blocks(source["blocks"], None)
        net = nn.Sequential(*(block.module for block in blocks)).double()
        eager.train(net, *eager.data_of(data, described), steps=4, rate=1e-2)
        return {name: parameter.detach().numpy().ravel() for block in blocks for name, parameter in block.owned}


if __name__ == "__main__":
    unittest.main()

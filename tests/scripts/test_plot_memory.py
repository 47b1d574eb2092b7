#!/usr/bin/env python3
# scripts/plot_memory.py draws what `lshdp describe --json` wrote. usage: test_plot_memory.py LSHDP
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import plot_memory

MODEL = {"type": "mlp", "input_size": 784, "hidden_sizes": [512, 256], "output_size": 10}
LAYOUT = {"version": 1, "replicas": [{"batch": 8, "micro_batches": [4, 4], "stages": [
    {"rank": 1, "start": 0, "end": 1}, {"rank": 0, "start": 1, "end": 3}]}]}


class PlotMemory(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def at(self, name):
        return pathlib.Path(self.folder.name) / name

    def described(self, *options):
        self.at("model.json").write_text(json.dumps(MODEL))
        self.at("layout.json").write_text(json.dumps(LAYOUT))
        subprocess.run([LSHDP, "describe", "--model", "model.json", "--json", "described.json", *options], cwd=self.folder.name,
                       stdout=subprocess.DEVNULL, check=True, timeout=60)
        return json.loads(self.at("described.json").read_text())

    def test_bars_are_the_bytes_of_blocks_and_ranks(self):
        figure = plot_memory.draw(self.described("--layout", "layout.json"))
        blocks, ranks = figure.axes
        mib = lambda axes: [sum(bars[i].get_height() for bars in axes.containers) for i in range(len(axes.containers[0]))]
        sizes = [16 * (784 * 512 + 512), 16 * (512 * 256 + 256), 16 * (256 * 10 + 10)]
        for axes, expected in ((blocks, sizes), (ranks, [sizes[1] + sizes[2], sizes[0]])):
            self.assertIn("(MiB)", axes.get_ylabel())
            for bar, size in zip(mib(axes), expected, strict=True):
                self.assertAlmostEqual(bar, size / 2**20)
        self.assertEqual([label.get_text() for label in ranks.get_xticklabels()], ["rank 0\nblocks 1..2", "rank 1\nblock 0"])

    def test_draws_a_model_without_a_layout(self):
        self.assertEqual(len(plot_memory.draw(self.described()).axes), 1)

    def test_writes_the_picture_and_refuses_other_files(self):
        self.described()
        script = [sys.executable, plot_memory.__file__]
        subprocess.run([*script, "--out", self.at("a.png"), self.at("described.json")], check=True, timeout=60)
        self.assertTrue(self.at("a.png").read_bytes().startswith(b"\x89PNG"))
        wrong = subprocess.run([*script, "--out", self.at("b.png"), self.at("model.json")], capture_output=True, text=True, timeout=60)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("model.json", wrong.stderr)


if __name__ == "__main__":
    LSHDP = sys.argv.pop()
    unittest.main()

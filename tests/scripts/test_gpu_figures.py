#!/usr/bin/env python3
# The figures of scripts/gpu_check.sh, from made-up logs and weights.
import contextlib
import io
import json
import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_figures as figures  # noqa: E402


def write_weights(path, values):
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, 4 * len(values)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values))


class Figures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def quietly(self, function, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            result = function(*arguments)
        self.text = text.getvalue()
        return result

    def test_flops_are_those_that_are_published(self):
        # torchvision: 61.55 G multiply-adds of one forward of ViT-L/16.
        self.assertAlmostEqual(figures.flops_of_sample(figures.VIT_L_16) / 6 / 61.55e9, 1, delta=0.001)
        # GPT-2 XL: 1.5576 G parameters, of which 1.6 M are positions.
        attention = 12 * 48 * 1600 * 1024 * 1024
        self.assertAlmostEqual((figures.flops_of_sample(figures.GPT2_XL) - attention) / 6 / 1024 / 1.5556e9, 1, delta=0.001)

    def test_a_step_is_read_from_either_program(self):
        (self.folder / "vit-ddp.log").write_text("rank host\nstep 251 ms (median), 1020 samples/s\n")
        (self.folder / "vit-eager.json").write_text(json.dumps({"step_seconds": {"median": 0.3}}))
        self.assertAlmostEqual(figures.step_of(self.folder, "vit-ddp"), 0.251)
        self.assertEqual(figures.step_of(self.folder, "vit-eager"), 0.3)
        self.assertIsNone(figures.step_of(self.folder, "vit-lsdp"))

    def test_the_table_names_what_was_not_measured(self):
        figures.write_models(self.folder, small=False)
        (self.folder / "summary.txt").write_text("NVIDIA H100 80GB HBM3, 81559 MiB\n")
        (self.folder / "vit-ddp.log").write_text("step 250 ms (median), 1024 samples/s\n")
        (self.folder / "vit-ddp.memory").write_text("10\n2048\n1024\n")
        self.quietly(figures.print_table, self.folder, self.folder, {"vit": 256, "gpt": 8})
        row = next(line for line in self.text.splitlines() if "lshdp ddp" in line)
        flops = figures.flops_of_sample(figures.VIT_L_16)
        self.assertEqual(row.split()[-5:], ["1024.00", f"{100 * 1024 * flops / 989e12:.1f}", "%", "2.0", "GiB"])
        self.assertRegex(self.text, r"gpt +PyTorch eager +-")

    def test_weights_that_differ_are_told_apart(self):
        for name, values in (("a", [3.0, 4.0]), ("b", [3.0, 4.001]), ("nan", [float("nan"), 4.0])):
            write_weights(self.folder / name, values)
        self.assertFalse(self.quietly(figures.same_weights, self.folder / "a", self.folder / "b", 1e-3))
        self.assertTrue(self.quietly(figures.same_weights, self.folder / "a", self.folder / "b", 1e-5))
        self.assertTrue(self.quietly(figures.same_weights, self.folder / "a", self.folder / "nan", 1e-3))

    def test_a_loss_that_does_not_fall_is_no_learning(self):
        for name, losses in (("falls", range(20, 0, -1)), ("rises", range(20))):
            (self.folder / name).write_text("".join(json.dumps({"record": "step", "loss": loss}) + "\n" for loss in losses))
        self.assertFalse(self.quietly(figures.learns, self.folder / "falls"))
        self.assertTrue(self.quietly(figures.learns, self.folder / "rises"))


if __name__ == "__main__":
    unittest.main()

# Tests of the trials of faults: damage is damage, weights are compared bit for bit, slopes are found; no program runs.
import json
import pathlib
import random
import struct
import sys
import tempfile
import unittest

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from experiments.faults import damage, kills, restart, samples, soak  # noqa: E402
from experiments.faults.training import CASES, read_weights, worst_difference, wrong_with  # noqa: E402


class InFolder(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)


def write_weights(path, tensors):
    header, content = {"__metadata__": {"step": "2"}}, b""
    for name, values in tensors.items():
        data = numpy.asarray(values, dtype=numpy.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


class Damage(InFolder):
    def setUp(self):
        super().setUp()
        self.target, self.other = self.folder / "step-20", self.folder / "step-10"
        for folder in (self.target, self.other):
            folder.mkdir()
            for name in ("manifest.json", "rank-0.h5", "rank-1.h5"):
                # Mostly zeros, as a range to be zeroed may be.
                (folder / name).write_bytes(bytes(3000) + f"{folder.name} {name}".encode())

    def test_changes_the_files_that_it_names_and_no_other(self):
        whole = damage.contents(self.target)
        kinds = set()
        for seed in range(200):
            for name, content in whole.items():
                (self.target / name).write_bytes(content)
            kind, names = damage.damage(random.Random(seed), self.target, self.other)
            now = damage.contents(self.target)
            changed = {name for name in whole if now.get(name) != whole[name]}
            self.assertTrue(changed and changed <= set(names), (kind, names, changed))
            kinds.add(kind)
        self.assertEqual(kinds, set(damage.KINDS))

    def test_follows_from_the_seed(self):
        drawn = [random.Random(7).choices(list(damage.WEIGHTS), list(damage.WEIGHTS.values()))[0] for _ in range(2)]
        self.assertEqual(drawn[0], drawn[1])


class Weights(InFolder):
    def weights(self, name, **tensors):
        write_weights(self.folder / name, tensors)
        return read_weights(self.folder / name)

    def test_are_the_same_only_where_all_bits_are(self):
        a = self.weights("a", x=[1.0, 0.0], y=[2.0])
        self.assertEqual(worst_difference(a, self.weights("b", x=[1.0, 0.0], y=[2.0])), 0)
        self.assertGreater(worst_difference(a, self.weights("c", x=[1.0, -0.0], y=[2.0])), 0)
        self.assertAlmostEqual(worst_difference(a, self.weights("d", x=[1.0, 0.0], y=[3.0])), 1 / 3)
        self.assertEqual(worst_difference(a, self.weights("e", x=[1.0, 0.0])), float("inf"))
        self.assertEqual(worst_difference(a, self.weights("f", x=[1.0, 0.0], y=[float("nan")])), float("inf"))


class WrongWith(InFolder):
    def run_of(self, name, steps=(1, 2), loss=0.5, value=1.0):
        run = self.folder / name
        (run / "checkpoints" / "step-2").mkdir(parents=True)
        (run / "checkpoints" / "step-2" / "manifest.json").write_text("{}")
        (run / "summary.json").write_text("{}")
        write_weights(run / "model.safetensors", {"x": [value]})
        lines = [{"record": "run"}, *({"record": "step", "step": step, "loss": loss} for step in steps)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    def wrong(self, name="run", case="ddp", **changed):
        return wrong_with(self.run_of(name, **changed), self.reference, CASES[case], steps=2, keep=2)

    def setUp(self):
        super().setUp()
        self.reference = self.run_of("reference")

    def test_nothing_where_all_is_the_same(self):
        self.assertEqual(self.wrong(), [])

    def test_names_weights_losses_and_steps_that_differ(self):
        self.assertIn("final weights", self.wrong("a", value=1.0000001)[0])
        self.assertIn("the loss of step 1", self.wrong("b", loss=0.50000001)[0])
        self.assertIn("steps 1 to 2 once each", self.wrong("c", steps=(1, 2, 2))[0])
        self.assertEqual(self.wrong("d", case="changing", loss=0.5 * (1 + 1e-12)), [])

    def test_names_what_a_save_has_left(self):
        run = self.run_of("run")
        (run / "checkpoints" / "step-1").mkdir()
        self.assertIn("step-1 without a manifest", wrong_with(run, self.reference, CASES["ddp"], 2, 2)[0])


class Samples(unittest.TestCase):
    def test_slope_is_that_of_the_steady_part(self):
        # 30 MB in the first minute, then 2 MB an hour.
        part = [{"seconds": second, "rss_mb": 100 + 30 * min(second, 60) / 60 + 2 * second / 3600, "anonymous_mb": 50, "threads": 7,
                 "descriptors": 30 + (second > 3000)} for second in range(0, 7200, 5)]
        found = samples.steadiness(part)
        self.assertAlmostEqual(found["rss_mb_an_hour"], 2, places=6)
        self.assertAlmostEqual(found["anonymous_mb_an_hour"], 0)
        self.assertEqual((found["threads"], found["descriptors"]), ([7, 7], [30, 31]))
        problems = soak.failures_of({"run": "alone", "rank": 0, **found})[0]["problems"]
        self.assertEqual(len(problems), 2)

    def test_too_short_a_time_is_not_judged(self):
        part = [{"seconds": second, "rss_mb": second, "anonymous_mb": 0, "threads": 1, "descriptors": 1} for second in range(100)]
        self.assertEqual(soak.failures_of({"run": "alone", "rank": 0, **samples.steadiness(part)}), [])


class Sentences(unittest.TestCase):
    def test_say_what_nothing_was_measured_of(self):
        self.assertEqual(restart.sentence({"cases": {}}), "nothing was measured")
        self.assertIn("0 kills", kills.sentence({"kills": 0, "in_save": 0, "runs": 0, "failures": []}))
        self.assertIn("no samples", soak.sentence({"hours": 0, "disturbances": 0, "rounds": [], "steady": [], "failures": []}))


if __name__ == "__main__":
    unittest.main()

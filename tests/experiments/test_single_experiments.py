# Tests of the experiments that are not definitions: neighbouring splits, loss curves, all-reduces alone; from made-up records.
import csv
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from experiments import allreduce, explore_steps, neighbours, neighbours_report, standstill, standstill_report, wire_curves  # noqa: E402
from experiments.cells import DONE, Records  # noqa: E402
from experiments.definitions import Case, Cluster, Definition, DefinitionError, Model  # noqa: E402


class InFolder(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)


class Neighbours(InFolder):
    SOLVED = (10, 10, 5, 39)

    def test_splits_are_distinct_keep_the_total_and_come_nearest_first(self):
        splits = neighbours.neighbours(self.SOLVED, 30)
        self.assertEqual(len(set(splits)), 30)
        self.assertTrue(all(sum(split) == 64 and min(split) >= 0 for split in splits))
        self.assertEqual([neighbours_report.moved(split, self.SOLVED) for split in splits], [1] * 12 + [2] * 18)
        self.assertNotIn(self.SOLVED, splits)

    def test_a_rank_without_samples_gives_none(self):
        self.assertEqual(neighbours.neighbours((0, 2), 9), [(1, 1), (2, 0)])

    def test_the_solved_split_runs_first_last_and_in_between(self):
        order = neighbours.first_round(neighbours.neighbours(self.SOLVED, 10))
        self.assertEqual([at for at, name in enumerate(order) if name.startswith("solved")], [0, 5, 10, 13])
        self.assertEqual(order, neighbours.first_round(neighbours.neighbours(self.SOLVED, 10)))

    def write_runs(self, runs):
        records = Records(self.folder / "raw")
        for round_number, index, batches, step in runs:
            records.write(f"run-{round_number}-{index}", DONE, 20.0, batches=list(batches), index=index, round=round_number,
                          solved=batches == self.SOLVED, step_seconds=step, predicted_step_seconds=2.0)
        return records

    def test_a_neighbour_stands_beside_the_solved_runs_around_it(self):
        near = (11, 9, 5, 39)
        records = self.write_runs([(1, 0, self.SOLVED, 2.0), (1, 1, near, 2.1), (1, 2, self.SOLVED, 2.2),
                                   (2, 0, self.SOLVED, 4.0), (2, 1, near, 3.8), (2, 2, self.SOLVED, 4.0)])
        self.assertAlmostEqual(neighbours_report.rows_of(records, 1)[0].ratio, 1.0)
        self.assertAlmostEqual(neighbours_report.again_rows(records)[0].ratio, 0.95)
        self.assertAlmostEqual(neighbours_report.rows_of(records)[0].ratio, 0.975)

    def test_what_ran_again_has_a_standard_error(self):
        near = (11, 9, 5, 39)
        rounds = [(number, index, batches, step) for number, ratio in ((1, 0.5), (2, 0.95), (3, 0.97))
                  for index, batches, step in ((0, self.SOLVED, 2.0), (1, near, 2.0 * ratio), (2, self.SOLVED, 2.0))]
        records = self.write_runs(rounds)
        again = neighbours_report.again_rows(records)[0]
        self.assertAlmostEqual(again.ratio, 0.96)
        self.assertAlmostEqual(again.uncertainty, 0.01 / 0.96)
        said = " ".join(neighbours_report.sentences(records, neighbours_report.rows_of(records)))
        self.assertIn("ran again, 2 times each", said)
        self.assertNotIn("luckiest", said)
        self.assertIn("The standard error of that ratio is 1.0 %.", said)

    def test_the_report_says_whether_a_neighbour_is_faster(self):
        self.write_runs([(1, 0, self.SOLVED, 2.0), (1, 1, (11, 9, 5, 39), 2.1), (1, 2, (9, 11, 5, 39), 1.9), (1, 3, self.SOLVED, 2.0)])
        definition = Definition("neighbours", "Near", (Model("M", "vit_b_32", 64, 64),), (Cluster("A", (35, 35, 25, 95)),),
                                (Case("x", "lshdp", "ddp", "solved"),), steps=8)
        neighbours_report.write_report(definition, self.folder)
        said = (self.folder / "neighbours.md").read_text()
        self.assertIn("9 11 5 39, the solved split takes 1.053 times as long (required: at most 1.02; **missed**)", said)
        self.assertLess(said.index("| 9 11 5 39"), said.index("| 11 9 5 39"))
        self.assertEqual(len((self.folder / "neighbours.csv").read_text().splitlines()), 5)
        self.assertTrue((self.folder / "neighbours.png").exists())


class WireCurves(InFolder):
    def write_run(self, variant, shift, steps=30):
        folder = wire_curves.folder_of("text", variant, self.folder)
        folder.mkdir(parents=True)
        lines = [{"record": "step", "step": step, "loss": 2.0 + shift} for step in range(1, steps + 1)] + [{"record": "evaluation"}]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (folder / "summary.json").write_text(json.dumps({"evaluation": {"loss": 1.9, "accuracy": 0.5}}))

    def test_curves_are_compared_with_the_yardstick_beside_them(self):
        for variant, shift in ((wire_curves.EXACT, 0), (wire_curves.BF16, 0.01), (wire_curves.OTHER, -0.002)):
            self.write_run(variant, shift)
        curves = {"text": wire_curves.curves_of("GPT", "text", self.folder)}
        wire_curves.write_report(curves, 30, self.folder)
        said = (self.folder / "wire.md").read_text()
        self.assertIn("never further than 0.01 from exact's (0.50 % of the final loss)", said)
        self.assertIn("comes to 0.002", said)
        self.assertIn("| --wire bf16 | 2.0100 | 0.01 | 1.9000 | 50.00 % |", said)
        with open(self.folder / "wire.csv", encoding="utf-8") as file:
            self.assertEqual(len(list(csv.DictReader(file))), 30)
        self.assertTrue((self.folder / "wire.png").exists())

    def test_a_smoothed_curve_begins_with_the_first_whole_window(self):
        self.assertEqual(wire_curves.smoothed([1.0] * 20 + [21.0]), [1.0, 2.0])


class AllReduce(InFolder):
    CHECK = ("link                 asked      measured\nnode0   -> node1       1gbit      950 Mb/s\nnode1   -> node0       1gbit      960 Mb/s\n"
             "node                 asked      measured\nnode0                   45     45.0 % of a core\n")

    def test_the_slowest_link_sets_the_rate(self):
        self.assertAlmostEqual(allreduce.link_rate(self.CHECK), 950e6 / 8)

    def test_shares_of_the_floor_and_verdicts_come_from_the_records(self):
        rows = [{"bytes": 16_000_000, "algorithm": "exact", "seconds": 0.16, "bytes_sent": 16e6, "cpu_seconds": 0.016},
                {"bytes": 16_000_000, "algorithm": "mpi", "seconds": 0.32, "bytes_sent": 16e6, "cpu_seconds": 0.08},
                {"bytes": 16_000_000, "algorithm": "beside", "seconds": 0.2, "bytes_sent": 16e6, "cpu_seconds": 0.016,
                 "losses": [{"compute_lost": 0.2, "needed_share": 0.15, "engine_share": 0.1, "cpu_missed": 0.04, "slowed": 0.075},
                            {"compute_lost": 0.22, "needed_share": 0.3, "engine_share": 0.22, "cpu_missed": -0.05, "slowed": 0.0}]}]
        records = Records(self.folder / "raw", {"machine": "a machine", "revision": "1"})
        records.write("2-nodes", DONE, nodes=2, settings={"cpus": [45, 45], "rates": ["1gbit"]}, link_bytes_per_second=[104e6, 106e6], rows=rows)
        allreduce.write_report(self.folder)
        said = (self.folder / "allreduce.md").read_text()
        self.assertIn("Alone, lshdp reaches 0.952 of the floor at worst (2 nodes, 16 MB) (required: at least 0.95; met)", said)
        self.assertIn("takes 1.00 CPU-seconds a GB sent at most (2 nodes, 16 MB) (required: at most 1.2; met)", said)
        self.assertIn("MPI_Allreduce takes 2.00 times as long and 5.0 times the CPU time", said)
        self.assertIn("is 5.0 points at most (2 nodes, 16 MB) (required: at most 0; **missed**): it loses 20 %, the transfer needs 15 % with the kernel's "
                      "interrupts. Of the process's CPU time 10 % goes to the transfer's threads; it gets 4.0 % less of it a second than when it computes "
                      "alone, and the computation is 7.5 % slower", said)
        self.assertIn("| lshdp beside a computation | 2 | 16 | 0.152 | 0.200 | 76.2 % | 1.00 | 20 % | 15 % |", said)
        self.assertEqual(len((self.folder / "allreduce.csv").read_text().splitlines()), 4)


class Standstill(InFolder):
    def record(self, kind, named, said="W nothing has come from rank 1 (node1) for 8 s; last known of it: forward of block 3 of step 17"):
        return {"kind": kind, "rank": 1, "step": 16, "named_seconds": named, "told_work_seconds": named, "named_by": {"rank 0": named, "mpirun": named},
                "said": [[named, "rank 0", said]], "rank_end_seconds": 20.0, "left": [], "mpirun_end_seconds": None, "exit_code": None,
                "made": {"machine": "a machine", "revision": "abc"}, "settings": {"standstill": 10, "operation_limit": 20, "cpus": [45, 45, 45]}}

    def test_a_line_names_a_rank_with_its_host_or_by_its_process(self):
        self.assertTrue(standstill.names("W rank 2 (node2) has stood still for 8 s", 2))
        self.assertTrue(standstill.names("mpirun noticed that process rank 2 with PID 77 on node node2 exited on signal 9 (Killed).", 2))
        self.assertFalse(standstill.names("rank 1 (node1): waiting for rank 2 in all-reduce", 2))
        all_ranks = "this run is being ended; last known of its ranks: rank 2 (node2): forward of block 1 of step 4"
        self.assertFalse(standstill.names(all_ranks, 2))
        self.assertTrue(standstill.tells_work(all_ranks, 2))
        self.assertTrue(standstill.tells_work("rank 2 (node2) has stood still for 8 s in reading data of step 4", 2))
        self.assertFalse(standstill.tells_work("mpirun noticed that process rank 2 with PID 77 exited on signal 9", 2))

    def test_lines_are_taken_whole_and_once_and_without_colours(self):
        launcher = self.folder / "launcher.log"
        speech = standstill.Speech(self.folder, launcher)
        launcher.write_text("\x1b[33mW\x1b[m one\ntw")
        speech.look(1.0)
        launcher.write_text("\x1b[33mW\x1b[m one\ntwo\n")
        speech.look(2.0)
        self.assertEqual(speech.lines, [(1.0, "mpirun", "W one"), (2.0, "mpirun", "two")])

    def test_the_report_has_median_worst_and_what_never_happened(self):
        records = Records(self.folder / "raw")
        for number, named in enumerate((8.0, 9.0, 9.5, None)):
            records.write(f"freeze-{number}", DONE, **self.record("freeze", named))
        standstill_report.write_report(self.folder)
        text = (self.folder / "standstill.md").read_text()
        self.assertIn("| process frozen (SIGSTOP) | 4 | 9.0 / 9.5 (1 of 4 never) | 9.0 / 9.5 (1 of 4 never) | 20.0 / 20.0 | - | 1 |", text)
        self.assertEqual(len((self.folder / "standstill.csv").read_text().splitlines()), 5)


class ExploreSteps(InFolder):
    MODEL = Model("tiny", {"type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 64, "n_positions": 32, "vocab_size": 100}, 8, 64)

    def test_a_description_becomes_a_config_of_hugging_face(self):
        config = explore_steps.model_config(self.MODEL.description)
        self.assertEqual((config["model_type"], config["n_embd"]), ("gpt2", 64))
        self.assertNotIn("type", config)
        with self.assertRaisesRegex(DefinitionError, "type gpt2"):
            explore_steps.model_config("vit-b")

    def test_data_parallel_is_asked_for_as_it_was_trained(self):
        asked = explore_steps.overrides({"mode": "fsdp"}, self.MODEL, 8, "profile.json")
        for override in ("+sharding_range=[FULLY_SHARD]", "+cluster.profile=profile.json", "++model.seq_length=32", "++model.global_batch_size=8"):
            self.assertIn(override, asked)

    def test_errors_are_judged_by_mean_and_worst(self):
        first, second = explore_steps.sentences([{"cell": "a", "error": 0.04}, {"cell": "b", "error": -0.12}])
        self.assertIn("8.0 %", first)
        self.assertIn("12.0 % off (b)", second)

    def test_each_trained_cell_is_predicted(self):
        definition = Definition("explore_steps", "Steps", (self.MODEL,), (Cluster("two", (50, 25), nodes=2),), (Case("ddp", "lshdp", "ddp"),))
        records = Records(self.folder / "raw")
        records.write("tiny-two-setup", DONE, profile={})
        records.write("tiny-two-ddp-r1", DONE, model="tiny", cluster="two", mode="ddp", result={"step_seconds": {"median": 2.0}})
        self.addCleanup(setattr, explore_steps, "predict", explore_steps.predict)
        explore_steps.predict = lambda *_: 1.9
        rows = explore_steps.compare(definition, self.folder)
        self.assertEqual([row["cell"] for row in rows], ["tiny-two-ddp-r1"])
        self.assertAlmostEqual(rows[0]["error"], -0.05)


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # matplotlib's, about its own dependencies

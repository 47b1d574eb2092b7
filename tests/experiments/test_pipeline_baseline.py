# PyTorch's pipelines in the baselines, on local processes: after three steps the weights are those of one process.
import json
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments/baselines"))

import cuts  # noqa: E402
import looped  # noqa: E402
from refusal import Refused  # noqa: E402

try:
    import torch
except ImportError:  # its Python module needs more than LibTorch: scripts/setup.sh --baselines
    torch = None
else:
    import models
    import parallel
    import pipeline
    import ranks
    import train

VIT = {"type": "vit", "image_size": 8, "patch_size": 4, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
GPT = {"type": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 16, "n_positions": 6, "vocab_size": 30}
BLOCKS, STEPS, POOL = 8, 3, 4


def stages_of(*borders_by_rank):
    return [{"rank": rank, "start": start, "end": end} for rank, start, end in borders_by_rank]


def one_pipeline(*stages, micro_batches=(2, 2, 2)):
    return [{"batch": sum(micro_batches), "micro_batches": list(micro_batches), "stages": stages_of(*stages)}]


# Each: name, model, further options, cut.
CASES = {
    2: [("uniform", VIT, ["--cut", "uniform", "--batches", "8,0"], None),
        ("uneven, ranks the other way", VIT, [], one_pipeline((1, 0, 4), (0, 4, 8))),
        ("two copies of the table", GPT, ["--schedule", "gpipe"], one_pipeline((0, 0, 3), (1, 3, 8))),
        ("one table, ends on one rank", GPT, [], one_pipeline((1, 0, 2), (0, 2, 7), (1, 7, 8))),
        ("ends on one rank, GPipe", GPT, ["--schedule", "gpipe"], one_pipeline((0, 0, 2), (1, 2, 7), (0, 7, 8))),
        ("two replicas of one stage", GPT, [],
         [*one_pipeline((0, 0, 8)), *one_pipeline((1, 0, 8), micro_batches=(2, 2))])],
    3: [("three stages", GPT, ["--schedule", "1f1b"], one_pipeline((2, 0, 1), (0, 1, 6), (1, 6, 8), micro_batches=(1,) * 6)),
        ("a rank left out", VIT, [], one_pipeline((2, 0, 4), (1, 4, 8))),
        ("ends on one rank, unequal micro-batches", GPT, [],
         one_pipeline((1, 0, 2), (0, 2, 4), (2, 4, 7), (1, 7, 8), micro_batches=(3, 3, 2)))],
    4: [("two replicas of two stages", GPT, [],
         [*one_pipeline((0, 0, 3), (1, 3, 8)), *one_pipeline((3, 0, 3), (2, 3, 8), micro_batches=(1, 1, 1))])],
}


def options_of(folder, number, description, arguments, replicas):
    """The parsed options of a case, whose files lie in `folder`."""
    (folder / "model.json").write_text(json.dumps(description))
    if replicas is not None:
        (folder / "layout.json").write_text(json.dumps({"version": 1, "replicas": replicas}))
        arguments = ["--cut", str(folder / "layout.json"), *arguments]
    return train.parse_run(["--model", str(folder / "model.json"), "--mode", "pipeline", "--lr", "1e-2", "--seed", str(number),
                            "--out", str(folder / "out.json"), *arguments])


def built(options):
    torch.manual_seed(options.seed)
    model = models.build(options.model)
    if hasattr(model.head, "head"):  # with zeros, no gradient would reach what is below
        torch.nn.init.normal_(model.head.head.weight, std=0.1)
    return model


def prepare():
    """In fp64: where a gradient is zero but for rounding, AdamW makes a whole step of it in fp32."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)


def work(rank, size, port, folder):
    """What a process does: all cases of `size` ranks. Its blocks' weights go to files."""
    os.environ |= {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    prepare()
    with ranks.process_group(60) as (_, _):
        for number, (_, description, arguments, layout) in enumerate(CASES[size]):
            place = folder / f"{number}-{rank}"
            place.mkdir()
            options = options_of(place, number, description, arguments, layout)
            model = built(options)
            replicas = cuts.replicas_of(options, BLOCKS, size)
            stepper = pipeline.PipelineStepper(model, replicas, options, rank, size, POOL)
            losses = [stepper.step(index).item() for index in range(STEPS)]
            mine = [(replica, stage) for replica in replicas for stage in replica.stages if stage.rank == rank]
            blocks = {index: model.chain()[index].state_dict() for _, stage in mine for index in range(stage.start, stage.end)}
            torch.save({"losses": losses, "blocks": blocks}, place / "weights.pt")


def alone(options, replicas):
    """(blocks' weights, summed losses by step) of one process that trains whole batches."""
    model = built(options)
    optimizer = parallel.make_optimizer(model, options)
    pools = []
    for number, replica in enumerate(replicas):
        generator = torch.Generator().manual_seed(options.seed + number)
        pools.append([model.synthetic(replica.batch, generator) for _ in range(POOL)])
    losses = []
    for index in range(STEPS):
        inputs, target = (torch.cat(parts) for parts in zip(*(pool[index] for pool in pools)))
        loss = models.summed_loss(model(inputs), target)
        (loss / (len(inputs) * model.terms_per_sample)).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return {index: block.state_dict() for index, block in enumerate(model.chain())}, losses


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipIf(torch is None, "PyTorch's Python module is not there: scripts/setup.sh --baselines")
class SameWeights(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def run_ranks(self, size):
        context = multiprocessing.get_context("fork")
        port = free_port()
        processes = [context.Process(target=work, args=(rank, size, port, self.folder)) for rank in range(size)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        for process in processes:
            if process.is_alive():
                process.kill()
        self.assertEqual([process.exitcode for process in processes], [0] * size)

    def compare(self, size, number, name, description, arguments, layout):
        options = options_of(self.folder, number, description, arguments, layout)
        replicas = cuts.replicas_of(options, BLOCKS, size)
        wanted, losses = alone(options, replicas)
        held = []
        by_rank = [torch.load(self.folder / f"{number}-{rank}" / "weights.pt") for rank in range(size)]
        for found in by_rank:
            held += found["blocks"]
            for index, weights in found["blocks"].items():
                for key, tensor in weights.items():
                    difference = (tensor - wanted[index][key]).abs().max().item()
                    self.assertLess(difference, 1e-9, f"{size} ranks, {name}: block {index}, {key}")
        self.assertEqual(sorted(held), sorted(list(range(BLOCKS)) * len(replicas)), name)
        for index, loss in enumerate(losses):
            self.assertAlmostEqual(sum(found["losses"][index] for found in by_rank), loss, 7, name)

    def check(self, size):
        self.run_ranks(size)
        prepare()
        self.addCleanup(torch.set_default_dtype, torch.float32)
        for number, case in enumerate(CASES[size]):
            with self.subTest(case[0]):
                self.compare(size, number, *case)

    def test_on_two_processes(self):
        self.check(2)

    def test_on_three_processes(self):
        self.check(3)

    def test_on_four_processes(self):
        self.check(4)


class Options:
    def __init__(self, cut, schedule="1f1b", micro_batches=None, batches=None):
        self.cut, self.schedule, self.micro_batches, self.batches = cut, schedule, micro_batches, batches


class Cuts(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name) / "layout.json"

    def read(self, replicas, blocks=BLOCKS, size=4, **options):
        self.path.write_text(json.dumps({"version": 1, "replicas": replicas}))
        return cuts.replicas_of(Options(str(self.path), **options), blocks, size)

    def refuses(self, message, *arguments, **options):
        with self.assertRaisesRegex(Refused, message):
            self.read(*arguments, **options)

    def test_a_uniform_cut_shares_out_the_layers(self):
        replicas = cuts.replicas_of(Options("uniform", batches=[16, 0, 0, 0]), 26, 4)
        self.assertEqual([(stage.rank, stage.start, stage.end) for stage in replicas[0].stages],
                         [(0, 0, 7), (1, 7, 13), (2, 13, 19), (3, 19, 26)])
        self.assertEqual(replicas[0].micro_batches, 8)
        self.assertEqual(cuts.batches_of(replicas, 4), [16, 0, 0, 0])
        with self.assertRaisesRegex(Refused, "3 layers are too few for 4 ranks"):
            cuts.replicas_of(Options("uniform", batches=[16, 0, 0, 0]), 8, 4)

    def test_micro_batches_are_equal_and_nearly_as_many_as_the_layouts(self):
        self.assertEqual(cuts.nearest_equal(16, 3, 1), 4)
        self.assertEqual(cuts.nearest_equal(16, 5, 1), 4)
        self.assertEqual(cuts.nearest_equal(16, 2, 3), 4)
        pipeline_of_two = one_pipeline((0, 0, 4), (1, 4, 8), micro_batches=(4, 3, 3))
        self.assertEqual(self.read(pipeline_of_two)[0].micro_batches, 2)
        self.assertEqual(self.read(pipeline_of_two, micro_batches=5)[0].micro_batches, 5)
        self.refuses("--micro-batches 3: 10 samples", pipeline_of_two, micro_batches=3)

    def test_what_pytorch_cannot_do_is_refused(self):
        whole, halves = one_pipeline((0, 0, 8)), one_pipeline((1, 0, 4), (2, 4, 8))
        self.refuses("cut differently", whole + halves)
        self.refuses("do not hold the model's 26 blocks", halves, blocks=26)
        self.refuses("more ranks than the 2", halves, size=2)
        looped_pipeline = one_pipeline((0, 0, 2), (1, 2, 7), (0, 7, 8))
        self.refuses("none may have its first and last stage on one rank",
                     looped_pipeline + one_pipeline((2, 0, 2), (3, 2, 7), (2, 7, 8)))
        self.refuses("no layout of lshdp", [{"batch": 4}])
        self.refuses("1 samples cannot be cut into 2", one_pipeline((0, 0, 4), (1, 4, 8), micro_batches=(1,)))


class Looped(unittest.TestCase):
    def order(self, schedule, count=4):
        stages = (cuts.Stage(0, 0, 2, 1, 2), cuts.Stage(1, 2, 7, 3, 6), cuts.Stage(0, 7, 8, 2, 4))
        return looped.order_of(cuts.Replica(count, count, stages), schedule)

    def test_every_rank_does_all_of_its_stages(self):
        for schedule in ("1f1b", "gpipe"):
            order = self.order(schedule)
            self.assertEqual(sorted(order[1]), sorted((kind, 1, number) for kind in "FB" for number in range(4)))
            self.assertEqual(sorted(order[0]), sorted((kind, index, number) for kind in "FB" for index in (0, 2) for number in range(4)))

    def test_1f1b_bounds_what_is_in_flight_and_gpipe_does_not(self):
        def most_in_flight(order, index):
            held, most = 0, 0
            for kind, stage, _ in order:
                held += ((kind == "F") - (kind == "B")) * (stage == index)
                most = max(most, held)
            return most

        self.assertEqual([most_in_flight(self.order("1f1b", 8)[rank], index) for rank, index in ((0, 0), (1, 1), (0, 2))], [3, 2, 1])
        self.assertEqual(most_in_flight(self.order("gpipe", 8)[0], 0), 8)
        self.assertEqual([kind for kind, _, _ in self.order("gpipe")[1]], ["F"] * 4 + ["B"] * 4)


if __name__ == "__main__":
    unittest.main()

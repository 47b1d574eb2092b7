# LoRA in the baselines: its options, and on local processes of unequal batches the weights that one process arrives at.
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

from refusal import Refused  # noqa: E402

try:
    import h5py
    import peft  # noqa: F401
    import torch
except ImportError:  # scripts/setup.sh --baselines
    torch = None
else:
    import lora
    import models
    import parallel
    import ranks
    import token_data
    import train

GPT = {"type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 6, "vocab_size": 30}
LLAMA = {"type": "llama", "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 6, "vocab_size": 30}
CASES = [("gpt2, equal", GPT, "r=2,alpha=4,targets=c_attn", "3,3"), ("gpt2, uneven", GPT, "r=2,alpha=4,targets=c_attn", "5,1"),
         ("llama, uneven", LLAMA, "r=2,alpha=4,targets=q_proj,v_proj", "2,4")]
STEPS = 3


def write_tokens(path, count=200):
    with h5py.File(path, "w") as file:
        file["tokens"] = (7 * torch.arange(count) % 30).numpy().astype("uint8")


def options_of(folder, description, adapters, batches):
    (folder / "model.json").write_text(json.dumps(description))
    return train.parse_run(["--model", str(folder / "model.json"), "--mode", "ddp", "--lora", adapters, "--data", str(folder / "tokens.h5"),
                            "--batches", batches, "--lr", "1e-2", "--out", str(folder / "out.json")])


def built(options):
    """In fp64, with adapters that change something from the first step on."""
    torch.manual_seed(options.seed)
    model = lora.build(options.model, options.lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.double()


def trained(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def work(rank, size, port, folder):
    os.environ |= {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    with ranks.process_group(60):
        for number, (_, *case) in enumerate(CASES):
            place = folder / f"{number}-{rank}"
            place.mkdir()
            write_tokens(place / "tokens.h5")
            options = options_of(place, *case)
            model = built(options)
            stepper = train.Stepper(model, options, rank, size)
            losses = [stepper.step(index).item() for index in range(STEPS)]
            torch.save({"losses": losses, "trained": trained(model)}, place / "weights.pt")


def alone(options):
    """(trained weights, summed losses by step) of one process that trains whole batches."""
    model = built(options)
    optimizer = parallel.make_optimizer(model, options)
    losses = []
    for inputs, target in token_data.pool_of(options.data, model.positions, [sum(options.batches)], 0, STEPS):
        loss = models.summed_loss(model(inputs), target)
        (loss / target.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return trained(model), losses


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipIf(torch is None, "PEFT, h5py or PyTorch's Python module is not there: scripts/setup.sh --baselines")
class Lora(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        write_tokens(self.folder / "tokens.h5")

    def run_ranks(self, size):
        port = free_port()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=work, args=(rank, size, port, self.folder)) for rank in range(size)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(300)
        for process in processes:
            if process.is_alive():
                process.kill()
        self.assertEqual([process.exitcode for process in processes], [0] * size)

    def test_ranks_of_any_batches_train_the_adapters_of_one_process(self):
        self.run_ranks(2)
        for number, (name, *case) in enumerate(CASES):
            options = options_of(self.folder, *case)
            wanted, losses = alone(options)
            found = [torch.load(self.folder / f"{number}-{rank}" / "weights.pt") for rank in range(2)]
            for index, loss in enumerate(losses):
                self.assertAlmostEqual(sum(rank["losses"][index] for rank in found), loss, 7, name)
            for rank in found:
                self.assertEqual(sorted(rank["trained"]), sorted(wanted))
                for key, tensor in rank["trained"].items():
                    self.assertLess((tensor - wanted[key]).abs().max().item(), 1e-9, f"{name}: {key}")

    def test_only_the_adapters_are_trained(self):
        options = options_of(self.folder, GPT, "r=2,targets=c_attn", "4")
        model = built(options)
        updated = [parameter for group in parallel.make_optimizer(model, options).param_groups for parameter in group["params"]]
        self.assertEqual(lora.trained_parameters(model), 2 * (2 * 16 + 2 * 48))
        self.assertEqual(sum(parameter.numel() for parameter in updated), lora.trained_parameters(model))

    def test_options_are_read_as_lshdp_reads_them(self):
        self.assertEqual(lora.parse("r=16,alpha=32,dropout=0.05,targets=q_proj,v_proj,rslora=true"),
                         lora.Settings(16, 32, 0.05, ("q_proj", "v_proj"), True))
        self.assertEqual(lora.parse("r=8,targets=all-linear"), lora.Settings(8, 8, 0, ("all-linear",)))
        for text, message in (("r=8", "r and targets are wanted"), ("r=x,targets=a", "invalid literal"), ("r=0,targets=a", "r is at least 1"),
                              ("r=8,rank=8,targets=a", "rank is not a key"), ("r=8,r=9,targets=a", "r stands there twice"),
                              ("c_attn,r=8", "'c_attn' is no KEY=VALUE")):
            with self.assertRaisesRegex(Refused, message):
                lora.parse(text)

    def test_other_modes_are_refused(self):
        for option in (["--lora", "r=8,targets=a"], ["--data", "tokens.h5"]):
            with self.assertRaisesRegex(Refused, f"{option[0]} is measured with --mode plain and ddp"):
                train.parse_run(["--model", "x", "--mode", "fsdp2", "--batches", "4,4", "--out", "y", *option])

    def test_samples_are_the_files_in_their_order(self):
        first, second = (token_data.pool_of(self.folder / "tokens.h5", 6, [1, 2], rank, 2) for rank in range(2))
        tokens = 7 * torch.arange(200) % 30
        self.assertTrue(torch.equal(first[1][0], tokens[18:24].view(1, 6)))
        self.assertTrue(torch.equal(second[1][1], tokens[25:37].view(2, 6)))
        with self.assertRaisesRegex(ValueError, "33 samples of 6 tokens; 36 are wanted"):
            token_data.pool_of(self.folder / "tokens.h5", 6, [18], 0, 2)


if __name__ == "__main__":
    unittest.main()

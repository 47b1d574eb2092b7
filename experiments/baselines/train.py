#!/usr/bin/env python3
# Times PyTorch's own ways to train the models of the experiments: plain, DDP, FSDP2, pipelines. One rank per node, or one GPU.
"""
    mpirun ... python train.py --model vit.json --mode ddp --batches 10,10,6,38 --steps 40 --out ddp.json
    python train.py --model vit.json --mode plain --device cuda --precision bf16 --batches 256 --steps 12 --out eager.json

plain   each rank steps its own batch by itself: what the computation costs without any parallelism
ddp     DistributedDataParallel; unequal batches are weighted correctly
fsdp2   fully_shard for each block; equal batches only
pipeline  torch.distributed.pipelining, 1F1B or GPipe: --cut says which rank holds which blocks, --batches of a uniform cut what
        the whole pipeline trains, as in 16,0,0,0; on CPUs in fp32 only

--lora (plain and ddp) trains adapters of PEFT on Hugging Face's GPT-2 or Llama in place of the whole model; --data takes the tokens of a
file of lshdp's in place of random ones.

On a GPU, --compile, --offload (fsdp2: parameters, gradients and the update in host memory) and --precision bf16 (products in
bf16, parameters and updates in fp32) are what people use there.

Several runs in one launch, with --next between their options: importing torch takes a slow node half a minute. What one of
them refuses (options that exclude each other, batches for another number of ranks) is written into its own --out as "refused",
and the others go on.
"""
import argparse
import gc
import json
import os
import pathlib
import statistics
import sys
import time

import torch

import cuts
import lora
import models
import parallel
import pipeline
import ranks
import token_data
from refusal import Refused
from stolen_time import StolenTime

POOL = 4  # different batches in memory


class RunParser(argparse.ArgumentParser):
    """Complains by an exception, so that one run's options end that run only."""

    def error(self, message):
        raise Refused(message)


def split_runs(arguments):
    """The arguments of each run: what stands between one --next and the other."""
    runs = [[]]
    for argument in arguments:
        if argument == "--next":
            runs.append([])
        else:
            runs[-1].append(argument)
    return runs


def parser_of_runs():
    parser = RunParser(description="Times PyTorch's DDP, FSDP2, pipelines and a plain step.")
    parser.add_argument("--model", required=True, help="preset (vit_b_32, gpt2, ..) or JSON description, as for lshdp")
    parser.add_argument("--mode", required=True, choices=["plain", "ddp", "fsdp2", "pipeline"])
    parser.add_argument("--lora", help="train adapters: r=16,alpha=32,dropout=0.0,targets=c_attn, as for lshdp (plain, ddp)")
    parser.add_argument("--data", help="tokens that lshdp data wrote (plain, ddp; default: random samples)")
    parser.add_argument("--batches", help="samples of each rank: 16,16,16,16; a layout has its own")
    parser.add_argument("--cut", default="uniform", help="uniform, or a layout.json of lshdp (pipeline)")
    parser.add_argument("--schedule", choices=["1f1b", "gpipe"], default="1f1b", help="(pipeline)")
    parser.add_argument("--micro-batches", type=int, help="in a step (pipeline; default: as many as in the layout, or 2 a stage)")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: products; parameters stay fp32")
    parser.add_argument("--offload", action="store_true", help="CPUOffloadPolicy (fsdp2)")
    parser.add_argument("--wire", choices=["exact", "bf16"], default="exact", help="bf16: gradients rounded on the way (ddp)")
    parser.add_argument("--bucket-mb", type=float, default=25, help="DDP's bucket_cap_mb")
    parser.add_argument("--compile", action="store_true", help="torch.compile: its compilation is no part of any timed step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300, help="seconds after which a silent peer is given up")
    parser.add_argument("--out", required=True, help="JSON file, written by rank 0")
    return parser


def parse_batches(options):
    if options.mode == "pipeline" and options.cut != "uniform":
        if options.batches is not None:
            raise Refused("--batches: the layout of --cut has its own")
        return
    try:
        options.batches = [int(text) for text in (options.batches or "").split(",")]
    except ValueError as error:
        raise Refused(f"--batches {options.batches or 'is missing'}: whole numbers with commas between") from error
    if options.mode != "pipeline" and min(options.batches) < 1:
        raise Refused("--batches: PyTorch's ways need at least one sample on every rank")


def check_pipeline(options):
    if options.mode == "pipeline":
        if options.device != "cpu" or options.precision != "fp32" or options.compile:
            raise Refused("--mode pipeline is measured on CPUs, in fp32 and not compiled")
    elif options.cut != "uniform" or options.micro_batches is not None:
        raise Refused("--cut and --micro-batches are for --mode pipeline")


def parse_adapters(options):
    if options.lora is not None:
        options.lora = lora.parse(options.lora)
    for name in ("lora", "data"):
        if getattr(options, name) is not None and options.mode not in ("plain", "ddp"):
            raise Refused(f"--{name} is measured with --mode plain and ddp")


def parse_run(arguments):
    options = parser_of_runs().parse_args(arguments)
    parse_batches(options)
    check_pipeline(options)
    parse_adapters(options)
    if options.steps < 3:
        raise Refused("--steps: at least 3, of which two warm up")
    if options.mode == "fsdp2" and max(options.batches) - min(options.batches) > 1:
        raise Refused("--mode fsdp2 is measured with equal batches only (one sample more or less where the total does not divide)")
    if options.offload and options.mode != "fsdp2":
        raise Refused("--offload is FSDP2's CPUOffloadPolicy: use --mode fsdp2")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise Refused("--device cuda: PyTorch sees no CUDA device here")
    if options.wire == "bf16" and options.mode != "ddp":
        raise Refused("--wire bf16 is DDP's compression hook: use --mode ddp")
    return options


def out_of(arguments):
    """The --out of a run whose options may be wrong elsewhere."""
    parser = RunParser(add_help=False)
    parser.add_argument("--out", required=True)
    return parser.parse_known_args(arguments)[0].out


class Stepper:
    """Steps of one rank on batches that lie in host memory."""

    lead = 0  # the rank whose steps count

    def __init__(self, model, options, rank, size):
        self.batches, self.told = options.batches, {}  # what a result also says
        if options.data is not None:
            if not hasattr(model, "positions"):
                raise Refused("--data: only models of text read tokens")
            self.pool = token_data.pool_of(options.data, model.positions, options.batches, rank, POOL)
        else:
            generator = torch.Generator().manual_seed(options.seed + rank)
            self.pool = [model.synthetic(options.batches[rank], generator) for _ in range(POOL)]
        if options.device == "cuda":
            self.pool = [tuple(part.pin_memory() for part in batch) for batch in self.pool]
        self.scale = parallel.loss_scale(options, options.batches, rank, model.terms_per_sample)
        self.model = parallel.spread(model, options, size)
        self.optimizer = parallel.make_optimizer(model, options)
        # FSDP2 casts by its own policy.
        self.autocast = torch.autocast(options.device, torch.bfloat16,
                                       enabled=options.precision == "bf16" and options.mode != "fsdp2")
        self.device = options.device
        self.update_cpu_seconds = 0.0

    def step(self, index):
        """Returns the summed loss, unscaled, as a tensor."""
        inputs, target = (part.to(self.device, non_blocking=True) for part in self.pool[index % POOL])
        with self.autocast:
            loss = models.summed_loss(self.model(inputs), target)
        (loss * self.scale).backward()
        begun = time.thread_time()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update_cpu_seconds += time.thread_time() - begun
        return loss.detach()


def make_stepper(model, options, rank, size):
    if options.mode != "pipeline":
        return Stepper(model, options, rank, size)
    replicas = cuts.replicas_of(options, len(model.chain()), size)
    return pipeline.PipelineStepper(model, replicas, options, rank, size, POOL)


class HostTimes:
    """When steps ended, where a step has ended when its last call returns."""

    def __init__(self):
        self.at = [time.perf_counter()]

    def mark(self):
        self.at.append(time.perf_counter())

    def seconds(self):
        return [now - before for before, now in zip(self.at, self.at[1:])]


class DeviceTimes:
    """When steps ended on the GPU, which works behind the calls."""

    def __init__(self):
        self.at = []
        self.mark()

    def mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.at.append(event)

    def seconds(self):
        torch.cuda.synchronize()
        return [1e-3 * before.elapsed_time(now) for before, now in zip(self.at, self.at[1:])]


def sent_bytes():
    """What this network namespace has sent, without its loopback; 0 where that cannot be read."""
    try:
        lines = pathlib.Path("/proc/self/net/dev").read_text().splitlines()[2:]
    except OSError:
        return 0
    counters = dict(line.split(":", 1) for line in lines)
    return sum(int(values.split()[8]) for name, values in counters.items() if name.strip() != "lo")


def warm_up_of(steps):
    """As lshdp counts it: the first tenth, at most ten. DDP also lays out its buckets anew after the first step."""
    return min(max(2, min(10, -(-steps // 10))), steps - 1)


def measure(stepper, steps):
    """Seconds of each step, and of the steps after warm-up CPU seconds (all threads) and bytes sent, per step."""
    warm_up = warm_up_of(steps)
    times = DeviceTimes() if stepper.device == "cuda" else HostTimes()
    for index in range(steps):
        if index == warm_up:
            cpu, update, sent, stolen = time.process_time(), stepper.update_cpu_seconds, sent_bytes(), StolenTime()
        loss = stepper.step(index)
        times.mark()
    seconds, timed = times.seconds(), steps - warm_up
    return {"seconds": seconds, "timed": seconds[warm_up:], "loss": loss.item(),
            "cpu": (time.process_time() - cpu) / timed,
            "update_cpu": (stepper.update_cpu_seconds - update) / timed,
            "sent": (sent_bytes() - sent) / timed, "stolen": stolen.share(), "memory": memory_of(stepper.device)}


def memory_of(device):
    """Bytes of the GPU at the most: of tensors, and what the allocator kept for them. None on a CPU."""
    if device == "cpu":
        return None
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def result_of(options, stepper, parameters, by_rank):
    lead = by_rank[stepper.lead]
    median = statistics.median(lead["timed"])
    return {"version": 1, "program": f"PyTorch {torch.__version__}", "mode": options.mode, "wire": options.wire,
            "device": options.device, "precision": options.precision, "compile": options.compile, "offload": options.offload,
            "bucket_mb": options.bucket_mb if options.mode == "ddp" else None, "batches": stepper.batches,
            "total": sum(stepper.batches), "steps": options.steps, "parameters": parameters,
            "step_seconds": {"median": median, "mean": statistics.fmean(lead["timed"])},
            "step_seconds_by_rank": [statistics.median(rank["timed"]) for rank in by_rank],
            "samples_per_second": sum(stepper.batches) / median,
            "cpu_seconds_per_step": [rank["cpu"] for rank in by_rank],
            "update_cpu_seconds_per_step": [rank["update_cpu"] for rank in by_rank],
            "sent_bytes_per_step": [rank["sent"] for rank in by_rank],
            "stolen": lead["stolen"], "device_memory": [rank["memory"] for rank in by_rank],
            "summed_loss_of_last_step": [rank["loss"] for rank in by_rank],
            "all_step_seconds": lead["seconds"], **stepper.told}


def write_json(path, value):
    partial = pathlib.Path(path + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(partial, path)


def run(options, rank, size):
    """One timed run, on all ranks."""
    if options.batches is not None and len(options.batches) != size:
        raise Refused(f"--batches names {len(options.batches)} ranks, but there are {size}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)  # the same first values on every rank
    # With offload, FSDP2 wants the parameters in host memory.
    with torch.device("cpu" if options.offload else options.device):
        model = lora.build(options.model, options.lora) if options.lora else models.build(options.model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = lora.trained_parameters(model)
    stepper = make_stepper(model, options, rank, size)
    stepper.told["trained_parameters"] = trained
    del model  # a stage of a pipeline keeps only its own blocks
    ranks.gather(rank, size)  # all begin together
    by_rank = ranks.gather(measure(stepper, options.steps), size)
    if rank == 0:
        write_json(options.out, result_of(options, stepper, parameters, by_rank))
        print(f"{options.out}: {statistics.median(by_rank[stepper.lead]['timed']):.4f} s a step", flush=True)


def run_or_refuse(arguments, rank, size):
    """One run; what it refuses, it refuses on every rank alike and before the first exchange."""
    try:
        run(parse_run(arguments), rank, size)
    except Refused as error:
        if rank == 0:
            write_json(out_of(arguments), {"version": 1, "refused": str(error)})
            print(f"baselines: {error}", file=sys.stderr, flush=True)
        return False
    return True


def known_of(arguments, name, default, kind=str):
    """One option of a run whose others may be wrong."""
    parser = RunParser(add_help=False)
    parser.add_argument(name, type=kind, default=default, dest="value")
    return parser.parse_known_args(arguments)[0].value


def main():
    runs = split_runs(sys.argv[1:])
    if {"-h", "--help"} & set(sys.argv[1:]):
        parser_of_runs().print_help()
        return 0
    done = []
    try:
        for arguments in runs:
            out_of(arguments)  # nowhere to say what is refused: refused as a whole
        device = "cuda" if torch.cuda.is_available() and any(known_of(run, "--device", "cpu") == "cuda" for run in runs) else "cpu"
        with ranks.process_group(max(known_of(run, "--timeout", 300, float) for run in runs), device) as (rank, size):
            for arguments in runs:
                done.append(run_or_refuse(arguments, rank, size))
                gc.collect()  # a run's model and its buckets are gone before the next begins
                if device == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
    except (OSError, ValueError, TypeError) as error:
        print(f"baselines: {error}", file=sys.stderr)
        return 2
    return 0 if any(done) else 2


if __name__ == "__main__":
    sys.exit(main())

# A block as a TorchScript program: traced once, without names and source lines, and as text of few bytes.
"""A block as a TorchScript program: traced once, without names and source lines, and as text of few bytes."""
import base64
import hashlib
import io
import zipfile
import zlib

import torch

from .refusal import Refused

ATEN_TYPES = {torch.float32: 6, torch.float64: 7}  # c10::ScalarType
LARGEST = 32 << 20  # bytes of all programs as text: they are in each checkpoint


def trace(block, x):
    """The graph of (input, parameters...) -> output."""
    parameters = [parameter.detach().clone().requires_grad_(True) for parameter in block.parameters()]
    try:
        traced = torch.jit.trace(block.function, (x, *parameters), check_trace=False)
    except Exception as error:  # noqa: BLE001  whatever the module raises
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refused(f"{block.name} cannot be traced: {line}") from error
    graph = traced.graph
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)
    torch._C._jit_pass_erase_shape_information(graph)
    return torch._C._jit_pass_canonicalize(graph)


def constants(graph):
    """Nodes of tensors that the graph holds."""
    return [node for node in graph.findAllNodes("prim::Constant") if node.hasAttribute("value") and node.kindOf("value") == "t"]


def schema_of(node):
    try:
        return torch._C.parse_schema(node.schema()).arguments
    except RuntimeError:  # prim::ListConstruct and the like have none
        return []


def widen_types(graph):
    """Makes explicit conversions to float32 such to float64, as lshdp does where it computes in float64."""
    for node in graph.nodes():
        for index, argument in enumerate(schema_of(node)):
            if argument.name != "dtype":
                continue
            value = list(node.inputs())[index].node()
            if value.kind() == "prim::Constant" and value.hasAttribute("value") and value.kindOf("value") == "i":
                if value.i("value") == ATEN_TYPES[torch.float32]:
                    wide = graph.insertConstant(ATEN_TYPES[torch.float64])
                    wide.node().moveBefore(node)
                    node.replaceInput(index, wide)


def in_type(graph, dtype):
    """The function as lshdp runs it in this type."""
    graph = graph.copy()
    for node in constants(graph):
        if node.t("value").is_floating_point():
            node.t_("value", node.t("value").to(dtype))
    if dtype == torch.float64:
        widen_types(graph)
    return torch._C._create_function_from_graph("forward", graph)


def key_of(graph):
    """Equal for blocks that compute the same with other parameters."""
    digest = hashlib.sha256(graph.str(False).encode())
    for node in constants(graph):
        value = node.t("value").detach().contiguous()
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def archive_of(graph):
    """TorchScript's archive without what it keeps for error messages."""
    saved, lean = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch._C._create_function_from_graph("forward", graph), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(lean, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return lean.getvalue()


class Programs:
    """The programs of a model, each once."""

    def __init__(self):
        self.texts, self.numbers = [], {}

    def add(self, graph):
        """The number of the graph's program."""
        key = key_of(graph)
        if key not in self.numbers:
            self.numbers[key] = len(self.texts)
            self.texts.append(base64.b64encode(zlib.compress(archive_of(graph), 9)).decode())
        return self.numbers[key]

    def require_small(self):
        size = sum(map(len, self.texts))
        if size > LARGEST:
            raise Refused(
                f"constants and frozen parameters take {size >> 20} MiB, more than {LARGEST >> 20} MiB; compute large ones in forward(), or train the parameters"
            )

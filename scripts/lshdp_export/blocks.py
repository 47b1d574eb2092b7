# The blocks of a chain of modules, and which of them owns each parameter.
"""The blocks of a chain of modules, and which of them owns each parameter."""
import contextlib
import dataclasses

import torch

from .refusal import Refused


@dataclasses.dataclass
class Block:
    """Consecutive modules of the chain, as a function of their input and of the parameters that are trained."""

    names: list  # of the modules in the chain
    module: torch.nn.Sequential
    owned: list = dataclasses.field(default_factory=list)  # (name in the file, parameter)
    borrowed: list = dataclasses.field(default_factory=list)  # the same, owned by an earlier block

    @property
    def name(self):
        return "+".join(self.names)

    def parameters(self):
        return [parameter for _, parameter in self.owned + self.borrowed]

    def function(self, *inputs):
        """inputs: the block's input, then its parameters, those that it owns first."""
        with replaced(self.module, dict(zip(map(id, self.parameters()), inputs[1:]))):
            return self.module(inputs[0])

    def place_of(self, submodule):
        """The name that the user knows a submodule by, from the name that it has in `module`."""
        first, _, rest = submodule.partition(".")
        if not first:
            return self.name
        chain = self.names[int(first)]
        return f"{chain}.{rest}" if rest else chain


@contextlib.contextmanager
def replaced(module, tensors):
    """The module with other tensors in place of its parameters, by the ids of these. torch.func.functional_call, which
    does the same, refuses to be traced."""
    places = [(part, name, value) for part in module.modules() for name, value in part._parameters.items() if id(value) in tensors]
    try:
        for part, name, value in places:
            part._parameters[name] = tensors[id(value)]
        yield
    finally:
        for part, name, value in places:
            part._parameters[name] = value


def named_modules(chain):
    """[(name, module)] of what export() takes: nn.Sequential, a list, or a dict by name."""
    if isinstance(chain, torch.nn.Sequential):
        return list(chain.named_children())
    if isinstance(chain, dict):
        return list(chain.items())
    if isinstance(chain, (list, tuple, torch.nn.ModuleList)):
        return [(str(index), module) for index, module in enumerate(chain)]
    raise Refused(f"a chain of modules is an nn.Sequential, a list or a dict, not {type(chain).__name__}; put the model's parts into one")


def trained(module):
    """(name in the module, parameter) of those that are trained, each once."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def require_float32(name, parameter):
    if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
        raise Refused(f"parameter {name} is {parameter.dtype} on {parameter.device}; export the model in float32 on the CPU: model.float().cpu()")


class Owners:
    """Gives each parameter one name and the first block that has it."""

    def __init__(self, model):
        self.names = {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
        self.taken = {}  # name: the parameter's id

    def is_new(self, parameter):
        return id(parameter) not in self.taken.values()

    def name_of(self, parameter, otherwise):
        name = self.names.setdefault(id(parameter), otherwise)
        if self.taken.setdefault(name, id(parameter)) != id(parameter):
            raise Refused(f"two parameters are named {name}; give the modules of the chain other names")
        require_float32(name, parameter)
        return name


def with_new_parameters(modules):
    """Groups of [(name, module)]: modules without a parameter of their own go with the one before them, or, at the
    beginning, with the first that has one."""
    groups, seen = [], set()
    for name, module in modules:
        own = {id(parameter) for _, parameter in trained(module)} - seen
        seen |= own
        if groups and (not own or not groups[-1][1]):
            groups[-1][0].append((name, module))
            groups[-1][1] = groups[-1][1] or bool(own)
        else:
            groups.append([[(name, module)], bool(own)])
    if not groups or not groups[0][1]:
        raise Refused("the chain has no parameter to train")
    return [group for group, _ in groups]


def make_blocks(chain, model):
    """The blocks of what export() takes. Names are those that parameters have in `model`, or else NAME_IN_CHAIN.PARAMETER."""
    owners, blocks = Owners(model), []
    for group in with_new_parameters(named_modules(chain)):
        block = Block([name for name, _ in group], torch.nn.Sequential(*(module for _, module in group)))
        for key, parameter in trained(block.module):
            entries = block.owned if owners.is_new(parameter) else block.borrowed
            entries.append((owners.name_of(parameter, block.place_of(key)), parameter))
        blocks.append(block)
    return blocks

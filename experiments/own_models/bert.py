# Hugging Face's BERT as a language model: each layer attends to earlier tokens. For scripts/export_model.py.
"""Hugging Face's BERT as a language model (is_decoder): each layer attends to earlier tokens alone."""
import torch
from torch import nn
from transformers import BertConfig, BertLMHeadModel


class Layer(nn.Module):
    """One encoder layer without its other arguments and results."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden):
        output = self.layer(hidden)
        return output if isinstance(output, torch.Tensor) else output[0]


def model(context=64):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=256,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=context,
        type_vocab_size=1,
        is_decoder=True,
        use_cache=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    net = BertLMHeadModel(config)
    layers = {f"layer {number}": Layer(layer) for number, layer in enumerate(net.bert.encoder.layer)}
    # The head borrows the embedding's matrix.
    return {
        "blocks": {"embedding": net.bert.embeddings, **layers, "head": net.cls},
        "example": torch.randint(256, (2, context)),
        "loss": "tokens",
        "model": net,
    }

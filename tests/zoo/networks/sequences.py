"""Recurrent networks and transformers, those of the transformers package by their configurations."""

from functools import partial

import torch
import transformers
from torch import nn
from torch.nn import functional as F

from networks.network import Network, classified, tokens


class Reader(nn.Module):
    """Characters in, a class for each sequence or the next character out."""

    def __init__(self, kind, *, tied=False, width=32, **options):
        super().__init__()
        self.tokens = nn.Embedding(50, width)
        self.body = kind(width, width, batch_first=True, **options)
        outputs = width * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(outputs, 50, bias=not tied)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x):
        return self.head(self.body(self.tokens(x))[0]).flatten(0, 1)


class Cell(nn.Module):
    """A recurrence written by hand."""

    def __init__(self):
        super().__init__()
        self.inputs, self.state, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        state = x.new_zeros(len(x), 32)
        for step in range(x.shape[1]):
            state = torch.tanh(self.inputs(x[:, step]) + self.state(state))
        return self.head(state)


class Gpt(nn.Module):
    """A decoder written by hand: positions as a raw parameter, one packed projection, tied output."""

    def __init__(self, depth=4, width=32, length=16):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, width), nn.Parameter(torch.zeros(1, length, width))
        self.blocks = nn.ModuleList(GptBlock(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        x = self.tokens(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).flatten(0, 1)


class GptBlock(nn.Module):
    def __init__(self, width, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        parts = self.packed(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class RootMeanSquare(nn.Module):
    """Llama's blocks: RMSNorm, a gate instead of an activation, no biases."""

    def __init__(self, depth=3, width=32):
        super().__init__()
        self.tokens = nn.Embedding(50, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.RMSNorm(width),
                    "gate": nn.Linear(width, 64, bias=False),
                    "up": nn.Linear(width, 64, bias=False),
                    "down": nn.Linear(64, width, bias=False),
                }
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, 50, bias=False)

    def forward(self, x):
        x = self.tokens(x)
        for block in self.blocks:
            y = block["norm"](x)
            x = x + block["down"](F.silu(block["gate"](y)) * block["up"](y))
        return self.head(self.norm(x)).flatten(0, 1)


class Encoder(nn.Module):
    def __init__(self, *, norm_first, depth=4):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first, activation="gelu")
        self.tokens = nn.Embedding(50, 32)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.norm(self.body(self.tokens(x))).mean(1))


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(50, 32), nn.Embedding(50, 32)
        self.body = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
        self.head = nn.Linear(32, 50)

    def forward(self, source, target):
        return self.head(self.body(self.source(source), self.target(target))).flatten(0, 1)


def next_token(batch=16, length=16):
    return tokens(batch, length), tokens(batch, length, seed=1).flatten()


def with_labels(batch=8, length=16):
    return {"input_ids": tokens(batch, length), "labels": tokens(batch, length, seed=1)}


def hugging(model, config, **options):
    """A model of the transformers package, from its configuration alone."""
    made = getattr(transformers, config)(**options)
    return getattr(transformers, model)(made)


SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
VISION = {**SMALL, "image_size": 16, "patch_size": 4}
del VISION["vocab_size"]
PICTURES = {"num_labels": 10}


SCALED = "ConvNeXt multiplies each branch by a millionth at first, on purpose (Touvron et al. 2021, Liu et al. 2022)"


def pictures():
    images, classes = classified(64, 3, 16, 16)
    return {"pixel_values": images, "labels": classes}


NETWORKS = [
    Network("lstm", partial(Reader, nn.LSTM), next_token, 50),
    Network("lstm-2-bidirectional", partial(Reader, nn.LSTM, num_layers=2, bidirectional=True), next_token, 50),
    Network("gru", partial(Reader, nn.GRU), next_token, 50),
    Network("rnn", partial(Reader, nn.RNN), next_token, 50),
    Network("lstm-tied", partial(Reader, nn.LSTM, tied=True), next_token, 50),
    Network("recurrence-by-hand", Cell, partial(classified, 32, 6, 8), 10),
    Network("gpt-by-hand", Gpt, next_token, 50),
    Network("rms-norm-and-gates", RootMeanSquare, next_token, 50),
    Network(
        "transformer-pre-norm", partial(Encoder, norm_first=True), lambda: (tokens(64, 12), tokens(64, high=10)), 10
    ),
    Network(
        "transformer-post-norm", partial(Encoder, norm_first=False), lambda: (tokens(64, 12), tokens(64, high=10)), 10
    ),
    Network("encoder-decoder", Translator, lambda: ((tokens(8, 12), tokens(8, 10, seed=2)), tokens(80, seed=1)), 50),
    Network(
        "gpt-2",
        partial(
            hugging,
            "GPT2LMHeadModel",
            "GPT2Config",
            vocab_size=50,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=32,
            bos_token_id=0,
            eos_token_id=0,
        ),
        with_labels,
        50,
    ),
    Network("bert", partial(hugging, "BertForMaskedLM", "BertConfig", **SMALL), with_labels, 50),
    Network(
        "t5",
        partial(
            hugging,
            "T5ForConditionalGeneration",
            "T5Config",
            vocab_size=50,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        ),
        with_labels,
        50,
    ),
    Network(
        "llama",
        partial(hugging, "LlamaForCausalLM", "LlamaConfig", **SMALL, bos_token_id=0, eos_token_id=0),
        with_labels,
        50,
    ),
    Network("vit", partial(hugging, "ViTForImageClassification", "ViTConfig", **VISION, **PICTURES), pictures, 10),
    Network(
        "convnext",
        partial(
            hugging,
            "ConvNextForImageClassification",
            "ConvNextConfig",
            hidden_sizes=[16, 32],
            depths=[2, 2],
            num_stages=2,
            patch_size=2,
            **PICTURES,
        ),
        pictures,
        10,
        {"dwconv": SCALED, "pwconv1": SCALED, "pwconv2": SCALED},
    ),
    Network(
        "resnet-of-transformers",
        partial(
            hugging,
            "ResNetForImageClassification",
            "ResNetConfig",
            embedding_size=16,
            hidden_sizes=[16, 32],
            depths=[2, 2],
            layer_type="basic",
            **PICTURES,
        ),
        pictures,
        10,
    ),
]

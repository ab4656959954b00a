"""Everything that an operation could have changed."""

import torch


def state(model):
    """Values and identities of a model's tensors, its modes, hooks and classes."""
    return {
        "values": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "parameters": [(name, id(p), p.requires_grad) for name, p in model.named_parameters(remove_duplicate=False)],
        "buffers": [(name, b.dtype) for name, b in model.named_buffers()],
        "modules": [
            (name, id(m), type(m), m.training, sorted(vars(m)))
            for name, m in model.named_modules(remove_duplicate=False)
        ],
        "gradients": [p.grad for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "random": torch.get_rng_state(),
    }


def assert_same_state(before, after):
    for key in before.keys() - {"values", "random"}:
        assert before[key] == after[key], key
    assert before["values"].keys() == after["values"].keys()
    for name, tensor in before["values"].items():
        assert torch.equal(tensor, after["values"][name]), name
    assert torch.equal(before["random"], after["random"])


def steps(model, batch, count=3, lr=0.05):
    """The losses of a few steps of gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

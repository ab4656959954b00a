"""Recognising torch's objects without importing torch."""

# A user's own class may be called Linear and store its weight the other way round: the rules know the layouts
# of torch's classes and of what inherits from them.
_HOME = "torch.nn."


def class_names(instance: object) -> list[str]:
    """Return the names of the classes of torch that the object is an instance of, nearest first.

    Subclasses keep the names of what they inherit from, and a lazy module is already an instance of what it
    becomes.
    """
    return [c.__name__ for c in type(instance).__mro__ if f"{c.__module__}.".startswith(_HOME)]


def is_module(instance: object) -> bool:
    """Tell whether the object is a `torch.nn.Module`."""
    return "Module" in class_names(instance)


def is_lazy(instance: object) -> bool:
    """Tell whether a lazy module or parameter still waits for its first input."""
    names = class_names(instance)
    return "LazyModuleMixin" in names or "UninitializedTensorMixin" in names

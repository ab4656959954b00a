"""How records are shown. The ways are plugins, found by name, so that a record does not know its readers."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from evenflow.errors import MissingExtraError

GROUP = "evenflow.faces"


def face(name: str) -> Callable[..., Any]:
    """Return the function registered as `name` in the entry-point group "evenflow.faces".

    Raises:
        MissingExtraError: No installed package offers it, or what it needs is not installed.
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise MissingExtraError(
            f"no installed package shows records as {name!r}; install evenflow itself (pip install evenflow) "
            "rather than running it from its source folder"
        )
    try:
        return cast("Callable[..., Any]", found[0].load())
    except ImportError as error:
        raise MissingExtraError(
            f"{found[0].value}, which shows records as {name!r}, cannot be imported ({error}); install what it "
            "needs: pip install 'evenflow[report]'"
        ) from error

"""What the page and its figures need beyond the core."""

from importlib.util import find_spec

from evenflow.errors import MissingExtraError

NEEDED = ("altair", "vl_convert", "jinja2")


def require_report_extra() -> None:
    """Check that the packages of the extra `report` can be imported, without importing them.

    Raises:
        MissingExtraError: One of them cannot.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the HTML report needs {', '.join(missing)}, not installed here: pip install 'evenflow[report]'"
        )

"""Where a page is written: looked at before the work, so that nobody waits for a report that cannot be kept."""

from pathlib import Path

from evenflow.errors import DestinationError
from evenflow.report import Report, html_page
from evenflow.report.extras import require_report_extra


def require_page(path: Path, option: str = "--html") -> None:
    """Check that a page can be drawn, and written to the path that an option gave.

    Raises:
        MissingExtraError: The extra `evenflow[report]` is not installed.
        DestinationError: The path is a folder, lies in none, or cannot be written.
    """
    require_report_extra()
    if path.is_dir():
        raise DestinationError(f"{option} {path} is a folder; name a file in it, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise DestinationError(f"{option} {path}: there is no folder {path.parent}; create it, or name another file")
    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise _unwritable(path, error, option) from None
    if is_new:
        path.unlink()


def write_page(report: Report, path: Path) -> None:
    """Draw a report and write it.

    Raises:
        DestinationError: The file cannot be written (any more).
    """
    write_text(html_page(report), path)


def write_text(text: str, path: Path, option: str = "--html") -> None:
    """Write a file that an option named.

    Raises:
        DestinationError: It cannot be written (any more).
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error, option) from None


def _unwritable(path: Path, error: OSError, option: str) -> DestinationError:
    return DestinationError(f"{option} {path} cannot be written ({error.strerror}); name another file")

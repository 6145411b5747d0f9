"""Finds the handler that a fleet file names, `package.module:function`, and sees that it takes one event.

Its module is imported: what stands at the module's top level runs.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable

from telestage.cli.expectation import nearest
from telestage.cli.loading import LoadedFile

__all__ = ["handler_at"]


def handler_at(place: str, where: str, loaded: LoadedFile) -> Callable[..., object]:
    """The function at `place`, which the file names at `where`; looked for in the file's own folder first.

    Raises:
        FleetFileError: There is no such function, its module can't be imported, or it can't take one event.
    """
    folder = str(loaded.folder.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module, _, path = place.partition(":")
    found: object = _imported(module, folder, where, loaded)
    for name in path.split("."):
        missing = object()
        inner: object = getattr(found, name, missing)
        if inner is missing:
            public = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise loaded.wrong(where, f"{module} has no {path}; {nearest(name, public)}")
        found = inner
    if not callable(found):
        raise loaded.wrong(where, f"{place} is no function")
    try:
        inspect.signature(found).bind(object())
    except TypeError:
        raise loaded.wrong(where, f"{place} can't be called with one argument; a handler takes one event") from None
    except ValueError:
        pass  # a builtin that doesn't tell its parameters
    return found


def _imported(module: str, folder: str, where: str, loaded: LoadedFile) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module == missing or module.startswith(f"{missing}."):
            problem = f"there is no module {missing}, neither in {folder} nor where Python looks"
        else:
            problem = f"{module} needs the module {missing}, and there is none"
        raise loaded.wrong(where, problem) from error
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or "no text"
        raise loaded.wrong(where, f"importing {module} raised {type(error).__name__}: {text}") from error

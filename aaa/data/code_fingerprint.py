"""A hash of the code that makes something, so that a change of it is seen."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def code_fingerprint(targets: Iterable[str]) -> str:
    """Hash of the modules that define these classes (dotted names), so that a change of code is seen.

    Modules of the same package, or of the same folder where there is no package, that they take something from count
    too, and those that these take something from.
    """
    total = hashlib.sha256()
    for target in targets:
        module = importlib.import_module(target.rpartition(".")[0])
        package = module.__name__.rpartition(".")[0]
        names: set[str] = set()
        waiting = [module.__name__]
        while waiting:
            name = waiting.pop()
            names.add(name)
            used = _used_by(importlib.import_module(name)) - names
            if package:
                waiting += [other for other in used if other.startswith(f"{package}.")]
            else:
                waiting += [other for other in used if _lies_beside(other, module)]
        for name in sorted(names):
            total.update(Path(inspect.getfile(importlib.import_module(name))).read_bytes())
    return total.hexdigest()


def _used_by(module: ModuleType) -> set[str]:
    """Names of modules that a module, or what it has imported from others, is from."""
    values = vars(module).values()
    own = {getattr(value, "__module__", None) or "" for value in values}
    modules = {value.__name__ for value in values if isinstance(value, ModuleType)}
    said = set()  # numbers and submodules say of no module that they are from there
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom):
            said.add(importlib.util.resolve_name(f"{'.' * node.level}{node.module or ''}", module.__package__ or None))
        elif isinstance(node, ast.Import):
            said |= {alias.name for alias in node.names}
    return own | modules | said


def _lies_beside(name: str, module: ModuleType) -> bool:
    """Whether a module without a package is a file of the same folder."""
    other, own = (getattr(one, "__file__", None) for one in (sys.modules.get(name), module))
    return "." not in name and None not in (other, own) and Path(str(other)).parent == Path(str(own)).parent

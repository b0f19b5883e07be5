"""Packages that libraries import at their own start and a run mostly has no use for: loaded at the first use.

`importlib.util.LazyLoader` would do the same, but takes any look at a module for a use of it, and `inspect`, which
torch asks while it is imported, looks at `__file__` of all there are.
"""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

# transformers' Trainer imports it to tell data sets of that kind from others, and it brings pandas and pyarrow.
SELDOM_USED: Final = frozenset({"datasets"})


_loading = threading.RLock()


class _Waiting(ModuleType):
    """A module that has not been executed. The first name that it is asked for makes it an ordinary one."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") or name == "__all__":
            _load(self)
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _load(module: _Waiting) -> None:
    """Execute it; another thread waits until that is done, and what it imports itself finds it half there, as ever."""
    with _loading:
        spec = module.__spec__
        if spec is None or not isinstance(spec.loader, _Later):
            return
        spec.loader = module.__loader__ = spec.loader.real
        spec.loader.exec_module(module)
        module.__class__ = ModuleType  # type: ignore[assignment]


class _Later(Loader):
    def __init__(self, real: Loader):
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Waiting(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


class _There(Loader):
    """For a submodule that has come with its package."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class WhenUsed(MetaPathFinder):
    """Finds the modules of `SELDOM_USED`, to be loaded when they are used."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        package = sys.modules.get(name.rpartition(".")[0])
        if isinstance(package, _Waiting):
            _load(package)
            if name in sys.modules:
                return ModuleSpec(name, _There(sys.modules[name]))
        if name not in SELDOM_USED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec

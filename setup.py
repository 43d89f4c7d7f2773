"""Puts the workflow, which stands at the top of the repository, into the package of a wheel."""

from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PARTS = ("Snakefile", "workflow", "scripts", "envs", "profiles")
PLACE = Path("macrodyn", "_workflow")


def workflow_files() -> Iterator[str]:
    """The workflow's files, relative to the repository; no caches, nor what was left unfinished."""
    for part in map(Path, PARTS):
        found = [part] if part.is_file() else sorted(part.rglob("*"))
        for path in found:
            hidden = any(name.startswith((".", "__pycache__")) for name in path.parts)
            if path.is_file() and path.suffix != ".part" and not hidden:
                yield path.as_posix()


class BuildWithWorkflow(build_py):
    """Copies the workflow beside the modules; an editable install finds it in the repository."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        for built, source in self._copies().items():
            self.mkpath(str(Path(built).parent))
            self.copy_file(source, built, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that a build makes."""
        return [*super().get_outputs(include_bytecode), *self._copies()]

    def get_output_mapping(self) -> dict[str, str]:
        """Return the source of each file that a build makes."""
        return super().get_output_mapping() | self._copies()

    def get_source_files(self) -> list[str]:
        """Return what an sdist must hold, to build from."""
        return [*super().get_source_files(), *workflow_files()]

    def _copies(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        return {str(Path(self.build_lib, PLACE, file)): file for file in workflow_files()}


setup(cmdclass={"build_py": BuildWithWorkflow})

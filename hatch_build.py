"""Compile `protos/` when the project is built or installed, editable installs included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileProtos(BuildHookInterface):  # type: ignore[type-arg]
    """Write `*_pb2.py` and stubs beside every `.proto`; they are git-ignored."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Compile, and list the outputs as artifacts of the wheel."""
        build_data["artifacts"] += ["protos/**/*_pb2.py", "protos/**/*_pb2.pyi"]
        compile_protos(Path(self.root))


def compile_protos(root: Path) -> None:
    """Run protoc over all schemas of `root`; services are registered by hand, so no gRPC code."""
    sources = sorted(str(path.relative_to(root)) for path in (root / "protos").rglob("*.proto"))
    options = ["--proto_path=.", "--python_out=.", f"--plugin=protoc-gen-mypy={mypy_plugin()}", "--mypy_out=."]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *sources], cwd=root, check=True)  # noqa: S603 - our own arguments


def mypy_plugin() -> str:
    """Return the stub generator, wherever the build front end put it: uv beside the interpreter, pip into PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("protoc-gen-mypy", path=places) or "protoc-gen-mypy"


if __name__ == "__main__":
    compile_protos(Path(__file__).parent)

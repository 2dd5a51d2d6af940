"""Builds the native library from csrc/; everything else is in pyproject.toml."""

import os
import shlex
import shutil
from pathlib import Path

from setuptools import setup

try:
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError as error:
    raise SystemExit(
        f"seamseg builds its native library against PyTorch, which cannot be imported here ({error}): "
        "install torch>=2.10 first, or leave out --no-build-isolation so that pip fetches it for the build."
    ) from error

# The oldest torch whose stable interface the sources may use; the library then loads in this and all later versions.
TORCH_TARGET_VERSION = "0x020a000000000000"  # 2.10
OLDEST_PYTHON = "cp310"


class BuildNative(BuildExtension):
    """Builds with ninja where it is installed, and says what to do where there is no C++ compiler."""

    def build_extensions(self) -> None:
        compiler = shlex.split(os.environ.get("CXX", "c++"))[0]
        if shutil.which(compiler) is None:
            raise SystemExit(
                f"seamseg needs a C++ compiler to build its native library, and {compiler!r} is not on the PATH: "
                "install one (on Debian or Ubuntu: apt-get install g++), or name yours in the variable CXX."
            )
        super().build_extensions()


def sources() -> list[str]:
    """All of csrc/, as paths relative to this file, as setuptools wants them."""
    here = Path(__file__).resolve().parent
    return sorted(str(path.relative_to(here)) for path in here.glob("csrc/**/*.cpp"))


setup(
    ext_modules=[
        CppExtension(
            "seamseg._native",
            sources(),
            define_macros=[("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION)],
            extra_compile_args=["-O3", "-fvisibility=hidden", "-Wall"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": OLDEST_PYTHON}},
)

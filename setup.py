"""Build the native library from csrc/; everything else is in pyproject.toml.

The GPU kernels are built if torch comes with CUDA and nvcc is found. Environment variables: SEAMSEG_CUDA=0 skips them,
and SEAMSEG_CUDA=1 makes it an error if they cannot be built; CUDA_HOME selects another toolkit than that of the nvcc on
the PATH; TORCH_CUDA_ARCH_LIST selects other architectures than the common ones. SEAMSEG_LOCAL_VERSION, such as cu130,
is appended to the version of a wheel.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

try:
    import torch
    from torch.utils import cpp_extension
except ImportError as error:
    raise SystemExit(
        f"seamseg builds its native library against PyTorch, which cannot be imported here ({error}): "
        "install torch>=2.10 first, or leave out --no-build-isolation so that pip fetches it for the build."
    ) from error

# The oldest torch whose stable interface the sources may use; the library then loads in this and all later versions.
TORCH_TARGET_VERSION = "0x020a000000000000"  # 2.10
CUDA_ARCHITECTURES = ["7.5", "8.0+PTX", "8.6", "8.9", "9.0", "10.0", "12.0"]  # the PTX serves all others from 8.0 on


class NoCuda(Exception):
    """The GPU kernels cannot be built; the message gives the reason and the remedy."""


class BuildNative(cpp_extension.BuildExtension):
    """Build with ninja if it is installed; without a compiler, explain what to do."""

    def build_extensions(self) -> None:
        """Add the GPU kernels if possible, and compile."""
        if shutil.which(compiler()) is None:
            raise SystemExit(
                f"seamseg needs a C++ compiler to build its native library, and {compiler()!r} is not on the PATH: "
                "install one (on Debian or Ubuntu: apt-get install g++), or set CXX to yours."
            )
        wanted = os.environ.get("SEAMSEG_CUDA", "")
        if wanted not in ("", "0", "1"):
            raise SystemExit(f"SEAMSEG_CUDA must be 0 (without GPU kernels) or 1 (with them), not {wanted!r}.")
        try:
            add_cuda(self.extensions[0], Path(self.build_temp))
        except NoCuda as reason:
            if wanted == "1":
                raise SystemExit(f"seamseg cannot be built with its GPU kernels (SEAMSEG_CUDA=1): {reason}") from None
            print(f"seamseg is built without its GPU kernels: {reason}")
        super().build_extensions()


class BuildPackage(build_py):
    """Copy configs/ into the package, so that `seamseg train NAME` finds configs without a checkout."""

    def run(self) -> None:
        """Build the package and copy the configs, except for an editable installation."""
        super().run()
        if not self.editable_mode:
            root = Path(__file__).resolve().parent
            for path in sorted(root.glob("configs/**/*.yaml")):
                target = Path(self.build_lib, "seamseg", path.relative_to(root))
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


class BuildWheel(bdist_wheel):
    """Build one wheel for all versions of Python: torch loads the native library, which does not call Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, of its binary interface, and of the platform."""
        return "py3", "none", super().get_tag()[2]


def add_cuda(extension: Extension, folder: Path) -> None:
    """Add the GPU kernels to the extension.

    Args:
        extension: The native library.
        folder: Folder for intermediate files.

    Raises:
        NoCuda: They cannot be built.
    """
    if os.environ.get("SEAMSEG_CUDA") == "0":
        raise NoCuda("SEAMSEG_CUDA=0 skips them.")
    toolkit = cuda_toolkit()
    nvcc = str(toolkit / "bin" / "nvcc")
    release = re.search(r"release (\d+)", ask(nvcc, "--version"))
    if release is None or release[1] != torch.version.cuda.split(".")[0]:
        raise NoCuda(
            f"torch {torch.__version__} needs the toolkit of CUDA {torch.version.cuda}, but {nvcc} has another version "
            f"({release[1] if release else 'unknown'}): set CUDA_HOME to the folder of a matching one."
        )
    architectures = re.findall("[^; ]+", os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    if not architectures:
        known = ask(nvcc, "--list-gpu-code").split()
        architectures = [name for name in CUDA_ARCHITECTURES if f"sm_{number_of(name)}" in known]
        extension.extra_compile_args["nvcc"] += [flag for name in architectures for flag in compile_for(name)]
    cpp_extension.CUDA_HOME = str(
        toolkit
    )  # torch would take the folder above nvcc, which may be a wrapper script elsewhere
    extension.sources += sources("cu")
    extension.extra_compile_args["cxx"].append(f"-DSEAMSEG_CUDA_ARCHITECTURES={','.join(architectures)}")
    extension.include_dirs.append(str(toolkit / "include"))
    extension.library_dirs += cpp_extension.library_paths("cuda")
    # With the static runtime, the library loads without a driver and next to any other CUDA runtime.
    extension.extra_objects.append(str(static_runtime(toolkit, folder)))
    extension.libraries += ["torch_cuda", "rt", "dl", "pthread"]


def number_of(architecture: str) -> str:
    """Return the number in an architecture, such as 80 in 8.0+PTX."""
    return architecture.removesuffix("+PTX").replace(".", "")


def compile_for(architecture: str) -> list[str]:
    """Return the flags of nvcc for one architecture.

    All machine code from 8.0 on is generated from the PTX of 8.0. This halves the build time, and no later architecture
    adds an instruction that the kernels use; 8.0 added rounding to bfloat16.
    """
    number = number_of(architecture)
    virtual = "compute_75" if number == "75" else "compute_80"
    codes = [f"sm_{number}", virtual] if architecture.endswith("+PTX") else [f"sm_{number}"]
    return [f"-gencode=arch={virtual},code={code}" for code in codes]


def cuda_toolkit() -> Path:
    """Find the folder with the compiler, headers and libraries of CUDA.

    Raises:
        NoCuda: There is none.
    """
    if torch.version.cuda is None:
        raise NoCuda(f"torch {torch.__version__} comes without CUDA; if there is a GPU, install one with CUDA.")
    home, nvcc = os.environ.get("CUDA_HOME"), shutil.which("nvcc")
    if home is None and nvcc is None:
        raise NoCuda(
            f"nvcc is not on the PATH; install the toolkit of CUDA {torch.version.cuda} or set CUDA_HOME to its folder."
        )
    if home is None:
        top = re.search(r"^#\$ TOP=(.+)$", ask(nvcc, "--dryrun", "-c", "-x", "cu", os.devnull), re.MULTILINE)
        home = top[1] if top else Path(nvcc).parents[1]
    toolkit = Path(home).resolve()
    for needed in ("bin/nvcc", "include/cuda_runtime.h", "lib*/libcudart_static.a"):
        if not any(toolkit.glob(needed)):
            raise NoCuda(f"{toolkit} has no {needed}; set CUDA_HOME to the folder of the CUDA toolkit.")
    return toolkit


def static_runtime(toolkit: Path, folder: Path) -> Path:
    """Copy the static CUDA runtime and let it call functions of glibc in versions that older releases have, too.

    glibc 2.34 moved functions from other libraries into libc, and gave them a new version beside the old one. Linked as
    it is, the runtime would take the new ones and not load in older systems. csrc/glibc.cpp does this for our sources.
    """
    original = next(toolkit.glob("lib*/libcudart_static.a"))
    defined = ask("objdump", "-T", ask(compiler(), "-print-file-name=libc.so.6").strip())
    newer = set(re.findall(r" GLIBC_2\.(?:29|3\d|[4-9]\d) +(\w+)$", defined, re.MULTILINE))
    older = {name: version for version, name in re.findall(r"\((GLIBC_2\.[\d.]+)\) +(\w+)$", defined, re.MULTILINE)}
    called = set(re.findall(r" U (\w+)$", ask("nm", str(original)), re.MULTILINE))
    renamed = [f"--redefine-sym={name}={name}@{older[name]}" for name in sorted(called & newer & older.keys())]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["objcopy", *renamed, original, folder / original.name], check=True)
    return folder / original.name


def compiler() -> str:
    """Return the C++ compiler."""
    return shlex.split(os.environ.get("CXX", "c++"))[0]


def ask(*command: str) -> str:
    """Run a command and return its output."""
    return subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def sources(suffix: str) -> list[str]:
    """List the files of csrc/ with a suffix, relative to this file as setuptools requires."""
    here = Path(__file__).resolve().parent
    return sorted(str(path.relative_to(here)) for path in here.glob(f"csrc/**/*.{suffix}"))


setup(
    ext_modules=[
        cpp_extension.CppExtension(
            "seamseg._native",
            sources("cpp"),
            define_macros=[("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION)],
            extra_compile_args={
                # psabi: vectors are passed only between inlined functions.
                "cxx": ["-O3", "-fopenmp-simd", "-fvisibility=hidden", "-Wall", "-Wno-psabi"],
                "nvcc": ["-O3", "--threads=2", "-Xcompiler=-fvisibility=hidden", "-Xcompiler=-Wall"],
            },
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPackage, "bdist_wheel": BuildWheel},
    options={"egg_info": {"tag_build": f"+{local}" if (local := os.environ.get("SEAMSEG_LOCAL_VERSION")) else ""}},
)
